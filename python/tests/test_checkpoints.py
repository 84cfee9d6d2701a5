"""A training that went back to a checkpoint goes on as one that was never interrupted, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")

import torch  # noqa: E402
from checkpoint_training import Average, Training, difference, observe, save  # noqa: E402
from torch import nn  # noqa: E402

from argus import _checkpoint_writer as writer  # noqa: E402
from argus import _checkpoints as module  # noqa: E402
from argus._checkpoint_tree import CheckpointError  # noqa: E402
from argus._checkpoints import Checkpoints  # noqa: E402

KINDS = ["sgd", "adamw", "two", "scaler", "lbfgs", "sparse"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollback_equals_a_run_never_interrupted(kind: str, tmp_path: Path) -> None:
    straight = Training(kind)
    straight.train(14)
    expected, end = straight.train(12), straight.state()

    rolled = Training(kind)
    with_problems: list[str] = []
    checkpoints = rolled.checkpoints(tmp_path, on_problem=lambda _, text: with_problems.append(text))
    rolled.train(14)
    save(checkpoints, rolled)
    parameters = [id(p) for p in rolled.model.parameters()]
    rolled.wreck()
    assert rolled.restore(checkpoints, 14) == 14
    assert rolled.train(12) == expected
    assert difference(rolled.state(), end) == ""
    assert [id(p) for p in rolled.model.parameters()] == parameters
    assert checkpoints.verify() == with_problems == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_process_goes_on_from_a_checkpoint(kind: str, tmp_path: Path) -> None:
    first = Training(kind)
    checkpoints = first.checkpoints(tmp_path, run_id="first")
    first.train(9)
    save(checkpoints, first)
    observe(checkpoints, first, 24)
    checkpoints.close()
    expected, end = first.train(8), first.state()

    later = Training(kind, seed=5)
    later.train(2)
    assert later.restore(later.checkpoints(tmp_path, run_id="second")) == 9
    assert later.train(8) == expected
    assert difference(later.state(), end) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_saving_changes_no_bit(kind: str, tmp_path: Path) -> None:
    plain = Training(kind)
    expected, end = plain.train(40), plain.state()
    saved = Training(kind)
    checkpoints = saved.checkpoints(tmp_path)
    losses = []
    for step in range(40):
        losses.append(saved.step())
        if step % 5 == 0:
            checkpoints.stage(step, signal="SAVE", slot=step // 5 % 4, reason="calm", loss=losses[-1])
        if step == 33:
            checkpoints.stage(step, signal="SAVE_NOW", slot=4, reason="developing", loss=losses[-1])
        checkpoints.observe(step, calm=step != 33)
    assert checkpoints.wait(60) and checkpoints.saved >= 1 and checkpoints.failed == 0
    assert losses == expected
    assert difference(saved.state(), end) == ""


def test_weights_and_optimizer_are_of_one_step_though_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published failure: old weights saved beside a newer optimizer state."""
    import threading

    may_write = threading.Event()
    write = writer.write_save

    def slow(*args: Any, **options: Any) -> Any:
        assert may_write.wait(60)
        return write(*args, **options)

    monkeypatch.setattr(module, "write_save", slow)
    training = Training("adamw")
    checkpoints = training.checkpoints(tmp_path)
    training.train(5)
    then = training.state()
    assert checkpoints.stage(5, signal="SAVE", slot=0, reason="calm", loss=1.0)
    training.train(10)
    assert checkpoints.stage(15, signal="SAVE_NOW", slot=4, reason="developing", loss=1.0)
    later = training.state()
    training.train(3)
    may_write.set()
    assert checkpoints.wait(60) and checkpoints.saved == 2
    training.restore(checkpoints, 15)
    assert difference(training.state(), later) == ""
    training.restore(checkpoints, 5)
    assert difference(training.state(), then) == ""


def test_an_optimizer_that_had_not_stepped_is_restored_to_that(tmp_path: Path) -> None:
    expected = Training("adamw").train(10)
    training = Training("adamw")
    checkpoints = training.checkpoints(tmp_path)
    save(checkpoints, training)
    training.train(4)
    training.restore(checkpoints, 0)
    assert training.optimizers[0].state_dict()["state"] == {}
    assert training.train(10) == expected


