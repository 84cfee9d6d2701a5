"""The user's own saver and loader, for models that no process can save alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus._checkpoint_ring import Ring
from argus._checkpoint_tree import CheckpointError
from argus._errors import UsageError

if TYPE_CHECKING:
    from torch import nn

#: The folder within a checkpoint that a save callback writes into.
CUSTOM = "custom"


class CallbackFailed(CheckpointError):
    """The user's own saver failed."""


@dataclass(frozen=True)
class CheckpointState:
    """What a `save` callback is given: the living objects at the moment of the checkpoint, and what it is for."""

    step: int
    segment: int
    signal: str
    reason: str
    loss: float | None
    rank: int
    world_size: int
    run_id: str
    model: nn.Module
    optimizers: tuple[Any, ...]


def call_save(save: Callable[[CheckpointState, Path], object], state: CheckpointState, ring: Ring) -> tuple[str, Path]:
    """Has the user's saver write; the name of the checkpoint and the folder that is to become it. Raises OSError, CallbackFailed."""
    name, partial = ring.begin(state.step, state.segment, state.signal)
    try:
        directory = partial / CUSTOM
        directory.mkdir(exist_ok=True)
        save(state, directory)
    except Exception as error:
        ring.discard(partial)
        raise CallbackFailed(f"the save callback raised {type(error).__name__}: {error}") from error
    return name, partial


def check_callbacks(save: Any, load: Any) -> None:
    """Raises UsageError, naming what is accepted, when a callback could not be called when it is needed."""
    if (save is None) != (load is None):
        raise UsageError("save and load are given together: what one writes the other puts back")
    for name, callback, accepted in (("save", save, "save(state, directory)"), ("load", load, "load(directory)")):
        if callback is None:
            continue
        if not callable(callback) or inspect.iscoroutinefunction(callback):
            raise UsageError(f"{name} is {callback!r}; accepted is a function {accepted}")
        try:
            inspect.signature(callback).bind(*[None] * (accepted.count(",") + 1))
        except TypeError as error:
            raise UsageError(
                f"{name} cannot be called as {accepted} ({error}); accepted is a function {accepted}"
            ) from None
        except ValueError:  # a callable without a signature to read
            pass
