"""A loop of one's own on Accelerate, watched, in real trainings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate")

import torch  # noqa: E402
from accelerate import Accelerator  # noqa: E402
from accelerate.state import AcceleratorState  # noqa: E402
from accidents import (
    BATCH,
    ONSET,
    STEPS,
    Changes,
    Copies,
    corrupt,
    done,
    ending,
    flat,
    moments,
    net,
    points,
    raise_rate,
)  # noqa: E402
from torch.nn import functional  # noqa: E402

import argus  # noqa: E402
from argus.integrations.accelerate import watch  # noqa: E402


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate keeps one state a process: the next test, of whichever file, may ask for another precision."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


class Loop:
    """Two epochs of training with Accelerate, watched or not."""

    def __init__(
        self, accident: str = "", *, watched: bool = True, accumulation: int = 1, clip: float | None = None,
        steps: int = STEPS, precision: str = "no", **options: Any,
    ) -> None:  # fmt: skip
        self.accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulation, mixed_precision=precision)
        self.changes = Changes()
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.scheduled: list[float] = []
        model = net()
        data = torch.utils.data.TensorDataset(*points(steps * BATCH * accumulation // 2))
        loader = torch.utils.data.DataLoader(
            data, BATCH, shuffle=True, generator=torch.Generator().manual_seed(11), drop_last=True
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 200))
        self.model, self.optimizer, self.loader, self.schedule = self.accelerator.prepare(
            model, optimizer, loader, schedule
        )
        self.accident, self.clip = accident, clip
        self.copies = Copies(lambda: [*self.model.parameters(), *moments(self.optimizer)])
        options = {"quiet": True, "on_change": self.changes} | options
        self.watched = watch(self.accelerator, self.model, self.optimizer, **options) if watched else None

    def run(self) -> Loop:
        step = 0
        for _ in range(2):
            for x, y in self.loader:
                with self.accelerator.accumulate(self.model):
                    self.hurt(step)
                    loss = functional.cross_entropy(self.model(x), y)
                    self.losses.append(loss.item())
                    self.accelerator.backward(loss)
                    if self.accelerator.sync_gradients:
                        self.norms.append(float(flat(p.grad for p in self.model.parameters()).norm()))
                        self.scheduled.append(self.optimizer.param_groups[0]["lr"])
                        if self.clip is not None:
                            self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
                        if self.accident == "rate":
                            raise_rate(self.optimizer, step)
                    self.optimizer.step()
                    self.schedule.step()
                    self.optimizer.zero_grad()
                    self.copies.before()
                    if self.watched is not None:
                        self.watched.step(loss)
                    self.copies.after()
                    step += self.accelerator.sync_gradients
        if self.watched is not None:
            self.watched.close()
        return self

    def hurt(self, step: int) -> None:
        if step == ONSET and self.accident == "weights":
            corrupt(self.model.parameters())
        if step == ONSET and self.accident == "nan":
            with torch.no_grad():
                next(iter(self.model.parameters()))[0, 0] = math.nan

    @property
    def history(self) -> argus.History:
        assert self.watched is not None
        assert self.watched.watch is not None
        return self.watched.watch.history


@pytest.mark.parametrize("accident", ["rate", "weights"])
def test_an_accident_is_told_and_its_absence_is_not(accident: str) -> None:
    healthy, hurt = Loop().run(), Loop(accident).run()
    assert healthy.changes.peak() < 2 <= hurt.changes.peak()
    assert ONSET <= hurt.changes.first_alarm() < ONSET + 10
    for loop in (healthy, hurt):
        assert loop.watched is not None
        assert (loop.watched.errors, len(loop.history)) == (0, STEPS)


def test_in_manual_mode_training_is_the_same_bit_for_bit() -> None:
    alone, watched = Loop("rate", watched=False).run(), Loop("rate").run()
    assert torch.equal(flat(alone.model.parameters()), flat(watched.model.parameters()))
    assert alone.losses == watched.losses


@pytest.mark.parametrize("accumulation", [1, 4])
def test_loss_and_norm_are_the_step_s_own_and_before_clipping(accumulation: int) -> None:
    loop = Loop(accumulation=accumulation, clip=0.05, steps=12).run()
    groups = [loop.losses[i : i + accumulation] for i in range(0, 12 * accumulation, accumulation)]
    assert loop.history["step"].tolist() == list(range(12))
    assert loop.history["loss"].tolist() == pytest.approx([sum(g) / len(g) for g in groups], rel=1e-5)
    assert loop.history["grad_norm"].tolist() == pytest.approx(loop.norms, rel=1e-5)
    assert loop.history["lr"].tolist() == pytest.approx(loop.scheduled)
    assert loop.watched is not None
    assert loop.watched.watch is not None
    assert loop.watched.watch.norm_source == "before_clipping"


def test_without_clipping_the_norm_is_measured() -> None:
    loop = Loop(steps=6).run()
    assert loop.history["grad_norm"].tolist() == pytest.approx(loop.norms, rel=1e-5)


def test_bfloat16_is_watched() -> None:
    loop = Loop(steps=6, precision="bf16").run()
    assert loop.history["loss"].tolist() == pytest.approx(loop.losses, rel=1e-2)
    assert loop.watched is not None
    assert loop.watched.errors == 0


def test_the_accelerator_is_left_as_it_was() -> None:
    loop = Loop(steps=4).run()
    assert "clip_grad_norm_" not in vars(loop.accelerator)
    assert loop.watched is not None
    assert loop.watched.watch is not None
    assert ending(loop.watched.watch) == ("COMPLETED", "")


def test_an_exception_ends_the_watch_and_goes_on() -> None:
    loop = Loop(steps=4)
    assert loop.watched is not None
    with pytest.raises(RuntimeError, match="the loader broke"), loop.watched as watched:
        watched.step(1.0)
        raise RuntimeError("the loader broke")
    assert loop.watched.watch is not None
    assert ending(loop.watched.watch) == ("FAILED", "RuntimeError: the loader broke")
    assert "clip_grad_norm_" not in vars(loop.accelerator)


def test_a_process_that_is_not_the_main_one_does_not_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    loop = Loop(steps=4).run()
    assert loop.watched is not None
    assert (loop.watched.watch, loop.watched.pressure, loop.watched.errors) == (None, 0, 0)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(argus.UsageError, match="pressure_max"):
        Loop(steps=4, pressure_max=2)


class TestAuto:
    def test_the_rate_in_force_is_lowered_and_the_schedule_keeps_its_own(self) -> None:
        loop = Loop("rate", mode="auto").run()
        in_force = loop.history["lr"].tolist()
        after = slice(ONSET + 8, ONSET + 30)
        assert any(b < 0.9 * a for a, b in zip(loop.scheduled[after], in_force[after]))
        assert in_force[:ONSET] == pytest.approx(loop.scheduled[:ONSET])
        assert loop.scheduled == pytest.approx([3e-3 / (1 + step / 200) for step in range(STEPS)])

    def test_a_damaged_training_is_brought_back_bit_for_bit_and_keeps_its_schedule(self, tmp_path: Path) -> None:
        loop = Loop("nan", mode="auto", checkpoint_dir=tmp_path / "ring")
        assert loop.watched is not None
        assert loop.watched.watch is not None
        loop.copies.settle = lambda: loop.watched.watch.checkpoints.wait(60)
        loop.run()
        [(at, origin)] = loop.copies.restored
        assert "ROLLBACK" in done(loop.watched.watch)
        assert ONSET < at <= ONSET + 10
        assert 0 < origin <= ONSET
        assert all(math.isfinite(x) for x in loop.history["loss"].tolist()[-20:])
        assert loop.scheduled == pytest.approx([3e-3 / (1 + step / 200) for step in range(STEPS)])
