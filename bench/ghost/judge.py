"""When was the loss back, and when did it go for good?  Judged on the recorded loss alone, against its range before the accident."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

QUIET = 30  # steps a ghost must look healthy
AFTER = 150  # steps a true recovery must go on
BEFORE = 60  # steps that define the earlier range
WIDTH = 9  # running median


@dataclass
class Verdict:
    """`void` is empty when the run is what it was meant to be."""

    void: str = ""
    recovered: int | None = None
    collapse: int | None = None


def medians(loss: list[float]) -> np.ndarray:
    """Centred running median; non-finite values count as infinite."""
    x = np.array([v if np.isfinite(v) else np.inf for v in loss])
    h = WIDTH // 2
    return np.array([np.median(x[max(0, i - h) : i + h + 1]) for i in range(len(x))])


def limits(loss: list[float], onset: int) -> tuple[float, float, float, float]:
    """Level and upper limit of the range before the onset, the loss that shows an accident, and the progress made so far."""
    m = medians(loss[:onset])
    before = m[max(0, onset - BEFORE) :]
    level, spread = float(np.median(before)), float(before.max() - before.min())
    progress = float(m[0] - level)
    high = float(before.max()) + 0.25 * spread
    return level, high, high + max(0.5 * spread, 0.06 * progress), progress


def shows(loss: list[float], onset: int) -> bool:
    """The median of some three losses in a row since the onset lies clearly above the earlier range."""
    show = limits(loss, onset)[2]
    x = [v if np.isfinite(v) else np.inf for v in loss[onset:]]
    return any(float(np.median(x[i : i + 3])) > show for i in range(max(1, len(x) - 2)))


def judge(loss: list[float], onset: int, clear: int, ghost: bool) -> Verdict:
    """Steps are list positions; the range is that of the running median over the `BEFORE` steps before the onset."""
    m, (level, high, _, progress) = medians(loss), limits(loss, onset)
    if progress < 0.15 * abs(float(m[0])):
        return Verdict("did not learn before the accident")
    if not shows(loss[: clear + 15], onset):
        return Verdict("accident left no trace in the loss")
    inside = m <= high
    back = next((i for i in range(clear, len(m) - QUIET) if inside[i] and inside[i : i + QUIET].mean() >= 0.9), None)
    if back is None:
        return Verdict("never came back")
    if not ghost:
        if len(m) - back < AFTER:
            return Verdict("came back too late", back)
        if inside[back:].mean() < 0.95 or not inside[-20:].all():
            return Verdict("fell back", back)
        return Verdict("", back)
    last = float(np.median(m[-15:]))
    if not last > level + 0.25 * progress:
        return Verdict("did not die", back)
    outside = ~inside
    gone = next((i for i in range(back + QUIET, len(m)) if outside[i] and outside[i:].mean() >= 0.9), None)
    if gone is None:
        return Verdict("did not die for good", back)
    return Verdict("", back, gone)
