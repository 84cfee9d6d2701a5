"""Staged tensors, and the safetensors files they become.

The `safetensors` library reads these files (a test holds them to it), but does not write them: it cannot hash what it writes, and
what it writes is not one piece of memory. Here the staging memory is laid out as the data of the files, so that writing is one
pass without a second copy, with the interpreter lock released.
"""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from argus._checkpoint_tree import CheckpointError, Leaf

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_WORDS = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32", "int16": "I16",
    "int8": "I8", "uint8": "U8", "bool": "BOOL", "uint64": "U64", "uint32": "U32", "uint16": "U16", "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_ALIGNED = 64
_HEADER_BYTES_MAX = 100 << 20  # what the safetensors library reads


class Place(NamedTuple):
    """A leaf's bytes within the staging memory."""

    file: str
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size: int


@dataclass(frozen=True)
class Layout:
    """Where each leaf goes. Equal states have equal layouts."""

    places: tuple[Place, ...]
    total_bytes: int

    @staticmethod
    def of(leaves: list[Leaf]) -> tuple[Layout, list[Tensor]]:
        """The layout, and the tensors in its order: by file, the widest elements first, so that each is aligned without gaps."""
        order = sorted(leaves, key=lambda leaf: (leaf.file, -leaf.tensor.element_size()))
        places, at, file = [], 0, ""
        for leaf in order:
            if leaf.file != file:
                at, file = -(-at // _ALIGNED) * _ALIGNED, leaf.file
            tensor = leaf.tensor
            size = tensor.numel() * tensor.element_size()
            places.append(Place(leaf.file, leaf.name, tensor.dtype, tuple(tensor.shape), at, size))
            at += size
        return Layout(tuple(places), at), [leaf.tensor for leaf in order]


class Arena:
    """Memory for one staged state, kept from save to save. One thread at a time."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None
        self._layout: Layout | None = None
        self._views: list[Tensor] = []
        self._copied: list[Any] = []
        self._devices: set[str] = set()

    def reserve(self, total_bytes: int, *, pinned: bool) -> None:
        """Makes room and touches it, so that filling it later costs the copy alone."""
        import torch

        if self._memory is None or self._memory.numel() < total_bytes or (pinned and not self._memory.is_pinned()):
            self._memory, self._layout, self._views = None, None, []
            self._memory = torch.empty(max(total_bytes, 1), dtype=torch.uint8, pin_memory=pinned)
            self._memory.zero_()

    def fill(self, layout: Layout, tensors: list[Tensor]) -> None:
        """Copies `tensors` as they are at this point of their devices' current streams, without waiting for a device."""
        import torch

        self._devices = {str(t.device) for t in tensors if t.device.type == "cuda"}
        self.reserve(layout.total_bytes, pinned=bool(self._devices))
        assert self._memory is not None
        if layout != self._layout:
            self._views = [self._view(place) for place in layout.places]
            self._layout = layout
        with torch.no_grad():
            for view, tensor in zip(self._views, tensors):
                _copy(view, tensor)
        self._copied = []
        for device in self._devices:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(device))
            self._copied.append(event)

    def wait(self) -> None:
        """Returns when the devices have delivered. For the writing thread."""
        for event in self._copied:
            event.synchronize()
        self._copied = []

    def release(self) -> None:
        """Gives the memory back."""
        self._memory, self._layout, self._views = None, None, []

    def _view(self, place: Place) -> Tensor:
        assert self._memory is not None
        return self._memory[place.start : place.start + place.size].view(place.dtype).view(place.shape)

    def chunks(self, file: str, chunk_bytes: int = 8 << 20) -> Iterator[memoryview]:
        """The bytes of a safetensors file, in pieces; valid until the arena is filled again."""
        assert self._memory is not None and self._layout is not None
        places = [place for place in self._layout.places if place.file == file]
        yield memoryview(_header(places))
        if not places:
            return
        start, end = places[0].start, places[-1].start + places[-1].size
        whole = memory_of(self._memory)
        for at in range(start, end, chunk_bytes):
            yield whole[at : min(end, at + chunk_bytes)]

    @property
    def places(self) -> tuple[Place, ...]:
        """What it holds."""
        return () if self._layout is None else self._layout.places

    @property
    def bytes(self) -> int:
        """Memory held."""
        return 0 if self._memory is None else self._memory.numel()


def _copy(into: Tensor, tensor: Tensor) -> None:
    import torch

    try:
        into.copy_(tensor, non_blocking=True)
    except (RuntimeError, NotImplementedError):  # a dtype without a copy kernel: its bytes
        raw = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        into.reshape(-1).view(torch.uint8).copy_(raw, non_blocking=True)


def memory_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous CPU tensor of uint8, not copied. The tensor must outlive it."""
    return memoryview((ctypes.c_char * tensor.numel()).from_address(tensor.data_ptr())).cast("B")


def _header(places: list[Place]) -> bytes:
    origin = places[0].start if places else 0
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for place in places:
        word = _WORDS.get(str(place.dtype).removeprefix("torch."))
        shape = list(place.shape) if word is not None else [place.size]
        offsets = [place.start - origin, place.start - origin + place.size]
        entries[place.name] = {"dtype": word or "U8", "shape": shape, "data_offsets": offsets}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def tensors_in(data: Tensor) -> Callable[[dict[str, Any]], Tensor]:
    """Reads a whole safetensors file held as uint8: a function from a tensor's node to a view of `data`.

    Raises CheckpointError when it is not one, or when the node is not what the file holds.
    """
    import torch

    try:
        (size,) = struct.unpack("<Q", bytes(memory_of(data)[:8]))
        if size > min(_HEADER_BYTES_MAX, data.numel() - 8):
            raise ValueError("its header is longer than the file")
        entries = json.loads(bytes(memory_of(data)[8 : 8 + size]))
    except (ValueError, struct.error) as error:
        raise CheckpointError(f"not a safetensors file ({error})") from error
    origin = 8 + size

    def tensor_of(node: dict[str, Any]) -> Tensor:
        begin, end = entries[node["name"]]["data_offsets"]
        raw = data[origin + begin : origin + end]
        dtype = getattr(torch, node["dtype"])
        if not 0 <= begin <= end <= data.numel() - origin or not isinstance(dtype, torch.dtype):
            raise ValueError(f"{node['name']} does not lie in the file")
        if raw.storage_offset() % max(dtype.itemsize, 1):
            raw = raw.clone()
        return raw.view(dtype).view(node["shape"])

    return tensor_of
