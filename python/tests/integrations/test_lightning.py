"""The callback for Lightning's Trainer, under both of its names, in real trainings."""

from __future__ import annotations

import importlib
import math
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning", reason="lightning is not installed")

import lightning.pytorch as pl  # noqa: E402
import torch  # noqa: E402
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
from argus.integrations.lightning import ArgusCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def module_of(package: Any, accident: str = "", *, manual: bool = False) -> Any:
    class Module(package.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.automatic_optimization = not manual
            self.losses: list[float] = []
            self.norms: list[float] = []

        def loss_of(self, batch: Any) -> Any:
            return functional.cross_entropy(self.net(batch[0]), batch[1])

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss_of(batch)
            self.losses.append(loss.item())
            if manual:
                optimizer = self.optimizers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.loss_of(batch))

        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if accident in ("weights", "nan") and self.global_step == ONSET and batch_idx >= 0:
                if accident == "weights":
                    corrupt(self.parameters())
                else:
                    with torch.no_grad():
                        self.net[0].weight[0, 0] = math.nan
            if accident == "raise" and self.global_step == 3:
                raise RuntimeError("the loader broke")
            if accident == "interrupt" and self.global_step == 3:
                raise KeyboardInterrupt

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            self.norms.append(float(flat(p.grad for p in self.parameters()).norm()))
            if accident == "rate":
                raise_rate(optimizer, self.global_step)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / 200))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return Module()


def fit(module: Any, callbacks: list[Any], package: Any = pl, **settings: Any) -> Any:
    settings = {"max_epochs": 2, "limit_val_batches": 0} | settings
    data = torch.utils.data.TensorDataset(*points())
    held = torch.utils.data.TensorDataset(*points(32, 8))
    generator = torch.Generator().manual_seed(11)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = package.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=callbacks,
            **settings,
        )
        trainer.fit(
            module,
            torch.utils.data.DataLoader(data, BATCH, shuffle=True, generator=generator),
            torch.utils.data.DataLoader(held, 16),
        )
    return trainer


@pytest.mark.parametrize("accident", ["rate", "weights"])
def test_an_accident_is_told_and_its_absence_is_not(accident: str) -> None:
    peaks = {}
    for name in ("", accident):
        changes = Changes()
        callback = ArgusCallback(quiet=True, on_change=changes)
        fit(module_of(pl, name), [callback])
        peaks[name] = changes.peak()
        assert (callback.errors, callback.watch.errors, len(callback.watch.history)) == (0, 0, STEPS)
    assert peaks[""] < 2 <= peaks[accident]
    assert ending(callback.watch) == ("COMPLETED", "")
    assert ONSET < changes.first_alarm() <= ONSET + 10


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_it_works_under_both_names_of_the_package(package: str) -> None:
    pytest.importorskip(package)
    named = importlib.import_module(package)
    callback = ArgusCallback(quiet=True)
    fit(module_of(named), [callback], named, max_steps=6)
    assert len(callback.watch.history) == 6


def test_in_manual_mode_training_is_the_same_bit_for_bit() -> None:
    runs = []
    for callbacks in ([], [ArgusCallback(quiet=True)]):
        module = module_of(pl, "rate")
        torch.manual_seed(4)
        fit(module, list(callbacks))
        runs.append((flat(module.parameters()), module.losses, torch.get_rng_state()))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert torch.equal(runs[0][2], runs[1][2])


@pytest.mark.parametrize("accumulation", [1, 3])
def test_loss_and_norm_are_the_step_s_own_and_before_clipping(accumulation: int) -> None:
    callback = ArgusCallback(quiet=True)
    module = module_of(pl)
    fit(module, [callback], accumulate_grad_batches=accumulation, gradient_clip_val=0.05, max_steps=9)
    history = callback.watch.history
    groups = [module.losses[i : i + accumulation] for i in range(0, 9 * accumulation, accumulation)]
    assert history["step"].tolist() == list(range(1, 10))
    assert history["loss"].tolist() == pytest.approx([sum(g) / len(g) for g in groups], rel=1e-5)
    assert history["grad_norm"].tolist() == pytest.approx(module.norms, rel=1e-5)
    assert min(history["grad_norm"].tolist()) > 0.05
    assert callback.watch.norm_source == "before_clipping"
    assert history["lr"].tolist()[:2] == pytest.approx([3e-3, 3e-3 / (1 + 1 / 200)])


def test_without_clipping_the_norm_is_measured() -> None:
    callback = ArgusCallback(quiet=True)
    module = module_of(pl)
    fit(module, [callback], max_steps=5)
    assert callback.watch.history["grad_norm"].tolist() == pytest.approx(module.norms, rel=1e-5)
    assert callback.watch.norm_source == "measured"


