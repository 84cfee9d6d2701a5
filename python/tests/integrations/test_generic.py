"""The generic callback: what every integration stands on."""

from __future__ import annotations

import doctest
import importlib
import json
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest

import argus
from argus.integrations import generic
from argus.integrations.generic import ArgusCallback

MODULES = ("huggingface", "lightning", "accelerate", "keras")


def test_the_example_runs() -> None:
    result = doctest.testmod(generic)
    assert (result.attempted > 0, result.failed) == (True, 0)


def test_a_step_s_loss_is_the_mean_of_its_micro_batches() -> None:
    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    for loss in (1.0, 2.0, 6.0):
        callback.on_loss(loss)
    callback.on_step_end(step=5)
    callback.on_loss(4.0)
    callback.on_step_end(step=6, lr=0.5)
    assert callback.watch is not None
    assert callback.watch.history["loss"].tolist() == [3.0, 4.0]
    assert callback.watch.history["step"].tolist() == [5, 6]
    assert callback.watch.history["lr"].tolist()[1] == 0.5


def test_a_validation_loss_travels_with_the_next_step_only() -> None:
    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    for step in range(3):
        callback.on_step_end(1.0)
        if step == 0:
            callback.on_validation_end(7.0)
    assert callback.watch is not None
    seen = callback.watch.history["val_loss"].tolist()
    assert seen[1] == 7.0
    assert math.isnan(seen[0])
    assert math.isnan(seen[2])


def test_a_loss_that_is_not_finite_reaches_the_engine() -> None:
    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    for step in range(60):
        pressure = callback.on_step_end(2.0 + 0.01 * (step * 7 % 5))
    assert pressure == 0
    callback.on_loss(math.nan)
    callback.on_loss(2.0)
    assert callback.on_step_end() == 3


def test_before_the_beginning_and_after_the_end_nothing_is_taken_and_nothing_raises() -> None:
    callback = ArgusCallback(quiet=True)
    callback.on_loss(1.0)
    assert callback.on_step_end(1.0) == 0
    callback.on_train_end()
    callback.on_exception(RuntimeError())
    callback.on_train_begin()
    callback.on_step_end(1.0)
    callback.on_train_end()
    callback.on_step_end(2.0)
    assert callback.watch is not None
    assert len(callback.watch.history) == 1
    assert callback.errors == 0


def test_what_cannot_be_used_is_counted_and_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    for _ in range(3):
        callback.on_loss("three")
        callback.on_loss(1.0)
        callback.on_step_end(colour="red")
    assert callback.errors == 6
    assert 0 < len(capsys.readouterr().err.splitlines()) <= 2


def test_leaving_by_an_exception_ends_the_watch() -> None:
    with pytest.raises(KeyboardInterrupt), ArgusCallback(quiet=True) as callback:
        callback.on_train_begin()
        callback.on_step_end(1.0)
        raise KeyboardInterrupt
    assert callback.watch is not None
    record = json.loads(callback.watch.complete())
    assert (record["status"], record["error"]) == ("STOPPED", "KeyboardInterrupt")


def test_a_pause_that_the_user_asked_for_is_the_one_exception_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    from argus._errors import TrainingPaused

    def paused(self: Any, *args: Any, **kwargs: Any) -> int:
        raise TrainingPaused("paused")

    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    monkeypatch.setattr(argus.Watch, "step", paused)
    with pytest.raises(TrainingPaused):
        callback.on_step_end(1.0)


def test_options_are_checked_where_they_are_given() -> None:
    with pytest.raises(argus.UsageError, match="pressure_max: not an option; accepted is .*history_steps"):
        ArgusCallback(pressure_max=2)
    with pytest.raises(argus.UsageError, match="history_steps"):
        ArgusCallback(history_steps=0).on_train_begin()


def test_a_copy_starts_without_a_watch() -> None:
    callback = ArgusCallback(quiet=True, history_steps=7)
    callback.on_train_begin()
    copied = pickle.loads(pickle.dumps(callback))
    assert (copied.watch, copied.running) == (None, False)
    copied.on_train_begin()
    assert copied.watch.history.capacity == 7


def test_importing_argus_and_its_integrations_imports_no_framework() -> None:
    code = (
        "import argus, argus.integrations, argus.integrations.generic, sys; "
        "print([m for m in ('torch', 'transformers', 'lightning', 'accelerate', 'keras') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_framework_is_named_with_the_extra_that_brings_it(module: str) -> None:
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("transformers", "lightning", "pytorch_lightning", "accelerate", "keras"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
try:
    import argus.integrations.{module}
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"argus[{module}]" in done.stdout, done.stderr


def test_one_object_s_method_is_observed_and_put_back() -> None:
    class Thing:
        def double(self, x: int) -> int:
            return 2 * x

    thing, other = Thing(), Thing()
    seen: list[Any] = []
    undo = generic.observed(thing, "double", lambda result, *args: seen.append((result, args)))
    assert (thing.double(4), other.double(5)) == (8, 10)
    assert seen == [(8, (4,))]
    undo()
    assert "double" not in vars(thing)
    assert thing.double(1) == 2
    assert len(seen) == 1


def test_importlib_finds_every_module_the_package_names() -> None:
    text = importlib.import_module("argus.integrations").__doc__ or ""
    assert all(f"argus.integrations.{module}." in text for module in (*MODULES, "generic"))


def test_a_norm_before_clipping_may_be_a_number() -> None:
    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    callback.on_grad_norm(3.5)
    callback.on_step_end(1.0)
    callback.on_step_end(1.0)
    assert callback.watch is not None
    assert callback.watch.norm_source is None  # of the second step there is none
    assert callback.watch.history["grad_norm"].tolist()[0] == 3.5


def test_numbers_on_a_device_are_not_waited_for() -> None:
    torch = pytest.importorskip("torch")
    callback = ArgusCallback(quiet=True)
    callback.on_train_begin()
    unreadable = torch.ones((), device="meta")  # reading its value raises, as waiting for a device would be seen
    callback.on_loss(unreadable)
    callback.on_loss(unreadable)
    callback.on_grad_norm(unreadable)
    callback.on_validation_end(unreadable)
    assert callback.errors == 0
