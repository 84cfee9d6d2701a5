"""Keeps the detector within its budget: measures what it costs against the steps it costs it in, and thins it."""

from __future__ import annotations

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
# Weight of the newest step in the means, and how many times a mean one step may count for.
_NEWEST = 1.0 / 32.0
_OUTLIER = 8.0


class Governor:
    """Sets `context.width`, `context.extras_allowed` and how often deep scans come.

    Both means are of wall time, on purpose: a preempted thread loses its time slice inside the detector as often as its share of
    the step says, so that the ratio of the two is that of a quiet machine. One slice weighs at most `_OUTLIER` means.

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
        self.step_s = _mean(self.step_s, step_s)
        if self._context.deep:
            self._deep_scans += 1
            # The first one prepares what the later ones use.
            if self._deep_scans > 1:
                self.deep_cost_s = cost_s if self.deep_cost_s == 0.0 else 0.5 * (self.deep_cost_s + cost_s)
        else:
            self.cost_s = _mean(self.cost_s, cost_s)
        if self.steps >= self._next_look:
            self._next_look = self.steps + MAX_PERIOD
            self._look()

    def _look(self) -> None:
        context = self._context
        allowed = self.allowance_s
        used = self.mean_cost_s / allowed if allowed > 0.0 else 1.0
        deep_used = max(0.0, self.deep_cost_s - self.cost_s) / context.deep_every / allowed
        if deep_used > 0.5 and context.deep_every < 16 * DEEP_EVERY:
            context.deep_every *= 2
        if used > _HIGH:
            self._roomy = 0
            if context.extras_allowed:
                context.extras_allowed = False
            else:
                context.width = max((w for w in _WIDTHS if w <= context.width * 0.9 / used), default=1)
        elif used < _LOW:
            # More is read only once it has been cheap for a while, and one notch at a time: no swinging to and fro.
            self._roomy += 2 if used < 0.5 * _LOW else 1
            wider = next((w for w in _WIDTHS if w > context.width), None)
            if self._roomy >= 2 and wider is not None and used * wider / context.width < 0.9:
                context.width, self._roomy = wider, 0
            elif self._roomy >= 2 and wider is None and not context.extras_allowed:
                context.extras_allowed, self._roomy = True, 0
        else:
            self._roomy = 0


def _mean(mean: float, value: float) -> float:
    if mean == 0.0:
        return value
    return mean + _NEWEST * (min(value, _OUTLIER * mean) - mean)
