"""Tasks on tables, images, graphs and sets: mostly classification, some regression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from . import data
from .task import Card, Supervised, Task, mlp

Rng = np.random.Generator


class Mixer(nn.Module):
    """MLP-Mixer on square images cut into 3x3 patches."""

    def __init__(self, side: int, width: int, depth: int, classes: int, drop: float) -> None:
        super().__init__()
        n = (side // 3) ** 2
        self.embed = nn.Conv2d(1, width, 3, 3)
        self.tokens = nn.ModuleList(nn.Sequential(nn.Linear(n, n), nn.GELU(), nn.Linear(n, n)) for _ in range(depth))
        self.chans = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.GELU(),
                nn.Dropout(drop),
                nn.Linear(2 * width, width),
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).flatten(2).transpose(1, 2)
        for tok, ch in zip(self.tokens, self.chans):
            h = h + tok(h.transpose(1, 2)).transpose(1, 2)
            h = h + ch(h)
        return self.head(h.mean(1))


class Separable(nn.Module):
    """Depthwise-separable convolutions with BatchNorm."""

    def __init__(self, width: int, depth: int, classes: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(depth):
            parts += [
                nn.Conv2d(width, width, 3, padding=1, groups=width),
                nn.Conv2d(width, width, 1),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.body, self.head = nn.Sequential(*parts), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).amax((2, 3)))


class Experts(nn.Module):
    """Mixture of experts with a soft top-2 router and a load-balancing loss in `aux`."""

    def __init__(self, dim: int, experts: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.stem, self.router = nn.Linear(dim, hidden), nn.Linear(hidden, experts)
        self.experts = nn.ModuleList(mlp([hidden, hidden, hidden]) for _ in range(experts))
        self.head = nn.Linear(hidden, classes)
        self.aux: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.stem(x))
        p = self.router(h).softmax(-1)
        kept = p * (p >= p.topk(2, -1).values[..., -1:])
        kept = kept / kept.sum(-1, keepdim=True)
        mixed = sum(kept[:, i : i + 1] * e(h) for i, e in enumerate(self.experts))
        self.aux = 0.02 * p.shape[-1] * p.mean(0).square().sum()
        return self.head(h + mixed)


class GraphConv(nn.Module):
    """Two graph convolutions over one fixed graph; the input is a batch of node numbers (as floats carry no graph)."""

    a: Tensor
    x: Tensor

    def __init__(self, a: np.ndarray, x: np.ndarray, width: int, classes: int, drop: float) -> None:
        super().__init__()
        self.register_buffer("a", torch.from_numpy(a))
        self.register_buffer("x", torch.from_numpy(x))
        self.one, self.two = nn.Linear(x.shape[1], width), nn.Linear(width, width)
        self.head, self.drop = nn.Linear(width, classes), nn.Dropout(drop)

    def forward(self, nodes: Tensor) -> Tensor:
        h = torch.relu(self.a @ self.one(self.x))
        h = torch.relu(self.a[nodes] @ self.two(self.drop(h)))
        return self.head(h)


class Isomorphism(nn.Module):
    """GIN-like network over dense adjacency matrices."""

    def __init__(self, width: int, rounds: int, classes: int) -> None:
        super().__init__()
        self.start = nn.Linear(2, width)
        self.rounds = nn.ModuleList(mlp([width, width, width]) for _ in range(rounds))
        self.head = nn.Linear(2 * width, classes)

    def forward(self, a: Tensor) -> Tensor:
        degree = a.sum(-1, keepdim=True)
        h = self.start(torch.cat([degree / 3, (degree == 1).float()], -1))
        for r in self.rounds:
            h = h + torch.tanh(r(h + a @ h / 3))
        return self.head(torch.cat([h.mean(1), h.amax(1)], -1))


class DeepSets(nn.Module):
    """phi, mean and max pooled, rho."""

    def __init__(self, dim: int, width: int, outs: int) -> None:
        super().__init__()
        self.phi, self.rho = mlp([dim, width, width], nn.ELU), mlp([2 * width, width, outs], nn.ELU)

    def forward(self, x: Tensor) -> Tensor:
        h = self.phi(x)
        return self.rho(torch.cat([h.mean(1), h.amax(1)], -1))


class Sine(nn.Module):
    """SIREN: sine activations on coordinates."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = [2] + [width] * depth
        layers = [nn.Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        self.layers, self.last = nn.ModuleList(layers), nn.Linear(width, 1)
        with torch.no_grad():
            for i, layer in enumerate(layers):
                bound = 1 / 2 if i == 0 else (6 / width) ** 0.5 / 10
                layer.weight.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.sin(10 * layer(x))
        return self.last(x)


def mixer(rng: Rng) -> Task:
    x, y = data.shapes(rng, 1400, 12, 0.35)
    w, d = int(rng.integers(12, 24)), int(rng.integers(1, 3))
    return Supervised(
        rng,
        Mixer(12, w, d, 6, 0.1),
        x,
        y,
        Card(
            "mixer",
            f"MLP-Mixer w{w} d{d}",
            "six drawn shapes",
            "vision",
            3e-3,
            0.15,
            classes=6,
            tags=frozenset({"drop"}),
        ),
    )


def separable(rng: Rng) -> Task:
    x, y = data.shapes(rng, 1400, 10, 0.3)
    w, d = int(rng.integers(10, 18)), int(rng.integers(1, 3))
    return Supervised(
        rng,
        Separable(w, d, 6),
        x,
        y,
        Card(
            "sepcnn",
            f"separable CNN w{w} d{d} BN",
            "six drawn shapes",
            "cnn",
            5e-3,
            0.2,
            classes=6,
            tags=frozenset({"bn"}),
        ),
    )


def experts(rng: Rng) -> Task:
    x, y = data.clusters(rng, 3000, 12, 5, 0.7)
    h, e = int(rng.integers(16, 28)), int(rng.integers(3, 6))
    return Supervised(
        rng,
        Experts(12, e, h, 5),
        x,
        y,
        Card(
            "moe",
            f"MoE {e} experts h{h}",
            "clusters, 3 per class",
            "moe",
            4e-3,
            0.2,
            classes=5,
            batch=48,
            tags=frozenset({"router"}),
        ),
    )


def graph_nodes(rng: Rng) -> Task:
    a, f, y = data.block_graph(rng, 300, 4, 12)
    net = GraphConv(a, f, int(rng.integers(12, 24)), 4, 0.2)
    return Supervised(
        rng,
        net,
        np.arange(300),
        y,
        Card(
            "gcn",
            "GCN 2 layers",
            "blocks of a random graph",
            "gnn",
            6e-3,
            0.3,
            x="none",
            classes=4,
            batch=40,
            tags=frozenset({"drop"}),
        ),
        held=75,
    )


def graph_kinds(rng: Rng) -> Task:
    x, y = data.small_graphs(rng, 1500, 12)
    net = Isomorphism(int(rng.integers(14, 24)), 2, 4)
    return Supervised(rng, net, x, y, Card("gin", "GIN 2 rounds", "kinds of small graphs", "gnn", 4e-3, 0.1, classes=4))


def point_sets(rng: Rng) -> Task:
    n = 1500
    x = rng.normal(size=(n, 10, 3)).astype(np.float32) * rng.uniform(0.3, 2, (n, 1, 3)).astype(np.float32)
    y = (x.std(1).argmax(-1)).astype(np.int64)
    return Supervised(
        rng,
        DeepSets(3, int(rng.integers(16, 28)), 3),
        x,
        y,
        Card("deepsets", "DeepSets mean+max", "widest axis of a point set", "other", 3e-3, 0.1, classes=3),
    )


def set_regression(rng: Rng) -> Task:
    x = rng.normal(size=(1500, 8, 2)).astype(np.float32)
    y = np.stack([x.max((1, 2)), x.std((1, 2))], 1).astype(np.float32)
    return Supervised(
        rng,
        DeepSets(2, int(rng.integers(16, 28)), 2),
        x,
        y,
        Card("deepsets", "DeepSets regression", "maximum and spread of a set", "other", 3e-3, 0.1, y="float"),
        "huber",
    )


def wine_maxout(rng: Rng) -> Task:
    x, y = data.tabular(rng, "wine")
    net = nn.Sequential(nn.Linear(13, 32), nn.BatchNorm1d(32), nn.SiLU(), nn.Dropout(0.1), nn.Linear(32, 3))
    return Supervised(
        rng,
        net,
        x,
        y,
        Card("tabnet", "SiLU net BN", "wine", "other", 3e-3, 0.1, classes=3, batch=16, tags=frozenset({"bn", "drop"})),
    )


def cancer_linear(rng: Rng) -> Task:
    x, y = data.tabular(rng, "breast_cancer")
    return Supervised(
        rng,
        nn.Linear(30, 2),
        x,
        y,
        Card("linear", "softmax regression", "breast cancer", "other", 1e-2, 0.1, classes=2, batch=24),
    )


def coordinate_image(rng: Rng) -> Task:
    g = np.stack(np.meshgrid(np.linspace(-1, 1, 28), np.linspace(-1, 1, 28)), -1).reshape(-1, 2)
    k = rng.normal(0, 4, (6, 2))
    v = sum(np.sin(g @ k[i] + i) for i in range(6)) / 3
    order = rng.permutation(len(g))
    return Supervised(
        rng,
        Sine(int(rng.integers(24, 40)), 2),
        g[order].astype(np.float32),
        v[order, None].astype(np.float32),
        Card("siren", "SIREN", "an image from coordinates", "other", 1e-3, 0.02, y="float", batch=64),
        "mse",
    )


def quantiles(rng: Rng) -> Task:
    x = rng.uniform(-2, 2, (2000, 3)).astype(np.float32)
    m = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2]
    y = (m + np.abs(x[:, 0]) * rng.standard_t(3, 2000))[:, None].astype(np.float32)
    return Supervised(
        rng,
        mlp([3, 40, 40, 5], nn.SiLU),
        x,
        y,
        Card("quantile", "quantile MLP", "quantiles, Student t noise", "mlp", 3e-3, 0.1, y="float", batch=24),
        "pinball",
    )


