"""A factor on the learning rate that lives inside `optimizer.step()` alone.

Schedulers read and write `param_groups`; whoever overwrites a rate there becomes the basis of their next one. So each group's rate is
multiplied as the step begins and the scheduler's own value, the very object, is put back as it ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import Tensor
from torch.optim import Optimizer

from argus import _hooks

#: The factor is never below this: what is asked for beyond it is refused, and the rate stays that of the schedule times this.
FLOOR = 1e-3


@dataclass
class _Saved:
    """One rate while a step runs with another: where it belongs, what was there, and what stands there now."""

    group: dict[str, Any]
    scheduled: Any
    in_force: Any
    value: Tensor | None  # of a tensor rate: what it held


class _Args(tuple[Any, ...]):
    """The arguments of a step. They die with its frame, also when it raises, and then put the rates back."""

    scale: LearningRateScale
    which: int

    def __del__(self) -> None:
        self.scale._put_back(self.which)


class LearningRateScale:
    """Multiplies the learning rates of some optimizers, each group's alike, while they step.

    At a factor of 1 nothing is read, written or allocated in a step. A rate that is a tensor is changed in place and restored from a
    copy, without waiting for a device. When `step()` raises, no post-hook runs: the rates are put back as the exception is let go, or
    before `state_dict()`, `load_state_dict()` or the next step, whichever comes first. Belongs to the thread that trains.

    Make it before whatever else reads rates in a step pre-hook, so that it reads those in force.

    Args:
        optimizers: Whose steps are scaled; groups added later are too.
        on_error: Called with an exception that happened inside a hook; the step goes on with its scheduled rate.
    """

    def __init__(self, optimizers: Sequence[Optimizer], on_error: Callable[[Exception], None]) -> None:
        self._optimizers = list(optimizers)
        self._on_error = on_error
        self._factor = 1.0
        self._saved: list[list[_Saved]] = [[] for _ in self._optimizers]
        self._handles: list[Any] = []
        for which, optimizer in enumerate(self._optimizers):
            self._handles.append(optimizer.register_step_pre_hook(self._pre_hook(which)))
            self._handles.append(optimizer.register_step_post_hook(self._post_hook(which)))
            for register in ("register_state_dict_pre_hook", "register_load_state_dict_pre_hook"):
                if hasattr(optimizer, register):
                    self._handles.append(getattr(optimizer, register)(self._state_hook(which)))

    @property
    def factor(self) -> float:
        """What every rate is multiplied by, `FLOOR` to 1."""
        return self._factor

    @factor.setter
    def factor(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"learning-rate factor {value!r}; accepted is a number")
        self._factor = min(1.0, max(FLOOR, value))

    @property
    def effective(self) -> bool:
        """Whether any optimizer has a rate to multiply: some compute their own and carry none."""
        return any(_is_rate(group.get("lr")) for o in self._optimizers for group in o.param_groups)

    def effective_lr(self) -> Any:
        """The largest rate of all groups times the factor: a number, or a 0-d tensor where all are on a device; None without any."""
        rates = [group.get("lr") for o in self._optimizers for group in o.param_groups]
        numbers = [r for r in rates if _is_rate(r) and not (isinstance(r, Tensor) and r.device.type != "cpu")]
        if numbers:
            return max(float(r) for r in numbers) * self._factor
        tensors = [r.detach().reshape(()) for r in rates if isinstance(r, Tensor)]
        return torch.stack(tensors).max() * self._factor if tensors else None

    def close(self) -> None:
        """Takes the hooks off; the optimizers go on with the rates of their schedulers."""
        self._factor = 1.0  # at which the hooks do nothing, where they cannot be taken off at once
        for which in range(len(self._optimizers)):
            self._put_back(which)
        handles, self._handles = self._handles, []
        _hooks.remove(handles)

    # What the hooks do. They must never let an exception through: they run inside optimizer.step().

    def _pre_hook(self, which: int) -> Callable[..., Any]:
        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
            if self._factor == 1.0 and not self._saved[which]:
                return None
            if torch.compiler.is_compiling():
                self._scale(which, optimizer)
                return None
            try:
                self._put_back(which)
                if self._factor == 1.0 or _capturing():
                    return None
                self._scale(which, optimizer)
                guarded = _Args(args)
                guarded.scale, guarded.which = self, which
                return guarded, kwargs
            except Exception as error:
                self._put_back(which)
                self._on_error(error)
                return None

        return hook

    def _post_hook(self, which: int) -> Callable[..., None]:
        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if self._saved[which]:
                self._put_back(which)

        return hook

    def _state_hook(self, which: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            self._put_back(which)

        return hook

    def _scale(self, which: int, optimizer: Optimizer) -> None:
        # One tensor may be the rate of several groups: it is multiplied once.
        saved = self._saved[which]
        for group in optimizer.param_groups:
            rate = group.get("lr")
            if isinstance(rate, Tensor):
                if any(s.scheduled is rate for s in saved):
                    continue
                saved.append(_Saved(group, rate, rate, rate.detach().clone()))
                with torch.no_grad():
                    rate.mul_(self._factor)
            elif _is_rate(rate):
                in_force = rate * self._factor
                saved.append(_Saved(group, rate, in_force, None))
                group["lr"] = in_force

    def _put_back(self, which: int) -> None:
        saved, self._saved[which] = self._saved[which], []
        for s in saved:
            if s.value is not None:
                with torch.no_grad():
                    s.scheduled.copy_(s.value)
            elif s.group.get("lr") == s.in_force:  # else somebody set a rate inside the step: it is theirs
                s.group["lr"] = s.scheduled


def _is_rate(rate: Any) -> TypeGuard[int | float | Tensor]:
    return isinstance(rate, (int, float, Tensor)) and not isinstance(rate, bool)


def _capturing() -> bool:
    """A graph under capture would repeat this step's factor for ever."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
