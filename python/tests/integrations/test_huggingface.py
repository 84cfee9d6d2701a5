"""The callback for transformers.Trainer, in real trainings of a small GPT-2 made here."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import torch  # noqa: E402
from accidents import BATCH, ONSET, STEPS, Changes, Copies, corrupt, done, ending, flat, moments, raise_rate  # noqa: E402
from transformers import (  # noqa: E402
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import argus  # noqa: E402
from argus.integrations import huggingface  # noqa: E402
from argus.integrations.huggingface import ArgusCallback  # noqa: E402


class Text(torch.utils.data.Dataset[Any]):
    """Sequences in which three words may follow each: two epochs are `STEPS` steps."""

    def __init__(self, count: int = STEPS * BATCH // 2, seed: int = 7) -> None:
        followers = torch.randint(0, 32, (32, 3), generator=torch.Generator().manual_seed(5))
        generator = torch.Generator().manual_seed(seed)
        words = [torch.randint(0, 32, (count,), generator=generator)]
        for _ in range(15):
            words.append(followers[words[-1], torch.randint(0, 3, (count,), generator=generator)])
        self.rows = torch.stack(words, 1)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.rows[index], "labels": self.rows[index]}


def gpt2() -> Any:
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=32, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(shape)


class Rate(TrainerCallback):
    """The learning rate is fifty times too high for some steps."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise_rate(kwargs["optimizer"], state.global_step)


class Weights(TrainerCallback):
    """The weights are damaged once."""

    def __init__(self, value: float | None = None) -> None:
        self.value = value

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == ONSET:
            model = kwargs["model"]
            if self.value is None:
                corrupt(model.parameters())
            else:
                with torch.no_grad():
                    model.lm_head.weight[0, 0] = self.value


class Before(TrainerCallback):
    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.copies.before()


class After(Before):
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.copies.after()


def trainer(folder: Path, callbacks: list[Any], model: Any = None, **settings: Any) -> Trainer:
    settings = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 3e-3,
        "save_strategy": "no",
        "logging_strategy": "steps",
        "logging_steps": 1,
    } | settings
    evaluated = Text(40, 8) if "eval_strategy" in settings else None
    arguments = TrainingArguments(
        output_dir=str(folder), report_to=[], disable_tqdm=True, use_cpu=True, seed=3, **settings
    )
    return Trainer(
        model=model or gpt2(), args=arguments, train_dataset=Text(), eval_dataset=evaluated, callbacks=callbacks
    )


def logged(of: Trainer, name: str) -> list[float]:
    return [entry[name] for entry in of.state.log_history if name in entry]


class Finished:
    """A whole training and what was said of it."""

    def __init__(self, folder: Path, accidents: list[Any], watched: bool = True) -> None:
        self.changes = Changes()
        self.callback = ArgusCallback(quiet=True, on_change=self.changes)
        self.trainer = trainer(folder, [*([self.callback] if watched else []), *accidents])
        self.trainer.train()
        self.random = torch.get_rng_state()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("healthy"), [])


@pytest.fixture(scope="module")
def too_fast(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("rate"), [Rate()])


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("weights"), [Weights()])


@pytest.mark.parametrize("accident", ["too_fast", "damaged"])
def test_an_accident_is_told_and_its_absence_is_not(
    healthy: Finished, accident: str, request: pytest.FixtureRequest
) -> None:
    hurt: Finished = request.getfixturevalue(accident)
    for run in (healthy, hurt):
        assert (run.callback.errors, run.callback.watch.errors, len(run.callback.watch.history)) == (0, 0, STEPS)
    assert healthy.changes.peak() < 2 <= hurt.changes.peak()
    assert ONSET < hurt.changes.first_alarm() <= ONSET + 10


