"""Steps of a run that look like training, and what a home or a server has of them."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import argus

#: Generous: a busy machine of two cores, under other tests.
WAIT_S = 60.0


def losses(count: int, seed: int = 1) -> list[float]:
    """A falling, noisy loss."""
    rng = random.Random(seed)
    return [2.2 + 3.0 * math.exp(-step / 150.0) + rng.gauss(0.0, 0.04) for step in range(count)]


def feed(watch: argus.Watch, count: int, seed: int = 1, first: int = 0) -> None:
    """`count` steps with loss, norm and rate, from step `first` on."""
    rng = random.Random(seed + 1000)
    for step, loss in list(enumerate(losses(first + count, seed)))[first:]:
        watch.step(loss, step=step, grad_norm=math.exp(rng.gauss(0.0, 0.1)), lr=3e-4)


def kept(program: Path, run: Callable, home: Path, run_id: str, *flags: str) -> list[dict]:
    """The observations a home has of a run, in the order in which they were judged."""
    done = run("runs", "export", run_id, "--home", home, *flags)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if "step" in line and "answer" in line]


def steps_of(observations: list[dict]) -> list[int]:
    return [o["step"]["step"] for o in observations]
