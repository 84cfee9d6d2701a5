"""The governor keeps the detector within its budget, and no layer unseen."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from argus.local._context import MAX_PERIOD, MAX_STRIDE, Context  # noqa: E402
from argus.local._governor import FLOOR_S, Governor  # noqa: E402


def governed(budget: float = 0.005) -> tuple[Context, Governor]:
    context = Context(torch.nn.Identity(), [], register=lambda *args: None, warn=lambda text: None)
    return context, Governor(context, budget)


def run(
    context: Context,
    governor: Governor,
    *,
    steps: int,
    step_s: float,
    fixed_s: float,
    each_s: float,
    deep_s: float = 0.0,
) -> list[float]:
    """Steps of a detector whose cost is `fixed_s` plus `each_s` for a whole visit of all layers; the cost of each."""
    costs = []
    for _ in range(steps):
        idle, deep, width = context.idle, context.deep, context.width
        cost = 1e-6 if idle else fixed_s + each_s * width / MAX_PERIOD + (deep_s if deep else 0.0)
        costs.append(cost)
        context.next_step(context.step + 1)
        governor.step(cost, step_s, steps=1, idle=idle, deep=deep, width=width)
    return costs


@pytest.mark.parametrize("step_s", [1e-3, 20e-3, 1.0])
def test_a_detector_that_can_be_thinned_is_brought_within_the_budget(step_s: float) -> None:
    context, governor = governed()
    allowed = max(0.005 * step_s, FLOOR_S)
    costs = run(context, governor, steps=2000, step_s=step_s, fixed_s=3.0 * allowed, each_s=6.0 * allowed)
    assert sum(costs[1000:]) / 1000 <= allowed
    assert governor.duty <= allowed / step_s
    assert context.period <= MAX_PERIOD


def test_where_there_is_room_every_layer_is_read_at_every_step() -> None:
    context, governor = governed()
    run(context, governor, steps=600, step_s=1.0, fixed_s=1e-4, each_s=1e-3)
    assert context.period == 1
    assert context.extras_allowed


def test_what_is_optional_is_given_up_before_layers_are_seen_rarely() -> None:
    context, governor = governed()
    run(context, governor, steps=1000, step_s=20e-3, fixed_s=1e-3, each_s=1e-3)
    assert not context.extras_allowed
    assert context.period > 8


def test_deep_scans_that_cost_too_much_come_more_rarely() -> None:
    context, governor = governed()
    costs = run(context, governor, steps=4000, step_s=1e-3, fixed_s=2e-6, each_s=1e-5, deep_s=4e-3)
    assert context.deep_every > 100
    assert sum(costs[2000:]) / 2000 <= FLOOR_S


def test_a_single_slow_entry_changes_nothing() -> None:
    context, governor = governed()
    run(context, governor, steps=800, step_s=20e-3, fixed_s=2e-5, each_s=1e-4)
    before = context.period
    governor.step(50e-3, 70e-3, steps=1, idle=False, deep=False, width=context.width)
    run(context, governor, steps=60, step_s=20e-3, fixed_s=2e-5, each_s=1e-4)
    assert context.period == before


@pytest.mark.parametrize("count", [1, 5, 24, 100])
def test_no_index_goes_unseen_however_the_budget_moves(count: int) -> None:
    context, _ = governed()
    rng = random.Random(count)
    last = dict.fromkeys(range(count), -1)
    longest = 0
    for step in range(3000):
        if not context.idle:
            due = context.due_indices(count)
            assert due == [i for i in range(count) if context.due(i)]
            for i in due:
                longest = max(longest, step - last[i])
                last[i] = step
        context.next_step(step + 1)
        if step % 5 == 0:
            context.width = rng.choice([1, 2, 3, 4, 6, 8, 12, 24])
    assert longest <= MAX_PERIOD
    context.width, context.stride = MAX_PERIOD, MAX_STRIDE
    for step in range(3000, 3100):
        if not context.idle:
            last = dict.fromkeys(context.due_indices(count), step)
        assert len(last) == count and step - min(last.values()) <= MAX_STRIDE
        context.next_step(step + 1)


def test_steps_that_go_by_are_known_beforehand() -> None:
    context, _ = governed()
    context.stride = 7
    for _ in range(400):
        left = context.idle_left()
        for _ in range(left):
            assert context.idle
            context.next_step(context.step + 1)
        assert not context.idle
        context.next_step(context.step + 1)


def test_deep_scans_come_when_stated_and_when_asked_for() -> None:
    context, _ = governed()
    deep: list[Any] = []
    for step in range(1, 401):
        context.next_step(step)
        if context.deep:
            deep.append(step)
            assert context.extras
        if step == 100:
            context.ask_deep(7)
    assert deep == [10, 25, 50, 100, 112, 200, 300, 400]