def test_in_manual_mode_training_is_the_same_bit_for_bit(tmp_path: Path, too_fast: Finished) -> None:
    alone = Finished(tmp_path, [Rate()], watched=False)
    assert torch.equal(flat(alone.trainer.model.parameters()), flat(too_fast.trainer.model.parameters()))
    assert logged(alone.trainer, "loss") == logged(too_fast.trainer, "loss")
    assert torch.equal(alone.random, too_fast.random)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_loss_and_norm_are_the_step_s_own_and_before_clipping(tmp_path: Path, accumulation: int) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(
        tmp_path, [callback], gradient_accumulation_steps=accumulation, max_steps=12, max_grad_norm=0.1, warmup_steps=4
    )
    run.train()
    history = callback.watch.history
    assert history["step"].tolist() == list(range(1, 13))
    assert history["loss"].tolist() == pytest.approx(logged(run, "loss"), rel=1e-5)
    assert history["grad_norm"].tolist() == pytest.approx(logged(run, "grad_norm"), rel=1e-5)
    assert min(history["grad_norm"].tolist()) > 0.1
    assert callback.watch.norm_source == "before_clipping"
    assert history["lr"].tolist()[0] == 0.0
    assert history["lr"].tolist()[4] == pytest.approx(3e-3)


def test_without_clipping_the_norm_is_still_the_gradients_own(tmp_path: Path) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [callback], max_steps=5, max_grad_norm=0.0)
    run.train()
    assert callback.watch.history["grad_norm"].tolist() == pytest.approx(logged(run, "grad_norm"), rel=1e-5)
    assert min(callback.watch.history["grad_norm"].tolist()) > 0


def test_a_loss_that_the_trainer_s_filter_hides_is_seen(tmp_path: Path) -> None:
    changes = Changes()
    callback = ArgusCallback(quiet=True, on_change=changes)
    run = trainer(tmp_path, [callback, Weights(math.nan)])
    run.train()
    assert callback.nan_filter
    assert all(math.isfinite(x) for x in logged(run, "loss"))
    assert math.isnan(callback.watch.history["loss"].tolist()[ONSET])
    assert changes.peak() == 3
    assert changes.first_alarm() == ONSET + 1


def test_that_the_filter_is_on_is_said_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface, "_is_filter_said", False)
    for _ in range(2):
        trainer(tmp_path, [ArgusCallback()], max_steps=2).train()
    assert capsys.readouterr().err.count("logging_nan_inf_filter") == 1


def test_evaluation_is_not_counted_and_its_loss_is_taken(tmp_path: Path) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [callback], max_steps=20, eval_strategy="steps", eval_steps=8)
    run.train()
    history = callback.watch.history
    assert len(history) == 20
    seen = {
        step: loss for step, loss in zip(history["step"].tolist(), history["val_loss"].tolist()) if math.isfinite(loss)
    }
    assert seen == {9: logged(run, "eval_loss")[0], 17: logged(run, "eval_loss")[1]}


def test_a_resumed_training_goes_on_with_its_step_numbers(tmp_path: Path) -> None:
    trainer(tmp_path, [ArgusCallback(quiet=True)], max_steps=20, save_strategy="steps", save_steps=10).train()
    callback = ArgusCallback(quiet=True)
    trainer(tmp_path, [callback], max_steps=20).train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert callback.watch.history["step"].tolist() == list(range(11, 21))
    assert callback.errors == 0


def test_bfloat16_and_frozen_weights(tmp_path: Path) -> None:
    model = gpt2()
    for p in model.transformer.wte.parameters():
        p.requires_grad_(False)
    callback = ArgusCallback(quiet=True)
    trainer(tmp_path, [callback], model, max_steps=6, bf16=True).train()
    trained = flat(p for p in model.parameters() if p.requires_grad)
    assert callback.watch.history["weights_l2"].tolist()[-1] == pytest.approx(float(trained.norm()), rel=1e-4)
    assert (callback.errors, callback.watch.errors) == (0, 0)


