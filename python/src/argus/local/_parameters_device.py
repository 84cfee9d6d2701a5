"""Parameters on an accelerator: a gather for each tensor that is due, one copy to the host an update, read an update later."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from argus import _native
from argus._transfer import wide

#: Copies on their way at most; beyond it the oldest is waited for by nobody and dropped.
_UNDER_WAY_MAX = 4
_COORDINATES = 32
BEFORE, COMPARED, AFTER, LEFT = range(4)
#: Significant bits by dtype.
BITS = {torch.float64: 53, torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}


class DeviceRow:
    """A parameter that cannot be read in place, and the positions of it that are read."""

    __slots__ = ("count", "few", "indices", "keys", "number", "parameter", "positions", "state")

    def __init__(self, number: int, parameter: nn.Parameter) -> None:
        self.number = number
        self.parameter = parameter
        self.positions = _native.Parameters.positions(parameter.numel())
        self.count = len(self.positions)
        self.few = min(_COORDINATES, parameter.numel())
        self.indices: Tensor | None = None
        self.keys: tuple[str, ...] = ()
        self.state = 0  # id of the dict that held its state last

    def take(self, tensor: Tensor, whole: bool) -> Tensor | None:
        """Its values at the positions; None for a tensor of another size, layout or device."""
        if tensor.numel() != self.parameter.numel() or tensor.layout is not torch.strided:
            return None
        indices = self.indices
        if indices is None or indices.device != tensor.device:
            if tensor.device != self.parameter.device:
                return None
            indices = self.indices = torch.tensor(self.positions).to(tensor.device, non_blocking=True)
        if not tensor.is_contiguous() and tensor.stride() != self.parameter.stride():
            return None
        return _flat(tensor).index_select(0, indices if whole else indices[: self.few])


def _flat(tensor: Tensor) -> Tensor:
    """A dense tensor's elements as they lie in memory, without a copy."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


class _Copy:
    """What was taken around one update, on its way to the host."""

    def __init__(self, which: int, step: int, fed: bool, forget: bool, unseen: int) -> None:
        self.which = which
        self.step = step
        self.fed = fed
        self.forget = forget  # the optimizer's state was replaced before this update
        self.unseen = unseen  # updates before this one that nobody looked at
        self.leaves: list[Tensor] = []
        self.calls: list[tuple[int, DeviceRow, int, Any]] = []
        self.pieces: list[tuple[DeviceRow, int, int]] = []
        self._host: Tensor | None = None
        self._event: Any = None

    def send(self) -> None:
        """One copy, without waiting for it."""
        if not self.leaves:
            return
        device = self.leaves[0].device
        packed = torch.cat(
            [leaf.reshape(-1).to(device=device, dtype=wide(device), non_blocking=True) for leaf in self.leaves]
        )
        self.leaves = []
        pinned = device.type in ("cuda", "xpu")
        self._host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=pinned)
        self._host.copy_(packed, non_blocking=True)
        if device.type != "cpu":
            module = getattr(torch, device.type)
            self._event = module.Event()
            self._event.record()

    def ready(self) -> bool:
        return self._event is None or bool(self._event.query())

    def values(self) -> Tensor | None:
        """float64 on the host; to be kept while its address is used."""
        return None if self._host is None else self._host.double()


