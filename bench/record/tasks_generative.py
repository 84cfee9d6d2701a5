"""Densities, generators, codes and physics: flow, flow matching, mixture density, GAN, VQ-VAE, VAE, denoiser, PINN."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import data
from .task import Batch, Card, Out, Supervised, Task, mlp, per_sample

Rng = np.random.Generator


class Points(Supervised):
    """Unlabelled points; subclasses define the loss.  `fixed` is the noise of the evaluation."""

    def __init__(self, rng: Rng, net: nn.Module, x: np.ndarray, card: Card) -> None:
        super().__init__(rng, net, x, np.zeros(len(x), dtype=np.float32), card)
        self.eval_batch["noise"] = self.noise(len(self.eval_batch["x"]))

    def noise(self, n: int) -> Tensor:
        return torch.from_numpy(self.rng.normal(size=(n, 4)).astype(np.float32))

    def batch(self, t: int) -> Batch:
        b = super().batch(t)
        b["noise"] = self.noise(len(b["x"]))
        return b


class Coupling(nn.Module):
    """RealNVP in the plane: alternating affine couplings."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.nets = nn.ModuleList(mlp([1, width, width, 2], nn.Tanh) for _ in range(depth))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b, log_det = x[:, :1], x[:, 1:], torch.zeros(len(x))
        for net in self.nets:
            s, t = net(a).chunk(2, 1)
            s = torch.tanh(s) * 2
            b = b * s.exp() + t
            log_det, a, b = log_det + s[:, 0], b, a
        return torch.cat([a, b], 1), log_det


class Flow(Points):
    """Negative log likelihood of a normalising flow (falls below zero)."""

    def out(self, b: Batch) -> Out:
        z, log_det = self.net(b["x"])
        each = 0.5 * z.square().sum(1) + math.log(2 * math.pi) - log_det
        return Out(each.mean(), each.detach())


class FlowMatching(Points):
    """Velocity regression along straight lines from noise to data."""

    def out(self, b: Batch) -> Out:
        n = b["noise"]
        t = torch.sigmoid(n[:, 2:3])
        x1, x0 = b["x"], n[:, :2]
        v = self.net(torch.cat([(1 - t) * x0 + t * x1, t, torch.sin(6 * t)], 1))
        each = per_sample((v - (x1 - x0)).square())
        return Out(each.mean(), each.detach())


class MixtureDensity(Supervised):
    """Negative log likelihood of a mixture of Gaussians whose parameters a network gives."""

    def out(self, b: Batch) -> Out:
        w, m, s = self.net(b["x"]).chunk(3, 1)
        s = s.clamp(-6, 6)
        d = (b["y"] - m) * torch.exp(-s)
        each = -torch.logsumexp(w.log_softmax(1) - s - 0.5 * d * d - 0.9189, 1)
        return Out(each.mean(), each.detach())


class Gan(Points):
    """Non-saturating GAN on points in the plane; discriminator and generator step together, the loss is their sum."""

    def __init__(self, rng: Rng, width: int, x: np.ndarray, card: Card) -> None:
        super().__init__(rng, nn.Identity(), x, card)
        self.g, self.d = mlp([4, width, width, 2], nn.ReLU), mlp([2, width, width, 1], nn.LeakyReLU)
        self.knob.update(d_mul=1.0, g_mul=1.0)

    def backward(self, b: Batch) -> Out:
        fake, real = self.g(b["noise"]), b["x"]
        d_each = F.softplus(-self.d(real))[:, 0] + F.softplus(self.d(fake.detach()))[:, 0]
        d_params, g_params = list(self.d.parameters()), list(self.g.parameters())
        penalty_x = real.clone().requires_grad_(True)
        slope = torch.autograd.grad(self.d(penalty_x).sum(), penalty_x, create_graph=True)[0]
        d_loss = d_each.mean() + 0.05 * slope.square().sum(1).mean()
        g_loss = F.softplus(-self.d(fake)).mean()
        for params, loss, mul in ((d_params, d_loss, self.knob["d_mul"]), (g_params, g_loss, self.knob["g_mul"])):
            for p, grad in zip(params, torch.autograd.grad(loss, params, retain_graph=True)):
                p.grad = grad * mul * self.knob["loss_mul"]
        return Out((d_loss + g_loss).detach() * self.knob["loss_mul"], d_each.detach())

    def evaluate(self) -> float:
        """Energy distance between 192 generated and 192 held real points."""
        with torch.no_grad():
            f, r = self.g(self.eval_batch["noise"]), self.eval_batch["x"]
            return float(2 * torch.cdist(f, r).mean() - torch.cdist(f, f).mean() - torch.cdist(r, r).mean())


