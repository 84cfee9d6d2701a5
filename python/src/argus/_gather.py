"""What one optimizer step shows of itself: norms and directions of gradients, updates and weights.

A `Unit` is the parameters of one optimizer on one device. In the optimizer's step pre-hook it reads the gradients, in its
post-hook the weights; both leave a handful of small tensors behind, which one `Transfer` brings to the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from argus._transfer import wide

#: Up to this many parameters in all, update and weight norms are exact; above, they come from a fixed strided sample.
EXACT_PARAMETERS_MAX = 1_000_000
#: Entries of that sample. The relative standard error of a norm from n entries of kurtosis k is sqrt((k - 1) / 4n): 0.2 % for
#: normal entries, 1 % for entries of kurtosis 50.
WEIGHT_SAMPLE = 131_072
#: Gradient entries whose direction is compared from step to step, and the tensors they are taken from: a bound on memory
#: (two copies) and on the number of slices a step.
DIRECTION_SAMPLE = 16_384
DIRECTION_TENSORS = 64
_ROW = 1024


def _stride_for(numel: int, quota: int) -> int:
    """The smallest stride that keeps a tensor within its quota and shares no factor with usual layer widths.

    A stride that divides the row length would look at a few columns for ever; a prime above 7 divides no width made of 2, 3, 5, 7.
    """
    stride = -(-numel // max(1, quota))
    if stride <= 1:
        return 1
    stride = max(stride, 11)
    while any(stride % d == 0 for d in range(2, math.isqrt(stride) + 1)):
        stride += 1
    return stride


def _dense_view(tensor: Tensor, stride: int) -> Tensor:
    """Every `stride`-th entry in memory order, as a view where the tensor fills its memory without gaps."""
    numel = tensor.numel()
    if tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)):
        return tensor.as_strided((-(-numel // stride),), (stride,), tensor.storage_offset())
    return tensor.reshape(-1)[::stride]


def _norm(rows: Tensor, order: float = 2) -> Tensor:
    """Norm of all entries, 0-d float64 where the device has it.

    Rows first, in the tensor's own precision, which is several times faster than converting every entry; the sum of many
    separately rounded rows in float64 still shows a change far below float32's resolution of the total, so that weights which
    barely move are not taken for frozen ones.
    """
    if order == 1:
        return rows.abs().sum(1).to(wide(rows.device)).sum()
    norm: Tensor = torch.linalg.vector_norm(torch.linalg.vector_norm(rows, dim=1).to(wide(rows.device)))
    return norm


def _local(tensor: Tensor) -> Tensor:
    """This rank's shard of a distributed tensor, and complex numbers as pairs; any other tensor as it is. Never communicates."""
    shard = getattr(tensor, "_local_tensor", None)
    if shard is not None:
        tensor = shard
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    """L2 norm of each tensor, 0-d; half precision is accumulated in float32."""
    dtype = torch.float32 if any(t.dtype in (torch.float16, torch.bfloat16) for t in tensors) else None
    if dtype is None:
        return list(torch._foreach_norm(tensors, 2))
    return list(torch._foreach_norm(tensors, 2, dtype=dtype))


@dataclass
class Measured:
    """What a step's tensors came to, on the host. None: not measured."""

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


@dataclass
class _Reading:
    """The tensors one unit left behind in one step."""

    norms: list[Tensor] = field(default_factory=list)
    thirds: list[int] = field(default_factory=list)
    direction: tuple[Tensor, Tensor, Tensor] | None = None  # dot with the previous sample, its norm, this one's
    update: Tensor | None = None
    l1: Tensor | None = None
    l2: Tensor | None = None
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None


