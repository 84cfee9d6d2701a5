"""A real training run under AUTO, and what its recommendations came to, for the tests of the closed loop.

`Run.transitions` is the one place the tests read outcomes from.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import argus
from argus._actions import ActionResult, Actions, Report
from argus._checkpoints import Checkpoints
from argus._lr_scale import LearningRateScale
from argus._native import Engine


class Snapshots:
    """Training states in memory, by the step they are the state after."""

    def __init__(self, *parts: Any, kept: int = 8) -> None:
        self._parts = parts
        self._kept = kept
        self._states: dict[int, Any] = {}
        self.restored: list[int] = []

    def save(self, step: int) -> None:
        self._states[step] = (copy.deepcopy([p.state_dict() for p in self._parts]), torch.get_rng_state())
        while len(self._states) > self._kept:
            del self._states[min(self._states)]

    def anchor(self, before_step: int | None = None) -> SimpleNamespace | None:
        steps = [step for step in self._states if before_step is None or step < before_step]
        return SimpleNamespace(step=max(steps)) if steps else None

    def restore(self, anchor: int) -> int:
        states, rng = self._states[anchor]
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(copy.deepcopy(state))
        torch.set_rng_state(rng)
        for step in [s for s in self._states if s > anchor]:
            del self._states[step]
        self.restored.append(anchor)
        return anchor


class _Deciding:
    """An engine in AUTO that takes the reports of what was done with the next step."""

    def __init__(self, family: str, total_steps: int) -> None:
        self._engine = Engine(family, auto=True, total_steps=total_steps)
        self._reports: list[tuple[int, str, int, bool]] = []

    def report(self, r: Report) -> None:
        if r.id:
            self._reports.append((r.id, r.kind, r.step, r.ok))

    def observe(self, *args: Any, **kwargs: Any) -> int:
        applied, self._reports = self._reports, []
        return self._engine.observe(*args, applied=applied, **kwargs)

    def decision(self) -> argus.Decision:
        return self._engine.decision()

    def reset(self, step: int) -> None:
        self._engine.reset(step)


class _NoHistory:
    def record(self, _: Any) -> None: ...


class Run:
    """One model in training under AUTO. `step` after each optimizer step.

    Attributes:
        losses: As given to `step`.
        done: What `Actions` reported, in order.
        lost: Steps each rollback took back.
        transitions: (recommendation id, kind, state) each time one of them changed.
        lines: What was said.
        paused: The `TrainingPaused` that `watch.step` would have raised.
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
        optimizers = optimizer if isinstance(optimizer, list) else [optimizer]
        self.lines: list[str] = []
        self.scale = LearningRateScale(optimizers, self._fail)
        parts = [model, *optimizers, *([scheduler] if scheduler is not None else [])]
        self.snapshots = Snapshots(*parts) if checkpoints else None
        self.actions = Actions(
            "auto",
            optimizers=optimizers,
            lr_scale=self.scale,
            checkpoints=self.snapshots,
            on_pause=on_pause,
            audit=self.lines.append,
        )
        self.watch = argus.watch(model, optimizers, quiet=True)
        self._deciding = _Deciding("other", total_steps)
        self.watch._engine = self._deciding  # type: ignore[assignment]
        self.watch._history = _NoHistory()  # type: ignore[assignment]
        self._ring: Checkpoints | None = None
        self.losses: list[float] = []
        self.pressures: list[int] = []
        self.done: list[Report] = []
        self.lost: list[int] = []
        self.transitions: list[tuple[int, str, str]] = []
        self.paused: argus.TrainingPaused | None = None

    def _fail(self, error: Exception) -> None:
        raise AssertionError("an exception inside a hook") from error

    def step(self, loss: Tensor, **given: Any) -> int:
        self.losses.append(float(loss.detach()))
        number = self.watch._next_step
        pressure = self.watch.step(loss, **given)
        self.pressures.append(pressure)
        decision = self.watch.decision
        if self._ring is not None:
            self._keep(self._ring, decision, number)
        elif decision.checkpoint_signal == "SAVE" and self.snapshots is not None:
            self.snapshots.save(number)
        named = self.watch.spike_samples if given.get("sample_ids") is not None else None
        self._note(decision)
        self._take(self.actions.act(decision, number, named))
        return pressure

    def use(self, ring: Checkpoints) -> None:
        """Keeps checkpoints there, rather than in memory."""
        self._ring = ring
        self.actions._checkpoints = ring

    def _keep(self, ring: Checkpoints, decision: argus.Decision, step: int) -> None:
        if decision.checkpoint_signal != "NONE":
            ring.stage(step, signal=decision.checkpoint_signal, slot=decision.checkpoint_slot,
                       reason=decision.checkpoint_reason, loss=self.losses[-1])  # fmt: skip
            ring.wait(60.0)
        ring.observe(step, calm=decision.harm_pressure == 0 and not decision.signals)

    def _note(self, decision: argus.Decision) -> None:
        r = decision.recommendation
        if r is None:
            return
        entry = (r.id, r.kind, r.state)
        if entry not in self.transitions[-3:]:
            self.transitions.append(entry)

    def _take(self, result: ActionResult) -> None:
        for report in result.reports:
            self.done.append(report)
            self._deciding.report(report)
        if result.restored_step is not None:
            self.lost.append(self.watch._last_step - result.restored_step)
            self.watch.reset(result.restored_step + 1)
        if result.paused is not None:
            self.paused = result.paused

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