def test_who_holds_a_param_group_sees_what_was_restored(tmp_path: Path) -> None:
    training = Training("two")
    checkpoints = training.checkpoints(tmp_path)
    groups = [group for optimizer in training.optimizers for group in optimizer.param_groups]
    training.train(3)
    rates = [group["lr"] for group in groups]
    save(checkpoints, training)
    training.wreck()
    training.restore(checkpoints, 3)
    assert [group["lr"] for group in groups] == rates
    now = [group for optimizer in training.optimizers for group in optimizer.param_groups]
    assert all(a is b for a, b in zip(now, groups))


def test_moments_wider_than_their_weights_keep_every_bit(tmp_path: Path) -> None:
    model = nn.Linear(4, 4).to(torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for p in model.parameters():
        optimizer.state[p]["momentum_buffer"] = torch.rand(p.shape, dtype=torch.float32)
    kept = {p: optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()}
    checkpoints = Checkpoints(tmp_path, model=model, optimizers=[optimizer])
    assert checkpoints.stage(1, signal="SAVE", slot=0, reason="", loss=None) and checkpoints.wait(60)
    for p in model.parameters():
        optimizer.state[p]["momentum_buffer"].zero_()
    checkpoints.restore(1)
    for p in model.parameters():
        assert difference(optimizer.state[p]["momentum_buffer"], kept[p]) == ""


def test_wrapped_models_are_saved_under_the_names_the_user_gave(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    class DataParallel(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    inner = nn.Linear(3, 2)
    model = torch.compile(DataParallel(inner))
    checkpoints = Checkpoints(tmp_path, model=model, optimizers=[torch.optim.SGD(inner.parameters(), lr=0.1)])
    assert checkpoints.stage(1, signal="SAVE", slot=0, reason="", loss=None) and checkpoints.wait(60)
    (info,) = checkpoints.list()
    weights = load_file(info.path / "model.safetensors")
    assert set(weights) == {"weight", "bias"}
    assert difference(weights["weight"], inner.weight.detach()) == ""


def refuse(training: Training, checkpoints: Checkpoints, match: str) -> None:
    before = training.state()
    with pytest.raises(CheckpointError, match=match):
        training.restore(checkpoints, 4)
    assert difference(training.state(), before) == "", "a refused restore changes nothing"


def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    training = Training("adamw")
    training.train(4)
    save(training.checkpoints(tmp_path), training)
    other = Training("adamw", seed=3)
    other.train(2)
    other.model.first = nn.Linear(8, 9)
    refuse(other, other.checkpoints(tmp_path), r"first\.weight is torch.float32 of shape")
    other = Training("two", seed=3)
    refuse(other, other.checkpoints(tmp_path), "there are 2 optimizers now, 1 in the checkpoint")
    other = Training("scaler", seed=3)
    refuse(other, other.checkpoints(tmp_path), "without a scaler")


def test_an_object_that_refuses_its_state_leaves_everything_as_it_was(tmp_path: Path) -> None:
    class Stubborn(Average):
        refuses = True

        def load_state_dict(self, state: dict[str, Any]) -> None:
            if self.refuses:
                self.refuses = False
                raise RuntimeError("not today")
            super().load_state_dict(state)

    training = Training("adamw")
    training.average = Stubborn(training.model)
    checkpoints = training.checkpoints(tmp_path)
    training.train(4)
    save(checkpoints, training)
    training.train(3)
    refuse(training, checkpoints, "not today")
    assert training.restore(checkpoints, 4) == 4


def test_a_step_that_was_not_saved_is_refused_with_those_that_were(tmp_path: Path) -> None:
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint is promoted yet; there are none"):
        checkpoints.restore()
    training.train(4)
    save(checkpoints, training)
    with pytest.raises(CheckpointError, match="there is no checkpoint of step 7; there are checkpoints of steps 4"):
        checkpoints.restore(7)
    with pytest.raises(CheckpointError, match="no checkpoint is promoted yet; there are checkpoints of steps 4"):
        checkpoints.restore()


def test_staging_memory_does_not_grow_from_save_to_save(tmp_path: Path) -> None:
    training = Training("adamw")
    checkpoints = training.checkpoints(tmp_path)
    training.train(2)
    save(checkpoints, training)
    arena = checkpoints._arenas[0]
    held = arena.bytes
    address = arena._memory.data_ptr()
    for _ in range(5):
        training.step()
        save(checkpoints, training)
        assert (arena.bytes, arena._memory.data_ptr()) == (held, address)
    save(checkpoints, training, signal="SAVE_NOW", slot=4)
    assert [a.bytes for a in checkpoints._arenas] == [held, 0]
    checkpoints.close()
    assert [a.bytes for a in checkpoints._arenas] == [0, 0]
