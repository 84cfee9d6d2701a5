"""What every task offers to the loop, and the plain supervised kind most tasks are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = dict[str, Tensor]


@dataclass
class Out:
    """Result of one forward pass: the loss, and per-sample losses, logits and targets where the task has them."""

    loss: Tensor
    each: Tensor | None = None
    logits: Tensor | None = None
    y: Tensor | None = None


@dataclass
class Card:
    """What a task is called and which settings suit it; `adam` and `sgd` are learning rates that train it well."""

    family: str
    arch: str
    task: str
    model_type: str
    adam: float = 3e-3
    sgd: float = 0.1
    x: str = "float"  # float, token, none: what a data fault may do to the input
    y: str = "class"  # class, token, float, none
    classes: int = 0
    batch: int = 32
    slow: bool = False
    clip: float | None = None
    tags: frozenset[str] = field(default_factory=frozenset)


class Task(nn.Module):
    """A model with its data and loss.  All random draws of training go through `self.rng`, so a deep copy is a fork."""

    card: Card

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rng = rng
        self.size = 0
        self.knob: dict[str, float] = {"temp": 1.0, "loss_mul": 1.0, "smooth": 0.0, "reg": 0.0}
        self.eval_batch: Batch = {}

    def batch(self, t: int) -> Batch:
        raise NotImplementedError

    def out(self, b: Batch) -> Out:
        raise NotImplementedError

    def backward(self, b: Batch) -> Out:
        """One forward and backward pass in training mode; gradients are left in `.grad`."""
        o = self.out(b)
        loss = o.loss * self.knob["loss_mul"]
        if self.knob["reg"]:
            loss = loss + self.knob["reg"] * sum(p.square().sum() for p in self.parameters() if p.requires_grad)
        loss.backward()
        o.loss = loss.detach()
        return o

    def evaluate(self) -> float:
        """E of the damage rule: the loss on a fixed clean subset in eval mode; lower is better."""
        self.eval()
        smooth, self.knob["smooth"] = self.knob["smooth"], 0.0
        with torch.no_grad():
            e = float(self.out(self.eval_batch).loss)
        self.knob["smooth"] = smooth
        self.train()
        return e

    def after_update(self, t: int) -> None:
        """Called after each optimizer step: target networks, teachers, codebooks."""


def per_sample(loss: Tensor) -> Tensor:
    """Mean over everything but the first dimension."""
    return loss.reshape(len(loss), -1).mean(1)


class Supervised(Task):
    """A network, arrays x and y, and a loss by name: ce, mse, bce, huber, pinball."""

    def __init__(
        self,
        rng: np.random.Generator,
        net: nn.Module,
        x: np.ndarray,
        y: np.ndarray,
        card: Card,
        loss: str = "ce",
        held: int = 192,
    ) -> None:
        super().__init__(rng)
        self.net, self.card, self.kind, self.size = net, card, loss, card.batch
        self.x, self.y = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y))
        held = min(held, len(x) // 4)
        self.eval_batch = {"x": self.x[:held], "y": self.y[:held]}
        self.x, self.y = self.x[held:], self.y[held:]
        self.order: np.ndarray = np.zeros(0, dtype=np.int64)
        self.shuffle = True
        self.epoch = 0
        self.pool: np.ndarray | None = None

    def draw(self) -> np.ndarray:
        """Indices of the next batch; whole epochs, shuffled or in stored order, restricted to `pool` where it is set."""
        if len(self.order) < self.size:
            pool = np.arange(len(self.x)) if self.pool is None else self.pool
            fresh = self.rng.permutation(pool) if self.shuffle else pool
            self.order, self.epoch = np.concatenate([self.order, fresh]), self.epoch + 1
            while len(self.order) < self.size:
                self.order = np.concatenate([self.order, fresh])
        take, self.order = self.order[: self.size], self.order[self.size :]
        return take

    def batch(self, t: int) -> Batch:
        i = torch.from_numpy(self.draw())
        return {"x": self.x[i], "y": self.y[i], "ids": i}

    def out(self, b: Batch) -> Out:
        z, y = self.net(b["x"]), b["y"]
        if self.kind == "ce":
            z = z / self.knob["temp"]
            each = F.cross_entropy(z.flatten(0, -2), y.flatten(), reduction="none", label_smoothing=self.knob["smooth"])
            each = each.view(len(z), -1).mean(1)
            loss = each.mean()
            aux = getattr(self.net, "aux", None)
            if aux is not None:
                self.net.aux = None  # type: ignore[assignment]  # a graph cannot be forked
            return Out(loss if aux is None else loss + aux, each.detach(), z.detach(), y)
        if self.kind == "mse":
            raw = (z - y).square()
        elif self.kind == "huber":
            raw = F.smooth_l1_loss(z, y, reduction="none")
        elif self.kind == "bce":
            raw = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        elif self.kind == "pinball":
            q = torch.linspace(0.1, 0.9, z.shape[-1])
            d = y - z
            raw = torch.maximum(q * d, (q - 1) * d)
        elif self.kind == "poisson":
            raw = z.exp() - y * z
        else:
            raise ValueError(f"unknown loss {self.kind}")
        each = per_sample(raw)
        return Out(each.mean(), each.detach())


def mlp(sizes: list[int], act: type[nn.Module] = nn.ReLU, drop: float = 0.0) -> nn.Sequential:
    """Linear layers with an activation (and dropout) between them."""
    parts: list[nn.Module] = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        parts.append(nn.Linear(a, b))
        if i < len(sizes) - 2:
            parts.append(act())
            if drop:
                parts.append(nn.Dropout(drop))
    return nn.Sequential(*parts)
