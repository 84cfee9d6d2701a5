"""The governor keeps the detector within its budget, and no layer unseen."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from argus.local._context import MAX_PERIOD, Context  # noqa: E402
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
        cost = fixed_s + each_s * context.width / MAX_PERIOD + (deep_s if context.deep else 0.0)
        costs.append(cost)
        governor.step(cost, step_s)
        context.next_step(context.step + 1)
    return costs


@pytest.mark.parametrize("step_s", [1e-3, 20e-3, 1.0])
def test_a_detector_that_can_be_thinned_is_brought_within_the_budget(step_s: float) -> None:
    context, governor = governed()
    allowed = max(0.005 * step_s, FLOOR_S)
    costs = run(context, governor, steps=600, step_s=step_s, fixed_s=0.2 * allowed, each_s=6.0 * allowed)
    assert sum(costs[200:]) / 400 <= allowed
    assert governor.duty <= allowed / step_s


def test_where_there_is_room_every_layer_is_read_at_every_step() -> None:
    context, governor = governed()
    run(context, governor, steps=600, step_s=1.0, fixed_s=1e-4, each_s=1e-3)
    assert context.period == 1
    assert context.extras_allowed


def test_what_is_optional_goes_first() -> None:
    context, governor = governed()
    width = context.width
    run(context, governor, steps=9, step_s=20e-3, fixed_s=2e-4, each_s=0.0)
    assert not context.extras_allowed
    assert context.width == width


def test_deep_scans_that_cost_too_much_come_more_rarely() -> None:
    context, governor = governed()
    costs = run(context, governor, steps=4000, step_s=1e-3, fixed_s=2e-6, each_s=1e-5, deep_s=4e-3)
    assert context.deep_every > 100
    assert sum(costs[2000:]) / 2000 <= FLOOR_S


def test_a_single_slow_entry_changes_nothing() -> None:
    context, governor = governed()
    run(context, governor, steps=300, step_s=20e-3, fixed_s=2e-5, each_s=1e-4)
    before = context.width
    governor.step(50e-3, 70e-3)
    run(context, governor, steps=60, step_s=20e-3, fixed_s=2e-5, each_s=1e-4)
    assert context.width == before


@pytest.mark.parametrize("count", [1, 5, 24, 100])
def test_no_index_goes_unseen_however_the_budget_moves(count: int) -> None:
    context, _ = governed()
    rng = random.Random(count)
    last = dict.fromkeys(range(count), -1)
    for step in range(2000):
        due = context.due_indices(count)
        assert due == [i for i in range(count) if context.due(i)]
        for i in due:
            assert step - last[i] <= MAX_PERIOD
            last[i] = step
        context.next_step(step + 1)
        if step % 5 == 0:
            context.width = rng.choice([1, 2, 3, 4, 6, 8, 12, 24])
    assert all(2000 - seen <= MAX_PERIOD for seen in last.values())


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
    assert deep == [10, 25, 50, 100, 107, 200, 300, 400]
