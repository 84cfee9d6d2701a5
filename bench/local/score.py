"""From traces to figures: recall, the layer named, what else spoke up, false alarms; exact binomial bounds."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from argus.local._report import CHECKS as REPORTED
from bench.intervals import clopper_pearson

from .faults import FAULTS, Fault
from .loop import Poll, Trace

CHECKS = (*REPORTED, "origin")


@dataclass(frozen=True)
class Verdict:
    """What the detector made of one faulty run."""

    trace: Trace
    fault: type[Fault]
    found_after: int | None  # steps from the fault to the poll that showed it
    named: tuple[str, ...]  # the layers named there, worst first
    early: tuple[str, ...]  # checks that alarmed before the fault: false ones
    extra: tuple[str, ...]  # checks that neither claim nor follow from the fault
    right_direction: bool = True

    @property
    def right_first(self) -> bool:
        return bool(self.named) and self.named[0] in self.trace.truth and self.right_direction

    @property
    def right_any(self) -> bool:
        return any(n in self.trace.truth for n in self.named) and self.right_direction

    def line(self) -> str:
        s, t = self.trace.setup, self.trace
        found = f"found after {self.found_after}" if self.found_after is not None else "MISSED"
        layer = "" if self.found_after is None or self.right_first else f", named {list(self.named[:4])}"
        extra = f", extra {list(self.extra)}" if self.extra else ""
        early = f", FALSE BEFORE {list(self.early)}" if self.early else ""
        return f"{self.fault.check} {self.fault.name} {s.task} {s.optimizer} seed {s.seed} at {t.at} in {t.struck}: {found}{layer}{extra}{early}"


def judge(trace: Trace, fault: type[Fault]) -> Verdict:
    """An alarm counts that stands at a poll after the fault and did not stand at the last one before it."""
    at = trace.at or 0
    before = [p for p in trace.polls if p.step <= at]
    after = [p for p in trace.polls if p.step > at]
    stood = set(before[-1].checks) if before else set()
    early = tuple(sorted({c for p in before for c in p.checks}))
    hit = next((p for p in after if spoke(p, fault.check, stood)), None)
    named, direction = names_of(hit, fault.check, trace)
    extra = sorted({c for p in after for c in p.checks} - {fault.check, *fault.also} - stood)
    return Verdict(trace, fault, hit.step - at if hit else None, named, early, tuple(extra), direction)


def spoke(poll: Poll, check: str, stood: set[str]) -> bool:
    return poll.origin is not None if check == "origin" else check in poll.checks and check not in stood


def names_of(poll: Poll | None, check: str, trace: Trace) -> tuple[tuple[str, ...], bool]:
    if poll is None:
        return (), True
    if check == "origin":
        assert poll.origin is not None
        return (str(poll.origin.get("layer")),), poll.origin.get("what") == trace.direction
    return tuple(poll.checks[check][1]), True


def share(hits: int, n: int) -> str:
    if n == 0:
        return "-"
    low, high = clopper_pearson(hits, n)
    return f"{hits}/{n} = {100 * hits / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def rows_by_check(verdicts: Iterable[Verdict]) -> list[list[str]]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for v in verdicts:
        groups[v.fault.check].append(v)
    return [row(check, groups[check]) for check in CHECKS if groups[check]]


def rows_by_fault(verdicts: Iterable[Verdict]) -> list[list[str]]:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for v in verdicts:
        groups[v.fault.name].append(v)
    order = sorted(groups, key=lambda name: (CHECKS.index(FAULTS[name].check), name))
    return [row(f"{FAULTS[name].check}: {name}", groups[name]) for name in order]


HEAD = (
    "check",
    "models",
    "found within 200 steps",
    "right layer first",
    "among those named",
    "steps to find it, median (p90)",
    "others spoke up",
)


def row(title: str, verdicts: list[Verdict]) -> list[str]:
    real = [v for v in verdicts if v.trace.real]
    hits = [v for v in real if v.found_after is not None]
    delays = sorted(v.found_after for v in hits if v.found_after is not None)
    delay = f"{statistics.median(delays):.0f} ({delays[int(0.9 * (len(delays) - 1))]})" if delays else "-"
    return [
        title,
        str(len({v.trace.setup.task for v in real})),
        share(len(hits), len(real)),
        share(sum(v.right_first for v in hits), len(hits)),
        share(sum(v.right_any for v in hits), len(hits)),
        delay,
        share(sum(bool(v.extra) for v in real), len(real)),
    ]


def alarms(trace: Trace) -> dict[str, str]:
    """The checks that ever alarmed in a run, with their worst level."""
    worst: dict[str, str] = {}
    for poll in trace.polls:
        for check, (level, _) in poll.checks.items():
            if worst.get(check) != "critical":
                worst[check] = level
    return worst
