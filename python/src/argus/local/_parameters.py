"""Gradient flow, weight norms, optimizer state, integrity and precision: what is read of parameters around each update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from argus import _native
from argus.local._context import Context, Part
from argus.local._dtypes import CODES
from argus.local._optimizer_states import (
    STATELESS,
    Family,
    family_of,
    gradient_sign,
    l2_decay,
    learning_rate,
)

#: Layers that are compared between any two updates, however few are due: whether one changed or all did must be told apart.
_COMPARED_MIN = 4
#: Steps after which another look is asked for when something is suspected, and the least distance of such requests.
_LOOK_AGAIN = 4
_ALARMS_APART = 100
_NO_STATES: tuple[Any, ...] = ()
_EMPTY: Mapping[str, Any] = {}


class Row:
    """A parameter: where it belongs, and how its optimizer keeps its state."""

    __slots__ = ("group", "keys", "layer", "name", "number", "owner", "parameter", "shared", "state", "unknown")

    def __init__(self, number: int, layer: int, name: str, parameter: nn.Parameter) -> None:
        self.number = number
        self.layer = layer
        self.name = name
        self.parameter = parameter
        self.owner: _Group | None = None
        self.group = -1
        self.keys: tuple[str, ...] = ()
        self.shared = False
        self.state = 0  # id of the dict that holds its state
        self.unknown = False


class _Group:
    """A group of parameters as an optimizer keeps it, for each family of states found in it."""

    __slots__ = ("optimizer", "said", "settings", "views")

    def __init__(self, optimizer: Optimizer, settings: dict[str, Any]) -> None:
        self.optimizer = optimizer
        self.settings = settings
        self.views: dict[Family, int] = {}
        self.said: dict[Family, tuple[Any, ...]] = {}


class _Updates:
    """What is kept of one optimizer between its updates."""

    __slots__ = ("by_layer", "entries", "groups", "pending", "size", "state")

    def __init__(self) -> None:
        self.groups: list[_Group] = []
        self.by_layer: dict[int, list[Row]] = {}
        self.pending: list[Row] = []
        self.state = 0  # id of the optimizer's state, and how many parameters it is for
        self.size = 0
        self.entries = 0


class Parameters(Part):
    """Reads due parameters, their gradients and optimizer states where they lie, before and after each update, and compares what
    one update left with what the next one finds. Tensors on a device are read by `DeviceReader`, with the results a step later."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._native = _native.Parameters(CODES)
        self._rows: list[Row] = []
        self._known: dict[int, Row] = {}
        self._layers = 0
        self._updates: list[_Updates] = []
        self._unowned: dict[int, list[Row]] = {}
        self._order: list[int] = []
        self._passes = 0
        self._alarm_step = -_ALARMS_APART
        self._asked_step = -_LOOK_AGAIN

    def attach(self) -> None:
        self._updates = [_Updates() for _ in self.context.optimizers]
        self.layers_changed()

    def detach(self) -> None:
        self._rows, self._known, self._updates, self._unowned = [], {}, [], {}

    def layers_changed(self) -> None:
        for index in range(self._layers, len(self.context.layers)):
            self._native.add_layer(self.context.layers[index][0])
        self._layers = len(self.context.layers)
        self._find_rows()
        self._assign()

    def _find_rows(self) -> None:
        found: dict[int, Row] = {}
        for layer, (_, module) in enumerate(self.context.layers):
            norm = _norm_parameters(module)
            for name, parameter in module._parameters.items():
                if parameter is None or id(parameter) in found:
                    continue
                known = self._known.get(id(parameter))
                if known is None or known.parameter is not parameter:
                    known = self._add_row(layer, name, parameter, name in norm)
                if known is not None:
                    found[id(parameter)] = known
        self._known = found
        self._rows = list(found.values())

    def _add_row(self, layer: int, name: str, parameter: nn.Parameter, sets_norm: bool) -> Row | None:
        if not _readable(parameter):
            self.context.warn(
                f"{self.context.layers[layer][0]}.{name}: {parameter.dtype}, {parameter.layout}, on {parameter.device.type}; "
                "parameters that cannot be read in place are not watched"
            )
            return None
        strides = None if parameter.is_contiguous() else parameter.stride()
        number = self._native.add_parameter(layer, sets_norm, strides)
        self._native.begin(number, parameter)
        return Row(number, layer, name, parameter)

    def _assign(self) -> None:
        """Which optimizer updates which parameter."""
        for row in self._rows:
            row.owner, row.shared = None, False
        for which, optimizer in enumerate(self.context.optimizers):
            updates = self._updates[which]
            old = {id(group.settings): group for group in updates.groups}
            updates.groups, updates.by_layer = [], {}
            for settings in optimizer.param_groups:
                group = old.get(id(settings)) or _Group(optimizer, settings)
                updates.groups.append(group)
                for parameter in settings["params"]:
                    row = self._known.get(id(parameter))
                    if row is None:
                        continue
                    row.shared = row.owner is not None
                    row.owner = group
                    updates.by_layer.setdefault(row.layer, []).append(row)
            updates.entries = _entries(optimizer)
            updates.pending = [row for row in updates.pending if row.owner is not None]
        self._unowned = {}
        for row in self._rows:
            if row.owner is None:
                self._unowned.setdefault(row.layer, []).append(row)

    # Around an update.

    def before_update(self, which: int, optimizer: Optimizer, has_closure: bool) -> None:
        updates = self._updates[which]
        if updates.entries != _entries(optimizer):
            self._assign()
        if has_closure and type(optimizer).__name__ == "LBFGS":
            self.context.warn("LBFGS evaluates its closure several times an update: its updates are not watched")
            return
        native, step = self._native, self.context.step
        due = self._due(updates)
        self._watch_states(updates, which, optimizer, due)
        native.begin_update(which)
        fed = not has_closure
        states = optimizer.state
        for row in due:
            parameter = row.parameter
            if not parameter.requires_grad or row.owner is None:
                continue
            state = states.get(parameter, _EMPTY)
            if row.group < 0 or not row.keys:
                self._meet(row, optimizer, state)
            self._refresh(row, optimizer, state)
            native.before(
                row.number, which, row.group, step, fed, parameter, parameter.grad if fed else None,
                tuple([state.get(key) for key in row.keys]), state.get("step"),
            )  # fmt: skip
        if updates.pending:
            read = set(due)
            for row in updates.pending:
                if row in read or row.group < 0:
                    continue
                state = states.get(row.parameter, _EMPTY)
                native.compare(
                    row.number, which, row.group, step, row.parameter,
                    tuple([state.get(key) for key in row.keys]), state.get("step"),
                )  # fmt: skip
        updates.pending = due
        if fed and native.take_alarm():
            self._look_everywhere(optimizer)

    def after_update(self, which: int, optimizer: Optimizer) -> None:
        native, step = self._native, self.context.step
        states = optimizer.state
        for row in self._updates[which].pending:
            parameter = row.parameter
            if row.group < 0 or not parameter.requires_grad:
                continue
            state = states.get(parameter, _EMPTY)
            native.after(
                row.number, which, row.group, step, parameter, parameter.grad,
                tuple([state.get(key) for key in row.keys]), state.get("step"),
            )  # fmt: skip
            native.scan(row.number, step, parameter, False)

    def end_step(self) -> None:
        context = self.context
        step = context.step
        if self._unowned:
            self._scan_unowned(step)
        if context.order is not self._order:
            self._order = context.order
            self._native.set_order(context.order)
        suspected = self._native.end_step(step)
        if suspected and context.period > _LOOK_AGAIN and step - self._asked_step >= _LOOK_AGAIN:
            self._asked_step = step
            context.ask_deep(_LOOK_AGAIN)

    def findings(self) -> list[_native.Findings]:
        return [self._native.findings(self.context.step)]

    def reset(self) -> None:
        self._native.reset()
        for updates in self._updates:
            updates.pending = []

    # Details.

    def _due(self, updates: _Updates) -> list[Row]:
        by_layer = updates.by_layer
        if self.context.deep:
            return [row for rows in by_layer.values() for row in rows]
        return [row for layer in self.context.due_indices(self._layers) for row in by_layer.get(layer, ())]

    def _watch_states(self, updates: _Updates, which: int, optimizer: Optimizer, due: list[Row]) -> None:
        """A state that was loaded, emptied or made anew is no longer the one that was left: nothing of it is compared."""
        state = optimizer.state
        replaced = id(state) != updates.state or len(state) < updates.size
        updates.state, updates.size = id(state), len(state)
        for row in due:
            now = id(state.get(row.parameter))
            replaced = replaced or (now != row.state and row.state != 0)
            row.state = now
        if replaced:
            self._native.forget_states(which)

    def _meet(self, row: Row, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Learns how this parameter's state is kept; before its first update there is none to learn from."""
        owner = row.owner
        assert owner is not None
        family: Family | None = STATELESS
        if state:
            family = family_of(optimizer, owner.settings, state)
            if family is None:
                if not row.unknown:
                    row.unknown = True
                    self.context.warn(
                        f"{type(optimizer).__name__}: not an optimizer whose state is known; its state is not watched"
                    )
                family = STATELESS
        assert family is not None
        if family not in owner.views:
            owner.views[family] = self._native.add_group(list(family.states))
        row.group = owner.views[family]
        row.keys = tuple(key for key, _ in family.states)

    def _refresh(self, row: Row, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Tells the judge the settings of the group once they change."""
        owner = row.owner
        assert owner is not None
        for family, number in owner.views.items():
            if number != row.group:
                continue
            settings = owner.settings
            now = (settings.get("lr"), settings.get("betas"), settings.get("momentum"), settings.get("weight_decay"))
            if owner.said.get(family) == now:
                return
            owner.said[family] = now
            pairs = family.coefficients(settings, 0.0)
            self._native.set_group(
                number,
                learning_rate(settings),
                [keep for keep, _ in pairs],
                [gain for _, gain in pairs],
                gradient_sign(settings),
                l2_decay(optimizer, settings),
                family.adaptive,
                getattr(optimizer, "grad_scale", None) is None,
            )

    def _look_everywhere(self, optimizer: Optimizer) -> None:
        """Gradients are not finite: if a weight is the cause, it is still to be seen now, before the update spreads it."""
        step = self.context.step
        if step - self._alarm_step < _ALARMS_APART or getattr(optimizer, "grad_scale", None) is not None:
            return
        self._alarm_step = step
        for row in self._rows:
            self._native.scan(row.number, step, row.parameter, True)

    def _scan_unowned(self, step: int) -> None:
        for layer in self.context.due_indices(self._layers):
            for row in self._unowned.get(layer, ()):
                self._native.scan(row.number, step, row.parameter, False)


def _norm_parameters(module: nn.Module) -> set[str]:
    """Names of the parameters whose size is the layer's: the matrices, or what there is when there is none."""
    own = {name: p for name, p in module._parameters.items() if p is not None}
    matrices = {name for name, p in own.items() if p.dim() >= 2}
    return matrices or {name for name in own if name == "weight"}


def _readable(parameter: Tensor) -> bool:
    if type(parameter) not in (nn.Parameter, Tensor) or parameter.layout is not torch.strided:
        return False
    if parameter.device.type != "cpu" or parameter.dtype not in CODES:
        return False
    return parameter.is_contiguous() or _is_dense(parameter)


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill one stretch of memory, in whatever order of dimensions."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 1:
            continue
        if stride != expected:
            return False
        expected *= size
    return True


def _entries(optimizer: Optimizer) -> int:
    return sum([len(group["params"]) for group in optimizer.param_groups])
