"""A state taken apart into its tensors and a JSON skeleton, and put together again: docs/formats/checkpoint.md.

No pickle: reading a checkpoint runs no code, and what cannot be told exactly is refused when it is saved, not when it is needed.
"""

from __future__ import annotations

import base64
import collections
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from argus._errors import ArgusError

if TYPE_CHECKING:
    from torch import Tensor

_TAG = "!"
_ACCEPTED = "tensors, numbers, text, bytes, None, NumPy arrays, and lists, tuples, sets and dicts of these"
_FLOAT_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class CheckpointError(ArgusError):
    """A checkpoint that cannot be written, read or restored: the message names it and why."""


@dataclass(frozen=True)
class Leaf:
    """A dense tensor of a state, and where it goes: `file` is "model" or "state"."""

    file: str
    name: str
    tensor: Tensor


@dataclass
class Flat:
    """A state taken apart. `skeleton` is JSON; `leaves` still share memory with the live state."""

    skeleton: Any = None
    leaves: list[Leaf] = field(default_factory=list)


def flatten(tree: dict[str, Any]) -> Flat:
    """Takes `tree` apart; what stands under "model" goes to the file of the weights.

    Containers are copied, tensors are not. A tensor that occurs twice (tied weights) is kept once and is one tensor again when read.
    Raises CheckpointError, naming the place, on what has no values (meta, uninitialised), what one process cannot save alone
    (sharded) and on types that are not known. Cost: some microseconds a tensor.
    """
    return _Flattener().run(tree)


