"""Records one plan: the healthy run, or the fork at the onset, the judgement and the meta file's content."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from .damage import judge
from .fault import Fault
from .loop import World
from .plan import Made, Plan, make
from .telemetry import Reporting, Writer

Rows = list[dict[str, Any]]
AFTER_NAN = 20
PER_SAMPLE = {"distribution_shift", "outlier_batch"}
PER_CLASS = {"confidence_collapse", "entropy_drift", "label_noise"}
BY_NORM = {"gradient_explosion", "vanishing_gradients"}


@dataclasses.dataclass
class Recorded:
    """Rows and meta of one finished run; `e` is the private score of the healthy branch, kept for screening."""

    rows: Rows
    meta: dict[str, Any]
    e: list[float]


def _advance(
    w: World, start: int, stop: int, writer: Writer, rows: Rows, e_at: list[int], e: list[float], every: int
) -> None:
    """Steps `start` to `stop`, or to 20 steps past the first non-finite loss."""
    for t in range(start, stop):
        if w.dead is not None and t > w.dead + AFTER_NAN:
            return
        if t % every == 0:
            e_at.append(t)
            e.append(w.evaluate())
        row = writer.row(w.step(t))
        if row is not None:
            rows.append(row)


def _fields(rows: Rows) -> set[str]:
    found: set[str] = set()
    for r in rows:
        found |= set(r) | set(r["training"])
    return found


def expected_signals(cls: type[Fault], rows: Rows, how: Reporting, card_family: str) -> list[str]:
    """The signals listed for the fault, minus those this run has no fields for."""
    has, drop = _fields(rows), set()
    if "sample_losses" not in has:
        drop |= PER_SAMPLE
    if "sample_entropies" not in has:
        drop |= PER_CLASS
    if "weights" not in has:
        drop.add("representational_collapse")
    if "grad_norm" not in has:
        drop |= BY_NORM
    if how.postclip:
        drop.add("gradient_explosion")
    kept = [s for s in dict.fromkeys(cls.expected) if s not in drop]
    return kept or ["loss_divergence", "training_stagnation"]


def _base(plan: Plan, made: Made, steps: int) -> dict[str, Any]:
    w, card = made.world, made.world.task.card
    return {
        "name": "",
        "family": card.family,
        "arch": card.arch,
        "task": card.task,
        "optimizer": w.opt.kind,
        "schedule": w.schedule.kind,
        "steps": steps,
        "layer2": made.how.layer2 > 0,
        "model_type": card.model_type,
        "learning_rate": w.lr,
    }


def _healthy(plan: Plan, made: Made, rows: Rows, e: list[float], note: str = "") -> Recorded:
    notes = [note] * bool(note) + made.notes
    meta = {
        **_base(plan, made, rows[-1]["step"] + 1),
        "label": "healthy",
        "fault": "none",
        "onset_step": None,
        "collapse_step": None,
        "expected_signals": [],
        "undetectable": False,
        "notes": " ".join(notes),
        "generator_seed": plan.key,
    }
    return Recorded(rows, meta, e)


def record(plan: Plan) -> list[Recorded]:
    """One healthy run; or a faulty run followed by its twin where the plan keeps it."""
    made = make(plan)
    w, every = made.world, 10 if made.world.task.card.slow else 5
    writer = Writer(made.how)
    rows: Rows = []
    at: list[int] = []
    e: list[float] = []
    if made.fault is None:
        _advance(w, 0, made.steps, writer, rows, at, e, every)
        return [_healthy(plan, made, rows, e)]
    assert made.onset is not None
    _advance(w, 0, made.onset, writer, rows, at, e, every)
    twin, twin_writer, twin_rows, twin_at, twin_e = w.fork(), Writer(made.how), list(rows), list(at), list(e)
    twin_writer.last, twin_writer.sum, twin_writer.n = writer.last, writer.sum, writer.n
    fault = made.fault
    fault.start(w, made.onset)
    w.hooks.append(fault)
    _advance(w, made.onset, made.steps, writer, rows, at, e, every)
    _advance(twin, made.onset, made.steps, twin_writer, twin_rows, twin_at, twin_e, every)
    verdict = judge(twin_at, twin_e, e, made.onset, w.dead)
    meta = {
        **_base(plan, made, rows[-1]["step"] + 1),
        "label": "fault",
        "fault": plan.fault,
        "fault_params": {**fault.p, "onset": made.onset},
        "onset_step": made.onset,
        **verdict,
    }
    if fault.clear is not None:
        meta["clear_step"] = fault.clear
    if plan.fault == "outlier_records" and "sample_ids" in _fields(rows):
        meta["spike_ids"] = np.flatnonzero(fault.bad.numpy()).tolist()  # type: ignore[attr-defined]
    meta.update(
        expected_signals=expected_signals(type(fault), rows, made.how, ""),
        undetectable=rows == twin_rows,
        notes=" ".join([(type(fault).__doc__ or "").split("\n\n")[0].replace("\n    ", " ").strip(), *made.notes]),
        generator_seed=plan.key,
    )
    out = [Recorded(rows, meta, twin_e)]
    if plan.keep_twin:
        out.append(_healthy(plan, made, twin_rows, twin_e, "twin of a faulty run."))
    return out


def learned(e: list[float]) -> bool:
    """Screening of healthy runs: finite to the end, better than at the start, and not fallen back by half of the progress."""
    if len(e) < 4 or not all(math.isfinite(v) for v in e):
        return False
    progress, back = e[0] - min(e), float(np.median(e[-3:])) - min(e)
    return progress > 0.03 * abs(e[0]) and back < 0.5 * progress
