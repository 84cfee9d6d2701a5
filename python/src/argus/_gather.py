"""What one optimizer step shows of itself: norms and directions of gradients, updates and weights.

The hooks of the optimizers feed the units of a model (`_unit.py`); the arithmetic here joins what they read into one step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from argus import _hooks, _shards
from argus._unit import Reading, Unit, local, quotas


@dataclass
class Measured:
    """What a step's tensors came to, on the host. None: not measured.

    `local` says that parameters are spread over ranks and the norms are of this rank's share; `part` is then what it adds to the
    sums over all ranks (`_shards.py`), None when these cannot be formed.
    """

    grad_norm: float | None = None
    thirds: tuple[float | None, float | None, float | None] = (None, None, None)
    similarity: float | None = None
    update_norm: float | None = None
    weights_l1: float | None = None
    weights_l2: float | None = None
    loss_scale: float | None = None
    found_inf: bool = False
    overflow: bool = False
    stepped: bool = True
    direction: tuple[float, float, float] | None = (
        None  # dot product with the previous gradient sample, both squared lengths
    )
    local: bool = False
    part: tuple[float, ...] | None = None


def _combine(values: Iterable[float]) -> float:
    return math.hypot(*values)


class Gather:
    """The units of a watched model, the hooks that feed them, and the arithmetic that joins their readings.

    Args:
        model: Whose parameters give the depth order; None takes the optimizers' own order.
        optimizers: Whose steps are read; without any, gradients and weights are read when the step is handed over.
        on_error: Called with an exception that happened inside a hook.
    """

    def __init__(
        self,
        model: nn.Module | None,
        optimizers: Sequence[Optimizer],
        scaler: Any,
        *,
        measure: bool,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._model = model
        self._optimizers = list(optimizers)
        self._scaler = scaler
        self._measure = measure
        self._on_error = on_error
        self._signature: tuple[Any, ...] = ()
        self._units: list[list[Unit]] = [[] for _ in range(max(1, len(self._optimizers)))]
        self._spread = False
        self._looks_for_scaler = 3 if scaler is None else 0
        self._handles: list[Any] = []
        self._is_closed = False
        self._rates: dict[int, Any] = {}
        self._stepped: set[int] = set()
        self.steps_without_optimizer = 0
        for i, optimizer in enumerate(self._optimizers):
            self._handles.append(optimizer.register_step_pre_hook(self._pre_hook(i)))
            self._handles.append(optimizer.register_step_post_hook(self._post_hook(i)))

    def close(self) -> None:
        """Takes the hooks off again; from now on they do nothing. Safe to call inside one of them."""
        handles, self._handles = self._handles, []
        self._is_closed = True
        _hooks.remove(handles)

    # What the hooks do. They must never let an exception through: they run inside optimizer.step().

    def _pre_hook(self, which: int) -> Callable[..., None]:
        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            try:
                self._before(which, optimizer, args, kwargs)
            except Exception as error:
                self._on_error(error)

        return hook

    def _post_hook(self, which: int) -> Callable[..., None]:
        def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            try:
                self._after(which)
            except Exception as error:
                self._on_error(error)

        return hook

    def _before(self, which: int, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self._is_closed or torch.compiler.is_compiling():
            return
        if self._looks_for_scaler > 0:
            self._looks_for_scaler -= 1
            self._scaler = _calling_scaler()
            if self._scaler is not None:
                self._looks_for_scaler = 0
        self._rates[which] = [group.get("lr") for group in optimizer.param_groups]
        if not self._measure:
            return
        self._refresh()
        # A closure computes the gradients inside the step: before it they are absent or a step old.
        closure = kwargs.get("closure") if kwargs else None
        if closure is None and len(args) > 1:
            closure = args[1]
        with torch.no_grad():
            for unit in self._units[which]:
                if closure is None:
                    unit.read_gradients()
                    scale = getattr(optimizer, "grad_scale", None)
                    found = getattr(optimizer, "found_inf", None)
                    unit.reading.grad_scale = scale.detach().clone() if isinstance(scale, Tensor) else None
                    unit.reading.found_inf = found.detach().clone() if isinstance(found, Tensor) else None
                else:
                    unit.gradients_read = False
                unit.note_weights()

    def _after(self, which: int) -> None:
        if self._is_closed or torch.compiler.is_compiling():
            return
        self._stepped.add(which)
        if not self._measure:
            return
        with torch.no_grad():
            for unit in self._units[which]:
                if not unit.gradients_read:
                    unit.read_gradients()
                unit.read_weights()
                unit.stepped = True

    # The plan: which parameters, in which units.

    def _refresh(self) -> None:
        """Builds the units anew when parameters were added, frozen or thawed since."""
        signature = tuple(
            (len(group["params"]), sum(p.requires_grad for p in group["params"]))
            for optimizer in self._optimizers
            for group in optimizer.param_groups
        )
        if signature == self._signature and any(self._units):
            return
        self._signature = signature
        owners: dict[int, int] = {}
        ordered: dict[int, Tensor] = {}
        if self._model is not None:
            ordered = {id(p): p for p in self._model.parameters() if p.requires_grad}
        for i, optimizer in enumerate(self._optimizers):
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.requires_grad:
                        owners.setdefault(id(p), i)
                        ordered.setdefault(id(p), p)
        if not self._optimizers:
            owners = dict.fromkeys(ordered, 0)
        owned = [p for key, p in ordered.items() if key in owners]
        # A rank may hold nothing of a parameter; the thirds count it, for they mean the same parameters on all ranks.
        watched = [(p, i * 3 // len(owned)) for i, p in enumerate(owned) if local(p).numel() > 0]
        entries = quotas([local(p).numel() for p, _ in watched])
        copies = self._copies(owned)
        members: dict[tuple[int, torch.device, int | None], tuple[list[Tensor], list[int], list[int]]] = {}
        for (p, third), quota in zip(watched, entries, strict=True):
            key = (owners[id(p)], local(p).device, copies.get(id(p)))
            parameters, thirds, unit_quotas = members.setdefault(key, ([], [], []))
            parameters.append(p)
            thirds.append(third)
            unit_quotas.append(quota)
        self._units = [[] for _ in range(max(1, len(self._optimizers)))]
        for (owner, _, shared), (parameters, thirds, unit_quotas) in members.items():
            self._units[owner].append(Unit(parameters, thirds, unit_quotas, shared))

    def _copies(self, parameters: Sequence[Tensor]) -> dict[int, int | None]:
        """On how many ranks each parameter's local part lies, by id; empty when every rank holds all of them."""
        self._spread = any(_shards.is_spread(p) for p in parameters)
        if not self._spread or not torch.distributed.is_initialized():
            return {}
        world_size = torch.distributed.get_world_size()
        flat = _shards.fsdp1_copies(self._model, world_size)
        return {id(p): _shards.copies(p, world_size, flat) for p in parameters}

    # Handing over.

    def learning_rate(self, factor: float = 1.0) -> Any:
        """The largest rate of all param groups, as in force in the step: a number, or a 0-d tensor; None when there is none.

        Args:
            factor: What AUTO multiplies rates by inside a step: for a step that a scaler skipped, so that its rate does not jump.
        """
        rates = [rate for group_rates in self._rates.values() for rate in group_rates if rate is not None]
        if rates:
            factor = 1.0
        else:
            rates = [g["lr"] for o in self._optimizers for g in o.param_groups if g.get("lr") is not None]
        numbers = [r for r in rates if not isinstance(r, Tensor) or r.device.type == "cpu"]
        if numbers:
            return max(float(r) for r in numbers) * factor
        tensors = [r.detach() for r in rates]
        return torch.stack(tensors).max() * factor if tensors else None

    def hand_over(self) -> tuple[list[Tensor], Callable[[list[Any]], Measured], bool]:
        """Ends the step: its tensors, what turns their values into a `Measured`, and whether a scaler skipped the step."""
        stepped = bool(self._stepped)
        skipped = bool(self._optimizers) and not stepped and self._scaler is not None
        if not stepped and self._optimizers:
            self.steps_without_optimizer += 1
        leaves: list[Tensor] = []
        decoders: list[tuple[Unit, Reading, int, int]] = []
        if self._measure:
            with torch.no_grad():
                if not stepped:
                    self._read_late()
                for units in self._units:
                    for unit in units:
                        own = unit.leaves()
                        decoders.append((unit, unit.reading, len(leaves), len(leaves) + len(own)))
                        leaves.extend(own)
                        unit.begin()
        scale = getattr(self._scaler, "_scale", None)
        scale_at = None
        if isinstance(scale, Tensor):
            scale_at = len(leaves)
            # The scaler writes its scale in place; a device reads it in stream order, so that the copy is of now.
            leaves.append(scale.detach())
        self._stepped.clear()
        self._rates.clear()
        spread = self._spread

        def decode(values: list[Any]) -> Measured:
            readings = [(reading, values[start:end]) for _, reading, start, end in decoders]
            measured = _join(readings)
            measured.local = spread
            if spread:
                measured.part = _shards.part_of(
                    [(_join([each]), unit.copies) for each, (unit, *_) in zip(readings, decoders, strict=True)]
                )
            measured.stepped = stepped or not self._optimizers
            if scale_at is not None:
                measured.loss_scale = float(values[scale_at])
            return measured

        return leaves, decode, skipped

    def _read_late(self) -> None:
        """No hook ran: the scaler skipped the step, a compiled step hid its hooks, or there is no optimizer."""
        self._refresh()
        for units in self._units:
            for unit in units:
                if unit.has_gradients():
                    unit.read_gradients()
                    unit.read_weights()


