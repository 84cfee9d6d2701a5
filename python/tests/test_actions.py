"""What AUTO may do, how often, and what it never does. Decisions are written by hand here; tests/sdk/test_closed_loop.py has real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import argus  # noqa: E402
from argus import _actions  # noqa: E402
from argus._actions import ActionResult, Actions  # noqa: E402
from argus._lr_scale import FLOOR, LearningRateScale  # noqa: E402


@dataclass
class Recommended:
    id: int
    kind: str
    state: str = "proposed"
    signals: tuple[str, ...] = ("gradient_explosion",)
    evidence: float = 2.0
    anchor_step: int | None = None


@dataclass
class Decided:
    """As `argus.Decision`, with what an answer in AUTO carries."""

    step: int = 100
    harm_pressure: int = 0
    calibrating: bool = False
    episode: Any = None
    action: str = "CONTINUE"
    recommendation: Recommended | None = None
    lr_factor: float | None = None
    reset_optimizer: bool = False
    suggested_lr: float | None = None
    spike_indices: list[int] = field(default_factory=list)
    anchor: Any = None


def reduce(id: int, factor: float = 0.5, step: int = 100) -> Any:
    return Decided(step, 3, action="SET_LR", lr_factor=factor, recommendation=Recommended(id, "REDUCE_LR"))


def restore(id: int, factor: float = 2.0) -> Any:
    return Decided(action="SET_LR", lr_factor=factor, recommendation=Recommended(id, "RESTORE_LR"))


def rollback(id: int, step: int = 100, before: int = 90) -> Any:
    return Decided(step, 3, reset_optimizer=True, suggested_lr=0.05, anchor=SimpleNamespace(collapse_step=before),
                   recommendation=Recommended(id, "ROLLBACK", anchor_step=before - 1))  # fmt: skip


def reset(id: int, suggested: float | None = 0.05) -> Any:
    return Decided(harm_pressure=3, reset_optimizer=True, suggested_lr=suggested,
                   recommendation=Recommended(id, "RESET_OPTIMIZER"))  # fmt: skip


def pause(id: int) -> Any:
    return Decided(harm_pressure=3, action="PAUSE", recommendation=Recommended(id, "PAUSE"))


def bad_samples(id: int, step: int, pressure: int = 2, state: str = "proposed") -> Any:
    return Decided(step, pressure, spike_indices=[0, 1], recommendation=Recommended(id, "FILTER_SAMPLES", state))


class Ring:
    """Checkpoints by their steps alone."""

    def __init__(self, *steps: int) -> None:
        self.steps = list(steps)
        self.restored: list[int] = []

    def anchor(self, before_step: int | None = None) -> Any:
        below = [s for s in self.steps if before_step is None or s < before_step]
        return SimpleNamespace(step=max(below)) if below else None

    def restore(self, anchor: int) -> int:
        self.restored.append(anchor)
        return anchor


class Trainer:
    """A model that takes a step before each decision, and AUTO over it."""

    def __init__(self, mode: str = "auto", *, optimizer: Any = None, **settings: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Linear(4, 2)
        self.optimizer = (
            optimizer(self.model.parameters()) if optimizer else torch.optim.Adam(self.model.parameters(), lr=0.1)
        )
        self.said: list[str] = []
        self.scale = LearningRateScale([self.optimizer], self._fail)
        self.actions = Actions(
            mode, optimizers=[self.optimizer], lr_scale=self.scale, audit=self.said.append, **settings
        )
        self.step()

    def _fail(self, error: Exception) -> None:
        raise AssertionError from error

    def step(self) -> None:
        for p in self.model.parameters():
            p.grad = torch.ones_like(p)
        self.optimizer.step()

    def act(self, decision: Any, step: int = 100, named: Any = None) -> ActionResult:
        result = self.actions.act(decision, step, named)
        self.step()
        assert self.actions.errors == 0, self.said
        return result

    def calm(self, n: int, first: int = 200) -> list[str]:
        """n calm decisions; the kinds of what was done meanwhile."""
        return [r.kind for i in range(n) for r in self.act(Decided(first + i), first + i).reports]


# Once.


def test_one_learning_rate_answer_is_applied_once_however_often_it_comes_again() -> None:
    trainer = Trainer()
    answer = reduce(1)
    reports = [r for step in range(100, 150) for r in trainer.act(answer, step).reports]
    assert [(r.id, r.kind, r.step, r.ok) for r in reports] == [(1, "REDUCE_LR", 100, True)]
    assert trainer.actions.lr_factor == 0.5


def failed(id: int, kind: str = "REDUCE_LR", step: int = 120) -> Any:
    return Decided(step, 2, recommendation=Recommended(id, kind, "failed"))


def test_what_was_done_and_judged_failed_is_said_once_with_the_rate_that_stays() -> None:
    trainer = Trainer()
    trainer.act(reduce(1))
    trainer.said.clear()
    for step in range(120, 125):
        trainer.act(failed(1), step)
    assert trainer.said == [
        "step 120: REDUCE_LR of recommendation 1 was judged failed; the learning rate stays at 0.5 of its schedule"
    ]
    assert trainer.calm(100) == []
    assert trainer.actions.lr_factor == 0.5


def test_what_was_never_done_is_not_said_to_have_failed() -> None:
    trainer = Trainer()
    trainer.act(failed(1))
    assert trainer.said == []


def test_a_missing_answer_is_not_a_calm_one() -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(rollback(1))
    for step in range(200, 600):
        assert trainer.act(None, step).reports == []
    assert trainer.actions.lr_factor == 0.5, "nothing is given back on no evidence"


def test_an_old_calm_answer_given_again_is_not_another_calm_observation() -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(rollback(1))
    old = Decided(200)
    for step in range(200, 600):
        assert trainer.act(old, step).reports == []
    assert trainer.actions.lr_factor == 0.5


# The learning rate.


def test_factors_multiply_and_are_given_back_up_to_the_schedule() -> None:
    trainer = Trainer()
    seen = []
    for decision in (reduce(1, 0.5), reduce(2, 0.25), restore(3), restore(4), restore(5), restore(6)):
        trainer.act(decision)
        seen.append(trainer.actions.lr_factor)
    assert seen == [0.5, 0.125, 0.25, 0.5, 1.0, 1.0]


def test_the_rate_never_falls_below_its_floor() -> None:
    trainer = Trainer()
    results = [trainer.act(reduce(i + 1, 0.1)).reports[0] for i in range(5)]
    assert trainer.actions.lr_factor == pytest.approx(FLOOR)
    assert [r.ok for r in results] == [True, True, True, False, False]


@pytest.mark.parametrize("factor", [2.0, 1.0, 0.0, -1.0, float("nan"), float("inf")])
def test_a_reduction_that_is_none_is_refused(factor: float) -> None:
    trainer = Trainer()
    (report,) = trainer.act(reduce(1, factor)).reports
    assert not report.ok
    assert trainer.actions.lr_factor == 1.0


def test_an_optimizer_without_a_rate_is_said_not_to_have_one() -> None:
    trainer = Trainer()
    for group in trainer.optimizer.param_groups:
        group["lr"] = None
    result = trainer.actions.act(reduce(1), 100)
    assert [r.ok for r in result.reports] == [False]


# The optimizer.


def test_a_reset_begins_the_state_anew_and_halves_the_rate() -> None:
    trainer = Trainer()
    for _ in range(5):
        trainer.step()
    assert trainer.actions.act(reset(1), 100).reports[0].ok
    assert len(trainer.optimizer.state) == 0
    assert trainer.actions.lr_factor == 0.5
    trainer.step()
    assert all(float(s["step"]) == 1 for s in trainer.optimizer.state.values())


def test_a_reset_never_raises_the_rate() -> None:
    trainer = Trainer()
    trainer.act(reset(1, suggested=3.0))
    assert trainer.actions.lr_factor == 1.0


def test_resets_are_counted() -> None:
    trainer = Trainer()
    results = [trainer.act(reset(i + 1)).reports[0].ok for i in range(_actions.RESETS_MAX + 1)]
    assert results == [True] * _actions.RESETS_MAX + [False]


# Rollbacks.


def test_a_rollback_restores_the_newest_checkpoint_before_the_onset_at_half_the_rate() -> None:
    ring = Ring(40, 80, 95)
    trainer = Trainer(checkpoints=ring)
    result = trainer.act(rollback(1, before=90))
    assert (result.restored_step, ring.restored, trainer.actions.lr_factor) == (80, [80], 0.5)
    assert result.reports[0].ok


def test_a_rollback_keeps_the_moments_that_came_with_the_checkpoint() -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(rollback(1))
    assert len(trainer.optimizer.state) > 0


def test_a_rollback_forgets_what_the_engine_asked_for() -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(reduce(1, 0.1))
    trainer.act(rollback(2))
    assert trainer.actions.lr_factor == 0.5


def test_rollbacks_to_one_checkpoint_go_on_slower_each_time_and_then_further_back() -> None:
    ring = Ring(40, 80)
    trainer = Trainer(checkpoints=ring)
    factors = []
    for i in range(_actions.SAME_ANCHOR_MAX + 1):
        trainer.act(rollback(i + 1))
        factors.append(trainer.actions.lr_factor)
    assert ring.restored == [80] * _actions.SAME_ANCHOR_MAX + [40]
    assert factors == [0.5**i for i in range(1, len(factors) + 1)]


def test_rollbacks_are_counted() -> None:
    ring = Ring(*range(0, 90, 2))
    trainer = Trainer(checkpoints=ring)
    results = [trainer.act(rollback(i + 1)).reports[0].ok for i in range(_actions.ROLLBACKS_MAX + 1)]
    assert results == [True] * _actions.ROLLBACKS_MAX + [False]
    assert len(ring.restored) == _actions.ROLLBACKS_MAX


@pytest.mark.parametrize("ring", [None, Ring(), Ring(95)])
def test_a_rollback_with_nothing_to_go_back_to_is_refused(ring: Ring | None) -> None:
    trainer = Trainer(checkpoints=ring)
    result = trainer.act(rollback(1))
    assert result.restored_step is None
    assert [r.ok for r in result.reports] == [False]
    assert trainer.actions.lr_factor == 1.0


def test_a_restore_that_fails_is_reported_and_changes_nothing() -> None:
    class Torn(Ring):
        def restore(self, anchor: int) -> int:
            raise OSError("torn")

    trainer = Trainer(checkpoints=Torn(80))
    result = trainer.actions.act(rollback(1), 100)
    assert result.restored_step is None
    assert [r.ok for r in result.reports] == [False]
    assert trainer.actions.lr_factor == 1.0


def test_what_a_rollback_took_is_given_back_in_steps_once_it_is_calm() -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(rollback(1))
    seen = [trainer.actions.lr_factor]
    for i in range(100):
        trainer.calm(1, 200 + i)
        if trainer.actions.lr_factor != seen[-1]:
            seen.append(trainer.actions.lr_factor)
    assert seen == [0.5, pytest.approx(0.5 * _actions.GIVE_BACK), 1.0]


def test_nothing_is_given_back_before_the_step_of_the_accident_is_passed() -> None:
    trainer = Trainer(checkpoints=Ring(20))
    trainer.act(rollback(1, step=100), 100)
    assert trainer.calm(79, first=21) == []
    assert trainer.calm(2, first=100) != []


@pytest.mark.parametrize("trouble", [{"harm_pressure": 1}, {"episode": object()}, {"calibrating": True}])
def test_nothing_is_given_back_in_trouble(trouble: dict[str, Any]) -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(rollback(1))
    for step in range(200, 400):
        trainer.act(Decided(step, **trouble), step)
    assert trainer.actions.lr_factor == 0.5


# Samples.


def filtering() -> Trainer:
    trainer = Trainer()
    trainer.actions.left_out.keep([1, 2])
    return trainer


def test_samples_are_left_out_once_the_pressure_lasts() -> None:
    trainer = filtering()
    done = [trainer.act(bad_samples(1, 100 + i), 100 + i, [i, "a"]).reports for i in range(_actions.SUSTAINED)]
    assert [len(r) for r in done] == [0] * (_actions.SUSTAINED - 1) + [1]
    assert all(i in trainer.actions.left_out for i in range(_actions.SUSTAINED))
    assert "a" in trainer.actions.left_out


def test_samples_are_left_out_at_once_when_critical() -> None:
    trainer = filtering()
    assert trainer.act(bad_samples(1, 100, pressure=3), named=[7, 8]).reports[0].ok
    assert trainer.actions.left_out.keep([6, 7, 8, 9]) == [True, False, False, True]


def test_samples_named_for_one_recommendation_are_not_left_out_for_another() -> None:
    trainer = filtering()
    for i in range(3):
        trainer.act(bad_samples(1, 100 + i), 100 + i, [1])
    trainer.act(Decided(103), 103)
    trainer.act(bad_samples(2, 104, pressure=3), 104, [2])
    assert trainer.actions.left_out.keep([1, 2]) == [True, False]


def test_what_is_named_while_it_is_watched_is_left_out_too() -> None:
    trainer = filtering()
    trainer.act(bad_samples(1, 100, pressure=3), 100, [1])
    later = trainer.act(bad_samples(1, 101, pressure=3, state="watching"), 101, [2])
    assert later.reports == []
    assert trainer.actions.left_out.keep([1, 2, 3]) == [False, False, True]


def test_samples_without_ids_are_not_left_out() -> None:
    trainer = filtering()
    assert [r.ok for r in trainer.act(bad_samples(1, 100, pressure=3), named=None).reports] == [False]


def test_a_filter_nobody_asks_is_said_to_have_no_effect() -> None:
    trainer = Trainer()
    assert [r.ok for r in trainer.act(bad_samples(1, 100, pressure=3), named=[1]).reports] == [False]


def test_samples_are_let_in_again_by_quarters_and_the_second_time_not_at_all() -> None:
    trainer = filtering()
    trainer.act(bad_samples(1, 100, pressure=3), named=[1, 2, 3, 4])
    sizes = set()
    for i in range(_actions.CALM_FILTER_FIRST + 4 * _actions.CALM_FILTER_BETWEEN):
        trainer.actions.act(Decided(200 + i), 200 + i)
        sizes.add(len(trainer.actions.left_out))
    assert sizes == {4, 3, 2, 1, 0}
    trainer.act(bad_samples(2, 5000, pressure=3), 5000, [1])
    for i in range(_actions.CALM_FILTER_FIRST + 2):
        trainer.actions.act(Decided(5001 + i), 5001 + i)
    assert 1 in trainer.actions.left_out


# Pauses and commands.


def test_a_pause_is_raised_where_the_user_asked_for_it() -> None:
    trainer = Trainer(on_pause="raise")
    result = trainer.act(pause(1), 123)
    assert isinstance(result.paused, argus.TrainingPaused)
    assert result.paused.step == 123
    assert [r.ok for r in result.reports] == [True]


def test_a_pause_calls_what_the_user_gave() -> None:
    called: list[Any] = []
    decision = pause(1)
    result = Trainer(on_pause=called.append).act(decision)
    assert called == [decision]
    assert result.paused is None
    assert result.reports[0].ok


def test_a_pause_nobody_takes_is_said_and_training_goes_on() -> None:
    trainer = Trainer()
    result = trainer.act(pause(1))
    assert result.paused is None
    assert [r.ok for r in result.reports] == [False]
    assert len(trainer.said) == 1


def test_an_exception_in_on_pause_does_not_reach_the_loop() -> None:
    def fails(_: Any) -> None:
        raise RuntimeError("mine")

    trainer = Trainer(on_pause=fails)
    result = trainer.actions.act(pause(1), 100)
    assert [r.ok for r in result.reports] == [False]


@pytest.mark.parametrize("mode", ["manual", "auto"])
@pytest.mark.parametrize("command", ["PAUSE", "STOP"])
def test_a_persons_command_is_obeyed_in_either_mode(mode: str, command: str) -> None:
    trainer = Trainer(mode, on_pause="raise")
    result = trainer.actions.act(Decided(100), 100, None, command)
    assert result.paused is not None
    assert [(r.id, r.kind) for r in result.reports] == [(0, command)]
    assert trainer.act(Decided(101)).paused is None


# MANUAL.


def test_manual_does_nothing_whatever_it_is_told() -> None:
    trainer = Trainer("manual", checkpoints=Ring(80), on_pause="raise")
    trainer.actions.left_out.keep([1])
    for i, decision in enumerate((reduce(1), reset(2), rollback(3), bad_samples(4, 100, 3), pause(5), restore(6))):
        result = trainer.act(decision, 100 + i, [1])
        assert (result.reports, result.restored_step, result.paused) == ([], None, None)
    assert trainer.actions.lr_factor == 1.0
    assert len(trainer.optimizer.state) == 2


# Several ranks.


def test_the_plan_of_the_rank_that_decides_is_all_another_rank_needs() -> None:
    deciding, other = Trainer(checkpoints=Ring(80)), Trainer(checkpoints=Ring(80))
    for decision in (reduce(1), Decided(101), reset(2), rollback(3)):
        plan = deciding.actions.plan(decision, 100)
        for trainer in (deciding, other):
            if plan is not None:
                trainer.actions.carry_out(plan, None, 100)
            trainer.step()
        assert other.actions.lr_factor == deciding.actions.lr_factor
        assert all(
            torch.equal(a, b) for a, b in zip(deciding.model.parameters(), other.model.parameters(), strict=True)
        )
    assert deciding.actions.lr_factor < 1.0


def test_a_plan_the_ranks_refuse_is_reported_as_not_done() -> None:
    from dataclasses import replace

    trainer = Trainer()
    plan = trainer.actions.plan(reduce(1), 100)
    assert plan is not None
    result = trainer.actions.carry_out(replace(plan, refused="rank 1 does not answer"), None, 100)
    assert [r.ok for r in result.reports] == [False]
    assert "rank 1" in result.reports[0].detail
    assert trainer.actions.lr_factor == 1.0


# Bad days.


def test_a_failure_inside_does_not_reach_the_loop() -> None:
    class Gone:
        def anchor(self, before_step: int | None = None) -> None:
            raise ConnectionError("gone")

        def restore(self, anchor: int) -> int:
            raise AssertionError

    trainer = Trainer(checkpoints=Gone())
    assert trainer.actions.act(rollback(1), 100).reports == []
    assert trainer.actions.errors == 1


@pytest.mark.parametrize("settings", [{"mode": "semi"}, {"mode": "auto", "on_pause": 3}])
def test_arguments_that_cannot_be_meant_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(argus.UsageError) as raised:
        Actions(**settings)
    assert raised.value.field in settings


def test_each_action_is_said_in_one_line() -> None:
    trainer = Trainer(checkpoints=Ring(80))
    trainer.act(reduce(1))
    trainer.act(rollback(2))
    assert len(trainer.said) == 2
    assert all("\n" not in line for line in trainer.said)


def test_closing_says_what_was_still_in_force() -> None:
    trainer = Trainer()
    trainer.act(reduce(1))
    said = len(trainer.said)
    trainer.actions.close()
    trainer.actions.close()
    assert len(trainer.said) == said + 1
    assert trainer.actions.lr_factor == 1.0
