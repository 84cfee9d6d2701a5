"""Samples of activations that live on a device: gathered there, copied without waiting, judged a step later.

One gather a tensor and one copy a step. What arrives is what the CPU path would have read, so that it is judged by the same code
with the same result.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from argus._native import ActivationJudge

#: Geometries whose indices are kept; layers of one shape share theirs (40 KiB each at most).
INDICES_MAX = 512
_PINNED = ("cuda", "xpu")


class DeviceSamples:
    """The samples of one pass on their way to the judge. Not thread-safe; nothing here waits for a device."""

    def __init__(self, judge: ActivationJudge) -> None:
        self._judge = judge
        self._indices: dict[tuple[Any, ...], tuple[Tensor, int]] = {}
        self._gathered: list[tuple[int, tuple[int, ...], tuple[int, ...], int, Tensor]] = []
        self._flying: list[tuple[int, list[tuple[int, tuple[int, ...], tuple[int, ...], int, int]], Tensor, Any]] = []

    def gather(self, site: int, tensor: Tensor, axis: int) -> None:
        """Launches the reading of `tensor` for `site`."""
        shape, stride = tuple(tensor.shape), tuple(tensor.stride())
        index, span = self._index(shape, stride, axis, tensor.device)
        if span == 0:
            return
        with torch.no_grad():
            flat = tensor.detach().as_strided((span,), (1,))
            values = flat.index_select(0, index)
            if values.dtype != torch.float32:
                values = values.to(torch.float32)
        self._gathered.append((site, shape, stride, axis, values))

    def launch(self, step: int) -> None:
        """Launches the copy of what was gathered in this pass, one for each device."""
        by_device: dict[torch.device, list[tuple[int, tuple[int, ...], tuple[int, ...], int, Tensor]]] = {}
        for entry in self._gathered:
            by_device.setdefault(entry[4].device, []).append(entry)
        self._gathered = []
        for device, entries in by_device.items():
            with torch.no_grad():
                packed = torch.cat([entry[4] for entry in entries])
                host = torch.empty(packed.shape, dtype=torch.float32, pin_memory=device.type in _PINNED)
                host.copy_(packed, non_blocking=True)
            event = None
            if device.type != "cpu":
                event = getattr(torch, device.type).Event()
                event.record()
            wanted, at = [], 0
            for site, shape, stride, axis, values in entries:
                wanted.append((site, shape, stride, axis, at))
                at += values.numel()
            self._flying.append((step, wanted, host, event))

    def judge(self, before: int) -> list[tuple[int, int]]:
        """Judges what has arrived of steps below `before`; (site, the judge's answer) for each."""
        answers, waiting = [], []
        for flight in self._flying:
            step, wanted, host, event = flight
            if step >= before or not (event is None or event.query()):
                waiting.append(flight)
                continue
            base = host.data_ptr()
            for site, shape, stride, axis, at in wanted:
                answers.append((site, self._judge.visit_copied(site, step, base + 4 * at, shape, stride, axis)))
        self._flying = waiting
        return answers

    def forget(self) -> None:
        """Drops what is on its way."""
        self._gathered, self._flying = [], []

    def _index(self, shape: tuple[int, ...], stride: tuple[int, ...], axis: int, device: torch.device) -> tuple[Tensor, int]:
        key = (shape, stride, axis, device)
        known = self._indices.get(key)
        if known is not None:
            return known
        raw = self._judge.offsets(shape, stride, axis)
        if not raw:
            made = (torch.empty(0, dtype=torch.int64), 0)
        else:
            index = torch.frombuffer(bytearray(raw), dtype=torch.int64)
            span = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
            if span < 2**31:
                index = index.to(torch.int32)
            if device.type in _PINNED:
                index = index.pin_memory()
            made = (index.to(device, non_blocking=True), span)
        if len(self._indices) >= INDICES_MAX:
            self._indices.clear()
        self._indices[key] = made
        return made