def test_manual_optimization_is_watched() -> None:
    callback = ArgusCallback(quiet=True)
    module = module_of(pl, manual=True)
    fit(module, [callback], max_steps=5)
    history = callback.watch.history
    assert history["loss"].tolist() == pytest.approx(module.losses, rel=1e-6)
    assert history["grad_norm"].tolist() == pytest.approx(module.norms, rel=1e-5)


def test_validation_is_not_counted_and_its_loss_is_taken() -> None:
    callback = ArgusCallback(quiet=True)
    trainer = fit(
        module_of(pl), [callback], max_steps=20, val_check_interval=8, limit_val_batches=2, num_sanity_val_steps=2
    )
    history = callback.watch.history
    assert len(history) == 20
    seen = [step for step, loss in zip(history["step"].tolist(), history["val_loss"].tolist()) if math.isfinite(loss)]
    assert seen == [9, 17]
    assert math.isfinite(float(trainer.callback_metrics["val_loss"]))


def test_bfloat16_and_frozen_weights() -> None:
    module = module_of(pl)
    for p in module.net[0].parameters():
        p.requires_grad_(False)
    module.on_before_optimizer_step = lambda optimizer: None
    callback = ArgusCallback(quiet=True)
    fit(module, [callback], max_steps=6, precision="bf16-mixed")
    trained = flat(p for p in module.parameters() if p.requires_grad)
    assert callback.watch.history["weights_l2"].tolist()[-1] == pytest.approx(float(trained.norm()), rel=1e-4)
    assert (callback.errors, callback.watch.errors) == (0, 0)


def test_a_resumed_training_goes_on_with_its_step_numbers(tmp_path: Path) -> None:
    first = fit(module_of(pl), [ArgusCallback(quiet=True)], max_steps=10)
    first.save_checkpoint(tmp_path / "ten.ckpt")
    callback = ArgusCallback(quiet=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
        max_steps=16,
    )
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*points()), BATCH)
    trainer.fit(module_of(pl), data, ckpt_path=tmp_path / "ten.ckpt", weights_only=False)
    assert callback.watch.history["step"].tolist() == list(range(11, 17))


@pytest.mark.parametrize(
    ("accident", "left_by", "recorded"),
    [
        ("raise", RuntimeError, ("FAILED", "RuntimeError: the loader broke")),
        ("interrupt", (KeyboardInterrupt, SystemExit), ("STOPPED", "KeyboardInterrupt")),
    ],
)
def test_a_training_left_by_an_exception_is_recorded_so_and_the_exception_goes_on(
    accident: str, left_by: Any, recorded: tuple[str, str]
) -> None:
    callback = ArgusCallback(quiet=True)
    with pytest.raises(left_by):
        fit(module_of(pl, accident), [callback])
    assert not callback.watch.watching
    assert ending(callback.watch) == recorded
    assert len(callback.watch.history) == 3


def test_a_failure_inside_the_callback_does_not_reach_the_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(argus.Watch, "step", broken)
    callback = ArgusCallback(quiet=True)
    assert fit(module_of(pl), [callback], max_steps=5).global_step == 5
    assert callback.errors == 5
    assert len([line for line in capsys.readouterr().err.splitlines() if "broken" in line]) == 1


class Before(pl.Callback):
    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def on_train_batch_end(self, *args: Any) -> None:
        self.copies.before()


class After(Before):
    def on_train_batch_end(self, *args: Any) -> None:
        self.copies.after()


class TestAuto:
    def test_the_rate_in_force_is_lowered_and_the_schedule_keeps_its_own(self) -> None:
        callback = ArgusCallback(quiet=True, mode="auto")
        fit(module_of(pl, "rate"), [callback])
        in_force = callback.watch.history["lr"].tolist()
        scheduled = [3e-3 / (1 + step / 200) for step in range(STEPS)]
        after = slice(ONSET + 8, ONSET + 30)
        assert any(b < 0.9 * a for a, b in zip(scheduled[after], in_force[after]))
        assert in_force[:ONSET] == pytest.approx(scheduled[:ONSET])

    def test_a_damaged_training_is_brought_back_bit_for_bit_and_keeps_its_schedule(self, tmp_path: Path) -> None:
        module = module_of(pl, "nan")
        copies = Copies(lambda: [*module.parameters(), *moments(module.optimizers().optimizer)])
        callback = ArgusCallback(quiet=True, mode="auto", checkpoint_dir=tmp_path / "ring")
        copies.settle = lambda: callback.watch.checkpoints.wait(60)
        trainer = fit(module, [Before(copies), callback, After(copies)])
        [(at, origin)] = copies.restored
        assert "ROLLBACK" in done(callback.watch)
        assert ONSET < at <= ONSET + 10
        assert 0 < origin <= ONSET
        assert trainer.global_step == STEPS
        assert all(math.isfinite(x) for x in callback.watch.history["loss"].tolist()[-20:])
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(3e-3 / (1 + STEPS / 200))
