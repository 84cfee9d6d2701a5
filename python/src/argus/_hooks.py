"""Taking hooks off an optimizer at any moment, also while it goes through them.

torch iterates over the very dict the hooks are in: one taken out meanwhile raises inside the user's `optimizer.step()`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

#: Hooks to be taken off by the next `sweep`. Whoever made them sees to it that they do nothing meanwhile.
late: list[Any] = []


def remove(handles: Iterable[Any]) -> None:
    """Takes hooks off: at once, or, while any thread is inside an optimizer's method, when `sweep` is called after it."""
    late.extend(handles)
    sweep()


def sweep() -> None:
    """Takes off what waits, unless an optimizer is going through its hooks now."""
    if late and not _optimizer_on_a_stack():
        while late:
            late.pop().remove()


def _optimizer_on_a_stack() -> bool:
    from torch.optim import Optimizer

    file = Optimizer.__repr__.__code__.co_filename
    for top in sys._current_frames().values():
        frame = top
        while frame is not None:
            if frame.f_code.co_filename == file:
                return True
            frame = frame.f_back  # type: ignore[assignment]
    return False
