"""The state of a training: read in one go between two steps, and put back in place."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from argus._checkpoint_tree import CheckpointError
from argus._errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Parts:
    """The living objects a checkpoint is of. All but the model may be missing."""

    model: nn.Module
    optimizers: Sequence[Any]
    schedulers: Sequence[Any] = ()
    scaler: Any = None
    loader: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raises UsageError, naming the object that has no state to save."""
        from torch import nn

        if not isinstance(self.model, nn.Module):
            raise UsageError(
                f"model is a {type(self.model).__name__}; accepted is a torch.nn.Module (several: nn.ModuleList)"
            )
        named = [(f"optimizers[{i}]", o) for i, o in enumerate(self.optimizers)]
        named += [(f"schedulers[{i}]", s) for i, s in enumerate(self.schedulers)]
        named += [("scaler", self.scaler)] if self.scaler is not None else []
        named += [(f"extra[{name!r}]", item) for name, item in self.extra.items()]
        for name, item in named:
            if not _has_state(item):
                raise UsageError(
                    f"{name} is a {type(item).__name__}; accepted are objects with state_dict and load_state_dict"
                )

    def names(self) -> tuple[str, ...]:
        """What a checkpoint of this will hold."""
        found = ["model", "optimizers"]
        found += ["schedulers"] if self.schedulers else []
        found += ["scaler"] if self.scaler is not None else []
        found += ["rng"]
        found += ["loader"] if position_of(self.loader) is not None else []
        found += ["extra"] if self.extra else []
        return tuple(found)


def _has_state(item: Any) -> bool:
    return callable(getattr(item, "state_dict", None)) and callable(getattr(item, "load_state_dict", None))


def position_of(loader: Any) -> Any:
    """What knows the position: the loader, its batch sampler or its sampler; None when none does."""
    for item in (loader, getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)):
        if item is not None and _has_state(item):
            return item
    return None


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside torch.compile's and data-parallel wrappers, whose weights bear the names the user gave."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
            inner = getattr(model, "module", None)
        if inner is None:
            return model
        model = inner


def is_sharded(model: nn.Module) -> bool:
    """Whether a process holds only a part of it."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return True
    return any(
        type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor"
        for parameter in model.parameters()
    )


def capture(parts: Parts, *, with_weights: bool = True) -> dict[str, Any]:
    """The state as a tree whose tensors are the living ones. Uses no random number, changes nothing, waits for no device.

    `with_weights` false leaves out the model and the optimizers.
    """
    tree: dict[str, Any] = {}
    if with_weights:
        tree["model"] = _capture_model(unwrapped(parts.model))
        tree["optimizers"] = [optimizer.state_dict() for optimizer in parts.optimizers]
    tree["schedulers"] = [scheduler.state_dict() for scheduler in parts.schedulers]
    tree["scaler"] = None if parts.scaler is None else _capture_scaler(parts.scaler)
    tree["rng"] = _capture_rng(parts.model)
    position = position_of(parts.loader)
    tree["loader"] = None if position is None else position.state_dict()
    tree["extra"] = {name: item.state_dict() for name, item in parts.extra.items()}
    return tree


def apply(parts: Parts, tree: dict[str, Any], *, with_weights: bool = True) -> None:
    """Puts a state back into the living objects, which stay the same objects.

    Raises CheckpointError before anything is changed when the state is not of these objects; afterwards whatever their
    `load_state_dict` raises.
    """
    check_fits(parts, tree, with_weights=with_weights)
    if with_weights:
        _apply_model(unwrapped(parts.model), tree["model"])
        for optimizer, state in zip(parts.optimizers, tree["optimizers"]):
            _apply_optimizer(optimizer, state)
    for scheduler, state in zip(parts.schedulers, tree["schedulers"]):
        scheduler.load_state_dict(state)
    if parts.scaler is not None:
        parts.scaler.load_state_dict(_plain_scaler(tree["scaler"]))
    position = position_of(parts.loader)
    if position is not None and tree["loader"] is not None:
        position.load_state_dict(tree["loader"])
    for name, item in parts.extra.items():
        item.load_state_dict(tree["extra"][name])
    _apply_rng(tree["rng"])


def check_fits(parts: Parts, tree: dict[str, Any], *, with_weights: bool = True) -> None:
    """Raises CheckpointError when a state is not of these objects."""
    if with_weights:
        _check_model(unwrapped(parts.model), tree["model"])
        _check_count("optimizers", len(parts.optimizers), len(tree["optimizers"]))
        for i, (optimizer, state) in enumerate(zip(parts.optimizers, tree["optimizers"])):
            groups = [len(group["params"]) for group in getattr(optimizer, "param_groups", [])]
            saved = [len(group["params"]) for group in state.get("param_groups", [])]
            if groups and groups != saved:
                raise CheckpointError(
                    f"optimizers[{i}] has param groups of {groups} parameters, the checkpoint's of {saved}"
                )
    _check_count("schedulers", len(parts.schedulers), len(tree["schedulers"]))
    if (parts.scaler is None) != (tree["scaler"] is None):
        raise CheckpointError(f"the checkpoint was taken {'without' if tree['scaler'] is None else 'with'} a scaler")
    missing = sorted(set(parts.extra) - set(tree["extra"]))
    if missing:
        raise CheckpointError(f"the checkpoint holds no extra {missing[0]!r}")


def _check_count(what: str, now: int, saved: int) -> None:
    if now != saved:
        raise CheckpointError(f"there are {now} {what} now, {saved} in the checkpoint")


# The model.


def _capture_model(model: nn.Module) -> dict[str, Any]:
    state = model.state_dict()
    loose = {}
    for prefix, module in model.named_modules():
        for name in module._non_persistent_buffers_set:
            if module._buffers.get(name) is not None:
                loose[f"{prefix}.{name}" if prefix else name] = module._buffers[name]
    metadata = {name: dict(item) for name, item in getattr(state, "_metadata", {}).items()}
    return {"state": dict(state), "buffers": loose, "metadata": metadata}


def _check_model(model: nn.Module, saved: dict[str, Any]) -> None:
    now, then = model.state_dict(), saved["state"]
    for name in now:
        if name not in then:
            raise CheckpointError(f"the checkpoint's model has no {name}")
    for name, tensor in then.items():
        if name not in now:
            raise CheckpointError(f"the model has no {name}, the checkpoint's has")
        shape, is_shape = getattr(tensor, "shape", None), getattr(now[name], "shape", None)
        kind, is_kind = getattr(tensor, "dtype", None), getattr(now[name], "dtype", None)
        if (shape, kind) != (is_shape, is_kind):
            raise CheckpointError(
                f"{name} is {is_kind} of shape {is_shape} in the model, {kind} of {shape} in the checkpoint"
            )


def _apply_model(model: nn.Module, saved: dict[str, Any]) -> None:
    import collections

    import torch

    now = model.state_dict()
    folded = {name for name, tensor in now.items() if isinstance(tensor, torch.Tensor) and _is_folded(tensor)}
    state = collections.OrderedDict((name, item) for name, item in saved["state"].items() if name not in folded)
    state._metadata = saved["metadata"]  # type: ignore[attr-defined]
    model.load_state_dict(state, strict=not folded)
    buffers = dict(model.named_buffers())
    with torch.no_grad():
        for name in folded:
            _unfold(now[name]).copy_(_unfold_like(saved["state"][name], now[name]))
        for name, then in saved["buffers"].items():
            if name in buffers and buffers[name].shape == then.shape:
                _unfold(buffers[name]).copy_(_unfold_like(then, buffers[name]))
            else:
                owner, _, own_name = name.rpartition(".")
                device = buffers[name].device if name in buffers else then.device
                model.get_submodule(owner).register_buffer(own_name, then.clone().to(device), persistent=False)


def _is_folded(tensor: Tensor) -> bool:
    """Whether several of its elements are one place in memory, as after `expand`."""
    import torch

    return tensor.layout is torch.strided and any(
        size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride())
    )


def _unfold(tensor: Tensor) -> Tensor:
    return _unfold_like(tensor, tensor)


def _unfold_like(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor` with one element left of each dimension that `like` expands."""
    if not _is_folded(like):
        return tensor
    return tensor[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in like.stride())]


