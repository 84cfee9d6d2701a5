"""Gradient flow, weight norms, optimizer state, integrity and precision: what is read of parameters around each update."""

from __future__ import annotations

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
from argus.local._parameters_device import BITS, DeviceReader, DeviceRow

#: Layers that are compared between any two updates, however few are due: whether one changed or all did must be told apart.
_COMPARED_MIN = 4
#: Steps after which another look is asked for when something is suspected, and the least distance of such requests.
_LOOK_AGAIN = 4
_ALARMS_APART = 100


class _Row:
    """A parameter: where it belongs, and who updates it."""

    __slots__ = ("layer", "met", "number", "owner", "parameter")

    def __init__(self, number: int, layer: int, parameter: nn.Parameter) -> None:
        self.number = number
        self.layer = layer
        self.parameter = parameter
        self.owner: _Group | None = None
        self.met = False  # its state has been seen


class _Group:
    """A group of parameters as an optimizer keeps it, for each family of states found in it."""

    __slots__ = ("natives", "said", "settings")

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.natives: dict[Family, int] = {}
        self.said: tuple[Any, ...] = ()


class _Updates:
    """What is kept of one optimizer between its updates."""

    __slots__ = ("by_layer", "due", "entries", "groups", "layers", "left", "size", "state", "unmet")

    def __init__(self) -> None:
        self.groups: list[_Group] = []
        self.by_layer: dict[int, list[int]] = {}
        self.layers: list[int] = []
        self.unmet: list[_Row] = []
        self.due: list[int] = []
        self.left: list[int] = []
        self.state = 0  # id of the optimizer's state, and how many parameters it is for
        self.size = 0
        self.entries = 0


