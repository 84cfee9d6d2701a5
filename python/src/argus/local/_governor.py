"""Keeps the detector within its budget: measures what it costs against the steps it costs it in, and thins it."""

from __future__ import annotations

from statistics import median

from argus.local._context import DEEP_EVERY, MAX_PERIOD, Context

#: However short a step is, this much of it may be used, seconds.
FLOOR_S = 20e-6
#: What torch spends a step on the hooks of the root and the optimizer, seconds; counted with what is measured.
FIXED_S = 4e-6
# Shares of the rotation a step may cover: divisors, so that rounds are whole.
_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 24)
# Steps whose cost is that of beginning, not of running.
_WARM_UP = 3
_FIRST_LOOK = 8
# Of the budget: above the first it thins, below the second it reads more.
_HIGH, _LOW = 0.95, 0.6
# Share of the budget that deep scans may take.
_DEEP = 0.4
# How many times the last rounds' mean one round may count for, and a round's weight in the mean.
_OUTLIER = 2.0
_NEWEST = 0.4


class Governor:
    """Sets `context.width`, `context.extras_allowed` and how often deep scans come.

    Costs are judged by whole rounds of MAX_PERIOD steps, since in a small model most steps visit nothing: their mean, in which a
    time slice lost to another process weighs little, against the median step.

    Args:
        budget: Share of the step time.
    """

    def __init__(self, context: Context, budget: float) -> None:
        self._context = context
        self.budget = budget
        self.steps = 0
        self.cost_s = 0.0
        self.step_s = 0.0
        self.deep_cost_s = 0.0
        self._deep_scans = 0
        self._costs: list[float] = []
        self._durations: list[float] = []
        self._changed = True
        self._next_look = _FIRST_LOOK
        self._roomy = 0

    @property
    def allowance_s(self) -> float:
        """What a step may cost, seconds."""
        return max(self.budget * self.step_s, FLOOR_S)

    @property
    def mean_cost_s(self) -> float:
        """What a step costs, its share of the deep scans included, seconds."""
        return self.cost_s + max(0.0, self.deep_cost_s - self.cost_s) / self._context.deep_every

    @property
    def duty(self) -> float:
        """The share of the step time used; 0 before it is known."""
        return self.mean_cost_s / self.step_s if self.step_s > 0.0 else 0.0

    def step(self, cost_s: float, step_s: float) -> None:
        """Takes one step: what the detector cost in it, and what it took from the end of the last one to its own."""
        self.steps += 1
        if self.steps <= _WARM_UP:
            return
        cost_s += FIXED_S
        self._durations.append(step_s)
        if self._context.deep:
            self._take_deep(cost_s)
        else:
            self._costs.append(cost_s)
        if self.steps >= self._next_look and self._costs:
            self._next_look = self.steps + MAX_PERIOD
            self._take_round()
            self._look()

    def _take_deep(self, cost_s: float) -> None:
        self._deep_scans += 1
        if self._deep_scans > 1:  # the first one prepares what the later ones use
            self.deep_cost_s = cost_s if self.deep_cost_s == 0.0 else _mean(self.deep_cost_s, cost_s)

    def _take_round(self) -> None:
        cost = sum(self._costs) / len(self._costs)
        self.step_s = median(self._durations)
        # What was learned of another width does not hold.
        self.cost_s = cost if self._changed else _mean(self.cost_s, cost)
        self._changed = False
        self._costs.clear()
        self._durations.clear()

    def _look(self) -> None:
        context, allowed = self._context, self.allowance_s
        deep_used = max(0.0, self.deep_cost_s - self.cost_s) / context.deep_every / allowed
        if deep_used > _DEEP and context.deep_every < 16 * DEEP_EVERY:
            context.deep_every *= 2
        used = self.mean_cost_s / allowed
        if used > _HIGH:
            self._roomy = 0
            self._thin(used)
        elif used < _LOW:
            # More is read only once it has been cheap for a while, and one notch at a time: no swinging to and fro.
            self._roomy += 2 if used < 0.5 * _LOW else 1
            if self._roomy >= 2:
                self._widen(used)
        else:
            self._roomy = 0

    def _thin(self, used: float) -> None:
        context = self._context
        if context.extras_allowed:
            context.extras_allowed = False
        else:
            context.width = max((w for w in _WIDTHS if w <= context.width * 0.9 / used), default=1)
        self._changed = True

    def _widen(self, used: float) -> None:
        context = self._context
        wider = next((w for w in _WIDTHS if w > context.width), None)
        if wider is None and not context.extras_allowed:
            context.extras_allowed = True
        elif wider is not None and used * wider / context.width < 0.9:
            context.width = wider
        else:
            return
        self._changed, self._roomy = True, 0


def _mean(mean: float, value: float) -> float:
    return mean + _NEWEST * (min(value, _OUTLIER * mean) - mean)