class DeviceReader:
    """Reads `DeviceRow`s around the updates of all optimizers and feeds the judge once the values have arrived.

    Nothing waits for a device. States of another size than the parameter (Adafactor's factors) are not read here.

    Args:
        native: The judge.
    """

    def __init__(self, native: _native.Parameters) -> None:
        self._native = native
        self._under_way: deque[_Copy] = deque()
        self._now: _Copy | None = None
        self.dropped = 0

    def before(
        self,
        which: int,
        step: int,
        fed: bool,
        states: Mapping[Any, Any],
        due: list[DeviceRow],
        compared: list[DeviceRow],
        replaced: bool,
        unseen: int,
    ) -> None:
        """Right before an update.

        Args:
            replaced: The optimizer's state is another one than at the last update.
            unseen: Updates that went by since the last call.
        """
        self.judge_arrived()
        self._now = copy = _Copy(which, step, fed, self._replaced(states, due) or replaced, unseen)
        with torch.no_grad():
            for row in due:
                self._take(copy, BEFORE, row, states, fed)
            for row in compared:
                self._take(copy, COMPARED, row, states, False)

    def after(self, step: int, states: Mapping[Any, Any], due: list[DeviceRow], left: list[DeviceRow]) -> None:
        """Right after it; the copy starts here."""
        copy = self._now
        if copy is None:
            return
        self._now = None
        with torch.no_grad():
            for row in due:
                self._take(copy, AFTER, row, states, not copy.fed)
            for row in left:
                self._take(copy, LEFT, row, states, False)
            for row in due:
                self._take_piece(copy, row)
            copy.send()
        self._under_way.append(copy)
        if len(self._under_way) > _UNDER_WAY_MAX:
            self._under_way.popleft()
            self.dropped += 1

    def reset(self) -> None:
        """What is on its way belongs to what was rolled back."""
        self._under_way.clear()
        self._now = None

    @staticmethod
    def _replaced(states: Mapping[Any, Any], due: list[DeviceRow]) -> bool:
        replaced = False
        for row in due:
            now = id(states.get(row.parameter))
            replaced = replaced or (row.state != 0 and row.state != now)
            row.state = now
        return replaced

    def _take(self, copy: _Copy, moment: int, row: DeviceRow, states: Mapping[Any, Any], gradient: bool) -> None:
        parameter = row.parameter
        if not parameter.requires_grad:
            return
        weight = row.take(parameter, moment == BEFORE)
        if weight is None:
            return
        leaves, parts = [weight], 0
        if gradient and parameter.grad is not None:
            taken = row.take(parameter.grad, True)
            if taken is not None:
                leaves.append(taken)
                parts |= 1
        state = states.get(parameter) or {}
        for i, key in enumerate(row.keys):
            tensor = state.get(key)
            taken = row.take(tensor, False) if isinstance(tensor, Tensor) else None
            if taken is not None:
                leaves.append(taken)
                parts |= 2 << i
        counter = state.get("step")
        if isinstance(counter, Tensor):
            if counter.device == parameter.device and counter.device.type != "cpu":
                leaves.append(counter)
                counter = None
            else:
                counter = float(counter) if counter.device.type == "cpu" else -1.0
        elif counter is None:
            counter = -1.0
        copy.leaves += leaves
        copy.calls.append((moment, row, parts, counter))

    def _take_piece(self, copy: _Copy, row: DeviceRow) -> None:
        first, count = self._native.next_piece(row.number, copy.step, row.parameter.numel())
        if count == 0:
            return
        piece = _flat(row.parameter)[first : first + count]
        rest = row.take(row.parameter, False)
        if rest is None:
            return
        copy.leaves += [
            torch.linalg.vector_norm(piece, torch.inf, dtype=torch.float32),
            torch.linalg.vector_norm(piece, dtype=torch.float32),
            rest,
        ]
        copy.pieces.append((row, first, count))

    def judge_arrived(self) -> None:
        """Feeds the judge what has come, in the order of the updates."""
        while self._under_way and self._under_way[0].ready():
            self._judge(self._under_way.popleft())

    def _judge(self, copy: _Copy) -> None:
        native = self._native
        if copy.forget:
            native.forget_states(copy.which)
        if copy.unseen:
            native.pass_over(copy.which, copy.unseen)
        native.begin_update(copy.which)
        values = copy.values()
        if values is None:
            return
        address, at = values.data_ptr(), 0
        for moment, row, parts, counter in copy.calls:
            size = row.count if moment == BEFORE else row.few
            size += row.count * (parts & 1) + row.few * (parts >> 1).bit_count()
            start = address + 8 * at
            at += size
            if counter is None:
                counter = float(values[at])
                at += 1
            bits = BITS[row.parameter.dtype]
            native.feed(
                moment, row.number, copy.which, copy.step, copy.fed, bits, start, row.few, row.count, parts, counter
            )  # fmt: skip
        for row, first, count in copy.pieces:
            largest, norm = float(values[at]), float(values[at + 1])
            rest = values[at + 2 : at + 2 + row.few].abs()
            at += 2 + row.few
            # The largest may be the very one that is looked for.
            neighbours = float(rest.sort().values[:-1].square().mean().sqrt()) if row.few > 1 else 0.0
            native.judge_piece(row.number, copy.step, first, count, largest, norm, neighbours)
        native.end_step(copy.step)
        native.take_alarm()
