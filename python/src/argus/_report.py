"""The lines a watched run prints: one when the pressure rises, one when it clears."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable

from argus._native import Decision, Signal

_WORDS = ("within expectation", "developing", "confirmed anomaly", "critical")


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


def _signal(signal: Signal) -> str:
    text = f"{signal.name} since step {signal.since_step}"
    if signal.high > signal.low:
        text += f", {number(signal.value)} (usual here {number(signal.low)} to {number(signal.high)})"
    return text


def rise(decision: Decision) -> str:
    """The line for a pressure that rose: how far, on what evidence, and what it suggests."""
    text = f"step {decision.step}: pressure {decision.harm_pressure} ({_WORDS[decision.harm_pressure]})"
    strongest = sorted(decision.signals, key=lambda signal: -signal.severity)
    if strongest:
        text += "; " + "; ".join(_signal(signal) for signal in strongest[:3])
    if len(strongest) > 3:
        text += f"; and {len(strongest) - 3} more"
    if decision.intervention != "NONE":
        text += f"; suggests {decision.intervention}"
        if decision.anchor is not None:
            text += f" (last certified step {decision.anchor.anchor_step})"
    return text


def clear(step: int, opened_step: int, peak_pressure: int) -> str:
    """The line for a pressure that is back at 0."""
    return f"step {step}: clear again, after {step - opened_step} steps at pressure up to {peak_pressure}"


class Announcer:
    """Decides which pressure changes deserve a line.

    Within one stretch above 0 only a new peak is announced, so that a pressure that moves up and down
    prints at most three lines and the one that says it is clear.
    """

    def __init__(self, *, quiet: bool, write: Callable[[str], None] = say) -> None:
        self._quiet = quiet
        self._write = write
        self._peak = 0
        self._opened_step = 0

    def update(self, decision: Decision) -> None:
        """Takes the newest decision; prints a line when it is news."""
        pressure = decision.harm_pressure
        if pressure > self._peak:
            if self._peak == 0:
                self._opened_step = decision.step
            self._peak = pressure
            self._print(rise(decision))
        elif pressure == 0 and self._peak > 0:
            self._print(clear(decision.step, self._opened_step, self._peak))
            self._peak = 0

    def _print(self, text: str) -> None:
        if not self._quiet:
            self._write(text)