def counts(rng: Rng) -> Task:
    x = rng.normal(size=(2000, 6)).astype(np.float32)
    rate = np.exp(1.2 + 0.5 * np.sin(2 * x[:, 0]) + 0.4 * x[:, 1] * x[:, 2] * (np.abs(x[:, 1]) < 2))
    y = rng.poisson(np.minimum(rate, 60))[:, None].astype(np.float32)
    return Supervised(
        rng,
        mlp([6, 32, 32, 1], nn.Tanh),
        x,
        y,
        Card("poisson", "Poisson MLP", "count regression, negative loss", "mlp", 3e-3, 0.01, y="float", batch=32),
        "poisson",
    )


class Unrolled(nn.Module):
    """Euler steps of one learned vector field (a neural ODE of fixed depth)."""

    def __init__(self, dim: int, width: int, outs: int, steps: int) -> None:
        super().__init__()
        self.lift, self.field, self.head, self.steps = (
            nn.Linear(2, dim),
            mlp([dim, width, dim], nn.Tanh),
            nn.Linear(dim, outs),
            steps,
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.lift(x)
        for _ in range(self.steps):
            h = h + self.field(h) / self.steps * 2
        return self.head(h)


def spiral_ode(rng: Rng) -> Task:
    n = 1800
    y = rng.integers(0, 3, n)
    r = rng.uniform(0.1, 1.0, n)
    a = y * 2.1 + r * 4.5 + rng.normal(0, 0.15, n)
    x = 2 * np.stack([r * np.cos(a), r * np.sin(a)], 1)
    return Supervised(
        rng,
        Unrolled(8, 32, 3, 6),
        x.astype(np.float32),
        y.astype(np.int64),
        Card("neural_ode", "Euler x6", "three spirals", "other", 5e-3, 0.1, classes=3),
    )


TASKS = {
    f.__name__: f
    for f in (
        mixer,
        separable,
        experts,
        graph_nodes,
        graph_kinds,
        point_sets,
        set_regression,
        wine_maxout,
        cancer_linear,
        coordinate_image,
        quantiles,
        counts,
        spiral_ode,
    )
}
