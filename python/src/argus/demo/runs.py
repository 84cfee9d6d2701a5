"""The three runs: one seed, one data order, and what goes wrong in two of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Optimizer

import argus
from argus.demo.task import CharTransformer, Corpus, Shape

RATE = 1e-3
WARMUP_STEPS = 30
BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Plan:
    """How long, and when it goes wrong. All in steps."""

    steps: int = 620
    onset: int = 220
    accident_steps: int = 4
    context: int = 64
    batch_size: int = 12
    shape: Shape = Shape(width=80, layers=3)
    seed: int = 1


def quick_plan() -> Plan:
    """A smaller model and fewer steps: for a look within half a minute."""
    return Plan(steps=520, onset=180, context=48, batch_size=8, shape=Shape(width=64, layers=2))


@dataclass(frozen=True)
class Story:
    """One run: its name, what happens in it, and how.

    Attributes:
        rate: Factor on the learning rate at a step.
        after_step: Called after every optimizer step.
    """

    name: str
    title: str
    account: str
    rate: Callable[[Plan, int], float]
    after_step: Callable[[Plan, int, Optimizer], None] | None = None


class StaleSecondMoments:
    """From a step on, Adam's running mean of squared gradients only decays: no new gradient enters it.

    This is what a partly restored or partly frozen optimizer state does. Right after an explosion the mean is far too large, so steps
    are small and the loss comes back; then it decays past its proper size, and steps grow without a bound.
    """

    def __init__(self) -> None:
        self._kept: dict[Tensor, Tensor] = {}

    def __call__(self, plan: Plan, step: int, optimizer: Optimizer) -> None:
        if step < plan.onset + plan.accident_steps:
            return
        for parameter, state in optimizer.state.items():
            moments: Tensor = state["exp_avg_sq"]
            kept = self._kept.get(parameter)
            if kept is not None:
                moments.copy_(kept.mul_(BETAS[1]))
            else:
                self._kept[parameter] = moments.clone()


def stories() -> list[Story]:
    """The three runs, the healthy one first."""
    return [
        Story(
            "healthy",
            "Healthy",
            "Nothing is done to this run. It is also the twin the other two are compared with: same seed, same batches.",
            lambda plan, step: 1.0,
        ),
        Story(
            "accident",
            "A learning-rate accident, and a recovery that is none",
            "For {accident_steps} steps from step {onset} the learning rate is 16 times too high, then it is put back. The loss comes "
            "back as well. But from then on Adam's second moments are stale: they only decay, and every step is a little larger.",
            lambda plan, step: 16.0 if plan.onset <= step < plan.onset + plan.accident_steps else 1.0,
            StaleSecondMoments(),
        ),
        Story(
            "drift",
            "Slow divergence",
            "From step {onset} on the learning rate grows by 2 % a step, as under a controller without a ceiling.",
            lambda plan, step: 1.02 ** max(0, step - plan.onset),
        ),
    ]


@dataclass
class Record:
    """What a run did and what argus said about it."""

    story: Story
    plan: Plan
    losses: list[float] = field(default_factory=list)
    changes: list[argus.Decision] = field(default_factory=list)
    history: argus.History | None = None
    seconds: float = 0.0
    watch_errors: int = 0


def train(
    story: Story,
    plan: Plan,
    corpus: Corpus,
    on_change: Callable[[argus.Decision], None],
    home: Path | None = None,
) -> Record:
    """Trains one run from the plan's seed, watched in this process and kept in `home`, by default the user's.

    What happened before the onset is the same in all runs, bit for bit: the weights, the moments and the batches come from the
    seed, and watching changes nothing.
    """
    torch.manual_seed(plan.seed)
    model = CharTransformer(corpus.vocabulary, plan.context, plan.shape)
    optimizer = AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.01)
    record = Record(story, plan)

    def changed(decision: argus.Decision) -> None:
        record.changes.append(decision)
        on_change(decision)

    began = time.perf_counter()
    with argus.watch(model, optimizer, model_type="transformer", home=home, quiet=True, on_change=changed) as watch:
        for step in range(plan.steps):
            rate = RATE * min(1.0, (step + 1) / WARMUP_STEPS) * story.rate(plan, step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss, logits, targets = _forward(model, corpus, step)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if story.after_step is not None:
                story.after_step(plan, step, optimizer)
            watch.step(loss, step=step, samples=argus.per_sample(logits, targets))
            record.losses.append(loss.item())
    record.seconds = time.perf_counter() - began
    record.history = watch.history
    record.watch_errors = watch.errors + watch.rejected
    return record


def _forward(model: nn.Module, corpus: Corpus, step: int) -> tuple[Tensor, Tensor, Tensor]:
    inputs, targets = corpus.batch(step)
    logits = model(inputs)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten()), logits, targets


WINDOW = 9
GIVEN_BACK = 0.25


def smoothed(losses: list[float]) -> list[float]:
    """Centred running median of `WINDOW` losses; non-finite ones count as infinite."""
    finite = [x if math.isfinite(x) else math.inf for x in losses]
    half = WINDOW // 2
    out = []
    for i in range(len(finite)):
        part = sorted(finite[max(0, i - half) : i + half + 1])
        out.append(part[len(part) // 2])
    return out


def lost_step(losses: list[float], twin: list[float], onset: int) -> int | None:
    """The step at which a run was lost, compared with its healthy twin; None when it was not.

    The first step from the onset on from which the running median of the loss stays, to the end and in at least nine of ten
    steps, above the twin's by more than a quarter of all the progress the twin has made.
    """
    mine, other = smoothed(losses), smoothed(twin)
    margin = GIVEN_BACK * (other[0] - min(other))
    outside = [a > b + margin for a, b in zip(mine, other)]
    if not all(outside[-WINDOW:]):
        return None
    remaining = 0
    lost = None
    for i in range(len(outside) - 1, onset - 1, -1):
        remaining += outside[i]
        if outside[i] and remaining >= 0.9 * (len(outside) - i):
            lost = i
    return lost


def returned_steps(losses: list[float], twin: list[float], start: int, end: int) -> int:
    """Steps between `start` and `end` in which the smoothed loss was back within that margin of the twin's."""
    mine, other = smoothed(losses), smoothed(twin)
    margin = GIVEN_BACK * (other[0] - min(other))
    return sum(mine[i] <= other[i] + margin for i in range(start, min(end, len(mine))))