class VectorQuantised(Points):
    """VQ-VAE: codes by nearest neighbour, straight-through gradients, codebook and commitment losses."""

    def __init__(self, rng: Rng, x: np.ndarray, width: int, codes: int, card: Card) -> None:
        super().__init__(rng, nn.Identity(), x, card)
        self.enc, self.dec = mlp([x.shape[1], width, 4 * 6]), mlp([4 * 6, width, x.shape[1]])
        self.book = nn.Parameter(0.5 * torch.randn(codes, 6))

    def out(self, b: Batch) -> Out:
        e = self.enc(b["x"]).unflatten(1, (4, 6))
        q = self.book[torch.cdist(e.detach().flatten(0, 1), self.book.detach()).argmin(1)].view_as(e)
        r = self.dec((e + (q - e).detach()).flatten(1))
        each = (
            per_sample((r - b["x"]).square())
            + per_sample((q - e.detach()).square())
            + 0.25 * per_sample((q.detach() - e).square())
        )
        return Out(each.mean(), each.detach())


class BetaVae(Points):
    """VAE whose KL weight is `knob["beta"]`; the reported loss includes the weight, so annealing raises it by design."""

    def __init__(self, rng: Rng, x: np.ndarray, width: int, card: Card) -> None:
        super().__init__(rng, nn.Identity(), x, card)
        self.enc, self.dec = mlp([x.shape[1], width, 8], nn.ELU), mlp([4, width, x.shape[1]], nn.ELU)
        self.knob["beta"] = 0.3

    def out(self, b: Batch) -> Out:
        m, s = self.enc(b["x"]).chunk(2, 1)
        s = s.clamp(-8, 8)
        r = self.dec(m + torch.exp(0.5 * s) * b["noise"] * (1.0 if self.training else 0.0))
        kl = 0.5 * (m * m + s.exp() - 1 - s).sum(1)
        beta = self.knob["beta"] if self.training else 0.3
        each = (r - b["x"]).square().sum(1) + beta * kl
        return Out(each.mean(), each.detach())


class Denoiser(Points):
    """One-dimensional convolutional denoising autoencoder."""

    def noise(self, n: int) -> Tensor:
        return torch.from_numpy(self.rng.normal(size=(n, 48)).astype(np.float32))

    def out(self, b: Batch) -> Out:
        clean = b["x"]
        r = self.net((clean + 0.4 * b["noise"])[:, None])[:, 0]
        each = per_sample((r - clean).square())
        return Out(each.mean(), each.detach())


class Pinn(Task):
    """u'' = -f on [0, 1] with u(0) = u(1) = 0, solved by a network from collocation points (second derivatives by autograd)."""

    def __init__(self, rng: Rng, width: int, card: Card) -> None:
        super().__init__(rng)
        self.card, self.size, self.net = card, card.batch, mlp([1, width, width, 1], nn.Tanh)
        self.k = [(int(k), float(c)) for k, c in zip(rng.integers(1, 4, 2), rng.uniform(0.4, 1, 2))]
        self.eval_batch = {"x": torch.linspace(0, 1, 101)[:, None]}
        self.knob["edge"] = 20.0

    def exact(self, x: Tensor) -> Tensor:
        return sum(c * torch.sin(k * math.pi * x) for k, c in self.k)  # type: ignore[return-value]

    def batch(self, t: int) -> Batch:
        return {"x": torch.from_numpy(self.rng.random((self.size, 1)).astype(np.float32))}

    def out(self, b: Batch) -> Out:
        x = b["x"].clone().requires_grad_(True)
        u = self.net(x)
        du = torch.autograd.grad(u.sum(), x, create_graph=True)[0]
        ddu = torch.autograd.grad(du.sum(), x, create_graph=True)[0]
        f = sum(c * (k * math.pi) ** 2 * torch.sin(k * math.pi * x) for k, c in self.k)
        each = (ddu + f).square()[:, 0] / 50
        edge = self.net(torch.tensor([[0.0], [1.0]])).square().sum()
        return Out(each.mean() + self.knob["edge"] * edge, each.detach())

    def evaluate(self) -> float:
        with torch.no_grad():
            x = self.eval_batch["x"]
            return float((self.net(x) - self.exact(x)).square().mean())


