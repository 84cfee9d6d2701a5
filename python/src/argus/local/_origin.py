"""Where a NaN or an infinity was born: the first layer and direction, without anomaly mode.

Each step the model's output, the outputs of the layers due and the gradients of the layers due are looked at in a few places; what
is not finite spreads, so that a few places are enough to notice. Only then is looked closely: forward by the inputs that autograd
saved for each layer (read, never unpacked through anyone's hooks), backward by all gradients. A value that is not finite and does
no harm (masked logits of -inf, say) is left alone: a finding is critical once it reached the gradients of an update, and a warning
while a loop leaves the update out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from argus._native import Check, Finding, Findings, Level, all_finite
from argus._transfer import Transfer
from argus.local._context import Context, Part
from argus.local._dtypes import CODES

#: Places looked at in a tensor: one a row where there are enough rows, so that a row gone bad is seen.
_MOST = 1024
_FEW_ROWS = 64
#: Nodes of an autograd graph walked at most.
_MOST_NODES = 20_000
#: Passes with a value not finite that did no harm, until outputs of this place are no longer asked.
_REPEATED = 3
#: Steps without anything not finite after which the finding no longer stands.
_CLEAN_STEPS = 200


@dataclass(frozen=True)
class Birth:
    """The birth of a value that is not finite.

    Attributes:
        layer: Qualified name of the layer; "" when it came with the data or nothing nearer is known.
        direction: "forward" or "backward".
        what: "input" (the data), "weight" (a parameter was not finite before the pass), "output" (of the layer, or of what follows
            it before the next one), "gradient" (in the backward of the layer or of what follows it), "loss" (all gradients).
        step: Of the reading.
        chain: Further names of the place: what it was next seen in, or all layers that may have been it.
    """

    layer: str
    direction: str
    what: str
    step: int
    chain: list[str] = field(default_factory=list)

    def note(self) -> str:
        where = self.layer or "the model"
        after = f" (next seen in {self.chain[0]})" if self.chain else ""
        return {
            "input": "the input data are not finite",
            "weight": f"forward: a weight of {where} is not finite",
            "output": f"forward: first not finite after {where}{after}",
            "gradient": f"backward: first not finite in the gradient of {where}{after}",
            "loss": "backward: all gradients are not finite though the outputs looked at are: the loss, or clipping by a norm not finite",
        }[self.what]


def _tensors(value: Any, most: int = 4) -> Iterator[Tensor]:
    """The floating tensors in what a module takes or returns."""
    if isinstance(value, Tensor):
        if value.dtype in CODES and value.layout == torch.strided:
            yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for item in list(value.values() if isinstance(value, Mapping) else value)[:most]:
            yield from _tensors(item, most)


def _places(tensor: Tensor, shift: int) -> tuple[int, int, int]:
    """Offset, count and stride, in elements, of the places looked at; in bounds whatever the layout."""
    count = tensor.numel()
    if not tensor.is_contiguous():
        longest = max(range(tensor.dim()), key=tensor.size)
        size = tensor.size(longest)
        step = max(1, size // _MOST)
        return 0, (size - 1) // step + 1, step * tensor.stride(longest)
    width = tensor.size(-1) if tensor.dim() > 0 else 1
    rows = count // width
    stride = width * (-(-rows // _MOST)) if rows >= _FEW_ROWS else max(1, count // (4 * _FEW_ROWS))
    offset = shift % min(stride, width)
    return offset, (count - 1 - offset) // stride + 1, stride


def _looks_finite(tensor: Tensor, shift: int) -> bool:
    """A few places of a CPU tensor."""
    if tensor.numel() == 0:
        return True
    offset, count, stride = _places(tensor, shift)
    return all_finite(tensor.data_ptr() + offset * tensor.element_size(), CODES[tensor.dtype], count, stride)


def _is_finite(tensor: Tensor) -> bool:
    """All of a CPU tensor. Only under suspicion."""
    if tensor.numel() == 0:
        return True
    if tensor.is_contiguous():
        return all_finite(tensor.data_ptr(), CODES[tensor.dtype], tensor.numel(), 1)
    with torch.no_grad():
        return bool(torch.isfinite(tensor.detach()).all())


def _plain(tensor: Tensor) -> bool:
    return type(tensor) in (Tensor, nn.Parameter) and tensor.dtype in CODES and tensor.layout == torch.strided


@dataclass
class _Visit:
    """One operation of the graph that used parameters of a layer."""

    sequence: int
    layer: str
    input_finite: bool | None


def _parameters_below(node: Any) -> Iterator[Tensor]:
    """Leaves that a node takes directly or through a transpose, a view or a cast."""
    for child, _ in node.next_functions:
        for _ in range(3):
            if child is None or hasattr(child, "variable") or len(child.next_functions) != 1:
                break
            child = child.next_functions[0][0]
        if child is not None and hasattr(child, "variable"):
            yield child.variable


def _saved_tensors(node: Any) -> Iterator[Tensor]:
    """What autograd saved at a node, but where somebody's hooks would have to unpack it (checkpointing, offloading)."""
    for name in dir(node):
        if not name.startswith("_raw_saved_"):
            continue
        raw = getattr(node, name)
        if any(
            getattr(each, "unpack_hook", each) is not None
            for each in (raw if isinstance(raw, (tuple, list)) else (raw,))
        ):
            continue
        try:
            saved = getattr(node, name.replace("_raw", "", 1))
        except RuntimeError:  # changed in place since
            continue
        for each in saved if isinstance(saved, (tuple, list)) else (saved,):
            if isinstance(each, Tensor) and _plain(each) and each.device.type == "cpu":
                yield each


