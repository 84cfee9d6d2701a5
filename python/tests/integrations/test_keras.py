"""The callback for Keras 3 on torch, in real trainings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("keras")

import keras  # noqa: E402
import torch  # noqa: E402
from accidents import BATCH, ONSET, STEPS, Changes, Copies, corrupt, done, ending, points  # noqa: E402

import argus  # noqa: E402
from argus.integrations.keras import ArgusCallback  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend than torch")


def network(optimizer: Any = None, dtype: str = "float32", **settings: Any) -> Any:
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(32, activation="tanh", dtype=dtype),
            keras.layers.Dense(32, activation="tanh", dtype=dtype),
            keras.layers.Dense(4, dtype=dtype),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(3e-3), loss, **settings)
    return model


def weights(model: Any) -> Any:
    return torch.cat([v.value.detach().reshape(-1) for v in model.trainable_variables]).clone()


class Record(keras.callbacks.Callback):
    """The loss and gradient norm of each batch, taken apart from the integration."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.gradients: list[Any] = []
        self.rates: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        model = self.model
        original = model.compute_loss

        def compute_loss(*args: Any, **kwargs: Any) -> Any:
            loss = original(*args, **kwargs)
            if kwargs.get("training", True):
                self.losses.append(loss.item())
            return loss

        model.__dict__["compute_loss"] = compute_loss

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.gradients.append(torch.cat([v.value.grad.reshape(-1) for v in self.model.trainable_variables]).clone())


class Accident(keras.callbacks.Callback):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.batches = kind, 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        step, self.batches = self.batches, self.batches + 1
        if self.kind == "rate" and step in (ONSET, ONSET + 5):
            self.model.optimizer.learning_rate = 3e-3 * (50 if step == ONSET else 1)
        if self.kind == "weights" and step == ONSET:
            corrupt([v.value for v in self.model.trainable_variables])
        if self.kind == "nan" and step == ONSET:
            with torch.no_grad():
                self.model.trainable_variables[0].value[0, 0] = math.nan
        if self.kind == "raise" and step == 3:
            raise RuntimeError("the loader broke")


def fit(model: Any, callbacks: list[Any], steps: int = STEPS, **settings: Any) -> None:
    x, y = points(steps * BATCH // 2)
    keras.utils.set_random_seed(3)
    settings = {"epochs": 2, "batch_size": BATCH, "verbose": 0} | settings
    model.fit(x.numpy(), y.numpy(), callbacks=callbacks, **settings)


@pytest.mark.parametrize("accident", ["rate", "weights"])
def test_an_accident_is_told_and_its_absence_is_not(accident: str) -> None:
    peaks = {}
    for name in ("", accident):
        changes = Changes()
        callback = ArgusCallback(quiet=True, on_change=changes)
        fit(network(), [callback, Accident(name)])
        peaks[name] = changes.peak()
        assert (callback.errors, callback.watch.errors, len(callback.watch.history)) == (0, 0, STEPS)
    assert peaks[""] < 2 <= peaks[accident]
    assert ONSET < changes.first_alarm() <= ONSET + 10


def test_in_manual_mode_training_is_the_same_bit_for_bit() -> None:
    runs = []
    for callbacks in ([], [ArgusCallback(quiet=True)]):
        model, record = network(), Record()
        fit(model, [record, *callbacks, Accident("rate")])
        runs.append((weights(model), record.losses, torch.get_rng_state()))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert torch.equal(runs[0][2], runs[1][2])


def test_the_loss_is_the_step_s_own_and_not_the_mean_of_the_epoch() -> None:
    callback, record = ArgusCallback(quiet=True), Record()
    fit(network(), [record, callback], 12)
    history = callback.watch.history
    assert history["step"].tolist() == list(range(1, 13))
    assert history["loss"].tolist() == pytest.approx(record.losses, rel=1e-6)
    assert history["grad_norm"].tolist() == pytest.approx([float(g.norm()) for g in record.gradients], rel=1e-5)
    assert min(history["update_norm"].tolist()) > 0
    assert history["lr"].tolist() == pytest.approx([3e-3] * 12)


def test_the_norm_is_the_one_before_clipping() -> None:
    callback, record = ArgusCallback(quiet=True), Record()
    fit(network(keras.optimizers.SGD(0.1, global_clipnorm=0.05)), [record, callback], 8)
    norms = callback.watch.history["grad_norm"].tolist()
    assert norms == pytest.approx([float(g.norm()) for g in record.gradients], rel=1e-5)
    assert min(norms) > 0.05
    assert callback.watch.history["update_norm"].tolist() == pytest.approx([0.005] * 8, rel=1e-3)


def test_with_accumulation_a_step_is_an_optimizer_step() -> None:
    callback, record = ArgusCallback(quiet=True), Record()
    fit(network(keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)), [record, callback], 24)
    history = callback.watch.history
    groups = [slice(i, i + 4) for i in range(0, 24, 4)]
    assert history["step"].tolist() == list(range(1, 7))
    assert history["loss"].tolist() == pytest.approx([sum(record.losses[g]) / 4 for g in groups], rel=1e-5)
    norms = [float(torch.stack(record.gradients[g]).mean(0).norm()) for g in groups]
    assert history["grad_norm"].tolist() == pytest.approx(norms, rel=1e-5)


