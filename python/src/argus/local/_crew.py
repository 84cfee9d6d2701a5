"""The parts of a detector and their hooks: called in turn, timed, and switched off when they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from argus.local._context import MAX_PERIOD, Context, HookFunction, Part
from argus.local._hooks import HOOKED_CALL_S, FixedHook, LeafHook
from argus.local._layers import compile_is_in_use

_PHASES = ("begin_pass", "end_pass", "before_update", "after_update", "end_step")

_in_backward = torch._C._current_graph_task_id
_grad_enabled = torch.is_grad_enabled


class Crew:
    """Calls parts and lets nothing out of them.

    Attributes:
        armed: A pass is being read.
        loose: Passes have no known beginning (submodules are called one by one): each call is looked at by itself.
        spent_s: Seconds spent since the step began; the shell zeroes it.
        errors: Failures contained.

    Args:
        warn: Called with a line for people.
        is_hidden: Whether calls of this module cannot be seen.
    """

    def __init__(self, warn: Callable[[str], None], is_hidden: Callable[[nn.Module], bool]) -> None:
        self._warn = warn
        self._is_hidden = is_hidden
        self.parts: list[Part] = []
        self.armed = False
        self.loose = False
        self.spent_s = 0.0
        self.errors = 0
        self._root: nn.Module | None = None
        self._calls: dict[str, list[tuple[Part, Any]]] = {phase: [] for phase in _PHASES}
        self._by_residue: list[list[LeafHook]] = [[] for _ in range(MAX_PERIOD)]
        self._always: list[LeafHook] = []
        self._installed: list[LeafHook] = []
        self._fixed: dict[nn.Module, FixedHook] | None = None  # once torch.compile is in use
        self._owner: Part | None = None

    def attach(self, context: Context, kinds: list[type[Part]]) -> None:
        """Makes the parts."""
        self._root = context.model
        for kind in kinds:
            try:
                part = kind(context)
            except Exception as error:
                self._fail(kind.__name__, error)
                continue
            self.parts.append(part)
            self.call_one(part, part.attach)
        self._collect_calls()

    def detach(self) -> None:
        """Lets go of the parts and of the model."""
        for part in self.parts:
            try:
                part.detach()
            except Exception as error:
                self._fail(type(part).__name__, error)
        self._uninstall()
        for hook in (self._fixed or {}).values():
            hook.remove()
        self._fixed, self._root = None, None
        self.parts, self._always = [], []
        self._by_residue = [[] for _ in range(MAX_PERIOD)]
        self._collect_calls()

    # Calls.

    def call(self, phase: str, *args: Any) -> None:
        """This method of every part that has one of its own."""
        for part, call in self._calls[phase]:
            try:
                call(*args)
            except Exception as error:
                self.contain(part, error)

    def call_one(self, part: Part, call: Callable[[], None]) -> None:
        """A method in which a part may register hooks."""
        self._owner = part
        try:
            call()
        except Exception as error:
            self.contain(part, error)
        self._owner = None

    def ask(self, question: Callable[[Part], Any]) -> list[Any]:
        """Every part's answer; a part that fails has none."""
        answers = []
        for part in list(self.parts):
            try:
                answers.append(question(part))
            except Exception as error:
                self.contain(part, error)
        return answers

    def contain(self, part: Part | None, error: Exception) -> None:
        """A part failed: it is switched off, and training goes on."""
        if part is not None and part not in self.parts:
            return  # it is off already
        self._fail(type(part).__name__, error)
        if part is None:
            return
        self.parts.remove(part)
        for leaf in self._installed:
            if leaf.part is part:
                leaf.uninstall()
        for hook in (self._fixed or {}).values():
            hook.leaves = [leaf for leaf in hook.leaves if leaf.part is not part]
        self._keep(lambda leaf: leaf.part is not part)
        self._collect_calls()
        try:
            part.detach()
        except Exception as second:
            self._fail(type(part).__name__, second)

    def _fail(self, name: str, error: Exception) -> None:
        self.errors += 1
        self._warn(f"{name} is switched off: {type(error).__name__}: {error}"[:300])

    def _collect_calls(self) -> None:
        self._calls = {
            phase: [
                (part, getattr(part, phase))
                for part in self.parts
                if getattr(type(part), phase) is not getattr(Part, phase)
            ]
            for phase in _PHASES
        }

    # Hooks of modules.

    def register(self, module: nn.Module, fn: HookFunction, index: int | None, extra: bool) -> None:
        """`Context.hook`."""
        if not self._is_hidden(module):
            leaf = LeafHook(self, module, fn, self._owner, index, extra)
            (self._always if index is None else self._by_residue[index % MAX_PERIOD]).append(leaf)

    def once(self, module: nn.Module, fn: HookFunction, part: Part) -> None:
        """`Context.hook_once`."""
        if module is not self._root and not self._is_hidden(module):
            self.install(LeafHook(self, module, fn, part, None, False))

    def keep_modules(self, wanted: set[int]) -> None:
        """Forgets hooks of modules that are not among these ids."""
        self._keep(lambda leaf: id(leaf.module) in wanted)

    def fix(self) -> None:
        """Once torch.compile is in use: a hook that stays, on each module the model has now."""
        if self._fixed is None or self._root is None:
            return
        modules = dict.fromkeys(m for m in self._root.modules() if m is not self._root and not self._is_hidden(m))
        for module in self._fixed.keys() - modules.keys():
            self._fixed.pop(module).remove()
        for module in modules:
            if module not in self._fixed:
                self._fixed[module] = FixedHook(module)

    def _keep(self, wanted: Callable[[LeafHook], bool]) -> None:
        self._always = [leaf for leaf in self._always if wanted(leaf)]
        self._by_residue = [[leaf for leaf in slot if wanted(leaf)] for slot in self._by_residue]

    def _due(self, context: Context) -> list[LeafHook]:
        due = list(self._always)
        for residue in context.due_residues():
            due += self._by_residue[residue]
        return due if context.extras else [leaf for leaf in due if not leaf.extra]

    def prepare(self) -> None:
        """Before anything is installed for a pass."""
        if self._fixed is None and compile_is_in_use():
            self._fixed = {}
            self.fix()

    def begin_pass(self, context: Context) -> None:
        """Installs what is due. A hook of the root itself is called by `end_pass`, for the root's own end the pass."""
        for leaf in self._due(context):
            if leaf.module is not self._root:
                self.install(leaf)
        if self._fixed is not None:
            self.spent_s += len(self._fixed) * HOOKED_CALL_S
        self.armed = context.armed = True
        self.call("begin_pass")

    def install(self, leaf: LeafHook) -> None:
        """Until the end of the pass."""
        if self._fixed is None:
            leaf.install()
            self._installed.append(leaf)
        elif leaf.module in self._fixed:
            self._fixed[leaf.module].leaves.append(leaf)

    def _uninstall(self) -> None:
        for leaf in self._installed:
            leaf.uninstall()
        self._installed.clear()
        for hook in (self._fixed or {}).values():
            hook.leaves.clear()

    def end_pass(self, context: Context, args: Any, output: Any, completed: bool) -> None:
        """Takes off what was installed. `completed`: the root's forward returned."""
        if completed:
            for leaf in self._due(context):
                if leaf.module is self._root:
                    leaf(leaf.module, args, output)
        self.armed = context.armed = False
        self._uninstall()
        self.call("end_pass", output)

    def may_read(self, module: nn.Module) -> bool:
        """Whether this call, in an armed pass, is one to read."""
        return not self.loose or (module.training and _grad_enabled() and _in_backward() == -1)