class Unit:
    """The parameters of one optimizer on one device.

    Args:
        parameters: The parameters, in depth order.
        thirds: For each, which third of the depth it lies in: 0, 1 or 2.
        quotas: For each, how many entries of it the weight sample takes.
    """

    def __init__(self, parameters: Sequence[Tensor], thirds: Sequence[int], quotas: Sequence[int]) -> None:
        self._parameters = list(parameters)
        self._thirds = list(thirds)
        self._strides = [_stride_for(_local(p).numel(), q) for p, q in zip(parameters, quotas, strict=True)]
        self._device = _local(self._parameters[0]).device
        self._wide = wide(self._device)
        chosen = range(0, len(self._parameters), -(-len(self._parameters) // DIRECTION_TENSORS))
        quota = max(1, DIRECTION_SAMPLE // len(chosen))
        self._direction_strides = {i: _stride_for(_local(self._parameters[i]).numel(), quota) for i in chosen}
        self._direction_last: tuple[list[int], Tensor, Tensor] | None = None
        self._pointers: list[int] = []
        self._views: list[Tensor] = []
        self._scales: tuple[Tensor, Tensor] | None = None
        self._weights: Tensor | None = None
        self._version = -1
        self.reading = _Reading()
        self.stepped = False
        self.gradients_read = False

    def begin(self) -> None:
        """Forgets the step that has been handed over."""
        self.reading = _Reading()
        self.stepped = False
        self.gradients_read = False

    def has_gradients(self) -> bool:
        """Whether any gradient is there to be read."""
        return any(p.grad is not None for p in self._parameters)

    def read_gradients(self) -> None:
        """Norm of each gradient and a strided sample of their entries. One pass over the gradients."""
        reading = self.reading
        dense: list[Tensor] = []
        thirds: list[int] = []
        pieces: list[Tensor] = []
        sampled: list[int] = []
        for i, parameter in enumerate(self._parameters):
            gradient = parameter.grad
            if gradient is None:
                continue
            gradient = _local(gradient.detach())
            if gradient.layout is not torch.strided:
                dense.append(self._sparse_values(gradient))
                thirds.append(self._thirds[i])
                continue
            if gradient.numel() == 0:
                continue
            dense.append(gradient)
            thirds.append(self._thirds[i])
            stride = self._direction_strides.get(i)
            if stride is not None:
                pieces.append(_dense_view(gradient, stride))
                sampled.append(i)
        reading.norms = _norms(dense) if dense else []
        reading.thirds = thirds
        reading.direction = None
        if pieces:
            sample = torch.cat(pieces).to(self._wide)
            norm = torch.linalg.vector_norm(sample)
            last = self._direction_last
            if last is not None and last[0] == sampled and last[1].shape == sample.shape:
                reading.direction = (torch.dot(last[1], sample), last[2], norm)
            self._direction_last = (sampled, sample, norm)
        self.gradients_read = True

    def _sparse_values(self, gradient: Tensor) -> Tensor:
        # Summing duplicate rows asks a device for their number and waits for it; there the norm is that of the rows as they are.
        if gradient.layout is torch.sparse_coo:
            if not gradient.is_coalesced() and gradient.device.type == "cpu":
                gradient = gradient.coalesce()
            return gradient._values()
        return gradient.values()

    def note_weights(self) -> None:
        """Before a step: makes sure the weights it starts from are on record.

        The record of the step before serves unless somebody wrote to a parameter in between.
        """
        if self._weights is None or self._version != self._versions() or self._pointers != self._addresses():
            self._weights = self._sample()
            self._version = self._versions()

    def read_weights(self) -> None:
        """After a step: norm of the change, and L1 and L2 norm of the weights."""
        before = self._weights
        now = self._sample()
        scales = self._scales
        reading = self.reading
        if before is not None and before.shape == now.shape:
            change = before.neg_().add_(now)
            if scales is not None:
                change.mul_(scales[1])
            reading.update = _norm(change)
        reading.l1 = _norm(now if scales is None else now * scales[0], 1)
        reading.l2 = _norm(now if scales is None else now * scales[1])
        self._weights = now
        self._version = self._versions()

    def leaves(self) -> list[Tensor]:
        """The tensors of this step, in the order `absorb` expects their values."""
        r = self.reading
        out: list[Tensor] = []
        if r.norms:
            out.append(torch.stack(r.norms))
        out.extend(r.direction or ())
        out.extend(t for t in (r.update, r.l1, r.l2, r.grad_scale, r.found_inf) if t is not None)
        return out

    def _versions(self) -> int:
        return sum(p._version for p in self._parameters)

    def _addresses(self) -> list[int]:
        return [_local(p).data_ptr() for p in self._parameters]

    def _sample(self) -> Tensor:
        addresses = self._addresses()
        if addresses != self._pointers:
            # Somebody gave a parameter other storage (`p.data = ...`, a move): views of the old would never change again.
            locals_ = [_local(p.detach()) for p in self._parameters]
            self._views = [_dense_view(p, s) for p, s in zip(locals_, self._strides, strict=True)]
            self._pointers = addresses
            if any(s > 1 for s in self._strides):
                shares = [
                    torch.full((v.numel(),), p.numel() / v.numel()) for p, v in zip(locals_, self._views, strict=True)
                ]
                shares.append(torch.zeros(-sum(v.numel() for v in self._views) % _ROW))
                share = torch.cat(shares).to(self._device).view(-1, _ROW)
                self._scales = (share, share.sqrt())
            self._views.append(self._views[0].new_zeros(-sum(v.numel() for v in self._views) % _ROW))
        sample = torch.cat(self._views).view(-1, _ROW)
        return sample.float() if sample.dtype in (torch.float16, torch.bfloat16) else sample


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
        self._looks_for_scaler = 3 if scaler is None else 0
        self._handles: list[Any] = []
        self._rates: dict[int, Any] = {}
        self._stepped: set[int] = set()
        self.steps_without_optimizer = 0
        for i, optimizer in enumerate(self._optimizers):
            self._handles.append(optimizer.register_step_pre_hook(self._pre_hook(i)))
            self._handles.append(optimizer.register_step_post_hook(self._post_hook(i)))

    def close(self) -> None:
        """Takes the hooks off again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

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
        if torch.compiler.is_compiling():
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
        if torch.compiler.is_compiling():
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
        watched = [p for key, p in ordered.items() if key in owners and _local(p).numel() > 0]
        quotas = _quotas([_local(p).numel() for p in watched])
        members: dict[tuple[int, torch.device], tuple[list[Tensor], list[int], list[int]]] = {}
        for position, (p, quota) in enumerate(zip(watched, quotas, strict=True)):
            key = (owners[id(p)], _local(p).device)
            parameters, thirds, unit_quotas = members.setdefault(key, ([], [], []))
            parameters.append(p)
            thirds.append(position * 3 // len(watched))
            unit_quotas.append(quota)
        self._units = [[] for _ in range(max(1, len(self._optimizers)))]
        for (owner, _), (parameters, thirds, unit_quotas) in members.items():
            self._units[owner].append(Unit(parameters, thirds, unit_quotas))

    # Handing over.

    def learning_rate(self) -> Any:
        """The largest rate of all param groups, as in force in the step: a number, or a 0-d tensor; None when there is none."""
        rates = [rate for group_rates in self._rates.values() for rate in group_rates if rate is not None]
        if not rates:
            rates = [g["lr"] for o in self._optimizers for g in o.param_groups if g.get("lr") is not None]
        numbers = [r for r in rates if not isinstance(r, Tensor) or r.device.type == "cpu"]
        if numbers:
            return max(float(r) for r in numbers)
        tensors = [r.detach() for r in rates]
        return torch.stack(tensors).max() if tensors else None

    def hand_over(self) -> tuple[list[Tensor], Callable[[list[Any]], Measured], bool]:
        """Ends the step: its tensors, what turns their values into a `Measured`, and whether a scaler skipped the step."""
        stepped = bool(self._stepped)
        skipped = bool(self._optimizers) and not stepped and self._scaler is not None
        if not stepped and self._optimizers:
            self.steps_without_optimizer += 1
        leaves: list[Tensor] = []
        decoders: list[tuple[Unit, _Reading, int, int]] = []
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

        def decode(values: list[Any]) -> Measured:
            measured = _join([(reading, values[start:end]) for _, reading, start, end in decoders])
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


def _quotas(sizes: Sequence[int]) -> list[int]:
    """How many entries of each tensor the weight sample takes: all of the small ones, a share of the large ones."""
    total = sum(sizes)
    if total <= EXACT_PARAMETERS_MAX:
        return list(sizes)
    small = max(1, WEIGHT_SAMPLE // (4 * len(sizes)))
    left = WEIGHT_SAMPLE - sum(size for size in sizes if size <= small)
    large = max(1, sum(size for size in sizes if size > small))
    return [size if size <= small else max(small, int(left * size / large)) for size in sizes]


def _join(readings: Sequence[tuple[_Reading, list[Any]]]) -> Measured:
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
    """The GradScaler whose `step` is calling the optimizer, if any: found on the call stack, so that torch stays as it is."""
    import sys

    frame = sys._getframe(2)
    for _ in range(12):
        owner = frame.f_locals.get("self")
        if owner is not None and hasattr(owner, "_scale") and type(owner).__name__.endswith("GradScaler"):
            return owner
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None