def _join(readings: Sequence[tuple[Reading, list[Any]]]) -> Measured:
    """The readings of all units as one step."""
    measured = Measured()
    by_third: tuple[list[float], list[float], list[float]] = ([], [], [])
    dots: list[float] = []
    last_norms: list[float] = []
    norms: list[float] = []
    updates: list[float] = []
    l1s: list[float] = []
    l2s: list[float] = []
    for reading, values in readings:
        queue = iter(values)
        per_tensor = next(queue) if reading.norms else []
        if reading.direction is not None:
            dots.append(next(queue))
            last_norms.append(next(queue))
            norms.append(next(queue))
        if reading.update is not None:
            updates.append(next(queue))
        if reading.l1 is not None:
            l1s.append(next(queue))
            l2s.append(next(queue))
        unscale = 1.0
        if reading.grad_scale is not None:
            scale = _number(next(queue))
            unscale = 1.0 / scale if scale else 1.0
        if reading.found_inf is not None:
            measured.found_inf = measured.found_inf or bool(_number(next(queue)))
        for third, norm in zip(reading.thirds, per_tensor, strict=True):
            by_third[third].append(norm * unscale)
    if any(by_third):
        early, mid, late = (_combine(part) if part else None for part in by_third)
        measured.thirds = (early, mid, late)
        measured.grad_norm = _combine(x for part in by_third for x in part)
        measured.overflow = not math.isfinite(measured.grad_norm)
    length = _combine(last_norms) * _combine(norms)
    if dots:
        measured.direction = (sum(dots), sum(x * x for x in last_norms), sum(x * x for x in norms))
    if dots and length > 0 and math.isfinite(length) and math.isfinite(sum(dots)):
        measured.similarity = max(-1.0, min(1.0, sum(dots) / length))
    if updates:
        measured.update_norm = _combine(updates)
    if l2s:
        measured.weights_l1 = sum(l1s)
        measured.weights_l2 = _combine(l2s)
    return measured


def _number(value: Any) -> float:
    return float(value[0]) if isinstance(value, list) else float(value)


def _calling_scaler() -> Any:
    """The GradScaler whose `step` is calling the optimizer, if any: found on the call stack, so that torch stays as it is.

    Only frames of a scaler's own module are looked into: reading a frame's locals keeps all of them alive until it is left, and
    those of a training loop are batches and activations.
    """
    import sys

    frame = sys._getframe(2)
    for _ in range(12):
        if str(frame.f_globals.get("__name__")).endswith("grad_scaler"):
            owner = frame.f_locals.get("self")
            if hasattr(owner, "_scale") and type(owner).__name__.endswith("GradScaler"):
                return owner
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
