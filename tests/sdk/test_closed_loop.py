"""Each transition of the closed loop happens in a real training here, and is read from what the home has of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from closed_loop import Record, Run, Task, train  # noqa: E402

import argus  # noqa: E402

ONSET = 300


def rate(factor: float, steps: int, base: float) -> Callable[[int, Task, Any], None]:
    """An accident: the learning rate is `factor` times too high for some steps."""

    def before(i: int, task: Task, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = base * (factor if ONSET <= i < ONSET + steps else 1.0)

    return before


def sgd(task: Task) -> Any:
    return torch.optim.SGD(task.model.parameters(), lr=0.1, momentum=0.9)


def adam(task: Task) -> Any:
    return torch.optim.Adam(task.model.parameters(), lr=0.01)


def loss_at_the_end(run: Run) -> float:
    return sum(run.losses[-20:]) / 20


@pytest.fixture(scope="module")
def reduced(argus_program: Callable[..., Any]) -> Record:
    """The rate is too high for a while: cut once, cut harder, and given back when it is over."""
    task = Task()
    optimizer = sgd(task)
    run = Run(task.model, optimizer, checkpoints=False)
    train(task, run, optimizer, range(750), before=rate(12.0, 120, 0.1))
    return Record(run, argus_program)


@pytest.fixture(scope="module")
def rolled_back(argus_program: Callable[..., Any]) -> Record:
    """A short and violent accident: the anchor is restored."""
    task = Task()
    optimizer = adam(task)
    run = Run(task.model, optimizer)
    train(task, run, optimizer, range(520), before=rate(30.0, 6, 0.01))
    return Record(run, argus_program)


@pytest.fixture(scope="module")
def hopeless(argus_program: Callable[..., Any]) -> Record:
    """Gradients become growing noise for good: nothing that is tried can help."""
    task = Task()
    optimizer = sgd(task)
    run = Run(task.model, optimizer, checkpoints=False, on_pause="raise")

    def noise(i: int, task: Task, optimizer: Any) -> None:
        if i >= ONSET:
            g = torch.Generator().manual_seed(i)
            for p in task.model.parameters():
                p.grad = 1.04 ** (i - ONSET) * torch.randn(p.shape, generator=g)

    train(task, run, optimizer, range(400), before=noise)
    return Record(run, argus_program)


def test_a_healthy_run_is_left_alone(argus_program: Callable[..., Any]) -> None:
    task = Task(1)
    optimizer = adam(task)
    run = Run(task.model, optimizer)
    train(task, run, optimizer, range(400))
    record = Record(run, argus_program)
    assert run.done == []
    assert (record.transitions, record.applied) == ([], [])


def test_what_does_not_help_is_followed_by_something_stronger_on_the_same_lever(reduced: Record) -> None:
    assert reduced.states("REDUCE_LR") == ["proposed", "applied", "watching", "failed",
                                           "proposed", "applied", "watching", "recovered"]  # fmt: skip
    cuts = [detail for _, kind, ok, detail in reduced.applied if kind == "REDUCE_LR" and ok]
    assert len(cuts) == 2
    assert "at 0.5 of its schedule" in cuts[0]
    assert "at 0.125 of its schedule" in cuts[1]


def test_what_helped_is_released_in_steps(reduced: Record) -> None:
    assert [ok for _, kind, ok, _ in reduced.applied if kind == "RESTORE_LR"] == [True] * 3
    assert reduced.states("RESTORE_LR")[-1] == "released"
    assert reduced.run.actions.lr_factor == 1.0
    assert loss_at_the_end(reduced.run) < 0.11


def test_a_rollback_recovers_and_its_lower_rate_is_given_back(rolled_back: Record) -> None:
    assert [ok for _, kind, ok, _ in rolled_back.applied if kind == "ROLLBACK"].count(True) >= 1
    assert rolled_back.states("ROLLBACK")[-2:] == ["recovered", "released"]
    assert rolled_back.run.actions.lr_factor == 1.0
    assert loss_at_the_end(rolled_back.run) < 0.11


def test_a_milder_proposal_is_superseded_by_a_graver_one(rolled_back: Record) -> None:
    assert rolled_back.states("REDUCE_LR") == ["proposed", "superseded"]
    assert [kind for _, kind, _, _ in rolled_back.applied][0] == "ROLLBACK"


def test_when_a_lever_does_not_help_another_class_is_tried(hopeless: Record) -> None:
    assert [kind for _, kind, ok, _ in hopeless.applied if ok] == ["REDUCE_LR", "RESET_OPTIMIZER", "PAUSE"]
    failed = [kind for _, kind, state in hopeless.transitions if state == "failed"]
    assert failed == ["ROLLBACK", "REDUCE_LR", "RESET_OPTIMIZER", "PAUSE"]
    assert isinstance(hopeless.run.paused, argus.TrainingPaused)


def test_what_cannot_be_done_is_reported_and_the_next_is_tried(hopeless: Record) -> None:
    refused = [(kind, detail) for _, kind, ok, detail in hopeless.applied if not ok]
    assert [kind for kind, _ in refused] == ["ROLLBACK"]
    assert "checkpoint_dir" in refused[0][1]


def test_each_recommendation_is_acted_on_at_most_once(reduced: Record, rolled_back: Record, hopeless: Record) -> None:
    for record in (reduced, rolled_back, hopeless):
        ids = [id for id, _, _, detail in record.applied if not detail.endswith("calm observations)")]
        assert len(set(ids)) == len(ids)
        assert record.run.actions.errors == record.run.watch.errors == 0


def test_a_rollback_is_repeated_while_what_damaged_the_run_goes_on(argus_program: Callable[..., Any]) -> None:
    """Garbage for fifty steps: the first rollback lands in it, a later one behind it."""
    task = Task()
    optimizer = adam(task)
    run = Run(task.model, optimizer)
    real = task.batch

    def batch(i: int) -> Any:
        x, y = real(i)
        return (8.0 * x, 8.0 * y.flip(0)) if ONSET <= i < ONSET + 50 else (x, y)

    task.batch = batch  # type: ignore[method-assign]
    train(task, run, optimizer, range(600))
    record = Record(run, argus_program)
    assert [ok for _, kind, ok, _ in record.applied if kind == "ROLLBACK"].count(True) >= 2
    assert record.states("ROLLBACK")[-1] == "released"
    assert loss_at_the_end(run) < 0.12


def test_bad_samples_are_left_out_by_their_ids(argus_program: Callable[..., Any]) -> None:
    """Some samples of a fixed set turn to garbage; those the engine names are not trained on again."""
    task = Task()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(512, 16, generator=g)
    with torch.no_grad():
        y = task.teacher(x) + 0.3 * torch.randn(512, 4, generator=g)
    bad = set(range(0, 512, 64))
    optimizer = torch.optim.Adam(task.model.parameters(), lr=3e-3)
    run = Run(task.model, optimizer, checkpoints=False)
    draw = torch.Generator().manual_seed(1)
    for i in range(600):
        if i == ONSET:
            y[sorted(bad)] += 20.0
        ids = torch.randint(512, (64,), generator=draw)
        ids = ids[run.watch.filter(ids)]
        per_sample = (task.model(x[ids]) - y[ids]).pow(2).mean(1)
        optimizer.zero_grad()
        per_sample.mean().backward()
        optimizer.step()
        run.step(per_sample.mean(), sample_ids=ids, losses=per_sample.detach())
    record = Record(run, argus_program)
    assert [ok for _, kind, ok, _ in record.applied if kind == "FILTER_SAMPLES"] == [True]
    left_out = {i for i in range(512) if i in run.watch.left_out}
    assert len(bad & left_out) >= 5
    assert len(left_out - bad) <= 4
    assert "applied" in record.states("FILTER_SAMPLES")
