"""What can be known of a model by looking at it: its family, size, width and depth, and where it lives.

Nothing here runs the model, reads a value of a parameter, starts a device or waits for one.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import nn

    from argus._family import Structure

_T = TypeVar("_T")
_WRAPPERS_MAX = 8
_GIB = float(1 << 30)

#: Embeddings of something else than tokens, by the last parts of their names.
_NOT_TOKENS = re.compile(r"(^|[._])(wpe|(pos|position|type|segment|time|timestep|class|label|rel|relative)(al|_\w+)?)$")


@dataclass(frozen=True)
class Architecture:
    """What was found. None: not known, which is never the same as 0.

    Attributes:
        model_name: Name of the model's class.
        model_type: transformer, cnn, rnn, mlp, diffusion, rl, gan, moe, ssm, gnn, or "other" when unsure.
        num_layers: Repeated blocks of a transformer, moe or ssm; layers of an rnn; layers with a weight matrix of a cnn or mlp.
        hidden_dim: Width of what flows between blocks (transformer, moe, ssm), of the state (rnn), of the widest hidden layer (mlp).
        vocab_size: Entries of the largest embedding of tokens.
        dtype: Type of most parameters, such as "float32".
        total_params: Elements of all parameters, shared ones once, of all shards together.
        trainable_params: Those that require a gradient.
        devices: (vendor, memory in whole GiB or None) of each device that holds parameters.
        problems: What could not be looked at, and why: one line each.
    """

    model_name: str | None = None
    model_type: str = "other"
    num_layers: int | None = None
    hidden_dim: int | None = None
    vocab_size: int | None = None
    dtype: str | None = None
    total_params: int | None = None
    trainable_params: int | None = None
    devices: tuple[tuple[str, int | None], ...] = ()
    problems: tuple[str, ...] = ()


def discover(model: Any) -> Architecture:
    """Looks at a torch model, wrapped or not. Anything else, None included, gives an Architecture that knows nothing.

    Never raises: a part that cannot be looked at is left out and named in `problems`.

    Cost: one walk over the modules and one over the parameters, about 20 us a module; once a run.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return Architecture()
    problems: list[str] = []

    def attempt(what: str, look: Callable[[], _T]) -> _T | None:
        try:
            return look()
        except Exception as error:  # a user's module may do anything in an attribute
            problems.append(f"{what}: {type(error).__name__}: {error}"[:200])
            return None

    from argus._family import class_name, family_of, survey

    unwrapped = attempt("wrappers", lambda: unwrap(model))
    inner = model if unwrapped is None else unwrapped
    found = attempt("modules", lambda: survey(inner))
    family, layers, width, vocabulary = "other", None, None, None
    if found is not None:
        family = attempt("family", lambda: family_of(inner, found)) or "other"
        layers = attempt("layers", lambda: _num_layers(inner, family, found))
        width = attempt("width", lambda: _hidden_dim(inner, family, found))
        vocabulary = attempt("vocabulary", lambda: _vocab_size(inner, found))
    counts = attempt("parameters", lambda: count_parameters(model))
    return Architecture(
        model_name=class_name(inner),
        model_type=family,
        num_layers=layers,
        hidden_dim=width,
        vocab_size=vocabulary,
        dtype=attempt("dtype", lambda: _dtype(inner)),
        total_params=counts[0] if counts else None,
        trainable_params=counts[1] if counts else None,
        devices=attempt("devices", lambda: describe_devices(devices_of(model))) or (),
        problems=tuple(problems),
    )


def unwrap(model: nn.Module) -> nn.Module:
    """The user's own model inside torch.compile, DataParallel, DistributedDataParallel, FSDP or an engine around it."""
    for _ in range(_WRAPPERS_MAX):
        inner = model._modules.get("_orig_mod")  # torch.compile
        if inner is None and type(model).__name__ in (
            "DistributedDataParallel",
            "DataParallel",
            "FullyShardedDataParallel",
            "DeepSpeedEngine",
        ):
            inner = model._modules.get("module", model._modules.get("_fsdp_wrapped_module"))
        if inner is None:
            break
        model = inner
    return model


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    """Each parameter once, however often it is shared."""
    from argus._family import own_parameters, walk

    once = {id(parameter): parameter for _, module in walk(model) for _, parameter in own_parameters(module)}
    return list(once.values())


def count_parameters(model: nn.Module) -> tuple[int, int] | None:
    """(all, trainable) elements of the parameters, each counted once; None while a lazy module has not seen its input.

    A DTensor counts whole, and so does what FullyShardedDataParallel or DeepSpeed ZeRO-3 has sharded: from their records, without
    communication.
    """
    from argus._family import walk

    total = trainable = 0
    counted: set[int] = set()
    for _, module in walk(model):
        flat = getattr(module.__dict__.get("_handle"), "flat_param", None)  # FullyShardedDataParallel
        if flat is None or id(flat) in counted:
            continue
        counted.add(id(flat))
        originals = flat._params if flat._params is not None else [flat] * len(flat._shapes)
        for original, shape in zip(originals, flat._shapes, strict=True):
            counted.add(id(original))
            total += shape.numel()
            trainable += shape.numel() if original.requires_grad else 0
    rest = _count(parameter for parameter in parameters_of(model) if id(parameter) not in counted)
    return (total + rest[0], trainable + rest[1]) if rest is not None else None


