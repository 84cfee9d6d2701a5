"""One training, watched in AUTO or not at all."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .faults import Fault
from .tasks import STEPS, TASKS, Task

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "sdk"))
from closed_loop import Run  # noqa: E402


@dataclass
class Outcome:
    """How a run ended."""

    loss: float
    steps_lost: int = 0
    actions: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    weights: list[torch.Tensor] = field(default_factory=list)


def train(seed: int, make_fault: Callable[[Task, np.random.Generator, int], Fault], *, auto: bool) -> Outcome:
    """The loop runs as many times in any case: steps taken again after a rollback are steps lost."""
    task: Task = TASKS[seed % len(TASKS)](seed)
    rng = np.random.default_rng([seed, 7])
    fault = make_fault(task, rng, int(rng.integers(STEPS // 3, STEPS // 2)))
    run: Any = None
    if auto:
        run = Run(task.model, task.optimizer, scheduler=task.scheduler, total_steps=STEPS)
    for i in range(STEPS):
        x, y, ids = task.batch(i)
        if fault.data is not None:
            x, y = fault.data(i, x, y, ids)
        if run is not None:
            keep = run.watch.filter(ids)
            x, y, ids = (x, y, ids) if keep.all() else (x[keep], y[keep], ids[keep])
        losses = task.sample_losses(x, y)
        loss = losses.mean()
        task.optimizer.zero_grad()
        loss.backward()
        if fault.gradients is not None:
            fault.gradients(i)
        scheduled = [group["lr"] for group in task.optimizer.param_groups]
        for group in task.optimizer.param_groups:
            group["lr"] *= fault.rate(i)
        task.optimizer.step()
        for group, rate in zip(task.optimizer.param_groups, scheduled, strict=True):
            group["lr"] = rate
        task.scheduler.step()
        if fault.state is not None:
            fault.state(i)
        if run is not None:
            run.step(loss, losses=losses.detach(), sample_ids=ids)
    outcome = Outcome(task.evaluate(), weights=[p.detach().clone() for p in task.model.parameters()])
    if run is not None:
        for report in run.done:
            outcome.actions.append(report.kind + ("" if report.ok else "-"))
        outcome.lines = run.lines
        outcome.steps_lost = sum(run.lost)
        run.close()
    return outcome