def _inputs_finite(node: Any, weights: list[Tensor]) -> bool | None:
    """Of the tensors a node saved beside its weights; None where none can be read."""
    held = {weight.data_ptr() for weight in weights}
    known: bool | None = None
    for saved in _saved_tensors(node):
        if saved.data_ptr() not in held:
            if not _is_finite(saved):
                return False
            known = True
    return known


def _visits(tensor: Tensor, owners: dict[int, str]) -> list[_Visit]:
    """The uses of layers that made `tensor`, in the order in which they ran."""
    visits: list[_Visit] = []
    waiting, seen = [tensor.grad_fn], {tensor.grad_fn}
    while waiting and len(seen) < _MOST_NODES:
        node = waiting.pop()
        if node is None:
            continue
        weights = list(_parameters_below(node))
        layers = {owners[id(weight)] for weight in weights if id(weight) in owners}
        if layers:
            finite = _inputs_finite(node, weights)
            visits.extend(_Visit(node._sequence_nr(), layer, finite) for layer in layers)
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                waiting.append(child)
    visits.sort(key=lambda visit: visit.sequence)
    # A transpose or cast of a weight is no use of its own.
    return [
        visit
        for visit, then in zip(visits, [*visits[1:], None], strict=True)
        if then is None or then.layer != visit.layer
    ]


