"""Tiny learning tasks, the accidents that befall them, and what is asked of every integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import argus

#: The optimizer step after which an accident happens, and how many steps a raised learning rate lasts.
ONSET, LASTS = 110, 5
STEPS = 160
BATCH = 8


class Changes(list[argus.Decision]):
    """The decisions at which the pressure changed; give it as `on_change`."""

    def __call__(self, decision: argus.Decision) -> None:
        self.append(decision)

    def peak(self) -> int:
        return max((d.harm_pressure for d in self), default=0)

    def first_alarm(self) -> int:
        """Step of the first confirmed anomaly."""
        return next(d.step for d in self if d.harm_pressure >= 2)


def points(count: int = STEPS * BATCH // 2, seed: int = 7) -> tuple[Any, Any]:
    """A classification task: inputs (count, 12) and classes of 4. Two epochs of it are `STEPS` steps."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 12, generator=generator)
    y = (x[:, :4] + 0.5 * x[:, 4:8].tanh() + 0.3 * torch.randn(count, 4, generator=generator)).argmax(1)
    return x, y


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))


def corrupt(tensors: Any) -> None:
    """Noise three times as large as the weights, added in place."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for t in tensors:
            t.add_(torch.randn(t.shape, generator=generator) * 3 * t.std(correction=0))


def raise_rate(optimizer: Any, step: int, factor: float = 50.0) -> None:
    """Call before each optimizer step, with a scheduler or a loop that sets the rate anew for each."""
    if ONSET <= step < ONSET + LASTS:
        for group in optimizer.param_groups:
            group["lr"] *= factor


def flat(tensors: Any) -> Any:
    """All numbers of some tensors, in the widest of their types."""
    return torch.cat([t.detach().reshape(-1) for t in tensors]).clone()


def bits(tensors: Any) -> bytes:
    """The same as bytes: two NaN are alike in them."""
    return bytes(flat(tensors).contiguous().view(torch.uint8).numpy())


def moments(optimizer: Any) -> list[Any]:
    """Everything a torch optimizer remembers."""
    return [value for state in optimizer.state.values() for value in state.values()]


class Copies:
    """What a training holds after each optimizer step (weights, moments), as the optimizer left it and as the integration did."""

    def __init__(self, held: Callable[[], Any]) -> None:
        self._held = held
        self.settle: Callable[[], object] = lambda: None  # called at the end of each step
        self.after_optimizer: list[bytes] = []
        self.restored: list[tuple[int, int]] = []  # (step at which it was changed, earlier step it came from)

    def before(self) -> None:
        """After the optimizer's step, before argus is told of it."""
        self.after_optimizer.append(bits(self._held()))

    def after(self) -> None:
        """After argus was told of it."""
        now = bits(self._held())
        if now != self.after_optimizer[-1]:
            origins = [i for i, copy in enumerate(self.after_optimizer) if copy == now]
            self.restored.append((len(self.after_optimizer), origins[0] + 1 if origins else -1))
        self.settle()


def ending(watch: Any) -> tuple[str, str]:
    """The status and the error with which a run was completed, from its record."""
    assert not watch.watching
    record = json.loads(watch.complete())
    return record["status"], record.get("error", "")


def done(watch: Any) -> list[str]:
    """The kinds of intervention that a completed run's record holds."""
    return [each["kind"] for each in json.loads(watch.complete())["interventions"]]
