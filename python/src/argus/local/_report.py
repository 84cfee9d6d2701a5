"""What the local detector says: one entry a check, and what was not looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from argus._native import Finding, Findings

#: Names of the checks, in the order of argus::probe::Check.
CHECKS = (
    "dead_neurons",
    "activation_saturation",
    "gradient_flow",
    "weight_norms",
    "optimizer_state",
    "attention_collapse",
    "hardware_integrity",
    "precision_erosion",
    "representation_collapse",
)
LEVELS = ("ok", "warn", "critical")
_TRENDS = {1: "worsening", 0: "stable", -1: "recovering"}
# A change of severity between visits below which a finding stands still.
_STILL = 0.02
# Layers named in one line of the summary.
_NAMED = 4


def scale_of(layers: int, judged: int) -> str:
    """How much of the model `layers` of `judged` are: isolated (one, or below a tenth), moderate (below 0.3), widespread (below
    0.6), systemic. Empty without any."""
    if layers == 0:
        return ""
    fraction = layers / max(layers, judged)
    if layers == 1 or fraction < 0.1:
        return "isolated"
    if fraction < 0.3:
        return "moderate"
    return "widespread" if fraction < 0.6 else "systemic"


@dataclass
class CheckReport:
    """One check.

    Attributes:
        level: ok, warn or critical.
        severity: 0 to 1, of the worst layer.
        layers: Qualified names of the layers concerned, worst first.
        fraction: Their share of the layers the check can judge, 0 to 1.
        scale: isolated, moderate, widespread or systemic; empty when ok.
        trend: stable, worsening or recovering; empty when ok.
        since: Step of the first onset; None when ok.
        last_good: Newest step before it without the fault; None when there was none.
        note: What was seen at the worst layer, in numbers with units.
        judged: Layers the check can judge by now; until it can, it says nothing of the others.
        watched: Layers it watches.
    """

    level: str = "ok"
    severity: float = 0.0
    layers: list[str] = field(default_factory=list)
    fraction: float = 0.0
    scale: str = ""
    trend: str = ""
    since: int | None = None
    last_good: int | None = None
    note: str = ""
    judged: int = 0
    watched: int = 0


@dataclass
class LocalReport:
    """What the detector says now.

    Attributes:
        worst_level: ok, warn or critical: the worst of the checks.
        checks: One entry for each of the nine names of `CHECKS`.
        step: Optimizer steps completed.
        layers: Layers watched.
        duty: Share of the step time the detector used, 0 to 1, smoothed.
        budget: The share it may use, where that is more than `floor_us` a step.
        cost_us: Microseconds a step it used, smoothed.
        step_ms: Milliseconds a step takes, smoothed.
        visited_within: Steps within which each layer is visited; 24 at most.
        deep_every: Steps between deep scans.
        memory_bytes: Held for all the layers watched.
        not_watched: What is not looked at, and why, one line each.
        errors: Failures inside the detector, contained.
        facts: What parts tell beside their findings, by key.
    """

    worst_level: str
    checks: dict[str, CheckReport]
    step: int
    layers: int
    duty: float
    budget: float
    floor_us: float
    cost_us: float
    step_ms: float
    visited_within: int
    deep_every: int
    memory_bytes: int
    not_watched: list[str]
    errors: int
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return asdict(self)

    def summary(self) -> str:
        """Some lines for a terminal."""
        found = {name: check for name, check in self.checks.items() if check.level != "ok"}
        lines = [
            f"local detector, step {self.step}: {self.worst_level.upper() if found else 'ok'}, {self.layers} layers watched"
        ]
        for name, check in sorted(found.items(), key=lambda item: -LEVELS.index(item[1].level)):
            lines.extend(_lines(name, check))
        waiting = [name for name, check in self.checks.items() if check.watched > 0 and check.judged == 0]
        if waiting:
            lines.append(f"  not judged yet: {', '.join(waiting)}")
        lines.extend(f"  not watched: {text}" for text in self.not_watched)
        lines.append(
            f"  cost {self.cost_us:.0f} us a step of {self.step_ms:.3g} ms ({100.0 * self.duty:.2f} %); each layer within "
            f"{self.visited_within} steps, deep scan every {self.deep_every}; {self.memory_bytes / 1024:.0f} KiB"
        )
        return "\n".join(lines)


def _lines(name: str, check: CheckReport) -> list[str]:
    layers = ", ".join(check.layers[:_NAMED])
    if len(check.layers) > _NAMED:
        layers += f" and {len(check.layers) - _NAMED} more"
    head = f"  {check.level:8} {name}: {layers} ({check.scale}, {100.0 * check.fraction:.0f} % of {check.judged}), {check.trend}"
    if check.since is not None:
        head += f", since step {check.since}"
    return [head, f"           {check.note}"] if check.note else [head]


def check_reports(parts: Iterable[Findings], number: Callable[[int], int]) -> dict[str, CheckReport]:
    """All parts' findings, check by check. `number` gives an update the number it is spoken of by."""
    by_check: list[list[Finding]] = [[] for _ in CHECKS]
    judged, known = [0] * len(CHECKS), [0] * len(CHECKS)
    for findings in parts:
        for finding in findings.standing:
            by_check[int(finding.check)].append(finding)
        judged = [a + b for a, b in zip(judged, findings.judged, strict=True)]
        known = [a + b for a, b in zip(known, findings.known, strict=True)]
    return {
        name: _check(by_check[i], judged[i], known[i], number)
        if by_check[i]
        else CheckReport(judged=judged[i], watched=known[i])
        for i, name in enumerate(CHECKS)
    }


def _check(findings: list[Finding], judged: int, known: int, number: Callable[[int], int]) -> CheckReport:
    findings.sort(key=lambda finding: (-int(finding.level), -finding.severity))
    worst = findings[0]
    layers = list(dict.fromkeys(finding.layer for finding in findings))
    onsets = [finding.since for finding in findings if finding.since >= 0]
    change = sum(finding.change for finding in findings) / len(findings)
    return CheckReport(
        level=LEVELS[int(worst.level)],
        severity=min(1.0, max(0.0, worst.severity)),
        layers=layers,
        fraction=len(layers) / max(len(layers), judged),
        scale=scale_of(len(layers), judged),
        trend=_TRENDS[(change > _STILL) - (change < -_STILL)],
        since=number(min(onsets)) if onsets else None,
        last_good=number(worst.last_good) if worst.last_good >= 0 else None,
        note=worst.note,
        judged=judged,
        watched=known,
    )


def health_of(checks: dict[str, CheckReport], layers: int) -> dict[str, Any] | None:
    """The summary that travels in a step as `local_health`; None when all is well."""
    level = max(LEVELS.index(check.level) for check in checks.values())
    if level == 0:
        return None
    worst = [check for check in checks.values() if check.level == LEVELS[level]]
    affected = {layer for check in checks.values() for layer in check.layers}
    onsets = [check.since for check in worst if check.since is not None]
    good = [check.last_good for check in worst if check.last_good is not None]
    trends = {check.trend for check in worst}
    return {
        "worst_level": LEVELS[level],
        "trend": next((t for t in ("worsening", "stable", "recovering") if t in trends), "stable"),
        "scale": scale_of(len(affected), layers),
        "affected_fraction": len(affected) / max(len(affected), layers),
        "first_seen_step": min(onsets) if onsets else 0,
        "last_stable_step": min(good) if good else None,
    }