class Origin(Part):
    """The origin of check 9. A few microseconds a step; a close look costs a pass over the model's memory, and is rare.

    Attributes:
        origin: The first birth since the run was last free of it, or None.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.origin: Birth | None = None
        self._level = Level.WARN
        self._last_seen = 0
        self._last_good = -1
        self._owners: dict[int, str] = {}
        self._hooked = 0
        self._device = False
        self._begin()
        self._unsettled = 0  # device path: readings in a row that were not finite in the forward alone
        self._harmless: dict[str, int] = {}
        self._step_checked = -1
        self._flags: list[tuple[str, str, Tensor]] = []
        self._pending: tuple[int, list[tuple[str, str]], Transfer] | None = None

    def _begin(self) -> None:
        self._found: Birth | None = None
        self._fine: set[str] = set()

    def attach(self) -> None:
        first = next(self.context.model.parameters(), None)
        self._device = self.context.path == "device" or (first is not None and first.device.type != "cpu")
        self.layers_changed()

    def layers_changed(self) -> None:
        layers = self.context.layers
        self._owners = {id(p): name for name, module in layers for p in module._parameters.values() if p is not None}
        for index in range(self._hooked, len(layers)):
            self.context.hook(layers[index][1], self._look_after(index), index)
        self._hooked = len(layers)

    def detach(self) -> None:
        self._owners, self._flags, self._pending = {}, [], None

    def reset(self) -> None:
        self.origin = None
        self._begin()
        self._unsettled = 0
        self._flags, self._pending = [], None

    def begin_pass(self) -> None:
        self._begin()

    def _look_after(self, index: int) -> Any:
        def look(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self._found is not None:
                return
            for tensor in _tensors(output, 1):
                if self._device or tensor.device.type != "cpu":
                    self._flag("forward", index, tensor)
                elif not _looks_finite(tensor, self.context.step):
                    self._found = self._born_before(index, module, args)
                else:
                    self._fine.add(self.context.layers[index][0])

        return look

    def end_pass(self, output: Any) -> None:
        if self._found is not None or self._device or self._harmless.get("", 0) >= _REPEATED:
            return
        for tensor in _tensors(output):
            if tensor.device.type == "cpu" and not _looks_finite(tensor, self.context.step):
                self._found = self._walk(tensor, "")
                return

    def before_update(self, which: int, optimizer: Optimizer, has_closure: bool) -> None:
        context = self.context
        if has_closure or self._step_checked == context.step or getattr(optimizer, "found_inf", None) is not None:
            return
        self._step_checked = context.step
        layers = context.layers
        if self._device:
            for index in context.due_indices(len(layers)):
                for gradient in self._gradients(layers[index][1]):
                    self._flag("backward", index, gradient)
            return
        watched = context.due_indices(len(layers))
        if context.order:
            watched.append(context.order[0])
        suspicious = self._found is not None or any(
            not _looks_finite(gradient, context.step)
            for index in watched
            for gradient in self._gradients(layers[index][1])
        )
        if suspicious:
            self._settle()
        else:
            self._last_good = context.step

    def end_step(self) -> None:
        if self._pending is not None and self._pending[2].ready():
            self._read_flags()
        if self._flags:
            flags, self._flags = self._flags, []
            if self._pending is None:  # a device that is behind is not given more
                with torch.no_grad():
                    transfer = Transfer([flag for _, _, flag in flags])
                self._pending = (self.context.step, [(direction, name) for direction, name, _ in flags], transfer)
        if self.origin is not None and self.context.step > self._last_seen + _CLEAN_STEPS:
            self.origin = None

    def findings(self) -> list[Findings]:
        found = Findings()
        birth, level = (self.origin, self._level) if self.origin is not None else (self._found, Level.WARN)
        if birth is not None:
            found.add(
                Finding(
                    check=Check.REPRESENTATION_COLLAPSE,
                    level=level,
                    layer=birth.layer,
                    chain=birth.chain,
                    severity=1.0,
                    since=birth.step,
                    last_good=self._last_good,
                    note=birth.note(),
                )
            )
        return [found]

    def describe(self) -> dict[str, Any]:
        birth = self.origin or self._found
        return {} if birth is None else {"origin": {**asdict(birth), "note": birth.note()}}

    def _stands(self, origin: Birth, level: Level) -> None:
        self._last_seen = self.context.step
        if self.origin is None:
            self.origin, self._level = origin, level
        elif level == Level.CRITICAL:
            self._level = level

    def _gradients(self, module: nn.Module) -> Iterator[Tensor]:
        for parameter in module._parameters.values():
            gradient = None if parameter is None else parameter.grad
            if gradient is not None and _plain(gradient):
                yield gradient

    def _in_order(self) -> list[int]:
        return self.context.order or list(range(len(self.context.layers)))

    def _weights_finite(self, layer: str) -> bool:
        module = dict(self.context.layers).get(layer)
        return module is None or all(
            _is_finite(p) for p in module._parameters.values() if p is not None and _plain(p) and p.device.type == "cpu"
        )

    def _born_before(self, index: int, module: nn.Module, args: tuple[Any, ...]) -> Birth:
        """The output of layer `index` is not finite: was it born there, or before?"""
        layer, step = self.context.layers[index][0], self.context.step
        for tensor in _tensors(args):
            if _plain(tensor) and not _is_finite(tensor):
                return self._walk(tensor, layer)
        return Birth(layer, "forward", "output" if self._weights_finite(layer) else "weight", step)

    def _walk(self, tensor: Tensor, seen_in: str) -> Birth:
        """`tensor`, the input of layer `seen_in` or the model's output, is not finite."""
        step = self.context.step
        visits = _visits(tensor, self._owners) if tensor.grad_fn is not None else []
        first = next((at for at, visit in enumerate(visits) if visit.input_finite is False), len(visits))
        for visit in visits[: first + 1]:
            if not self._weights_finite(visit.layer):
                return Birth(visit.layer, "forward", "weight", step)
        after = visits[first].layer if first < len(visits) else seen_in
        if first == 0 and (visits or tensor.grad_fn is None) and not self._fine:
            return Birth(after, "forward", "input", step)
        if not visits:
            return self._bracket(after)
        # Born in a layer whose input or output was still fine, or in one of those after it of which nothing is known.
        fine = [at for at in range(first) if visits[at].input_finite or visits[at].layer in self._fine]
        between = list(dict.fromkeys(visit.layer for visit in visits[fine[-1] if fine else 0 : first]))
        if len(between) == 1:
            return Birth(between[0], "forward", "output", step, [after] if after else [])
        return Birth(between[-1] if between else after, "forward", "output", step, between[:-1])

    def _bracket(self, seen_in: str) -> Birth:
        """Where there is no graph: the layers run since the last one seen to be fine."""
        names = [self.context.layers[index][0] for index in self._in_order()]
        start = max((at for at, name in enumerate(names) if name in self._fine), default=0)
        end = names.index(seen_in) if seen_in in names else len(names)
        between = names[start:end] or names[end : end + 1]
        for name in between:
            if not self._weights_finite(name):
                return Birth(name, "forward", "weight", self.context.step)
        return Birth(between[-1] if between else seen_in, "forward", "output", self.context.step, between[:-1])

    def _settle(self) -> None:
        """Something was not finite: looks at every gradient and decides."""
        names = [self.context.layers[index][0] for index in self._in_order()]
        modules = dict(self.context.layers)
        looked = [
            (name, all(_is_finite(g) for g in gradients))
            for name in names
            if (gradients := [g for g in self._gradients(modules[name]) if g.device.type == "cpu"])
        ]
        bad = [at for at, (_, finite) in enumerate(looked) if not finite]
        found, self._found = self._found, None
        if not bad:
            if found is not None:
                place = found.chain[0] if found.chain else ""
                self._harmless[place] = self._harmless.get(place, 0) + 1
            return
        if found is None:
            found = self._born_backward(looked, bad)
        self._stands(found, Level.CRITICAL)

    def _born_backward(self, looked: list[tuple[str, bool]], bad: list[int]) -> Birth:
        step = self.context.step
        if len(bad) == len(looked) and len(looked) > 1:
            return Birth(looked[-1][0], "backward", "loss", step)
        last = bad[-1]
        after = [looked[last + 1][0]] if last + 1 < len(looked) else []
        return Birth(looked[last][0], "backward", "gradient", step, after)

    def _flag(self, direction: str, index: int, tensor: Tensor) -> None:
        """Device path: 0 where the places looked at are finite, else NaN; read a step later."""
        if tensor.numel() == 0 or not _plain(tensor):
            return
        offset, count, stride = _places(tensor, self.context.step)
        with torch.no_grad():
            seen = torch.as_strided(tensor.detach(), (count,), (stride,), tensor.storage_offset() + offset)
            self._flags.append((direction, self.context.layers[index][0], (seen * 0).sum()))

    def _read_flags(self) -> None:
        assert self._pending is not None
        step, names, transfer = self._pending
        self._pending = None
        bad = [name for name, value in zip(names, transfer.values(), strict=True) if value != 0.0]
        forward = [name for direction, name in bad if direction == "forward"]
        if not bad:
            self._last_good = step
            return
        if forward:
            earlier = [n for d, n in names if d == "forward" and n not in forward]
            chain = [earlier[-1]] if earlier else []
            origin = Birth(forward[0], "forward", "output", step, chain)
        else:
            order = {self.context.layers[index][0]: at for at, index in enumerate(self._in_order())}
            last = max((name for _, name in bad), key=lambda name: order.get(name, -1))
            everywhere = len(bad) == len(names) and len(names) > 1
            origin = Birth(last, "backward", "loss" if everywhere else "gradient", step)
        if any(direction == "backward" for direction, _ in bad):
            self._unsettled = 0
            self._stands(origin, Level.CRITICAL)
        else:
            self._unsettled += 1
            if self._unsettled >= _REPEATED:
                self._stands(origin, Level.WARN)
