"""What goes wrong, once in the time of the loop: a step that is taken again after a rollback does not meet it again unless it lasts.

Sizes are drawn from the seed, wide enough that some runs of each kind would have come through by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .tasks import Task


@dataclass
class Fault:
    """Hooks of one fault. `rate`: factor on the learning rate. The others change what they are given in place or by value."""

    onset: int
    rate: Callable[[int], float] = lambda i: 1.0
    data: Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    gradients: Callable[[int], None] | None = None
    state: Callable[[int], None] | None = None


def healthy(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    return Fault(onset)


def rate_spike(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """The learning rate is far too high for some steps."""
    factor, steps = 10 ** rng.uniform(1.2, 2.3), int(rng.integers(3, 16))
    return Fault(onset, rate=lambda i: factor if onset <= i < onset + steps else 1.0)


def rate_left_high(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """... and stays so."""
    factor = 10 ** rng.uniform(0.9, 1.7)
    return Fault(onset, rate=lambda i: factor if i >= onset else 1.0)


def rate_ramp(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """It grows by a few percent a step for a hundred steps or two, and stays there: slow divergence."""
    top, steps = 10 ** rng.uniform(1.0, 1.8), int(rng.integers(80, 200))
    return Fault(onset, rate=lambda i: top ** min(1.0, max(0, i - onset) / steps))


def bad_batches(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """A loader gives garbage for a while."""
    steps, g = int(rng.integers(20, 80)), torch.Generator().manual_seed(int(rng.integers(1 << 30)))

    def data(i: int, x: Tensor, y: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        return task.garble(x, y, g) if onset <= i < onset + steps else (x, y)

    return Fault(onset, data=data)


def bad_samples(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """From the onset on some samples of the data set are garbage for good."""
    share, g = float(rng.uniform(0.01, 0.05)), torch.Generator().manual_seed(int(rng.integers(1 << 30)))
    salt = int(rng.integers(1 << 30))

    def data(i: int, x: Tensor, y: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        if i < onset:
            return x, y
        bad = ((ids * 2_654_435_761 + salt) % 10_007) < share * 10_007
        gx, gy = task.garble(x, y, g)
        mask = bad.view(-1, *[1] * (x.dim() - 1))
        return torch.where(mask, gx, x), torch.where(bad.view(-1, *[1] * (y.dim() - 1)), gy, y)

    return Fault(onset, data=data)


def moments_corrupted(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """The optimizer's moments are overwritten at one step: too large a mean, too small a second moment."""
    strength, g = 10 ** rng.uniform(1.0, 2.5), torch.Generator().manual_seed(int(rng.integers(1 << 30)))

    def state(i: int) -> None:
        if i != onset:
            return
        for s in task.optimizer.state.values():
            for key in ("exp_avg", "momentum_buffer"):
                if key in s:
                    s[key].copy_(
                        torch.randn(s[key].shape, generator=g) * s[key].norm() / s[key].numel() ** 0.5 * strength
                    )
            if "exp_avg_sq" in s:
                s["exp_avg_sq"].div_(strength)

    return Fault(onset, state=state)


def beta_accident(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """A setting of the optimizer goes wrong for good: momentum near or above one."""
    momentum = float(rng.uniform(0.99, 1.002))

    def state(i: int) -> None:
        if i >= onset:
            for group in task.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (min(momentum, 0.9995), 0.9)
                else:
                    group["momentum"] = momentum

    return Fault(onset, state=state)


def weights_flipped(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """A burst of flipped bits in the exponents of some weights."""
    flips, bits = int(rng.integers(2, 30)), (30, 29, 28, 27)

    def state(i: int) -> None:
        if i != onset:
            return
        with torch.no_grad():
            parameters = list(task.model.parameters())
            sizes = np.array([p.numel() for p in parameters], float)
            for _ in range(flips):
                p = parameters[int(rng.choice(len(parameters), p=sizes / sizes.sum()))]
                words = p.view(torch.int32).view(-1)
                words[int(rng.integers(len(words)))] ^= 1 << int(rng.choice(bits, p=[0.05, 0.1, 0.35, 0.5]))

    return Fault(onset, state=state)


def gradient_noise(task: Task, rng: np.random.Generator, onset: int) -> Fault:
    """Gradients drown in noise for a while, as after a broken reduction."""
    steps, strength = int(rng.integers(20, 80)), 10 ** rng.uniform(0.7, 1.7)
    g = torch.Generator().manual_seed(int(rng.integers(1 << 30)))

    def gradients(i: int) -> None:
        if not onset <= i < onset + steps:
            return
        for p in task.model.parameters():
            if p.grad is not None:
                p.grad.add_(torch.randn(p.grad.shape, generator=g) * p.grad.norm() / p.grad.numel() ** 0.5 * strength)

    return Fault(onset, gradients=gradients)


FAULTS = (
    rate_spike,
    rate_left_high,
    rate_ramp,
    bad_batches,
    bad_samples,
    moments_corrupted,
    beta_accident,
    weights_flipped,
    gradient_noise,
)
