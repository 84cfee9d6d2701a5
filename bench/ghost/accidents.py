"""The accident, and what it leaves behind.

Every run has one visible accident (rate spike, gradient burst or overwritten first moments), the weakest of a few that shows.  In a ghost the accident leaves one damage in the optimizer or
in the training script that no single step shows; nothing else happens until the run dies of it.  In a recovery nothing is left, or
a repair was made that is itself visible (lower rate, fresh moments, a restored checkpoint).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.record.hook import Hook
from bench.record.loop import World

Rng = np.random.Generator

ADAM = ("adam", "adamw", "nadam")
#: accidents each optimizer can have; a burst of gradients hardly moves a normalising optimizer
SOURCES = {
    "momentum": ("rate_spike", "gradient_burst"),
    "rmsprop": ("rate_spike",),
    "lion": ("rate_spike",),
    **{k: ("rate_spike", "rate_spike", "moment_overwritten") for k in ADAM},
}
STRENGTHS = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
#: damage -> optimizers it can live in
DAMAGES: dict[str, tuple[str, ...]] = {
    "second_moment_not_refreshed": ADAM + ("rmsprop",),
    "second_moment_of_some_layers_not_refreshed": ADAM + ("rmsprop",),
    "rate_controller_uncapped": ADAM + ("rmsprop", "momentum", "lion"),
    "decay_sign_flipped": ADAM + ("momentum", "lion"),
    "momentum_above_one": ("momentum",),
    "rate_left_high": ("momentum", "adam", "rmsprop"),
}
REPAIRS = ("none", "none", "rate_cut", "fresh_moments", "checkpoint")


class Accident(Hook):
    """Spike or burst from `onset` for `dur` steps, then the damage (ghost) or the repair (recovery)."""

    def __init__(self, rng: Rng, kind: str, onset: int, damage: str, repair: str, source: str) -> None:
        self.rng, self.kind, self.onset, self.damage, self.repair = rng, kind, onset, damage, repair
        self.dur = int(rng.integers(4, 11))
        self.clear = onset + self.dur
        self.source = source
        self.strength = 0.0
        self.slow = float(rng.uniform(0.7, 1.3))
        self.kept: Tensor | None = None
        self.frozen: Tensor | None = None

    def params(self) -> dict[str, Any]:
        return {
            "accident": self.source,
            "strength": self.strength,
            "dur": self.dur,
            "damage": self.damage or "none",
            "repair": self.repair,
            "pace": round(self.slow, 3),
        }

    def begin(self, w: World, t: int) -> None:
        if t == self.onset - 5:
            self.kept = w.flat()
        if self.onset <= t < self.clear and self.source == "moment_overwritten":
            noise = torch.from_numpy(self.rng.normal(size=len(w.opt.m))).float()
            w.opt.m = noise * w.opt.v.sqrt() * self.strength / 10
        if t != self.clear:
            return
        if self.repair == "fresh_moments":
            w.opt.forget()
        if self.repair == "checkpoint" and self.kept is not None:
            w.write(self.kept)
            w.opt.forget()
        if self.damage == "momentum_above_one":
            w.opt.betas = (1.0 + 0.012 * self.slow, w.opt.betas[1])

    def rate(self, w: World, t: int, lr: float) -> float:
        if self.onset <= t < self.clear:
            return lr * self.strength if self.source == "rate_spike" else lr
        age = t - self.clear
        if age < 0:
            return lr
        if self.repair == "rate_cut":
            return lr * (0.3 + 0.7 * min(1.0, age / 80))
        if self.damage == "rate_controller_uncapped":
            return lr * 0.3 * (1 + 0.02 * self.slow) ** age
        if self.damage == "rate_left_high":
            return lr * 6 * self.slow
        return lr

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        if self.onset <= t < self.clear and self.source == "gradient_burst":
            noise = torch.from_numpy(self.rng.normal(size=len(g))).float()
            return (g + noise * float(g.norm()) / len(g) ** 0.5) * self.strength
        if t >= self.clear and "second_moment" in self.damage:
            self.frozen = w.opt.v.clone()
        return g

    def update(self, w: World, t: int, u: Tensor) -> Tensor:
        if t >= self.clear and self.damage == "decay_sign_flipped":
            return u + 0.005 * self.slow * w.flat()
        return u

    def end(self, w: World, t: int) -> None:
        if self.frozen is None:
            return
        decayed = self.frozen * w.opt.betas[1]
        if "some_layers" in self.damage:
            half = slice(w.cuts[1], w.cuts[3])
            w.opt.v[half] = decayed[half]
        else:
            w.opt.v = decayed