class Parameters(Part):
    """Reads due parameters, their gradients and optimizer states where they lie, before and after each update, and compares what
    one update left with what the next one finds."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._native = _native.Parameters(CODES)
        self._known: dict[int, _Row] = {}
        self._layers = 0
        self._updates: list[_Updates] = []
        self._unowned: dict[int, list[int]] = {}
        self._reader: DeviceReader | None = None
        self._device_rows: dict[int, DeviceRow] = {}
        self._order: list[int] = []
        self._alarm_step = -_ALARMS_APART
        self._asked_step = -_LOOK_AGAIN

    def attach(self) -> None:
        self._updates = [_Updates() for _ in self.context.optimizers]
        on_device = any(p.device.type != "cpu" for p in self.context.model.parameters())
        if on_device or self.context.path == "device":
            self._reader = DeviceReader(self._native)
        self.layers_changed()

    def detach(self) -> None:
        self._known, self._updates, self._unowned = {}, [], {}
        self._device_rows, self._reader = {}, None
        self._native.release()

    def layers_changed(self) -> None:
        for index in range(self._layers, len(self.context.layers)):
            self._native.add_layer(self.context.layers[index][0])
        self._layers = len(self.context.layers)
        self._find_rows()
        self._assign()

    def _find_rows(self) -> None:
        found: dict[int, _Row] = {}
        for layer, (_, module) in enumerate(self.context.layers):
            norm = _norm_parameters(module)
            for name, parameter in module._parameters.items():
                if parameter is None or id(parameter) in found:
                    continue
                added = self._known.get(id(parameter)) or self._add_row(layer, name, parameter, name in norm)
                if added is not None:
                    found[id(parameter)] = added
        for key, row in self._known.items():
            if key not in found:
                self._native.release_one(row.number)
                self._device_rows.pop(row.number, None)
        self._known = found

    def _add_row(self, layer: int, name: str, parameter: nn.Parameter, sets_norm: bool) -> _Row | None:
        in_place = self._reader is None
        if not _readable(parameter, in_place):
            self.context.warn(
                f"{self.context.layers[layer][0]}.{name}: {parameter.dtype}, {parameter.layout}, on {parameter.device.type}: "
                "parameters that cannot be read in place are not watched"
            )
            return None
        strides = None if parameter.is_contiguous() else parameter.stride()
        number = self._native.add_parameter(layer, parameter, sets_norm, strides, in_place)
        if not in_place:
            self._device_rows[number] = DeviceRow(number, parameter)
        return _Row(number, layer, parameter)

    def _assign(self) -> None:
        """Which optimizer updates which parameter. One that several update cannot be told from one that is tampered with."""
        owners: dict[int, int] = {}
        for row in self._known.values():
            row.owner = None
        for updates, optimizer in zip(self._updates, self.context.optimizers, strict=True):
            old = {id(group.settings): group for group in updates.groups}
            updates.groups = [old.get(id(settings)) or _Group(settings) for settings in optimizer.param_groups]
            updates.entries = _entries(optimizer)
            for group in updates.groups:
                for parameter in group.settings["params"]:
                    owners[id(parameter)] = owners.get(id(parameter), 0) + 1
                    known = self._known.get(id(parameter))
                    if known is not None:
                        known.owner = group
        self._index({key for key, count in owners.items() if count > 1})

    def _index(self, shared: set[int]) -> None:
        groups = {id(group): updates for updates in self._updates for group in updates.groups}
        self._unowned = {}
        for updates in self._updates:
            updates.by_layer, updates.unmet, updates.due, updates.left = {}, [], [], []
        for key, row in self._known.items():
            if row.owner is None or key in shared:
                self._unowned.setdefault(row.layer, []).append(row.number)
                continue
            updates = groups[id(row.owner)]
            updates.by_layer.setdefault(row.layer, []).append(row.number)
            if not row.met:
                updates.unmet.append(row)
        for updates in self._updates:
            updates.layers = list(updates.by_layer)

    # Around an update.

    def before_update(self, which: int, optimizer: Optimizer, has_closure: bool) -> None:
        updates = self._updates[which]
        unseen = self.context.unseen[which]
        if self._reader is None and unseen:
            self._native.pass_over(which, unseen)
        if updates.entries != _entries(optimizer):
            self._assign()
        if has_closure and type(optimizer).__name__ == "LBFGS":
            self.context.warn("LBFGS evaluates its closure several times an update: its updates are not watched")
            return
        if updates.unmet:
            self._meet(updates, optimizer)
        self._refresh(updates, optimizer)
        states = optimizer.state
        replaced = id(states) != updates.state or len(states) < updates.size
        updates.state, updates.size = id(states), len(states)
        last = updates.due + updates.left
        updates.due, updates.left = self._due(updates)
        due = set(updates.due)
        compared = [number for number in last if number not in due]
        if self._reader is not None:
            at = self._device_rows
            self._reader.before(
                which, self.context.step, not has_closure, states,
                [at[number] for number in updates.due], [at[number] for number in compared], replaced, unseen,
            )  # fmt: skip
            return
        if replaced:
            self._native.forget_states(which)
        self._native.before(which, self.context.step, not has_closure, states, updates.due, compared)
        if self._native.take_alarm() and not has_closure:
            self._look_everywhere(optimizer)

    def skip_update(self, which: int, optimizer: Optimizer) -> None:
        updates, unseen = self._updates[which], self.context.unseen[which]
        last = updates.due + updates.left
        updates.due, updates.left = [], []
        if self._reader is not None:
            left = [self._device_rows[number] for number in last]
            self._reader.before(which, self.context.step, False, optimizer.state, [], left, False, unseen)
            self._reader.after(self.context.step, optimizer.state, [], [])
            return
        if unseen:
            self._native.pass_over(which, unseen)
        self._native.before(which, self.context.step, False, optimizer.state, [], last)

    def after_update(self, which: int, optimizer: Optimizer) -> None:
        updates = self._updates[which]
        if self._reader is not None:
            at = self._device_rows
            due, left = [at[number] for number in updates.due], [at[number] for number in updates.left]
            self._reader.after(self.context.step, optimizer.state, due, left)
            return
        self._native.after(which, self.context.step, optimizer.state, updates.due, updates.left)

    def end_step(self) -> None:
        context = self.context
        step = context.step
        if self._unowned and self._reader is None:
            due = range(self._layers) if context.deep else context.due_indices(self._layers)
            self._native.scan(step, [n for layer in due for n in self._unowned.get(layer, ())], False)
        if context.deep and context.share is not None and self._reader is None:
            context.share(step, self._native.hash([row.number for row in self._known.values()]))
        if context.order is not self._order:
            self._order = context.order
            self._native.set_order(context.order)
        suspected = self._native.end_step(step) if self._reader is None else False
        if suspected and context.period > _LOOK_AGAIN and step - self._asked_step >= _LOOK_AGAIN:
            self._asked_step = step
            context.ask_deep(_LOOK_AGAIN)

    def findings(self) -> list[_native.Findings]:
        if self._reader is not None:
            self._reader.judge_arrived()
        return [self._native.findings(self.context.step)]

    def describe(self) -> dict[str, Any]:
        return {"weights_read_whole_times": self._native.scan_passes()}

    def reset(self) -> None:
        self._native.reset()
        if self._reader is not None:
            self._reader.reset()
        for updates in self._updates:
            updates.due, updates.left = [], []

    # Details.

    def _due(self, updates: _Updates) -> tuple[list[int], list[int]]:
        """Parameters to read, and further ones to compare before the next update: all when the budget allows it, or so many that
        one that changed can be told from all of them replaced."""
        context, by_layer = self.context, updates.by_layer
        if context.deep or context.period == 1:
            return [number for numbers in by_layer.values() for number in numbers], []
        layers = context.due_indices(self._layers)
        due = [number for layer in layers for number in by_layer.get(layer, ())]
        others = [layer for layer in updates.layers if layer not in layers]
        if not context.extras:
            del others[max(0, _COMPARED_MIN - len(layers)) :]
        return due, [number for layer in others for number in by_layer[layer]]

    def _meet(self, updates: _Updates, optimizer: Optimizer) -> None:
        """Learns how parameters' states are kept. Before a first update there is nothing to learn from: gradients count at once."""
        waiting = []
        for row in updates.unmet:
            group = row.owner
            assert group is not None
            state = optimizer.state.get(row.parameter)
            family = family_of(optimizer, group.settings, state) if state else STATELESS
            if family is None:
                family = STATELESS
                self.context.warn(
                    f"{type(optimizer).__name__}: its state is of no kind that is known, and is not watched"
                )
            if family not in group.natives:
                group.natives[family] = self._native.add_group(list(family.states))
                group.said = ()
            keys = tuple(key for key, _ in family.states)
            self._native.assign(row.number, group.natives[family], keys)
            if self._reader is not None:
                self._device_rows[row.number].keys = keys
            row.met = bool(state)
            if not row.met:
                waiting.append(row)
        updates.unmet = waiting

    def _refresh(self, updates: _Updates, optimizer: Optimizer) -> None:
        """Tells the judge the settings of groups once they change."""
        scaled = getattr(optimizer, "grad_scale", None) is not None
        for group in updates.groups:
            get = group.settings.get
            now = (get("lr"), get("betas"), get("momentum"), get("weight_decay"), scaled)
            if now == group.said:
                continue
            group.said = now
            for family, number in group.natives.items():
                pairs = family.coefficients(group.settings, _count(optimizer, group.settings))
                self._native.set_group(
                    number,
                    learning_rate(group.settings),
                    [keep for keep, _ in pairs],
                    [gain for _, gain in pairs],
                    gradient_sign(group.settings),
                    l2_decay(optimizer, group.settings),
                    family.adaptive,
                    not scaled,
                )

    def _look_everywhere(self, optimizer: Optimizer) -> None:
        """Gradients are not finite: if a weight is the cause, it is still to be seen now, before the update spreads it."""
        step = self.context.step
        if step - self._alarm_step >= _ALARMS_APART and getattr(optimizer, "grad_scale", None) is None:
            self._alarm_step = step
            self._native.scan(step, [row.number for row in self._known.values()], True)


def _norm_parameters(module: nn.Module) -> set[str]:
    """Names of the parameters whose size is the layer's: the matrices, or what there is when there is none."""
    own = {name: p for name, p in module._parameters.items() if p is not None}
    matrices = {name for name, p in own.items() if p.dim() >= 2}
    return matrices or {name for name in own if name == "weight"}


def _readable(parameter: Tensor, in_place: bool) -> bool:
    if type(parameter) not in (nn.Parameter, Tensor) or parameter.layout is not torch.strided:
        return False
    if in_place and parameter.device.type != "cpu":
        return False
    if parameter.dtype not in (CODES if in_place else BITS):
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


def _count(optimizer: Optimizer, settings: dict[str, Any]) -> float:
    """Updates so far, where the optimizer counts them on the host; 0 otherwise."""
    state = optimizer.state.get(settings["params"][0]) if settings["params"] else None
    count = state.get("step", 0) if state else 0
    if isinstance(count, Tensor):
        return float(count) if count.device.type == "cpu" else 0.0
    return float(count)


def _entries(optimizer: Optimizer) -> int:
    return sum([len(group["params"]) for group in optimizer.param_groups])
