"""What the parts of the local detector share: the model, the step, what is due in it, and how they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from argus._native import Findings

#: Steps within which every index of a rotation is due at least once, however little the budget allows.
MAX_PERIOD = 24
# The slot of index i is that of i % MAX_PERIOD here: neighbours lie far apart, so that the work of a few layers is spread.
_SLOT_OF = (0, 12, 6, 18, 3, 15, 9, 21, 1, 13, 7, 19, 4, 16, 10, 22, 2, 14, 8, 20, 5, 17, 11, 23)
_INDEX_OF = tuple(_SLOT_OF.index(slot) for slot in range(MAX_PERIOD))
#: Deep scans: these steps since the detector was attached, then every DEEP_EVERY (more where a scan costs too much of the steps).
DEEP_FIRST = (10, 25, 50)
DEEP_EVERY = 100

#: A forward hook: (module, positional arguments, output). What it returns is ignored.
HookFunction = Callable[[nn.Module, tuple[Any, ...], Any], object]


class Part:
    """A group of checks. Its constructor takes the Context and does nothing else.

    Every method is called on the training thread, timed and contained: an exception switches the part off (its hooks are taken
    off, `detach` is called) and is said once. Override what is needed; what is not overridden costs nothing.
    """

    def __init__(self, context: Context) -> None:
        self.context = context

    def attach(self) -> None:
        """Once, before anything else: registers hooks with `context.hook`."""

    def detach(self) -> None:
        """The last call: lets go of the model."""

    def layers_changed(self) -> None:
        """`context.layers` has grown (new entries at its end), or some of it is `context.gone`."""

    def begin_pass(self) -> None:
        """An armed root forward begins."""

    def end_pass(self, output: Any) -> None:
        """It has ended. `output` is what the model returned, None when it raised or was not called as a whole."""

    def before_update(self, which: int, optimizer: Optimizer, has_closure: bool) -> None:
        """Before `optimizer.step()` of `context.optimizers[which]`: the gradients are there, unless a closure makes them."""

    def after_update(self, which: int, optimizer: Optimizer) -> None:
        """After it."""

    def end_step(self) -> None:
        """All optimizers of the step are through; `context.step` is still its number."""

    def findings(self) -> list[Findings]:
        """What stands now."""
        return []

    def memory_bytes(self) -> int:
        """What the part holds for the layers it watches, bytes."""
        return 0

    def describe(self) -> dict[str, Any]:
        """Further JSON-able facts for the report (coverage of a scan, the origin of a NaN), by key."""
        return {}

    def reset(self) -> None:
        """The run was rolled back or reset on purpose: forget histories, keep hooks."""


class Context:
    """The state the shell keeps for the parts. Read by parts, written by the shell.

    Attributes:
        model: The user's model, unwrapped from DistributedDataParallel, DataParallel and torch.compile's OptimizedModule.
        optimizers: Its optimizers, maybe none.
        step: Optimizer steps completed since the detector was attached; the number of every reading of this step.
        armed: The pass now running is read: training, with gradients, the first one of the step, not inside backward, not
            compiling. Functions given to `hook` are only called while it is True.
        deep: This step is a deep scan.
        compiled: Forward passes cannot be seen (torch.compile): only parameters, gradients and optimizer state can be.
        extras: The budget allows optional readings in this step; True in every deep step.
        layers: (qualified name, module) of every module that owns parameters itself, in registration order; grows at its end when
            layers are added, so that an index stays that layer's.
        gone: Indices of `layers` that are no longer part of the model.
        order: Indices of `layers` in the order of their first call in the first armed pass; until then in registration order.
            Layers never called as modules come last.
        deep_every: Steps between deep scans: DEEP_EVERY, or a multiple of it where they would not fit the budget.
        width, period: Each step `width` of MAX_PERIOD slots are due, so that every index is due once in `period` steps.
        path: "auto", or "device" to read CPU tensors as if they were on an accelerator.
        share: A side channel to the other ranks of the run, or None: takes this rank's hash (64 bits) for a step, never blocks.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: list[Optimizer],
        *,
        path: str = "auto",
        register: Callable[[nn.Module, HookFunction, int | None, bool], None],
        warn: Callable[[str], None],
        once: Callable[[nn.Module, HookFunction, Part], None] | None = None,
    ) -> None:
        self.model = model
        self.optimizers = optimizers
        self.path = path
        self.step = 0
        self.armed = False
        self.deep = False
        self.compiled = False
        self.extras = True
        self.extras_allowed = True
        self.layers: list[tuple[str, nn.Module]] = []
        self.gone: set[int] = set()
        self.order: list[int] = []
        self.width = 6
        self.deep_every = DEEP_EVERY
        self.cursor = 0
        self.share: Callable[[int, int], None] | None = None
        self._register = register
        self._warn = warn
        self._once = once
        self._deep_asked: set[int] = set()
        self._extra_spent_s = 0.0
        self._passed = 0

    @property
    def period(self) -> int:
        """Steps within which every index is due, 1 to MAX_PERIOD."""
        return -(-MAX_PERIOD // self.width)

    def due(self, index: int) -> bool:
        """Whether a layer, site or parameter of this number is to be read in this step."""
        return (_SLOT_OF[index % MAX_PERIOD] - self.cursor) % MAX_PERIOD < self.width

    def due_indices(self, count: int) -> list[int]:
        """Those of `range(count)` that are due, ascending: cheaper than asking for each."""
        if self.width == MAX_PERIOD:
            return list(range(count))
        due: list[int] = []
        for first in self.due_residues():
            due.extend(range(first, count, MAX_PERIOD))
        due.sort()
        return due

    def due_residues(self) -> list[int]:
        """What an index that is due leaves when divided by MAX_PERIOD."""
        return [_INDEX_OF[slot % MAX_PERIOD] for slot in range(self.cursor, self.cursor + self.width)]

    def hook(self, module: nn.Module, fn: HookFunction, index: int | None = None, *, extra: bool = False) -> None:
        """Calls `fn(module, args, output)` after each forward of `module` in armed passes; only from `attach` or `layers_changed`.

        A hook that is not wanted in a pass is not installed in it and costs nothing.

        Args:
            index: Only in steps where `due(index)`; None: in every step.
            extra: Only in steps where `extras`.
        """
        self._register(module, fn, index, extra)

    def hook_once(self, module: nn.Module, fn: HookFunction, part: Part) -> None:
        """Calls `fn` after each forward of `module` in the pass that begins; only from `begin_pass`. Not for the root itself."""
        if self._once is not None:
            self._once(module, fn, part)

    def warn(self, text: str) -> None:
        """One line for people, once per text: on stderr and in the report. For what is not watched, and why."""
        self._warn(text)

    def ask_deep(self, steps: int) -> None:
        """Makes the step `steps` (1 or more) from now a deep scan, to confirm what this one found."""
        self._deep_asked.add(self._passed + max(1, steps))

    def spent(self, seconds: float) -> None:
        """Time a part used outside the calls the shell makes (a TorchFunctionMode, say), for the governor."""
        self._extra_spent_s += seconds

    # The shell's.

    def next_step(self, number: int) -> None:
        """Begins the step `number`."""
        self.step = number
        self._passed += 1
        self.cursor = (self.cursor + self.width) % MAX_PERIOD
        passed = self._passed
        self.deep = passed % self.deep_every == 0 or passed in DEEP_FIRST
        if self._deep_asked:
            self.deep = self.deep or passed in self._deep_asked
            self._deep_asked = {step for step in self._deep_asked if step > passed}
        self.extras = self.extras_allowed or self.deep

    def release(self) -> None:
        """Lets go of what is the user's."""
        self.model, self.optimizers, self.layers, self.order = nn.Module(), [], [], []
        self.gone.clear()

    def take_spent(self) -> float:
        """What `spent` was told since the last call, seconds."""
        seconds, self._extra_spent_s = self._extra_spent_s, 0.0
        return seconds