class Breaks(TrainerCallback):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 3:
            raise self.error


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (RuntimeError("the loader broke"), ("FAILED", "RuntimeError: the loader broke")),
        (KeyboardInterrupt(), ("STOPPED", "KeyboardInterrupt")),
    ],
)
def test_a_training_left_by_an_exception_is_recorded_so_and_the_exception_goes_on(
    tmp_path: Path, error: BaseException, recorded: tuple[str, str]
) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [callback, Breaks(error)])
    with pytest.raises(type(error)):
        run.train()
    assert not callback.watch.watching
    assert ending(callback.watch) == recorded
    assert "training_step" not in vars(run)
    assert "clip_grad_norm_" not in vars(run.accelerator)


def test_each_training_has_its_own_watch_and_the_trainer_is_left_as_it_was(tmp_path: Path) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [callback], max_steps=4)
    run.train()
    first = callback.watch
    run.train()
    assert callback.watch is not first
    assert ending(first) == ("COMPLETED", "")
    assert (len(first.history), len(callback.watch.history)) == (4, 4)
    assert "training_step" not in vars(run)


def test_a_callback_added_later_watches_too(tmp_path: Path) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [], max_steps=4)
    run.add_callback(callback)
    run.train()
    assert len(callback.watch.history) == 4
    assert all(math.isfinite(x) for x in callback.watch.history["loss"].tolist())


def test_a_copied_trainer_trains_itself(tmp_path: Path) -> None:
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [callback], max_steps=3)
    other = copy.deepcopy(run)
    other.train()
    assert callback.watch is None
    assert (run.state.global_step, other.state.global_step) == (0, 3)
    assert pickle.loads(pickle.dumps(callback)).watch is None


def test_a_failure_inside_the_callback_does_not_reach_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: Any, *args: Any, **kwargs: Any) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr(argus.Watch, "step", broken)
    callback = ArgusCallback(quiet=True)
    run = trainer(tmp_path, [callback], max_steps=5)
    run.train()
    assert run.state.global_step == 5
    assert callback.errors == 5
    assert len([line for line in capsys.readouterr().err.splitlines() if "broken" in line]) == 1


def test_an_unknown_option_is_refused_where_the_callback_is_made() -> None:
    with pytest.raises(argus.UsageError, match="pressure_max"):
        ArgusCallback(pressure_max=2)


class TestAuto:
    def test_the_rate_in_force_is_lowered_and_the_schedule_keeps_its_own(self, tmp_path: Path) -> None:
        callback = ArgusCallback(quiet=True, mode="auto")
        run = trainer(tmp_path, [callback, Rate()])
        run.train()
        scheduled, in_force = logged(run, "learning_rate"), callback.watch.history["lr"].tolist()
        after = slice(ONSET + 12, ONSET + 30)
        assert "REDUCE_LR" in done(callback.watch)
        assert any(b < 0.9 * a for a, b in zip(scheduled[after], in_force[after]))
        assert in_force[:ONSET] == pytest.approx(scheduled[:ONSET])

    def test_a_damaged_training_is_brought_back_bit_for_bit_and_keeps_its_schedule(self, tmp_path: Path) -> None:
        model = gpt2()
        copies = Copies(lambda: [*model.parameters(), *moments(run.optimizer)])
        callback = ArgusCallback(quiet=True, mode="auto", checkpoint_dir=tmp_path / "ring")
        copies.settle = lambda: callback.watch.checkpoints.wait(60)
        run = trainer(tmp_path, [Before(copies), callback, After(copies), Weights(math.nan)], model)
        run.train()
        [(at, origin)] = copies.restored
        assert ONSET < at <= ONSET + 10
        assert 0 < origin <= ONSET
        assert "ROLLBACK" in done(callback.watch)
        assert run.state.global_step == STEPS
        assert all(math.isfinite(x) for x in callback.watch.history["loss"].tolist()[-20:])
        # The schedule keeps to the Trainer's step, whatever came back with the optimizer.
        assert logged(run, "learning_rate")[-1] < 1e-4
