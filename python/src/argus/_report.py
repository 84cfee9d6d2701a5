"""The lines a watched run prints: one when the pressure rises, one when it clears."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping

from argus._native import Decision, Signal

_WORDS = ("within expectation", "developing", "confirmed anomaly", "critical")
_NONE: Mapping[str, float] = {}


def say(text: str) -> None:
    """Writes one line to stderr, or nothing at all when stderr is closed or gone, or is in the middle of a line of its own (a
    signal's handler may come at any moment)."""
    if sys.stderr is None:  # print() would take stdout instead
        return
    with contextlib.suppress(Exception):
        print(f"argus: {text}", file=sys.stderr, flush=True)


def number(value: float) -> str:
    """Four significant digits, without padding."""
    return f"{value:.4g}"


def _signal(signal: Signal, *, with_value: bool) -> str:
    """What a signal rests on. Its band is that of the value's history, so a value within it shows nothing: then the evidence does."""
    text = f"{signal.name} since step {signal.since_step}"
    if not with_value:
        return text
    if signal.low <= signal.value <= signal.high or not signal.high > signal.low:
        return f"{text}, evidence {number(signal.severity)}"
    return f"{text}, {number(signal.value)} (usual here {number(signal.low)} to {number(signal.high)})"


def _reason(decision: Decision, not_finite: Mapping[str, float]) -> list[str]:
    """What made the pressure rise: the strongest signals, or what comes nearest to one."""
    parts = [f"{name} is {value}" for name, value in not_finite.items()]
    strongest = sorted(decision.signals, key=lambda signal: -signal.severity)
    parts += [_signal(signal, with_value=not not_finite) for signal in strongest[:3]]
    if len(strongest) > 3:
        parts.append(f"and {len(strongest) - 3} more")
    if parts:
        return parts
    name, severity = max(decision.breakdown.items(), key=lambda item: item[1])
    return [f"nearest to a signal is {name}, at {number(severity)} of what confirms it"] if severity > 0 else []


def rise(decision: Decision, not_finite: Mapping[str, float] = _NONE) -> str:
    """The line for a pressure that rose: how far, on what evidence, and what it suggests.

    Args:
        not_finite: Name and value of what is NaN or infinite in the step: the engine's signals hold the last finite value.
    """
    text = f"step {decision.step}: pressure {decision.harm_pressure} ({_WORDS[decision.harm_pressure]})"
    text = "; ".join([text, *_reason(decision, not_finite)])
    if decision.intervention != "NONE":
        text += f"; suggests {decision.intervention}"
        if decision.anchor is not None:
            text += f" (last certified step {decision.anchor.anchor_step})"
    return text


def clear(step: int, steps: int, peak_pressure: int) -> str:
    """The line for a pressure that is back at 0, after so many steps of training."""
    lasted = "1 step" if steps == 1 else f"{steps} steps"
    return f"step {step}: clear again, after {lasted} at pressure up to {peak_pressure}"


class Announcer:
    """Decides which pressure changes deserve a line.

    Within one stretch above 0 only a new peak is announced, so that a pressure that moves up and down prints at most three lines and
    the one that says it is clear. What follows a line that said so within `hold` steps is one line at the end of them, with a count;
    a pressure of 3 is said at once.
    """

    def __init__(self, *, quiet: bool, write: Callable[[str], None] = say, hold: int = 50) -> None:
        self._quiet = quiet
        self._write = write
        self._hold = hold
        self._reached = 0  # highest pressure of this stretch, and the highest that was said
        self._said = 0
        self._opened = 0
        self._until = 0  # steps judged: before it, lines are held back
        self._folded = 0  # stretches that came and went unsaid, and their peak
        self._folded_peak = 0

    def is_due(self, judged: int) -> bool:
        """Whether a line that was held back is to be said now: `update` says it."""
        return self._holds() and judged >= self._until

    def finish(self, decision: Decision, judged: int) -> None:
        """Says what is still held back: the run ends."""
        if self._holds():
            self._until = judged
            self.update(decision, judged)

    def update(self, decision: Decision, judged: int | None = None, not_finite: Mapping[str, float] = _NONE) -> None:
        """Takes the newest decision; prints a line when it is news.

        Args:
            judged: Steps judged so far, also those a rollback took back; None takes the step's number.
            not_finite: As for `rise`.
        """
        judged = decision.step if judged is None else judged
        pressure = decision.harm_pressure
        if pressure == 0:
            self._calm(decision.step, judged)
            return
        if self._reached == 0:
            self._opened = judged
        self._reached = max(self._reached, pressure)
        if pressure > self._said and (pressure == 3 or judged >= self._until):
            self._said = pressure
            self._print(rise(decision, not_finite) + self._unfold())

    def _calm(self, step: int, judged: int) -> None:
        if self._said:
            self._print(clear(step, judged - self._opened, self._reached))
            self._until = judged + self._hold
        elif self._reached:
            self._folded += 1
            self._folded_peak = max(self._folded_peak, self._reached)
        self._reached = self._said = 0
        if self._folded and judged >= self._until:
            self._print(f"step {step}: clear{self._unfold()}")
            self._until = judged + self._hold

    def _holds(self) -> bool:
        return self._folded > 0 or (self._reached > 0 and self._said == 0)

    def _unfold(self) -> str:
        """What came and went since the last line, in words."""
        if not self._folded:
            return ""
        times = "once" if self._folded == 1 else f"{self._folded} times"
        text = f"; since the last line it rose and cleared {times}, to pressure {self._folded_peak} at most"
        self._folded = self._folded_peak = 0
        return text

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._write(text)
