"""Hooks that leave no trace: in a copy or a pickle of the model they do nothing, and need no argus to be read back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import nn

from argus.local._context import HookFunction, Part

#: What torch itself spends on a call because a hook is there, seconds; counted with the detector's own time.
HOOKED_CALL_S = 1.5e-6
# Keys in a module's table of hooks. torch's own are 0 and up.
_keys = itertools.count(-1, -1)
_is_compiling = torch.compiler.is_compiling
_eval_frame: Any = torch._C._dynamo.eval_frame
# What torch.compile has put in charge of Python frames: None outside compiled calls.
_frames_taken: Callable[[], object] = _eval_frame.get_eval_frame_callback


def _is_unseen() -> bool:
    """Whether this call is traced, or made by what torch.compile runs around its graphs."""
    return _is_compiling() or _frames_taken() is not None


class Caller(Protocol):
    """Who reads calls."""

    armed: bool
    spent_s: float

    def may_read(self, module: nn.Module) -> bool:
        """Whether this call, inside an armed pass, is one to read."""

    def contain(self, part: Part | None, error: Exception) -> None:
        """A part failed."""


class _Traceless:
    """Pickled and deep-copied as a bound method of the standard library that takes anything and does nothing."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (nullcontext(), "__exit__")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return nullcontext().__exit__


class RootHook(_Traceless):
    """Stays in place from attach to detach; under torch.compile it traces to nothing."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:
        if not _is_unseen():
            self._call(*args)


class LeafHook(_Traceless):
    """One function after one module, in place only during the passes that want it."""

    __slots__ = ("_caller", "extra", "fn", "index", "key", "module", "part")

    def __init__(
        self, caller: Caller, module: nn.Module, fn: HookFunction, part: Part | None, index: int | None, extra: bool
    ) -> None:
        self._caller = caller
        self.module = module
        self.fn = fn
        self.part = part
        self.index = index
        self.extra = extra
        self.key = next(_keys)

    def install(self) -> None:
        """From now on, at the end of what hooks there are."""
        self.module._forward_hooks[self.key] = self

    def uninstall(self) -> None:
        """Leaves the module's table as it was."""
        self.module._forward_hooks.pop(self.key, None)

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        caller = self._caller
        if not caller.armed or module is not self.module or _is_unseen() or not caller.may_read(module):
            return
        start = perf_counter()
        try:
            self.fn(module, args, output)
        except Exception as error:
            caller.contain(self.part, error)
        caller.spent_s += perf_counter() - start + HOOKED_CALL_S


class FixedHook(_Traceless):
    """Stays on one module, and passes calls on to what is to be called in this pass.

    Compiled code looks at the hooks of the modules it calls: were they to come and go, it would be compiled again.
    """

    __slots__ = ("key", "leaves", "module")

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.leaves: list[LeafHook] = []
        self.key = next(_keys)
        module._forward_hooks[self.key] = self

    def remove(self) -> None:
        """Leaves the module's table as it was."""
        self.module._forward_hooks.pop(self.key, None)

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if not _is_unseen():
            for leaf in self.leaves:
                leaf(module, args, output)


if hasattr(_eval_frame, "set_code_exec_strategy"):
    # Calls of these do nothing inside compiled code; nor shall they be compiled for it.
    _skip = _eval_frame._FrameExecStrategy(_eval_frame._FrameAction.SKIP, _eval_frame._FrameAction.DEFAULT)
    for _function in (RootHook.__call__, LeafHook.__call__, FixedHook.__call__, _is_unseen):
        _eval_frame.set_code_exec_strategy(_function.__code__, _skip)