def test_a_loss_scale_is_taken_out_of_the_norm() -> None:
    callback, record = ArgusCallback(quiet=True), Record()
    fit(network(keras.optimizers.SGD(0.1, loss_scale_factor=256.0)), [record, callback], 8)
    norms = [float(g.norm()) / 256 for g in record.gradients]
    assert callback.watch.history["grad_norm"].tolist() == pytest.approx(norms, rel=1e-5)


def test_a_step_skipped_by_the_dynamic_loss_scale_is_marked() -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(3e-3), initial_scale=2.0**24)
    callback = ArgusCallback(quiet=True)
    fit(network(optimizer, "mixed_float16"), [callback], 60)
    history = callback.watch.history
    skipped = history["step_skipped"].tolist()
    assert len(history) == 60
    assert 0 < sum(skipped) < 20
    assert not skipped[-1]
    scales = history["loss_scale"].tolist()
    assert scales[0] == 2.0**23
    assert scales[-1] == 2.0 ** (24 - sum(skipped))
    assert all(0 < norm < 50 for norm, s in zip(history["grad_norm"].tolist(), skipped) if not s)


def test_a_schedule_s_rate_is_read_before_each_step() -> None:
    callback = ArgusCallback(quiet=True)
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, 1, 0.5)
    fit(network(keras.optimizers.SGD(schedule)), [callback], 4)
    assert callback.watch.history["lr"].tolist() == pytest.approx([0.1 / (1 + 0.5 * i) for i in range(4)], rel=1e-5)


def test_validation_is_not_counted_and_its_loss_is_taken() -> None:
    callback = ArgusCallback(quiet=True)
    x, y = points(32, 8)
    fit(network(), [callback], 20, validation_data=(x.numpy(), y.numpy()))
    history = callback.watch.history
    assert len(history) == 20
    seen = [step for step, loss in zip(history["step"].tolist(), history["val_loss"].tolist()) if math.isfinite(loss)]
    assert seen == [11]


def test_a_second_fit_goes_on_with_the_step_numbers_and_the_model_is_left_as_it_was() -> None:
    callback, model = ArgusCallback(quiet=True), network()
    fit(model, [callback], 4)
    fit(model, [callback], 4)
    assert callback.watch.history["step"].tolist() == [5, 6, 7, 8]
    assert "compute_loss" not in model.__dict__
    assert "apply" not in model.optimizer.__dict__
    assert ending(callback.watch) == ("COMPLETED", "")


def test_an_exception_ends_the_watch_and_goes_on() -> None:
    model = network()
    with pytest.raises(RuntimeError, match="the loader broke"), ArgusCallback(quiet=True) as callback:
        fit(model, [callback, Accident("raise")])
    assert ending(callback.watch) == ("FAILED", "RuntimeError: the loader broke")
    assert len(callback.watch.history) == 3
    assert "apply" not in model.optimizer.__dict__


def test_an_exception_in_the_training_step_is_seen_without_a_with_statement() -> None:
    callback, model = ArgusCallback(quiet=True), network()

    original, calls = model.optimizer.scale_loss, []

    def broken(loss: Any) -> Any:
        calls.append(loss)
        if len(calls) > 3:
            raise RuntimeError("out of memory")
        return original(loss)

    model.optimizer.__dict__["scale_loss"] = broken
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(model, [callback])
    assert ending(callback.watch) == ("FAILED", "RuntimeError: out of memory")
    assert len(callback.watch.history) == 3
    assert "apply" not in model.optimizer.__dict__


def test_a_failure_inside_the_callback_does_not_reach_the_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(self: Any, *args: Any, **kwargs: Any) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(argus.Watch, "step", failing)
    callback, model = ArgusCallback(quiet=True), network()
    fit(model, [callback], 6)
    assert int(model.optimizer.iterations.value) == 6
    assert callback.errors == 6
    assert len([line for line in capsys.readouterr().err.splitlines() if "broken" in line]) == 1


class Before(keras.callbacks.Callback):
    def __init__(self, copies: Copies) -> None:
        super().__init__()
        self.copies = copies

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.copies.before()


class After(Before):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.copies.after()


class TestAuto:
    def test_the_rate_in_force_is_lowered_and_the_optimizer_keeps_its_own(self) -> None:
        callback, model = ArgusCallback(quiet=True, mode="auto"), network()
        fit(model, [callback, Accident("rate")])
        in_force = callback.watch.history["lr"].tolist()
        assert any(rate < 0.9 * 3e-3 for rate in in_force[ONSET + 8 : ONSET + 30])
        assert in_force[:ONSET] == pytest.approx([3e-3] * ONSET)
        assert float(model.optimizer.learning_rate.value) == pytest.approx(3e-3)

    def test_a_damaged_training_is_brought_back_bit_for_bit(self, tmp_path: Path) -> None:
        model = network()
        rate = model.optimizer.learning_rate
        copies = Copies(
            lambda: [v.value for v in [*model.trainable_variables, *model.optimizer.variables] if v is not rate]
        )
        callback = ArgusCallback(quiet=True, mode="auto", checkpoint_dir=tmp_path / "ring")
        copies.settle = lambda: callback.watch.checkpoints.wait(60)
        fit(model, [Before(copies), callback, After(copies), Accident("nan")])
        [(at, origin)] = copies.restored
        assert "ROLLBACK" in done(callback.watch)
        assert ONSET < at <= ONSET + 10
        assert 0 < origin <= ONSET
        assert all(math.isfinite(x) for x in callback.watch.history["loss"].tolist()[-20:])
