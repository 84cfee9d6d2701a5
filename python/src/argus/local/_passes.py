"""Which forward passes are read: one training pass of the whole model a step, or the calls of its submodules."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch
from torch import nn

from argus.local._context import Context, HookFunction
from argus.local._crew import Crew
from argus.local._hooks import LeafHook, RootHook
from argus.local._layers import Layers, compile_is_in_use

# Updates in a row without a pass of the whole model before its submodules are read, or it is said that nothing can be.
_BLIND = 2

_in_backward = torch._C._current_graph_task_id
_grad_enabled = torch.is_grad_enabled
_transforms = torch._C._functorch.peek_interpreter_stack
_tracing = torch._C._get_tracing_state


class Passes:
    """Tells passes that are read from evaluation, further micro-batches, recomputation in backward, and compiled ones.

    Args:
        look: Called before the first pass is read: the model may have been changed or compiled since it was attached to.
        on_pass: Called when a pass comes after one that was read in the same step: True when a new step began with it.
        on_error: Called with a failure in here.
        warn: Called with a line for people.
    """

    def __init__(
        self,
        context: Context,
        crew: Crew,
        layers: Layers,
        *,
        look: Callable[[], None],
        on_pass: Callable[[], bool],
        on_error: Callable[[Exception], None],
        warn: Callable[[str], None],
    ) -> None:
        self._context = context
        self._root = context.model
        self._crew = crew
        self._layers = layers
        self._look = look
        self._on_pass = on_pass
        self._on_error = on_error
        self._warn = warn
        self._depth = 0
        self._taken = False
        self._unseen = 0
        self._seen: dict[int, None] = {}
        self._ordered = 0
        self._looked = False
        self._noting = False
        self._handles: list[Any] = []

    def attach(self) -> None:
        """Puts the root's hooks in place, where its forward can be seen."""
        if not self._context.compiled:
            self._handles = [
                self._root.register_forward_pre_hook(RootHook(self._before)),
                # Called also when the forward raised: nothing stays installed.
                self._root.register_forward_hook(RootHook(self._after), always_call=True),
            ]

    def detach(self) -> None:
        """Takes them off, in the middle of a pass too."""
        self.end(None)
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._root = nn.Module()

    def next_step(self) -> None:
        """A step is through: the next pass is read."""
        self._taken = False
        self._unseen += 1
        if self._crew.loose:
            self._begin()
        elif self._unseen > _BLIND and not self._context.compiled:
            self._find_out()

    def end(self, output: Any, args: Any = (), *, completed: bool = False) -> None:
        """Ends the pass that is being read, if one is."""
        if self._crew.armed:
            self._crew.end_pass(self._context, args, output, completed)
            if self._seen:
                self._order()

    def _before(self, module: nn.Module, args: Any) -> None:
        if module is not self._root:
            return
        if self._crew.armed:  # the root inside itself
            self._depth += 1
            return
        if not module.training or not _grad_enabled() or _in_backward() != -1:
            return
        start = perf_counter()
        try:
            if not (self._taken and not self._on_pass()) and not self._is_traced():
                self._unseen, self._depth = 0, 0
                self._begin()
        except Exception as error:
            self._on_error(error)
        self._crew.spent_s += perf_counter() - start

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._crew.armed or module is not self._root or self._crew.loose:
            return
        if self._depth > 0:
            self._depth -= 1
            return
        start = perf_counter()
        try:
            self._taken = True
            self.end(output, args, completed=output is not None)
        except Exception as error:
            self._on_error(error)
        self._crew.spent_s += perf_counter() - start

    def _is_traced(self) -> bool:
        return _transforms() is not None or _tracing() is not None

    def _begin(self) -> None:
        if not self._looked:
            self._looked = True
            self._look()
        self._crew.prepare()
        self._noting = self._ordered < len(self._context.layers) and not self._crew.loose
        if self._noting:
            self._note_order()
        self._crew.begin_pass(self._context)

    def _find_out(self) -> None:
        """Why no pass of the whole model is seen."""
        if compile_is_in_use():
            self._context.compiled = True
            self._warn("forward passes run compiled: only parameters, gradients and optimizer state are watched")
        elif self._ordered == 0:
            self._crew.loose = True
            self._warn("the model is not called as a whole: its submodules are read as they are called")
            self._begin()

    # The order in which layers are first called.

    def _note_order(self) -> None:
        context = self._context
        self._ordered = len(context.layers)
        for index, (_, module) in enumerate(context.layers):
            if index not in context.gone and module is not self._root and id(module) not in self._layers.hidden:
                self._crew.install(LeafHook(self._crew, module, self._note(index), None, None, False))

    def _note(self, index: int) -> HookFunction:
        def called(module: nn.Module, args: Any, output: Any) -> None:
            if self._noting:
                self._seen.setdefault(index)

        return called

    def _order(self) -> None:
        context, seen = self._context, self._seen
        never = [i for i in range(len(context.layers)) if i not in seen and i not in context.gone]
        context.order, self._seen = [*(i for i in seen if i not in context.gone), *never], {}
