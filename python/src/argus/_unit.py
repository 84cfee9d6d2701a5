"""The parameters of one optimizer on one device, and what one step leaves behind of them.

In the optimizer's step pre-hook a `Unit` reads the gradients, in its post-hook the weights; both leave a handful of small
tensors behind, which one `Transfer` brings to the host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

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


def _norm(rows: Tensor) -> Tensor:
    """L2 norm of all entries, 0-d float64 where the device has it.

    Rows first, in the tensor's own precision, which is several times faster than converting every entry; the sum of many
    separately rounded rows in float64 still shows a change far below float32's resolution of the total, so that weights which
    barely move are not taken for frozen ones.
    """
    norm: Tensor = torch.linalg.vector_norm(torch.linalg.vector_norm(rows, dim=1).to(wide(rows.device)))
    return norm


def local(tensor: Tensor) -> Tensor:
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
class Reading:
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
        copies: On how many ranks these very entries lie, where a model is spread over ranks; None when that is not known.
    """

    def __init__(
        self, parameters: Sequence[Tensor], thirds: Sequence[int], quotas: Sequence[int], copies: int | None = None
    ) -> None:
        self.copies = copies
        self._parameters = list(parameters)
        self._thirds = list(thirds)
        # Parameters whose entries are their own: neither distributed nor complex, where `local` has something to do.
        self._is_plain = not any(hasattr(p, "_local_tensor") or p.is_complex() for p in self._parameters)
        self._strides = [_stride_for(local(p).numel(), q) for p, q in zip(parameters, quotas, strict=True)]
        self._device = local(self._parameters[0]).device
        self._wide = wide(self._device)
        chosen = range(0, len(self._parameters), -(-len(self._parameters) // DIRECTION_TENSORS))
        quota = max(1, DIRECTION_SAMPLE // len(chosen))
        self._direction_strides = {i: _stride_for(local(self._parameters[i]).numel(), quota) for i in chosen}
        self._direction_last: tuple[list[int], Tensor, Tensor] | None = None
        self._pointers: list[int] = []
        self._views: list[Tensor] = []
        self._scales: tuple[Tensor, Tensor] | None = None
        self._weights: Tensor | None = None
        self._spare: Tensor | None = (
            None  # memory of the sample before, filled anew: fresh pages would cost more than the copy
        )
        self._version = -1
        self.reading = Reading()
        self.stepped = False
        self.gradients_read = False

    def begin(self) -> None:
        """Forgets the step that has been handed over."""
        self.reading = Reading()
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
            if not self._is_plain or gradient.requires_grad:
                gradient = local(gradient.detach())
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
            room = before.neg_().add_(now)  # the change
            if scales is not None:
                room.mul_(scales[1])
            reading.update = _norm(room)
        else:
            room = torch.empty_like(now)
        if scales is None:
            reading.l2 = _norm(now)
            torch.abs(now, out=room)
        else:
            reading.l2 = _norm(torch.mul(now, scales[1], out=room))
            torch.mul(now, scales[0], out=room).abs_()
        reading.l1 = room.sum(1).to(self._wide).sum()
        self._weights, self._spare = now, room
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
        return [(p if self._is_plain else local(p)).data_ptr() for p in self._parameters]

    def _sample(self) -> Tensor:
        addresses = self._addresses()
        if addresses != self._pointers:
            # Somebody gave a parameter other storage (`p.data = ...`, a move): views of the old would never change again.
            locals_ = [local(p.detach()) for p in self._parameters]
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
            self._spare = None
        spare, self._spare = self._spare, None
        fits = spare is not None and spare.dtype == self._views[0].dtype  # else the entries are converted
        sample = torch.cat(self._views, out=spare.view(-1) if fits and spare is not None else None).view(-1, _ROW)
        return sample.float() if sample.dtype in (torch.float16, torch.bfloat16) else sample


def quotas(sizes: Sequence[int]) -> list[int]:
    """How many entries of each tensor the weight sample takes: all of the small ones, a share of the large ones."""
    total = sum(sizes)
    if total <= EXACT_PARAMETERS_MAX:
        return list(sizes)
    small = max(1, WEIGHT_SAMPLE // (4 * len(sizes)))
    left = WEIGHT_SAMPLE - sum(size for size in sizes if size <= small)
    large = max(1, sum(size for size in sizes if size > small))
    return [size if size <= small else max(small, int(left * size / large)) for size in sizes]
