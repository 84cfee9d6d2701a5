"""Healthy trainings: everything that people do on purpose and that no detector may take for a fault.

A run counts as healthy when its loss is a number to the end and fell by a fiftieth (with a rate or batches that make it slow: did not rise);
how many others were drawn is told, not hidden.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .loop import Setup, Trace
from .models import TASKS

Rng = np.random.Generator
Habit = Callable[[Setup, Rng], Setup | None]

CHAINS = {
    "mlp_relu": ("fc1", "fc2"),
    "mlp_tanh": ("fc1", "fc2"),
    "cnn_bn": ("conv1", "bn1", "conv2"),
    "lenet_tanh": ("conv1", "conv2"),
    "resnet": ("conv1", "bn1", "layer1"),
    "encoder": ("tokens", "places", "encoder.layers.0"),
    "gpt": ("places", "blocks.0"),
    "vit": ("patch", "place", "blocks.0"),
    "recall": ("keys", "values", "blocks.0"),
    "lstm": ("tokens",),
    "gru": ("inlet", "gru"),
}


def optimizer(name: str) -> Habit:
    return lambda setup, rng: replace(setup, optimizer=name) if name in TASKS[setup.task].rates else None  # type: ignore[attr-defined]


def schedule(name: str) -> Habit:
    return lambda setup, rng: replace(setup, schedule=name)


def frozen(setup: Setup, rng: Rng) -> Setup:
    return replace(setup, frozen=CHAINS[setup.task])


def unfreezing(setup: Setup, rng: Rng) -> Setup:
    """From the head down, one more part trains every eighty steps."""
    return replace(setup, frozen=CHAINS[setup.task], thaw_every=80)


def sparse(setup: Setup, rng: Rng) -> Setup | None:
    return replace(setup, sparse=0.5) if TASKS[setup.task].units else None  # type: ignore[attr-defined]


def by_heart(setup: Setup, rng: Rng) -> Setup:
    return replace(setup, samples=128, weight_decay=0.0)


HABITS: dict[str, Habit] = {
    "plain": lambda setup, rng: setup,
    "adam": optimizer("adam"),
    "rmsprop": optimizer("rmsprop"),
    "adagrad": optimizer("adagrad"),
    "momentum": optimizer("momentum"),
    "sgd": optimizer("sgd"),
    "warmup": schedule("warmup"),
    "cosine to zero": schedule("cosine"),
    "warm restarts": schedule("restarts"),
    "steps of the rate": schedule("steps"),
    "dropout": lambda setup, rng: replace(setup, dropout=float(rng.choice([0.1, 0.3, 0.5]))),
    "bfloat16 autocast": lambda setup, rng: replace(setup, bfloat16=True),
    "sparse from the start": sparse,
    "frozen layers": frozen,
    "gradual unfreezing": unfreezing,
    "accumulation": lambda setup, rng: replace(setup, accumulate=int(rng.choice([2, 4])), batch_size=8),
    "clipping": lambda setup, rng: replace(setup, clip=float(rng.choice([0.1, 1.0]))),
    "small batches": lambda setup, rng: replace(setup, batch_size=int(rng.choice([2, 4])), rate=0.5),
    "clamped weights": lambda setup, rng: replace(setup, clamp=0.3),
    "moving average swaps": lambda setup, rng: replace(setup, average=True, evaluate_every=int(rng.choice([20, 50]))),
    "evaluations": lambda setup, rng: replace(setup, evaluate_every=int(rng.choice([10, 25, 100]))),
    "high rate": lambda setup, rng: replace(setup, rate=3.0, clip=1.0),
    "low rate": lambda setup, rng: replace(setup, rate=0.03),
    "learned by heart": by_heart,
    "strong decay": lambda setup, rng: replace(setup, weight_decay=0.3),
    "dropout, cosine, clipping": lambda setup, rng: replace(setup, dropout=0.2, schedule="cosine", clip=1.0),
    "bfloat16, warmup, accumulation": lambda setup, rng: replace(
        setup, bfloat16=True, schedule="warmup", accumulate=2, batch_size=8
    ),
}


def setups(rounds: int, first_seed: int) -> list[Setup]:
    """Every habit on every task that can have it, in an order that spreads both; `rounds` times, each with seeds of its own."""
    tasks, habits = list(TASKS), list(HABITS.items())
    drawn = []
    for i in range(rounds * len(tasks) * len(habits)):
        turn, rest = divmod(i, len(habits))
        label, habit = habits[rest]
        task = tasks[(rest + turn) % len(tasks)]
        setup = habit(Setup(task, first_seed + i, label=label), np.random.default_rng([first_seed, i]))
        if setup is not None:
            drawn.append(setup)
    return drawn


def healthy(trace: Trace) -> bool:
    slow = trace.setup.label in ("low rate", "small batches", "high rate")
    return all(math.isfinite(x) for x in trace.losses) and trace.fell > (-0.05 if slow else 0.02)
