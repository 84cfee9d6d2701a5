"""The demo's page: one self-contained HTML file, charts as inline SVG, nothing fetched from anywhere."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Sequence
from importlib import resources

import argus
from argus._report import number
from argus.demo.runs import Record, lost_step, returned_steps, smoothed

_WIDTH = 1000
_LEFT, _RIGHT = 66, 14
_PLOT = _WIDTH - _LEFT - _RIGHT
_SIGNALS = (
    "loss_divergence", "gradient_explosion", "vanishing_gradients", "oscillation", "training_stagnation", "distribution_shift",
    "confidence_collapse", "entropy_drift", "outlier_batch", "label_noise", "representational_collapse",
)  # fmt: skip


def first_step(record: Record, pressure: int) -> int | None:
    """First step at which argus stood at this pressure or above."""
    assert record.history is not None
    for step, value in zip(record.history["step"], record.history["harm_pressure"]):
        if value >= pressure:
            return int(step)
    return None


def summary(record: Record, twin: Record) -> list[str]:
    """What happened and when it was seen, in a few sentences."""
    plan = record.plan
    lost = lost_step(record.losses, twin.losses, plan.onset)
    watch, alarm = first_step(record, 1), first_step(record, 2)
    out = []
    if record is twin:
        history = record.history
        assert history is not None
        above = sum(1 for value in history["harm_pressure"] if value > 0)
        out.append(
            f"{plan.steps} steps, {above} of them above pressure 0; loss {number(smoothed(record.losses)[-1])} at the end"
        )
        return out
    if record.losses[: plan.onset] == twin.losses[: plan.onset]:
        out.append(f"identical to the healthy run, bit for bit, up to step {plan.onset}")
    if alarm is None:
        out.append("argus did not alarm" + (f" (pressure 1 from step {watch})" if watch is not None else ""))
    else:
        out.append(f"argus: confirmed (pressure 2 or more) at step {alarm}, {alarm - plan.onset} steps after the onset")
    if lost is None:
        out.append("the run was not lost within the steps shown")
        return out
    back = returned_steps(record.losses, twin.losses, plan.onset + plan.accident_steps, lost)
    if record.story.name == "accident":
        history = record.history
        assert history is not None
        start = plan.onset + plan.accident_steps
        least = min(history["harm_pressure"].tolist()[start:lost], default=0)
        held = f"argus held pressure {least} or more throughout" if least else "the pressure went back to 0 in it"
        out.append(f"in between, {back} steps with the loss back beside the healthy twin's; {held}")
    lead = (
        ""
        if alarm is None
        else (f", {lost - alarm} steps after the alarm" if lost >= alarm else f", {alarm - lost} steps before it")
    )
    out.append(
        f"lost at step {lost}{lead}: from there the loss stays above the twin's by a quarter of all progress made"
    )
    return out


class _Axis:
    """Maps values to pixels: x by step, y linear or logarithmic."""

    def __init__(self, low: float, high: float, top: float, height: float, *, log: bool = False) -> None:
        self.low, self.high, self.top, self.height, self.log = low, high, top, height, log

    def y(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.top + self.height * (1 - share)

    def ticks(self) -> list[float]:
        if self.log:
            low, high = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, (high - low) // 4 + 1)
            return [10.0**e for e in range(low, high + 1, every)]
        step = 10 ** math.floor(math.log10((self.high - self.low) / 3))
        for factor in (1, 2, 5, 10):
            if (self.high - self.low) / (step * factor) <= 5:
                step *= factor
                break
        return [i * step for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _x(index: int, steps: int) -> float:
    return _LEFT + _PLOT * index / max(1, steps - 1)


def _line(values: Sequence[float], axis: _Axis, kind: str) -> str:
    """A path through the values; it leaves the chart where they do, and has a gap where there is no finite one."""
    parts, pen, off = [], "M", False
    for i, value in enumerate(values):
        above = value > axis.high
        if math.isnan(value) or (above and off) or (above and math.isinf(value) and pen == "M"):
            pen, off = "M", above
            continue
        parts.append(f"{pen}{_x(i, len(values)):.1f} {axis.y(value):.1f}")
        pen, off = ("M", True) if above else ("L", False)
    return f'<path class="{kind}" d="{"".join(parts)}"/>'


def _band(low: Sequence[float], high: Sequence[float], axis: _Axis) -> str:
    out, run = [], []
    for i in range(len(low) + 1):
        if i < len(low) and math.isfinite(low[i]) and math.isfinite(high[i]):
            run.append(i)
            continue
        if len(run) > 1:
            upper = [f"{_x(j, len(low)):.1f} {axis.y(high[j]):.1f}" for j in run]
            lower = [f"{_x(j, len(low)):.1f} {axis.y(low[j]):.1f}" for j in reversed(run)]
            out.append(f'<path class="band" d="M{"L".join(upper + lower)}Z"/>')
        run = []
    return "".join(out)


def _stretches(values: Iterable[int]) -> list[tuple[int, int, int]]:
    """(value, first index, last index) of each run of equal values."""
    out: list[tuple[int, int, int]] = []
    for i, value in enumerate(values):
        if out and out[-1][0] == value:
            out[-1] = (value, out[-1][1], i)
        else:
            out.append((value, i, i))
    return out


def _frame(axis: _Axis, title: str, steps: int) -> str:
    out = [f'<text class="panel" x="{_LEFT}" y="{axis.top - 7:.0f}">{html.escape(title)}</text>']
    for tick in axis.ticks():
        y = axis.y(tick)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    return "".join(out)


def _loss_axis(record: Record, twin: Record, top: float) -> _Axis:
    finite = sorted(x for x in record.losses if math.isfinite(x))
    low = min([*finite, *twin.losses])
    # A run that is destroyed goes to the sky; the chart stays readable up to half again the starting loss.
    high = min(finite[-1], 1.5 * twin.losses[0])
    margin = 0.04 * (high - low)
    return _Axis(low - margin, high + margin, top, 190)


def _norm_axis(norms: Sequence[float], top: float) -> _Axis:
    finite = [x for x in norms if math.isfinite(x) and x > 0]
    low, high = min(finite, default=0.1), max(finite, default=1.0)
    return _Axis(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high) + 1e-9), top, 120, log=True)


def _lanes(history: argus.History, top: float, steps: int) -> tuple[str, float]:
    """One lane for each signal that was ever active."""
    out, y = [f'<text class="panel" x="{_LEFT}" y="{top - 7:.0f}">Signals</text>'], top
    for name in _SIGNALS:
        active = [int(severity >= 1) for severity in history[name]]
        if not any(active):
            continue
        out.append(f'<line class="lane" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y + 7}" y2="{y + 7}"/>')
        for value, first, last in _stretches(active):
            if value:
                x = _x(first, steps)
                width = max(2.0, _x(last + 1, steps) - x)
                out.append(f'<rect class="signal" x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="10" rx="2"/>')
        out.append(f'<text class="lanename" x="{_LEFT + 6}" y="{y + 11}">{name.replace("_", " ")}</text>')
        y += 19
    if y == top:
        out.append(f'<text class="none" x="{_LEFT + 6}" y="{y + 12}">none, at any step</text>')
        y += 19
    return "".join(out), y


def _pressure(history: argus.History, top: float, steps: int) -> str:
    out = [f'<text class="panel" x="{_LEFT}" y="{top - 7:.0f}">Harm pressure</text>']
    for level in (1, 2, 3):
        y = top + 48 - 16 * level
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        out.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{level}</text>')
    out.append(f'<line class="base" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{top + 48}" y2="{top + 48}"/>')
    for value, first, last in _stretches(history["harm_pressure"]):
        if value:
            x = _x(first, steps)
            width = max(1.5, _x(last + 1, steps) - x)
            out.append(
                f'<rect class="p{value}" x="{x:.1f}" y="{top + 48 - 16 * value}" width="{width:.1f}" height="{16 * value}"/>'
            )
    return "".join(out)


def _marks(record: Record, twin: Record, top: float, bottom: float) -> str:
    plan, steps = record.plan, len(record.losses)
    marks: list[tuple[int, str, str]] = []
    if record is not twin:
        marks.append((plan.onset, "onset", "fault begins"))
        alarm = first_step(record, 2)
        if alarm is not None:
            marks.append((alarm, "alarm", f"argus confirms, {alarm}"))
        lost = lost_step(record.losses, twin.losses, plan.onset)
        if lost is not None:
            marks.append((lost, "lost", f"run lost, {lost}"))
    out = []
    for row, (step, kind, label) in enumerate(marks):
        x = _x(step, steps)
        anchor, dx = ("end", -5) if kind == "onset" else ("start", 5)
        y = top + 11 + (13 if row == 1 else 0)
        out.append(f'<line class="mark {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom:.0f}"/>')
        out.append(f'<text class="marktext {kind}" x="{x + dx:.1f}" y="{y}" text-anchor="{anchor}">{label}</text>')
    return "".join(out)


def _chart(record: Record, twin: Record) -> str:
    history = record.history
    assert history is not None
    steps = len(record.losses)
    norms = history["grad_norm"].tolist()
    loss_axis = _loss_axis(record, twin, 30)
    norm_axis = _norm_axis(norms, 262)
    out = [_frame(loss_axis, "Training loss, and the band argus expected", steps)]
    out.append(_band(history["expected_loss_low"].tolist(), history["expected_loss_high"].tolist(), loss_axis))
    if record is not twin:
        out.append(_line(smoothed(twin.losses), loss_axis, "twin"))
    out.append(_line(record.losses, loss_axis, "loss"))
    off = next((i for i, loss in enumerate(record.losses) if loss > loss_axis.high or not math.isfinite(loss)), None)
    if off is not None and record is not twin:
        x, y = _x(off, steps), loss_axis.top
        out.append(f'<text class="off" x="{x + 4:.1f}" y="{y + 40:.0f}">off the chart</text>')
    out.append(_frame(norm_axis, "Gradient norm", steps))
    out.append(
        _band(history["expected_grad_norm_low"].tolist(), history["expected_grad_norm_high"].tolist(), norm_axis)
    )
    out.append(_line(norms, norm_axis, "norm"))
    lanes, y = _lanes(history, 424, steps)
    out.append(lanes)
    out.append(_pressure(history, y + 34, steps))
    bottom = y + 34 + 48
    out.append(_marks(record, twin, 30, bottom))
    for step in range(0, steps - steps // 20, 100):
        x = _x(step, steps)
        out.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18:.0f}" text-anchor="middle">{step}</text>')
    out.append(f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{bottom + 18:.0f}" text-anchor="end">step</text>')
    cursor = f'<line class="cursor" y1="30" y2="{bottom:.0f}" x1="-9" x2="-9"/>'
    label = html.escape(f"{record.story.title}: loss, gradient norm, signals and pressure over {steps} steps")
    return (
        f'<svg viewBox="0 0 {_WIDTH} {bottom + 26:.0f}" role="img" aria-label="{label}" data-run="{record.story.name}">'
        f"{''.join(out)}{cursor}</svg>"
    )


def _points(record: Record) -> list[list[object]]:
    """What the cursor shows: loss, gradient norm, pressure, active signals of each step."""
    history = record.history
    assert history is not None
    severities = {name: history[name].tolist() for name in _SIGNALS}
    out: list[list[object]] = []
    for i, (loss, norm, pressure) in enumerate(zip(record.losses, history["grad_norm"], history["harm_pressure"])):
        active = [name.replace("_", " ") for name in _SIGNALS if severities[name][i] >= 1]
        out.append([number(loss), number(norm), int(pressure), ", ".join(active)])
    return out


def _section(record: Record, twin: Record) -> str:
    account = record.story.account.format(onset=record.plan.onset, accident_steps=record.plan.accident_steps)
    facts = "".join(f"<li>{html.escape(line[0].upper() + line[1:])}.</li>" for line in summary(record, twin))
    twin_key = "" if record is twin else '<span class="key twin">healthy twin</span>'
    return (
        f"<section><h2>{html.escape(record.story.title)}</h2><p>{html.escape(account)}</p><ul>{facts}</ul>"
        f'<p class="legend"><span class="key loss">this run</span>{twin_key}<span class="key band">expected</span>'
        '<span class="key p1">pressure 1, watch</span><span class="key p2">2, confirmed</span>'
        '<span class="key p3">3, critical</span></p>'
        f'<div class="chart">{_chart(record, twin)}<div class="tip" hidden></div></div></section>'
    )


def render(records: Sequence[Record]) -> str:
    """The page for these runs, the healthy twin first."""
    twin = records[0]
    template = resources.files("argus.demo").joinpath("page.html").read_text(encoding="utf-8")
    plan = twin.plan
    intro = (
        f"A {plan.shape.layers}-layer transformer learns the Python language reference character by character: three trainings of "
        f"{plan.steps} steps from one seed, on the CPU. Argus watched each in its own process and changed nothing."
    )
    data = {record.story.name: _points(record) for record in records}
    return (
        template.replace("$INTRO", html.escape(intro))
        .replace("$SECTIONS", "".join(_section(record, twin) for record in records))
        .replace("$ENGINE", html.escape(argus.ENGINE_VERSION))
        .replace("$GEOMETRY", json.dumps([_LEFT, _PLOT, _WIDTH]))
        .replace("$DATA", json.dumps(data).replace("</", "<\\/"))
    )
