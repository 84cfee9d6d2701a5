"""Did the fault hurt?  The rule of the recorded traces: E of the faulty run against E of its twin."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]


def smoothed(e: Curve) -> Curve:
    """Running median of three; the ends keep their own value."""
    s = e.copy()
    for i in range(1, len(e) - 1):
        s[i] = np.median(e[i - 1 : i + 2])
    return s


def finite_or_string(v: float) -> Any:
    return float(f"{v:.6g}") if math.isfinite(v) else ("NaN" if math.isnan(v) else "Infinity")


def judge(steps: list[int], twin: list[float], fault: list[float], onset: int, first_nan: int | None) -> dict[str, Any]:
    """`damage`, `harmless`, `collapse_step`, `transient_damage_step` and `damage_detail` for curves sampled at `steps`.

    The faulty curve may be shorter (the run died); it counts as infinitely bad from there on.
    """
    t_raw, at = np.array(twin), np.array(steps)
    f_raw = np.array([fault[i] if i < len(fault) and math.isfinite(fault[i]) else np.inf for i in range(len(at))])
    t, f = smoothed(t_raw), smoothed(f_raw)
    progress = float(t[0] - t.min())
    noise = float(1.4826 * np.median(np.abs(t_raw - t)))
    margin = max(0.10 * progress, 4 * noise)
    gap = f - t
    after = at >= onset
    bad = (gap > margin) & after
    tail = max(1, len(at) // 10)
    lasting = first_nan is not None or float(bad[-tail:].mean()) >= 0.8
    detail = {
        "margin": finite_or_string(margin),
        "twin_progress": finite_or_string(progress),
        "twin_final": finite_or_string(float(t[-1])),
        "fault_final": finite_or_string(float(f[-1])),
    }
    out: dict[str, Any] = {"collapse_step": None, "damage": "none", "harmless": True, "damage_detail": detail}
    if lasting:
        found = [int(at[i]) for i in np.flatnonzero(bad) if float(bad[i:].mean()) >= 0.9]
        ends = [v for v in (found[0] if found else None, first_nan) if v is not None]
        out.update(damage="lasting", harmless=False, collapse_step=min(ends) if ends else None)
        return out
    strong = (gap > max(0.25 * progress, margin)) & after
    for i in range(2, len(at)):
        if strong[i - 2 : i + 1].all():
            out.update(damage="transient", transient_damage_step=int(at[i - 2]))
            break
    return out
