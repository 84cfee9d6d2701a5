"""A real training run under AUTO, and what its recommendations came to: for the tests of the closed loop and for bench/auto."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import argus
from argus._actions import ActionResult, Report


class Run:
    """One model in training under `argus.watch(mode="auto")`. `step` after each optimizer step.

    Attributes:
        losses: As given to `step`.
        pressures: As `step` returned them.
        done: What was carried out, in order.
        lost: Steps each rollback took back.
        lines: What AUTO said.
        paused: The `TrainingPaused` that left `watch.step`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        scheduler: Any = None,
        checkpoints: bool = True,
        on_pause: Any = None,
        total_steps: int = 0,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="argus-loop-")
        root = Path(self._folder.name)
        self.home = root / "home"
        self.watch = argus.watch(
            model,
            optimizer,
            scheduler=scheduler,
            mode="auto",
            home=self.home,
            run_id="loop",
            checkpoint_dir=root / "ring" if checkpoints else None,
            on_pause=on_pause,
            total_steps=total_steps,
            quiet=True,
        )
        assert self.watch._parts is not None and self.watch._parts.actions is not None
        self.actions = self.watch._parts.actions
        self._carry_out = self.actions.carry_out
        self.actions.carry_out = self._note  # type: ignore[method-assign]
        self.lines: list[str] = []
        self.actions._audit = self.lines.append
        self.losses: list[float] = []
        self.pressures: list[int] = []
        self.done: list[Report] = []
        self.lost: list[int] = []
        self.paused: argus.TrainingPaused | None = None

    def _note(self, plan: Any, decision: Any, step: int) -> ActionResult:
        result = self._carry_out(plan, decision, step)
        self.done.extend(result.reports)
        if result.restored_step is not None:
            self.lost.append(step - result.restored_step)
        return result

    def step(self, loss: Tensor, **given: Any) -> None:
        """One step; a checkpoint it asked for is on disk before the next, so that a test does not depend on the disk's speed."""
        self.losses.append(float(loss.detach()))
        try:
            self.pressures.append(self.watch.step(loss, **given))
        except argus.TrainingPaused as paused:
            self.paused = paused
        if self.watch.checkpoints is not None and self.watch.decision.checkpoint_signal != "NONE":
            self.watch.checkpoints.wait(60.0)

    def close(self) -> None:
        """Ends the run and removes what it kept."""
        self.watch.complete(wait_s=60.0)
        self._folder.cleanup()


class Record:
    """What the home has of a run that ended.

    Attributes:
        run: The run as it ended.
        transitions: (recommendation id, kind, state), each time one of them changed.
        applied: What the client did about them: (id, kind, ok, detail).
    """

    def __init__(self, run: Run, program: Callable[..., Any]) -> None:
        self.run = run
        run.watch.complete(wait_s=60.0)
        done = program("runs", "show", "loop", "--json", "--home", run.home)
        assert done.returncode == 0, done.stderr
        events = json.loads(done.stdout)["events"]
        self.transitions = [(e["id"], e["recommended"], e["state"]) for e in events if e["kind"] == "recommendation"]
        self.applied = [
            (e["id"], e["applied"], e["ok"], e.get("detail", "")) for e in events if e["kind"] == "applied" and e["id"]
        ]

    def states(self, kind: str) -> list[str]:
        """The states recommendations of a kind went through, in order."""
        return [state for _, k, state in self.transitions if k == kind]


class Task:
    """A student fits a noisy teacher: batches by step number alone, and a loss with a floor it cannot get below."""

    def __init__(self, seed: int = 0, *, width: int = 32, batch: int = 64) -> None:
        torch.manual_seed(seed)
        self.seed, self.batch_size = seed, batch
        self.teacher = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
        self.model = nn.Sequential(
            nn.Linear(16, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 4)
        )

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        g = torch.Generator().manual_seed(self.seed * 100_003 + step)
        x = torch.randn(self.batch_size, 16, generator=g)
        with torch.no_grad():
            y = self.teacher(x) + 0.3 * torch.randn(self.batch_size, 4, generator=g)
        return x, y

    def loss(self, step: int) -> Tensor:
        x, y = self.batch(step)
        return nn.functional.mse_loss(self.model(x), y)


Accident = Callable[[int, "Task", Any], None]


def train(
    task: Task,
    run: Run,
    optimizer: Any,
    steps: Sequence[int] | range,
    *,
    before: Accident | None = None,
    after: Accident | None = None,
    scheduler: Any = None,
) -> None:
    """`before` runs ahead of the optimizer step (gradients are there), `after` behind it; both get the count of real steps."""
    for i in steps:
        loss = task.loss(i)
        optimizer.zero_grad()
        loss.backward()
        if before is not None:
            before(i, task, optimizer)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        if after is not None:
            after(i, task, optimizer)
        run.step(loss)
