"""Numbers from tensors to the host: at once from the CPU, later and without waiting from a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: Events a device module offers; a test passes its own.
EventFactory = Callable[[torch.device], Any]


def _event(device: torch.device) -> Any:
    module = getattr(torch, device.type)
    return module.Event()


def _record(event: Any, device: torch.device) -> None:
    module = getattr(torch, device.type)
    if hasattr(module, "current_stream"):
        event.record(module.current_stream(device))
    else:
        event.record()


def wide(device: torch.device) -> torch.dtype:
    """The widest floating type of a device: float64 but on Apple's, which has none."""
    return torch.float32 if device.type == "mps" else torch.float64


class _Copy:
    """All the numbers of one step on one device: one packed vector, one copy into pinned memory, one event."""

    def __init__(self, leaves: Sequence[Tensor], device: torch.device) -> None:
        packed = torch.cat([leaf.detach().reshape(-1).to(wide(device)) for leaf in leaves])
        self._sizes = [None if leaf.dim() == 0 else leaf.numel() for leaf in leaves]
        self._host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=device.type in ("cuda", "xpu"))
        self._host.copy_(packed, non_blocking=True)
        self._event = _event(device)
        _record(self._event, device)

    def ready(self) -> bool:
        return bool(self._event.query())

    def wait(self) -> None:
        self._event.synchronize()

    def values(self) -> list[Any]:
        flat = self._host.tolist()
        out: list[Any] = []
        position = 0
        for size in self._sizes:
            if size is None:
                out.append(flat[position])
                position += 1
            else:
                out.append(flat[position : position + size])
                position += size
        return out


class Transfer:
    """The tensors of one step on their way to the host.

    Tensors on the CPU are read in the constructor. Those on devices are packed, one copy a device, and can be read once
    `ready()`: nothing here waits for a device but `wait()`, which only `Watch.close` calls.

    Args:
        leaves: Tensors of any floating or integer type, 0-d or 1-d.
    """

    def __init__(self, leaves: Sequence[Tensor]) -> None:
        self._values: list[Any] = [None] * len(leaves)
        self._pending: list[tuple[list[int], Any]] = []
        by_device: dict[torch.device, list[int]] = {}
        for i, leaf in enumerate(leaves):
            if leaf.device.type == "cpu":
                self._values[i] = leaf.detach().tolist()
            else:
                by_device.setdefault(leaf.device, []).append(i)
        for device, indices in by_device.items():
            self._pending.append((indices, _Copy([leaves[i] for i in indices], device)))

    def ready(self) -> bool:
        """True once `values` may be read. Asks the device, never waits for it."""
        return all(copy.ready() for _, copy in self._pending)

    def wait(self) -> None:
        """Waits for the device."""
        for _, copy in self._pending:
            copy.wait()

    def values(self) -> list[Any]:
        """A float for each 0-d leaf and a list of floats for each 1-d one, in the order given."""
        for indices, copy in self._pending:
            for i, value in zip(indices, copy.values(), strict=True):
                self._values[i] = value
        self._pending = []
        return self._values