# The optimizer.


def _apply_optimizer(optimizer: Any, saved: dict[str, Any]) -> None:
    import torch

    groups = optimizer.param_groups if isinstance(getattr(optimizer, "param_groups", None), list) else None
    before = list(groups) if groups is not None else []
    optimizer.load_state_dict(saved)
    if groups is None:
        return
    # load_state_dict makes new groups: whoever holds the old ones (a scheduler, a captured graph) must go on seeing the truth.
    for old, new in zip(before, optimizer.param_groups):
        for key, value in new.items():
            held = old.get(key)
            if isinstance(held, torch.Tensor) and isinstance(value, torch.Tensor) and held.shape == value.shape:
                with torch.no_grad():
                    held.copy_(value)
            else:
                old[key] = value
        for key in [key for key in old if key not in new]:
            del old[key]
    optimizer.param_groups[:] = before
    # It also casts state to the parameter's dtype, which loses bits of moments kept in a wider one.
    parameters = [parameter for group in before for parameter in group["params"]]
    for index, state in saved.get("state", {}).items():
        live = optimizer.state[parameters[index]] if isinstance(index, int) and index < len(parameters) else None
        if not isinstance(live, dict) or not isinstance(state, dict):
            continue
        for key, then in state.items():
            value = live.get(key)
            if isinstance(then, torch.Tensor) and isinstance(value, torch.Tensor) and value.dtype != then.dtype:
                live[key] = then.to(value.device)


# The scaler.


def _capture_scaler(scaler: Any) -> dict[str, Any]:
    scale, tracker = getattr(scaler, "_scale", None), getattr(scaler, "_growth_tracker", None)
    if not all(hasattr(scaler, name) for name in ("_growth_factor", "_backoff_factor", "_growth_interval")) \
            or scale is None or tracker is None or not scaler.is_enabled():  # fmt: skip
        return dict(scaler.state_dict())
    # What state_dict() says, without waiting for the device that holds the scale.
    return {
        "scale": scale,
        "growth_factor": scaler._growth_factor,
        "backoff_factor": scaler._backoff_factor,
        "growth_interval": scaler._growth_interval,
        "_growth_tracker": tracker,
    }


def _plain_scaler(saved: dict[str, Any]) -> dict[str, Any]:
    return {key: value.item() if hasattr(value, "item") else value for key, value in saved.items()}


# Random numbers.


def _capture_rng(model: nn.Module) -> dict[str, Any]:
    import torch

    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        state["numpy"] = sys.modules["numpy"].random.get_state(legacy=False)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        used = {parameter.device.index for parameter in model.parameters() if parameter.device.type == "cuda"}
        used.add(torch.cuda.current_device())
        state["cuda"] = {index: torch.cuda.get_rng_state(index) for index in sorted(used)}
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def _apply_rng(state: dict[str, Any]) -> None:
    import torch

    random.setstate(state["python"])
    torch.set_rng_state(state["torch"].cpu())
    if "numpy" in state:
        import numpy

        numpy.random.set_state(state["numpy"])
    if "cuda" in state and torch.cuda.is_available():
        for index, device_state in state["cuda"].items():
            if index < torch.cuda.device_count():
                torch.cuda.set_rng_state(device_state.cpu(), index)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"].cpu())
