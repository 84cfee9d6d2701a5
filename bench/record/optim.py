"""Optimizers over one flat parameter vector, and learning-rate schedules.

The whole state of an optimizer is a few vectors and one step count, so that a fault can damage exactly one of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ADAM_LIKE = ("adam", "adamw", "nadam", "amsgrad", "lamb", "adamax")


class Optimizer:
    """One of sgd, momentum, nesterov, adam, adamw, nadam, amsgrad, adamax, lamb, rmsprop, adagrad, adadelta, lion, signum, adafactor."""

    def __init__(
        self,
        kind: str,
        sizes: list[tuple[int, ...]],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.0,
    ) -> None:
        self.kind, self.sizes, self.betas, self.eps, self.decay = kind, sizes, betas, eps, decay
        self.counts = [math.prod(s) for s in sizes]
        self.bias_correction = True
        self.forget()

    def forget(self) -> None:
        """Drop all moments, as a resume without optimizer state does."""
        n = sum(self.counts)
        self.t, self.m, self.v, self.top = 0, torch.zeros(n), torch.zeros(n), torch.zeros(n)
        self.rows: list[Tensor] = [torch.zeros(s[0]) for s in self.sizes if len(s) == 2]
        self.cols: list[Tensor] = [torch.zeros(s[1]) for s in self.sizes if len(s) == 2]

    def delta(self, g: Tensor, theta: Tensor, lr: float) -> Tensor:
        """The change of the parameters for gradient `g` at `theta`."""
        self.t += 1
        b1, b2 = self.betas
        if self.decay and self.kind in ("adam", "sgd", "momentum", "nesterov", "rmsprop", "adagrad"):
            g = g + self.decay * theta
        step = getattr(
            self,
            "_"
            + {
                "nesterov": "momentum",
                "adamw": "adam",
                "nadam": "adam",
                "amsgrad": "adam",
                "lamb": "adam",
                "signum": "lion",
            }.get(self.kind, self.kind),
        )(g, lr, b1, b2)
        if self.decay and self.kind in (
            "adamw",
            "nadam",
            "amsgrad",
            "adamax",
            "lion",
            "signum",
            "adafactor",
            "adadelta",
        ):
            step = step - lr * self.decay * theta
        if self.kind == "lamb":
            out = []
            for s, p in zip(step.split(self.counts), theta.split(self.counts)):
                out.append(s * (max(float(p.norm()), 0.1) / (float(s.norm()) / lr + 1e-12)))
            step = torch.cat(out)
        return step

    def _sgd(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        return -lr * g

    def _momentum(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        self.m.mul_(b1).add_(g)
        return -lr * (g + b1 * self.m if self.kind == "nesterov" else self.m)

    def _adam(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        self.m.mul_(b1).add_(g, alpha=1 - b1)
        self.v.mul_(b2).addcmul_(g, g, value=1 - b2)
        c1 = 1 - b1**self.t if self.bias_correction else 1.0
        c2 = 1 - b2**self.t if self.bias_correction else 1.0
        m, v = self.m, self.v
        if self.kind == "nadam":
            m = b1 * m + (1 - b1) * g
        if self.kind == "amsgrad":
            v = self.top = torch.maximum(self.top, v)
        return -lr * (m / c1) / ((v / c2).sqrt() + self.eps)

    def _adamax(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        self.m.mul_(b1).add_(g, alpha=1 - b1)
        self.v = torch.maximum(b2 * self.v, g.abs())
        return -lr / (1 - b1**self.t) * self.m / (self.v + self.eps)

    def _rmsprop(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        self.v.mul_(b2).addcmul_(g, g, value=1 - b2)
        return -lr * g / (self.v.sqrt() + self.eps)

    def _adagrad(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        self.v.addcmul_(g, g)
        return -lr * g / (self.v.sqrt() + self.eps)

    def _adadelta(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        self.v.mul_(0.95).addcmul_(g, g, value=0.05)
        step = -((self.top + 1e-6).sqrt() / (self.v + 1e-6).sqrt()) * g
        self.top.mul_(0.95).addcmul_(step, step, value=0.05)
        return lr * step

    def _lion(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        b2 = min(b2, 0.99)
        if self.kind == "signum":
            self.m.mul_(b1).add_(g, alpha=1 - b1)
            return -lr * self.m.sign()
        sign = (b1 * self.m + (1 - b1) * g).sign()
        self.m.mul_(b2).add_(g, alpha=1 - b2)
        return -lr * sign

    def _adafactor(self, g: Tensor, lr: float, b1: float, b2: float) -> Tensor:
        b2, out, k, at = 1 - self.t**-0.8, [], 0, 0
        for part, size in zip(g.split(self.counts), self.sizes):
            sq = part * part + 1e-30
            if len(size) == 2:
                s2 = sq.view(size)
                self.rows[k].mul_(b2).add_(s2.mean(1), alpha=1 - b2)
                self.cols[k].mul_(b2).add_(s2.mean(0), alpha=1 - b2)
                second = (self.rows[k][:, None] * self.cols[k][None, :] / self.rows[k].mean()).reshape(-1)
                k += 1
            else:
                second = self.v[at : at + part.numel()].mul_(b2).add_(sq, alpha=1 - b2)
            u = part / second.sqrt()
            out.append(u / max(1.0, float(u.square().mean().sqrt())))
            at += part.numel()
        return -lr * torch.cat(out)


class Schedule:
    """Learning-rate factor as a function of the step; `restarts` lists steps a trainer would announce as restarts."""

    def __init__(self, kind: str, steps: int, *, period: int = 0, announced: bool = False) -> None:
        self.kind, self.steps, self.period, self.announced = kind, steps, period or steps, announced

    def factor(self, t: int) -> float:
        s, k = t / max(1, self.steps), (t % self.period) / self.period
        if self.kind == "constant":
            return 1.0
        if self.kind == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, s))) + 1e-3
        if self.kind == "restarts":
            return 0.03 + 0.485 * (1 + math.cos(math.pi * k))
        if self.kind == "growing_restarts":
            return (0.03 + 0.485 * (1 + math.cos(math.pi * k))) * min(1.5, 0.5 + 0.25 * (t // self.period))
        if self.kind == "onecycle":
            return 0.04 + 0.96 * (s / 0.3 if s < 0.3 else max(0.0, 0.5 * (1 + math.cos(math.pi * (s - 0.3) / 0.7))))
        if self.kind == "triangle":
            return 0.1 + 0.9 * (1 - abs(2 * k - 1))
        if self.kind == "stairs":
            return 0.3 ** int(4 * s)
        if self.kind == "warmup_rsqrt":
            w = max(5, self.steps // 12)
            return min((t + 1) / w, math.sqrt(w / (t + 1)))
        if self.kind == "stable_decay":
            return min((t + 1) / (0.06 * self.steps), 1.0) * (1.0 if s < 0.75 else max(0.01, (1 - s) / 0.25))
        if self.kind == "exponential":
            return 0.02**s
        raise ValueError(f"unknown schedule {self.kind}")

    def restarted(self, t: int) -> bool:
        return self.announced and self.kind in ("restarts", "growing_restarts") and t > 0 and t % self.period == 0
