"""Contrastive, self-distilled, distilled and embedding tasks."""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data
from .task import Batch, Card, Out, Supervised, Task, mlp

Rng = np.random.Generator


class Pairs(Supervised):
    """Two noisy, shifted views of each picture; normalised temperature-scaled cross entropy between them (SimCLR-like)."""

    def __init__(self, rng: Rng, net: nn.Module, x: np.ndarray, y: np.ndarray, card: Card) -> None:
        super().__init__(rng, net, x, y, card, held=128)
        self.knob["tau"] = 0.2
        self.eval_batch["x"] = self.views(self.eval_batch["x"])

    def views(self, x: Tensor) -> Tensor:
        n = torch.from_numpy(self.rng.normal(0, 0.5, (2,) + tuple(x.shape)).astype(np.float32))
        gain = torch.from_numpy(self.rng.uniform(0.6, 1.4, (2, len(x), 1)).astype(np.float32))
        keep = torch.from_numpy((self.rng.random((2,) + tuple(x.shape)) > 0.25).astype(np.float32))
        return torch.cat([(x * gain[i] + n[i]) * keep[i] for i in range(2)], 1)

    def batch(self, t: int) -> Batch:
        b = super().batch(t)
        b["x"] = self.views(b["x"])
        return b

    def out(self, b: Batch) -> Out:
        one, two = b["x"].chunk(2, 1)
        z = F.normalize(torch.cat([self.net(one), self.net(two)]), dim=1)
        n = len(one)
        sim = z @ z.T / (self.knob["tau"] if self.training else 0.2) - 1e9 * torch.eye(2 * n)
        each = F.cross_entropy(sim, torch.arange(2 * n).roll(n), reduction="none")
        return Out(each.mean(), each[:n].detach())


class Bootstrap(Pairs):
    """BYOL-like: an online network with a predictor follows a slow average of itself.  E = loss of a nearest-class-mean
    classifier on the online features, so that a collapse is damage although the training loss falls."""

    def __init__(self, rng: Rng, net: nn.Module, x: np.ndarray, y: np.ndarray, card: Card) -> None:
        super().__init__(rng, net, x, y, card)
        self.predictor = mlp([12, 24, 12])
        self.teacher = copy.deepcopy(net).requires_grad_(False)
        self.knob.update(ema=0.98, stop_gradient=1.0, use_predictor=1.0)

    def out(self, b: Batch) -> Out:
        views, losses = b["x"].chunk(2, 1), []
        for one, two in (views, views[::-1]):
            z = self.net(one)
            p = F.normalize(self.predictor(z) if self.knob["use_predictor"] else z, dim=1)
            target = self.teacher(two).detach() if self.knob["stop_gradient"] else self.net(two)
            losses.append(2 - 2 * (p * F.normalize(target, dim=1)).sum(1))
        each = sum(losses) / 2
        return Out(each.mean(), each.detach())  # type: ignore[union-attr]

    def after_update(self, t: int) -> None:
        with torch.no_grad():
            for p, q in zip(self.teacher.parameters(), self.net.parameters()):
                p.lerp_(q, 1 - self.knob["ema"])

    def evaluate(self) -> float:
        self.eval()
        with torch.no_grad():
            one, y = self.eval_batch["x"].chunk(2, 1)[0], self.eval_batch["y"]
            z = self.net(one)
            z = (z - z.mean(0)) / (z.std() + 1e-3)
            means = torch.stack([z[y == c].mean(0) for c in y.unique()])
            e = float(F.cross_entropy(-(torch.cdist(z, means) ** 2), torch.searchsorted(y.unique(), y)))
        self.train()
        return e


class Distilled(Supervised):
    """A student matches a wider teacher's softened outputs (Kullback-Leibler, temperature 2)."""

    def __init__(self, rng: Rng, net: nn.Module, x: np.ndarray, y: np.ndarray, teacher: nn.Module, card: Card) -> None:
        super().__init__(rng, net, x, y, card)
        self.teacher = teacher.requires_grad_(False)
        self.true_teacher = copy.deepcopy(teacher)

    def out(self, b: Batch) -> Out:
        z = self.net(b["x"]) / self.knob["temp"]
        with torch.no_grad():
            p = ((self.teacher if self.training else self.true_teacher)(b["x"]) / 2).softmax(1)
        each = 4 * (p * (p.clamp(min=1e-9).log() - (z / 2).log_softmax(1))).sum(1)
        return Out(each.mean(), each.detach(), z.detach(), b["y"])