def flow(rng: Rng) -> Task:
    kind = ("moons", "spiral")[int(rng.integers(0, 2))]
    w = int(rng.integers(16, 28))
    return Flow(
        rng,
        Coupling(6, w),
        data.planar(rng, 3000, kind),
        Card("flow", f"RealNVP 6 x w{w}", f"density of {kind}", "other", 3e-3, 0.02, y="none", batch=64),
    )


def flow_matching(rng: Rng) -> Task:
    kind = ("moons", "ring8")[int(rng.integers(0, 2))]
    w = int(rng.integers(40, 64))
    return FlowMatching(
        rng,
        mlp([4, w, w, 2], nn.SiLU),
        data.planar(rng, 3000, kind),
        Card("flow_matching", f"velocity MLP w{w}", kind, "diffusion", 4e-3, 0.1, y="none", batch=48),
    )


def mixture(rng: Rng) -> Task:
    y = rng.uniform(-1, 1, 2500)
    x = (y + 0.3 * np.sin(2 * np.pi * y) + rng.normal(0, 0.04, 2500))[:, None].astype(np.float32)
    w = int(rng.integers(24, 40))
    return MixtureDensity(
        rng,
        mlp([1, w, w, 15], nn.Tanh),
        x,
        y[:, None].astype(np.float32),
        Card("mdn", f"mixture of 5, w{w}", "inverse problem", "mlp", 4e-3, 0.05, y="float", batch=48),
    )


def ring_gan(rng: Rng) -> Task:
    w = int(rng.integers(24, 40))
    return Gan(
        rng,
        w,
        data.planar(rng, 3000, "ring8"),
        Card(
            "ring_gan",
            f"GAN w{w}",
            "eight Gaussians on a ring",
            "gan",
            3e-3,
            0.05,
            y="none",
            batch=64,
            tags=frozenset({"gan"}),
        ),
    )


def codes(rng: Rng) -> Task:
    x = data.shapes(rng, 1200, 8, 0.1)[0].reshape(1200, 64)
    w = int(rng.integers(32, 48))
    return VectorQuantised(
        rng,
        x,
        w,
        24,
        Card("vqvae", f"VQ-VAE w{w}, 24 codes", "drawn shapes", "other", 3e-3, 0.3, y="none", tags=frozenset({"vq"})),
    )


def wave_vae(rng: Rng) -> Task:
    x = data.waves(rng, 1200, 24, 0.1)[0]
    w = int(rng.integers(32, 56))
    return BetaVae(
        rng,
        x,
        w,
        Card("wave_vae", f"VAE w{w} z4", "signals", "other", 2e-3, 0.01, y="none", batch=24, tags=frozenset({"vae"})),
    )


def denoiser(rng: Rng) -> Task:
    x = data.waves(rng, 1000, 48, 0.02)[0]
    w = int(rng.integers(10, 16))
    net = nn.Sequential(
        nn.Conv1d(1, w, 7, padding=3),
        nn.GELU(),
        nn.Conv1d(w, w, 7, padding=3),
        nn.GELU(),
        nn.Conv1d(w, 1, 7, padding=3),
    )
    return Denoiser(
        rng, net, x, Card("denoiser", f"conv1d w{w}", "denoise signals", "cnn", 3e-3, 0.2, y="none", batch=24)
    )


def pinn(rng: Rng) -> Task:
    w = int(rng.integers(20, 32))
    return Pinn(
        rng,
        w,
        Card("pinn", f"PINN w{w}", "Poisson equation in 1D", "other", 3e-3, 0.003, x="float", y="none", batch=48),
    )


TASKS = {f.__name__: f for f in (flow, flow_matching, mixture, ring_gan, codes, wave_vae, denoiser, pinn)}
