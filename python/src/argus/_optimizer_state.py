"""What an optimizer would hold if it had just been made: RESET_OPTIMIZER puts that in place of what it holds."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class CannotReset(Exception):
    """The state of this optimizer cannot be replaced safely; the text says why. Nothing was changed."""


def innermost(optimizer: Any) -> Any:
    """The torch optimizer inside wrappers that hand on `.optimizer` (Accelerate's, for one)."""
    for _ in range(8):
        inner = getattr(optimizer, "optimizer", None)
        if not hasattr(inner, "param_groups") and not hasattr(inner, "optimizer"):
            return optimizer
        optimizer = inner
    return optimizer


def fresh_state(optimizer: Optimizer) -> dict[Tensor, Any]:
    """The state a new optimizer of this class and these settings has over the same parameters: mostly empty, filled as it steps.

    The new one is made by the class itself, so that one that fills its state on construction (Adagrad) does so here as well. What an
    optimizer keeps outside `state`, in its groups or itself, would not be reset with it: such a one is refused.

    Raises:
        CannotReset: With the reason.
    """
    kind = type(optimizer)
    name = kind.__name__
    from_torch = kind.__module__.startswith("torch.optim.")
    if not from_torch and _distributed():
        raise CannotReset(f"{name} is not one of torch.optim, and making another in a distributed run may communicate")
    if not optimizer.state:
        raise CannotReset(f"{name} keeps no state that could be reset")
    try:
        accepted = set(inspect.signature(kind.__init__).parameters)
        groups = [
            {
                "params": list(group["params"]),
                **{k: v for k, v in group.items() if k in accepted and k in optimizer.defaults},
            }
            for group in optimizer.param_groups
        ]
        settings = {k: v for k, v in optimizer.defaults.items() if k in accepted}
        fresh = kind(groups, **settings)
    except Exception as error:
        raise CannotReset(f"another {name} could not be made: {type(error).__name__}: {error}") from error
    if not from_torch:
        _refuse_state_elsewhere(name, accepted, optimizer, fresh)
    return dict(fresh.state)


def put_in_place(optimizer: Optimizer, state: dict[Tensor, Any]) -> None:
    """Replaces the state; settings, groups and hooks stay."""
    optimizer.state.clear()
    optimizer.state.update(state)


def _refuse_state_elsewhere(name: str, settings: set[str], used: Optimizer, fresh: Optimizer) -> None:
    for group, new in zip(used.param_groups, fresh.param_groups, strict=True):
        for key, value in new.items():
            if key != "params" and key not in settings and _differs(group.get(key), value):
                raise CannotReset(f"{name} keeps a state of its own in its groups ({key})")
    for key, value in vars(fresh).items():
        if key.endswith("_hooks"):  # ours among them
            continue
        if key not in ("state", "param_groups", "defaults") and _differs(vars(used).get(key), value):
            raise CannotReset(f"{name} keeps a state of its own beside its groups ({key})")


def _differs(used: Any, fresh: Any) -> bool:
    if isinstance(used, Tensor) or isinstance(fresh, Tensor):
        return used is not fresh
    return (
        isinstance(fresh, (int, float, list, dict))
        and type(used) is type(fresh)
        and _comparable(used) != _comparable(fresh)
    )


def _comparable(value: Any) -> Any:
    """Containers are compared by their number of entries: they may hold tensors, which have no single truth."""
    return len(value) if isinstance(value, (list, dict)) else value


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