class _Flattener:
    def __init__(self) -> None:
        import torch

        self._torch = torch
        self._plain = {torch.Tensor, torch.nn.Parameter, getattr(torch.nn, "Buffer", torch.nn.Parameter)}
        self._flat = Flat()
        self._seen: dict[tuple[Any, ...], dict[str, Any]] = {}
        self._names: set[tuple[str, str]] = set()
        self._words: dict[Any, str] = {}
        self._file = "state"

    def run(self, tree: dict[str, Any]) -> Flat:
        skeleton = {}
        for key, value in tree.items():
            self._file = "model" if key == "model" else "state"
            skeleton[key] = self._node(value, (key,))
        self._flat.skeleton = skeleton
        return self._flat

    def _node(self, value: Any, path: tuple[Any, ...]) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is int or kind is str:
            return value
        if kind is float:
            return value if math.isfinite(value) else {_TAG: "float", "value": str(value)}
        if isinstance(value, self._torch.Tensor):
            return self._tensor(value, path)
        if kind is dict:
            return self._dict(value, path)
        if kind is list:
            return self._items(value, path)
        for known, tag in _SEQUENCES.items():
            if kind is known:
                return {_TAG: tag, "items": self._items(value, path)}
        if kind in (collections.OrderedDict, collections.Counter):
            tag = "ordered" if kind is collections.OrderedDict else "counter"
            return {_TAG: tag, "pairs": self._pairs(value, path)}
        if kind is collections.deque:
            return {_TAG: "deque", "items": self._items(value, path), "maxlen": value.maxlen}
        if kind in (bytes, bytearray):
            return {_TAG: kind.__name__, "base64": base64.b64encode(value).decode()}
        if kind is complex:
            return {_TAG: "complex", "items": self._items((value.real, value.imag), path)}
        if kind in (self._torch.dtype, self._torch.device):
            return {_TAG: "torch." + kind.__name__, "name": str(value).removeprefix("torch.")}
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
            return self._numpy(value, isinstance(value, numpy.generic), path)
        raise CheckpointError(f"{_where(path)} is a {kind.__module__}.{kind.__qualname__}; accepted are {_ACCEPTED}")

    def _items(self, values: Any, path: tuple[Any, ...]) -> list[Any]:
        if all(type(value) is int for value in values):  # the state of a random generator: hundreds
            return list(values)
        return [self._node(value, (*path, i)) for i, value in enumerate(values)]

    def _pairs(self, value: Any, path: tuple[Any, ...]) -> list[Any]:
        return [[self._node(key, (*path, "key")), self._node(item, (*path, key))] for key, item in value.items()]

    def _dict(self, value: dict[Any, Any], path: tuple[Any, ...]) -> Any:
        if all(type(key) is str for key in value) and _TAG not in value:
            return {key: self._node(item, (*path, key)) for key, item in value.items()}
        return {_TAG: "dict", "pairs": self._pairs(value, path)}

    def _numpy(self, value: Any, is_scalar: bool, path: tuple[Any, ...]) -> Any:
        if value.dtype.hasobject or value.dtype.names:
            raise CheckpointError(f"{_where(path)} is a NumPy array of {value.dtype}; accepted are {_ACCEPTED}")
        raw = bytearray(value.tobytes())
        if is_scalar:
            return {_TAG: "numpy.scalar", "dtype": value.dtype.str, "base64": base64.b64encode(raw).decode()}
        torch = self._torch
        data = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0, dtype=torch.uint8)
        shape = list(value.shape)
        return {_TAG: "numpy.array", "dtype": value.dtype.str, "shape": shape, "data": self._dense(data, path)}

    def _tensor(self, tensor: Tensor, path: tuple[Any, ...]) -> dict[str, Any]:
        torch = self._torch
        if type(tensor) not in self._plain:
            name = type(tensor).__name__
            why = "is sharded" if name in ("DTensor", "ShardedTensor") else f"is a {name}, whose contents are not known"
            raise CheckpointError(f"{_where(path)} {why}", hint="give save= and load= to write it yourself")
        if tensor.device.type == "meta":
            raise CheckpointError(f"{_where(path)} is on the meta device: it has no values to save")
        if tensor.is_quantized or tensor.is_nested:
            raise CheckpointError(f"{_where(path)} is a quantized or nested tensor", hint="give save= and load=")
        tensor = tensor.detach()
        if tensor.layout is torch.strided:
            return self._dense(tensor, path)
        if tensor.layout is torch.sparse_coo:
            parts = [tensor._indices(), tensor._values()]
        elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
            parts = [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
        elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
            parts = [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
        else:
            raise CheckpointError(f"{_where(path)} has layout {tensor.layout}", hint="give save= and load=")
        node: dict[str, Any] = {_TAG: "sparse", "layout": str(tensor.layout).removeprefix("torch.")}
        node["shape"] = list(tensor.shape)
        if tensor.layout is torch.sparse_coo:
            node["coalesced"] = tensor.is_coalesced()
        node["parts"] = [self._dense(part.detach(), (*path, i)) for i, part in enumerate(parts)]
        return node

    def _dense(self, tensor: Tensor, path: tuple[Any, ...]) -> dict[str, Any]:
        key = (
            self._file,
            tensor.device,
            tensor.data_ptr(),
            tensor.dtype,
            tensor.shape,
            tensor.stride(),
            tensor.is_conj(),
            tensor.is_neg(),
        )
        if tensor.numel() > 0 and key in self._seen:
            return self._seen[key]
        name = ".".join(str(part) for part in (path[2:] if path[:2] == ("model", "state") else path))
        unique, again = name, 2
        while (self._file, unique) in self._names:
            unique, again = f"{name}#{again}", again + 1
        self._names.add((self._file, unique))
        self._flat.leaves.append(Leaf(self._file, unique, tensor))
        node = {
            _TAG: "tensor",
            "file": self._file,
            "name": unique,
            "dtype": self._word(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "device": self._word(tensor.device),
        }
        self._seen[key] = node
        return node

    def _word(self, value: Any) -> str:
        """The name of a dtype or device, made once."""
        word = self._words.get(value)
        if word is None:
            word = self._words[value] = str(value)
        return word


_SEQUENCES: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}


def _where(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


def unflatten(skeleton: Any, tensor_of: Callable[[dict[str, Any]], Tensor]) -> Any:
    """The state again. `tensor_of` gives the tensor of a tensor's node; it is asked once for each.

    Raises CheckpointError on a skeleton that is not one of ours.
    """
    try:
        return _Builder(tensor_of).build(skeleton)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the saved state is not of a form this version knows ({error!r})") from error


class _Builder:
    def __init__(self, tensor_of: Callable[[dict[str, Any]], Tensor]) -> None:
        self._tensor_of = tensor_of
        self._made: dict[tuple[str, str], Tensor] = {}

    def build(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.build(item) for item in node]
        if not isinstance(node, dict):
            return node
        tag = node.get(_TAG)
        if tag is None:
            return {key: self.build(item) for key, item in node.items()}
        if tag == "tensor":
            return self._tensor(node)
        if tag == "float":
            return _FLOAT_WORDS[node["value"]]
        if tag in ("tuple", "set", "frozenset"):
            make: Any = {"tuple": tuple, "set": set, "frozenset": frozenset}[tag]
            return make(self.build(node["items"]))
        if tag in ("dict", "ordered", "counter"):
            pairs = {self.build(key): self.build(item) for key, item in node["pairs"]}
            return {"dict": dict, "ordered": collections.OrderedDict, "counter": collections.Counter}[tag](pairs)
        if tag == "deque":
            return collections.deque(self.build(node["items"]), node["maxlen"])
        if tag in ("bytes", "bytearray"):
            raw = base64.b64decode(node["base64"])
            return raw if tag == "bytes" else bytearray(raw)
        if tag == "complex":
            return complex(*self.build(node["items"]))
        if tag == "sparse":
            return self._sparse(node)
        if tag in ("numpy.array", "numpy.scalar"):
            return self._numpy(node)
        if tag in ("torch.dtype", "torch.device"):
            return self._torch_name(tag, node["name"])
        raise ValueError(f"a node of kind {tag!r}")

    def _tensor(self, node: dict[str, Any]) -> Tensor:
        key = (node["file"], node["name"])
        if key not in self._made:
            self._made[key] = self._tensor_of(node)
        return self._made[key]

    def _sparse(self, node: dict[str, Any]) -> Tensor:
        import torch

        parts = [self._tensor(part) for part in node["parts"]]
        if node["layout"] == "sparse_coo":
            made = torch.sparse_coo_tensor(parts[0], parts[1], node["shape"], check_invariants=False)
            return made._coalesced_(node["coalesced"])
        compressed, plain, values = parts
        layout = getattr(torch, node["layout"])
        return torch.sparse_compressed_tensor(
            compressed, plain, values, size=node["shape"], layout=layout, check_invariants=False
        )

    def _numpy(self, node: dict[str, Any]) -> Any:
        import numpy

        dtype = numpy.dtype(node["dtype"])
        if node[_TAG] == "numpy.scalar":
            return numpy.frombuffer(base64.b64decode(node["base64"]), dtype=dtype)[0]
        raw = bytearray(bytes(self._tensor(node["data"]).tolist()))
        return numpy.frombuffer(raw, dtype=dtype).reshape(node["shape"])

    @staticmethod
    def _torch_name(tag: str, name: str) -> Any:
        import torch

        if tag == "torch.device":
            return torch.device(name)
        dtype = getattr(torch, name)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{name!r} as a dtype")
        return dtype
