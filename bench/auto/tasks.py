"""Three small real trainings whose batches follow from the seed and the step alone, so that a run and its healthy twin see the same data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus.demo.task import CharTransformer, Corpus, Shape, reference_text

STEPS = 700
WARMUP = 20
EVALUATED = 16
_TEXT = reference_text()


class Task:
    """A model, its optimizer and schedule, and a loss of each sample of a batch."""

    batch_size = 32
    rate = 3e-3
    corrupts_inputs = True

    def __init__(self, seed: int) -> None:
        self.seed = seed
        torch.manual_seed(seed)
        self.model = self.make()
        self.optimizer = self.make_optimizer()
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule)

    def make(self) -> nn.Module:
        raise NotImplementedError

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=self.rate, betas=(0.9, 0.95), weight_decay=0.01)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and sample ids."""
        raise NotImplementedError

    def sample_losses(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError

    def garble(self, x: Tensor, y: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """The batch as a broken loader would give it."""
        raise NotImplementedError

    def evaluate(self) -> float:
        """Mean loss over batches that are never trained on; infinite when it is not a number."""
        with torch.no_grad():
            losses = [self.sample_losses(*self.batch(1_000_000 + i)[:2]).mean().item() for i in range(EVALUATED)]
        mean = sum(losses) / len(losses)
        return mean if math.isfinite(mean) else math.inf


def schedule(step: int) -> float:
    """Warmup, then a cosine down to a tenth."""
    done = min(1.0, step / STEPS)
    return min(1.0, (step + 1) / WARMUP) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * done)))


class Regression(Task):
    """An MLP fits a noisy teacher; Adam."""

    POOL = 4096

    def make(self) -> nn.Module:
        self.teacher = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
        g = torch.Generator().manual_seed(self.seed)
        self.x = torch.randn(self.POOL + 512, 16, generator=g)
        with torch.no_grad():
            self.y = self.teacher(self.x) + 0.3 * torch.randn(len(self.x), 4, generator=g)
        return nn.Sequential(nn.Linear(16, 48), nn.Tanh(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 4))

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=self.rate)

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        g = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        if step >= 1_000_000:
            ids = self.POOL + (torch.arange(32) + 32 * (step - 1_000_000)) % 512
        else:
            ids = torch.randint(self.POOL, (self.batch_size,), generator=g)
        return self.x[ids], self.y[ids], ids

    def sample_losses(self, x: Tensor, y: Tensor) -> Tensor:
        return (self.model(x) - y).pow(2).mean(1)

    def garble(self, x: Tensor, y: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        return x * 8.0, 8.0 * torch.randn(y.shape, generator=g)


class Images(Task):
    """A small convolutional net tells ten noisy patterns apart; SGD with momentum."""

    rate = 0.05
    POOL = 4096

    def make(self) -> nn.Module:
        g = torch.Generator().manual_seed(self.seed)
        patterns = torch.randn(10, 3, 8, 8, generator=g)
        self.y = torch.randint(10, (self.POOL + 512,), generator=g)
        self.x = 0.5 * patterns[self.y] + 1.2 * torch.randn(len(self.y), 3, 8, 8, generator=g)
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 24, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(24 * 16, 10),
        )  # fmt: skip

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=self.rate, momentum=0.9, weight_decay=5e-4)

    batch = Regression.batch

    def sample_losses(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(self.model(x), y, reduction="none", label_smoothing=0.1)

    def garble(self, x: Tensor, y: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        return 8.0 * torch.randn(x.shape, generator=g), torch.randint(10, y.shape, generator=g)


class Characters(Task):
    """A small transformer predicts the next character of Python's own reference; AdamW."""

    batch_size = 8
    rate = 2e-3

    def make(self) -> nn.Module:
        self.corpus = Corpus(_TEXT, context=32, batch_size=self.batch_size, seed=self.seed)
        return CharTransformer(self.corpus.vocabulary, 32, Shape(width=32, layers=2, heads=2))

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        x, y = self.corpus.batch(step)
        return x, y, torch.arange(len(x)) + step * self.batch_size

    def sample_losses(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.model(x)
        return functional.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean(1)

    def garble(self, x: Tensor, y: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        top = self.corpus.vocabulary
        return torch.randint(top, x.shape, generator=g), torch.randint(top, y.shape, generator=g)


TASKS: tuple[Any, ...] = (Regression, Images, Characters)
