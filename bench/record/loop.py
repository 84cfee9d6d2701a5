"""The training loop: one world is everything that a fork must copy."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from .hook import Hook
from .optim import Optimizer, Schedule
from .task import Out, Task


@dataclass
class Step:
    """What one step really did, before a telemetry writer decides how much of it is told."""

    t: int
    epoch: int
    loss: float
    norm: float
    norm_clipped: float
    similarity: float | None
    update: float
    lr: float
    lr_planned: float
    restarted: bool
    weight_l1: float
    weight_l2: float
    grad_l1: float
    thirds: tuple[float, float, float]
    batch_size: int
    length: int | None
    skipped: bool
    scale: float | None
    forward_ms: float
    backward_ms: float
    ids: Tensor | None = None
    out: Out | None = None


@dataclass
class Scaler:
    """Gradients pass through half precision under a loss scale, as mixed-precision training does."""

    scale: float = 2.0**16
    every: int = 60
    good: int = 0
    stuck: bool = False

    def through_half(self, g: Tensor) -> Tensor | None:
        """The gradient after a round trip through half precision, or None if it overflowed (the step is then skipped)."""
        h = (g * self.scale).half()
        ok = bool(torch.isfinite(h).all())
        if not self.stuck:
            self.good = self.good + 1 if ok else 0
            if not ok:
                self.scale /= 2
            elif self.good == self.every:
                self.scale, self.good = self.scale * 2, 0
        return h.float() / self.scale if ok else None


@dataclass
class World:
    """Task, optimizer, schedule, hooks and random state of one run."""

    task: Task
    opt: Optimizer
    schedule: Schedule
    lr: float
    clip: float | None
    hooks: list[Hook]
    scaler: Scaler | None = None
    accumulate: int = 1
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    torch_state: Tensor = field(default_factory=torch.get_rng_state)
    last_grad: Tensor | None = None
    dead: int | None = None

    def __post_init__(self) -> None:
        self.find()

    def find(self) -> None:
        """Collect the trainable parameters in order of depth."""
        named = [(n, p) for n, p in self.task.named_parameters() if p.requires_grad]
        self.names, self.params = [n for n, _ in named], [p for _, p in named]
        self.counts = [p.numel() for p in self.params]
        ends = np.cumsum(self.counts)
        thirds = [int(ends[int(np.searchsorted(ends, ends[-1] * k / 3))]) for k in (1, 2)]
        self.cuts = [0, *thirds, int(ends[-1])]

    def fork(self) -> World:
        """An independent copy with the same weights, moments, data order and random state."""
        other = copy.deepcopy(self)
        other.find()
        return other

    def flat(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self.params])

    def write(self, theta: Tensor) -> None:
        with torch.no_grad():
            for p, part in zip(self.params, theta.split(self.counts)):
                p.copy_(part.view_as(p))

    def span(self, i: int) -> slice:
        """Where parameter `i` lies in the flat vectors."""
        start = sum(self.counts[:i])
        return slice(start, start + self.counts[i])

    def matrices(self) -> list[int]:
        """Numbers of the parameters with two or more dimensions."""
        return [i for i, p in enumerate(self.params) if p.dim() >= 2 and p.numel() >= 12]

    def modules(self, kind: type[nn.Module] | tuple[type[nn.Module], ...]) -> list[nn.Module]:
        return [m for m in self.task.modules() if isinstance(m, kind)]

    def gradient(self) -> Tensor:
        return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self.params])

    def step(self, t: int) -> Step:
        """One optimizer step."""
        torch.set_rng_state(self.torch_state)
        for h in self.hooks:
            h.begin(self, t)
        planned = self.lr * self.schedule.factor(t)
        lr = planned
        for h in self.hooks:
            lr = h.rate(self, t, lr)
        g, out, b, times = torch.zeros(0), None, None, [0.0, 0.0]
        for k in range(self.accumulate):
            b = self.task.batch(t)
            for h in self.hooks:
                b = h.batch(self, t, b)
            for p in self.params:
                p.grad = None
            start = time.perf_counter()
            self.task.train()
            got = self.task.backward(b)
            times[1] += 1e3 * (time.perf_counter() - start)
            part = self.gradient() / self.accumulate
            g = part if k == 0 else g + part
            if out is not None:
                got.loss = (out.loss * k + got.loss) / (k + 1)
            out = got
        assert out is not None and b is not None
        for h in self.hooks:
            g = h.grad(self, t, g)
        skipped, scale = False, None
        if self.scaler is not None:
            scale = self.scaler.scale
            half = self.scaler.through_half(g)
            skipped = half is None
            g = torch.full_like(g, math.inf) if half is None else half
        norm = float(g.norm())
        similarity = None
        if self.last_grad is not None and math.isfinite(norm) and norm > 0:
            other = float(self.last_grad.norm())
            if other > 0 and math.isfinite(other):
                similarity = float(torch.dot(g / norm, self.last_grad / other))
        self.last_grad = g
        used = g if self.clip is None or not norm > self.clip else g * (self.clip / norm)
        theta = self.flat()
        if skipped:
            u = torch.zeros_like(theta)
        else:
            u = self.opt.delta(used, theta, lr)
            for h in self.hooks:
                u = h.update(self, t, u)
            self.write(theta + u)
        self.task.after_update(t)
        for h in self.hooks:
            h.end(self, t)
        now = self.flat()
        self.torch_state = torch.get_rng_state()
        loss = float(out.loss)
        if self.dead is None and (math.isnan(loss) or math.isinf(loss)):
            self.dead = t
        x = b.get("x")
        size = len(next(iter(b.values())))
        return Step(
            t,
            getattr(self.task, "epoch", 0),
            loss,
            norm,
            float(used.norm()),
            similarity,
            float((now - theta).norm()),
            lr,
            planned,
            self.schedule.restarted(t),
            float(now.abs().sum()),
            float(now.norm()),
            float(g.abs().sum()),
            (
                float(g[: self.cuts[1]].norm()),
                float(g[self.cuts[1] : self.cuts[2]].norm()),
                float(g[self.cuts[2] :].norm()),
            ),
            size,
            x.shape[1] if x is not None and x.dim() == 2 and self.task.card.x == "token" else None,
            skipped,
            scale,
            times[1] * 0.4,
            times[1] * 0.6,
            b.get("ids"),
            out,
        )

    def evaluate(self) -> float:
        """E, without touching the run's random state."""
        state = torch.get_rng_state()
        e = self.task.evaluate()
        torch.set_rng_state(state)
        return e
