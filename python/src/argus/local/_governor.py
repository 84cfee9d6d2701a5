"""Keeps the detector within its budget: measures what it costs against the steps it costs it in, and thins it."""

from __future__ import annotations

from statistics import median

from argus.local._context import DEEP_EVERY, MAX_PERIOD, MAX_STRIDE, Context

#: However short a step is, this much of it may be used, seconds.
FLOOR_S = 20e-6
#: What torch spends a step on the hooks of the root and the optimizer, seconds; counted with what is measured.
FIXED_S = 3e-6
#: The same of a step that is passed over: one hook.
PASSED_S = 1e-6
# What may be chosen: shares of the rotation that a step covers, and of how many steps one is looked at.
_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 24)
_STRIDES = (1, 2, 3, 4, 6, 8, 12, 16, MAX_STRIDE)
# For so many steps it may use so many budgets: what is normal for each layer is learned then, once.
_SETTLING, _SETTLING_BUDGETS = 300, 3.0
# Steps whose cost is that of beginning, not of running; steps until the first choice; steps and active steps between choices.
_WARM_UP = 3
_FIRST_LOOK = 8
_LOOK_EVERY, _LOOK_ACTIVE = 24, 6
# Of the budget: what a new choice is meant to use, and what a choice may use before it is made anew.
_AIM, _HIGH = 0.8, 0.97
# Share of the budget that deep scans may take.
_DEEP = 0.2
# Periods above the first have no optional readings; below the second, with room to spare, they have.
_NO_EXTRAS, _EXTRAS = 8, 2
# How many times the mean so far one round may count for, and a round's weight in it.
_OUTLIER = 2.0
_NEWEST = 0.4


class Governor:
    """Sets `context.stride`, `context.width`, `context.extras_allowed` and how often deep scans come.

    A step that is looked at costs `fixed + width * each`; from costs at two widths both are known, and of all choices that fit the
    budget the one that visits every layer soonest is taken. Costs are means over rounds, in which a time slice lost to another
    process weighs little, against the median step.

    Args:
        budget: Share of the step time.
    """

    def __init__(self, context: Context, budget: float) -> None:
        self._context = context
        self.budget = budget
        self.steps = 0
        self.step_s = 0.0
        self.idle_s = 0.0
        self.deep_s = 0.0
        self._by_width: dict[int, float] = {}
        self._newest_widths: list[int] = []
        self._deep_scans = 0
        self._active: list[float] = []
        self._idle: list[float] = []
        self._durations: list[float] = []
        self._next_look = _FIRST_LOOK

    @property
    def allowance_s(self) -> float:
        """What a step may cost, seconds."""
        return max(self.budget * self.step_s, FLOOR_S)

    @property
    def mean_cost_s(self) -> float:
        """What a step costs as things are set now, its share of the deep scans included, seconds."""
        context = self._context
        return self._expected(context.stride, context.width) + self._deep_share()

    @property
    def duty(self) -> float:
        """The share of the step time used; 0 before it is known."""
        return self.mean_cost_s / self.step_s if self.step_s > 0.0 else 0.0

    def step(self, cost_s: float, took_s: float, *, steps: int, idle: bool, deep: bool, width: int) -> None:
        """Takes one step, or `steps` that were passed over: what the detector cost, how long it took, and how it was read."""
        self.steps += steps
        if self.steps <= _WARM_UP:
            return
        cost_s = (cost_s + FIXED_S) / steps + (PASSED_S if steps > 1 else 0.0)
        self._durations.append(took_s / steps)
        if deep:
            self._take_deep(cost_s)
        elif idle:
            self._idle.append(cost_s)
        elif width == self._context.width:
            self._active.append(cost_s)
        if self.steps >= self._next_look and self._active:
            self._next_look = self.steps + max(_LOOK_EVERY, _LOOK_ACTIVE * self._context.stride)
            self._take_round()
            self._choose()

    def _take_deep(self, cost_s: float) -> None:
        self._deep_scans += 1
        if self._deep_scans > 1:  # the first one prepares what the later ones use
            self.deep_s = _mean(self.deep_s, cost_s)

    def _take_round(self) -> None:
        width = self._context.width
        self.step_s = median(self._durations)
        self._by_width[width] = _mean(self._by_width.get(width, 0.0), sum(self._active) / len(self._active))
        self._newest_widths = [width, *(w for w in self._newest_widths if w != width)]
        if self._idle:
            self.idle_s = _mean(self.idle_s, sum(self._idle) / len(self._idle))
        self._active, self._idle, self._durations = [], [], []

    def _line(self) -> tuple[float, float]:
        """Fixed cost of a step that is looked at, and what the whole rotation adds to it."""
        if not self._newest_widths:
            return 0.0, 0.0
        width = self._newest_widths[0]
        now = self._by_width[width]
        whole = 0.5 * now * MAX_PERIOD / width
        if len(self._newest_widths) > 1:
            other = self._newest_widths[1]
            whole = (now - self._by_width[other]) * MAX_PERIOD / (width - other)
            whole = min(max(whole, 0.0), now * MAX_PERIOD / width)
        return now - whole * width / MAX_PERIOD, whole

    def _expected(self, stride: int, width: int) -> float:
        fixed, whole = self._line()
        return (fixed + whole * width / MAX_PERIOD + (stride - 1) * self.idle_s) / stride

    def _deep_share(self) -> float:
        return max(0.0, self.deep_s - self.idle_s) / self._context.deep_every

    def _choose(self) -> None:
        context = self._context
        while self._deep_share() > _DEEP * self.allowance_s and context.deep_every < 16 * DEEP_EVERY:
            context.deep_every *= 2
        room = self.allowance_s * (_SETTLING_BUDGETS if self.steps < _SETTLING else 1.0) - self._deep_share()
        best = self._best(_AIM * room)
        period = best[0] * -(-MAX_PERIOD // best[1])
        too_much = self._expected(context.stride, context.width) > _HIGH * room
        if context.extras_allowed and too_much and period > _NO_EXTRAS:
            context.extras_allowed = False
            self._by_width.clear()
            self._newest_widths.clear()
            self._next_look = self.steps + _FIRST_LOOK
            return
        if not context.extras_allowed and context.period <= _EXTRAS and not too_much:
            context.extras_allowed = self._expected(context.stride, context.width) < 0.5 * room
        if too_much or period <= 0.75 * context.period:
            context.stride, context.width = best

    def _best(self, room: float) -> tuple[int, int]:
        """Stride and width that fit, with the shortest period; of those about as short the one that spreads the work most."""
        fitting = [
            (stride * -(-MAX_PERIOD // width), stride, width)
            for stride in _STRIDES
            for width in _WIDTHS
            if self._expected(stride, width) <= room and stride * -(-MAX_PERIOD // width) <= MAX_STRIDE
        ]
        if not fitting:
            return MAX_STRIDE, MAX_PERIOD
        shortest = min(fitting)[0]
        _, stride, width = min(fitting, key=lambda each: (each[0] > 1.34 * shortest, each[1], each[0]))
        return stride, width


def _mean(mean: float, value: float) -> float:
    return value if mean == 0.0 else mean + _NEWEST * (min(value, _OUTLIER * mean) - mean)