def count_optimized(optimizers: Iterable[Any]) -> int | None:
    """Elements of the parameters that these optimizers move, each counted once: all that is known without a model."""
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    once = {id(parameter): parameter for group in groups for parameter in group["params"]}
    counts = _count(once.values())
    return counts[1] if counts is not None and once else None


def _count(parameters: Iterable[Any]) -> tuple[int, int] | None:
    from torch.nn.parameter import is_lazy

    total = trainable = 0
    for parameter in parameters:
        if is_lazy(parameter):
            return None
        size = int(getattr(parameter, "ds_numel", parameter.numel()))
        total += size
        trainable += size if parameter.requires_grad else 0
    return total, trainable


def devices_of(model: nn.Module) -> set[torch.device]:
    """The devices that hold parameters of this process; not "meta", which holds nothing."""
    return {parameter.device for parameter in parameters_of(model) if parameter.device.type != "meta"}


def describe_devices(devices: Iterable[torch.device]) -> tuple[tuple[str, int | None], ...]:
    """(vendor, memory in whole GiB or None) of each. Names of devices are neither read nor returned."""
    ordered = sorted(devices, key=lambda device: (device.type, device.index or 0))
    return tuple((_vendor(device.type), _memory_gib(device)) for device in ordered)


def _vendor(kind: str) -> str:
    import torch

    if kind == "cuda":
        return "amd" if torch.version.hip is not None else "nvidia"
    return {"mps": "apple", "xpu": "intel", "hpu": "intel", "xla": "google", "npu": "huawei", "cpu": "cpu"}.get(
        kind, "other"
    )


def _memory_gib(device: torch.device) -> int | None:
    import torch

    backend = {"cuda": torch.cuda, "xpu": getattr(torch, "xpu", None)}.get(device.type)
    if backend is None:
        return None  # memory shared with everything else, or nobody's to tell
    size = round(backend.get_device_properties(device).total_memory / _GIB)
    return size if size > 0 else None


def versions() -> dict[str, str]:
    """Versions of Python and of what of torch and transformers is imported; builds' own suffixes left out."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in ("torch", "transformers"):
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = str(version).split("+", 1)[0]
    return found


def _dtype(model: nn.Module) -> str | None:
    from torch.nn.parameter import is_lazy

    sizes: Counter[str] = Counter()
    for parameter in parameters_of(model):
        if not is_lazy(parameter):
            sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    return sizes.most_common(1)[0][0] if sizes else None


def _from_config(model: nn.Module, name: str) -> int | None:
    """An entry of transformers' configuration; of the text part, where there are several."""
    config = getattr(model, "config", None)
    if not isinstance(getattr(config, "model_type", None), str):
        return None
    value = getattr(getattr(config, "text_config", None) or config, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _num_layers(model: nn.Module, family: str, found: Structure) -> int | None:
    configured = _from_config(model, "num_hidden_layers")
    if configured is not None:
        return configured
    if family in ("transformer", "moe", "diffusion"):
        count = _blocks_around(model, found.attention)
    elif family == "ssm":
        count = _blocks_around(model, found.ssm) or len(found.ssm)
    elif family == "gnn":
        count = len(found.graph)
    elif family == "rnn":
        count = sum(int(getattr(module, "num_layers", 1)) for module in found.recurrent)
    elif family in ("cnn", "mlp"):
        count = len(found.convolutions) + len(found.linears)
    else:
        count = 0
    return count or None


def _blocks_around(model: nn.Module, parts: list[nn.Module]) -> int:
    """Repeated blocks with one of `parts` inside: the innermost lists of children of one class that hold them."""
    from torch import nn

    wanted = {id(part) for part in parts}

    def count(module: nn.Module) -> tuple[int, bool]:
        """(blocks within, whether one of the parts is within)"""
        children = list(module.children())
        within = [count(child) for child in children]
        blocks = sum(found for found, _ in within)
        holds = any(inside or id(child) in wanted for child, (_, inside) in zip(children, within, strict=True))
        if blocks == 0 and isinstance(module, (nn.ModuleList, nn.Sequential)) and len(set(map(type, children))) == 1:
            blocks = len(children) if all(inside for _, inside in within) else 0
        return blocks, holds

    return count(model)[0]


def _most_common(values: Iterable[Any]) -> int | None:
    counted = Counter(value for value in values if isinstance(value, int) and value > 0)
    return counted.most_common(1)[0][0] if counted else None


def _hidden_dim(model: nn.Module, family: str, found: Structure) -> int | None:
    configured = _from_config(model, "hidden_size")
    if configured is not None:
        return configured
    if family == "rnn":
        return _most_common(getattr(module, "hidden_size", None) for module in found.recurrent)
    if family == "mlp":
        widths = [int(getattr(module, "out_features", 0)) for module in found.linears[:-1]]
        return max(widths, default=0) or None
    if family not in ("transformer", "moe", "ssm", "diffusion"):
        return None
    attention = _most_common(getattr(module, "embed_dim", None) for module in found.attention)
    if attention is not None:
        return attention
    tokens = _token_embedding(found)
    return int(tokens.embedding_dim) if tokens is not None else None


def _token_embedding(found: Structure) -> Any:
    named: list[Any] = [module for path, module in found.embeddings if not _NOT_TOKENS.search(path.lower())]
    return max(named, key=lambda module: int(module.num_embeddings), default=None)


def _vocab_size(model: nn.Module, found: Structure) -> int | None:
    configured = _from_config(model, "vocab_size")
    if configured is not None:
        return configured
    tokens = _token_embedding(found)
    return int(tokens.num_embeddings) if tokens is not None else None