class Ratings(Supervised):
    """Matrix factorisation with biases from (user, item) pairs, or pairwise ranking of a seen against an unseen item."""

    def __init__(self, rng: Rng, ranking: bool, width: int, card: Card) -> None:
        users, items = 120, 80
        u, v = rng.normal(size=(users, 4)), rng.normal(size=(items, 4))
        score = u @ v.T / 2 + rng.normal(0, 0.3, (users, items))
        at = rng.integers(0, users, 6000), rng.integers(0, items, 6000)
        x, y = np.stack(at, 1), score[at].astype(np.float32)
        if ranking:
            other = rng.integers(0, items, 6000)
            swap = score[at[0], other] > y
            x = np.stack([at[0], np.where(swap, other, at[1]), np.where(swap, at[1], other)], 1)
        super().__init__(rng, nn.Identity(), x.astype(np.int64), y, card)
        self.users, self.items, self.ranking = nn.Embedding(users, width), nn.Embedding(items, width), ranking
        self.bias = nn.Embedding(items, 1)
        with torch.no_grad():
            for e in (self.users, self.items, self.bias):
                e.weight.mul_(0.3)

    def out(self, b: Batch) -> Out:
        x = b["x"]
        u = self.users(x[:, 0])
        s = [(u * self.items(x[:, i])).sum(1) + self.bias(x[:, i])[:, 0] for i in range(1, x.shape[1])]
        each = F.softplus(s[1] - s[0]) if self.ranking else (s[0] - b["y"]).square()
        return Out(each.mean(), each.detach())


def _digits(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    return data.tabular(rng, "digits")


def contrastive(rng: Rng) -> Task:
    x, y = _digits(rng)
    w = int(rng.integers(32, 56))
    return Pairs(
        rng,
        mlp([64, w, 16]),
        x,
        y,
        Card(
            "simclr",
            f"contrastive MLP w{w}",
            "two views of digits",
            "other",
            3e-3,
            0.3,
            y="none",
            batch=40,
            tags=frozenset({"pairs"}),
        ),
    )


def bootstrap(rng: Rng) -> Task:
    x, y = _digits(rng)
    w = int(rng.integers(32, 56))
    net = nn.Sequential(nn.Linear(64, w), nn.BatchNorm1d(w), nn.ReLU(), nn.Linear(w, 12))
    return Bootstrap(
        rng,
        net,
        x,
        y,
        Card(
            "byol",
            f"bootstrap MLP w{w}",
            "two views of digits",
            "other",
            2e-3,
            0.2,
            y="none",
            batch=48,
            tags=frozenset({"byol", "bn"}),
        ),
    )


def distilled(rng: Rng) -> Task:
    x, y = data.clusters(rng, 2500, 10, 6, 0.8)
    teacher = mlp([10, 64, 6])
    opt = torch.optim.Adam(teacher.parameters(), 1e-2)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(150):
        opt.zero_grad()
        F.cross_entropy(teacher(tx), ty).backward()
        opt.step()
    w = int(rng.integers(20, 32))
    return Distilled(
        rng,
        mlp([10, w, w, 6], nn.GELU),
        x,
        y,
        teacher,
        Card(
            "distill",
            f"student w{w}",
            "match a teacher on clusters",
            "mlp",
            4e-3,
            0.05,
            classes=6,
            tags=frozenset({"teacher"}),
        ),
    )


def ratings(rng: Rng) -> Task:
    w = int(rng.integers(6, 12))
    return Ratings(
        rng,
        False,
        w,
        Card(
            "matfac",
            f"factors {w}",
            "ratings",
            "other",
            1e-2,
            1.0,
            x="none",
            y="float",
            batch=64,
            tags=frozenset({"embed"}),
        ),
    )


def ranking(rng: Rng) -> Task:
    w = int(rng.integers(6, 12))
    return Ratings(
        rng,
        True,
        w,
        Card(
            "bpr",
            f"factors {w}",
            "pairwise ranking",
            "other",
            1e-2,
            2.0,
            x="none",
            y="none",
            batch=64,
            tags=frozenset({"embed"}),
        ),
    )


TASKS = {f.__name__: f for f in (contrastive, bootstrap, distilled, ratings, ranking)}
