"""What the local detector says, and how a watch passes it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from local_models import Notes, mlp, update  # noqa: E402
from recording_server import recording  # noqa: E402

import argus  # noqa: E402
from argus._native import Check, Finding, Findings, Level, Run  # noqa: E402
from argus.local import CHECKS, LocalDetector  # noqa: E402
from argus.local import _detector as detector_module  # noqa: E402
from argus.local._context import Part  # noqa: E402
from argus.local._numbers import Numbers  # noqa: E402
from argus.local._report import check_reports, health_of, scale_of  # noqa: E402

BATCH = torch.ones(4, 6)


def findings(*found: Finding, judged: int = 10) -> Findings:
    all_of = Findings()
    all_of.judged = [judged] * len(CHECKS)
    all_of.known = [judged] * len(CHECKS)
    for each in found:
        all_of.add(each)
    return all_of


def dead(layer: str, **more: Any) -> Finding:
    fields = {
        "level": Level.WARN,
        "severity": 0.3,
        "since": 40,
        "last_good": 38,
        "note": "half of its units are silent",
    }
    return Finding(check=Check.DEAD_NEURONS, layer=layer, **{**fields, **more})


class Finds(Part):
    """Finds dead units in the first layer from the fifth step on."""

    def findings(self) -> list[Findings]:
        found = [dead("0", since=4, last_good=3)] if self.context.step >= 5 else []
        return [findings(*found, judged=3)]


def test_names_of_the_checks_are_those_of_the_native_half() -> None:
    assert [check.name.lower() for check in Check] == list(CHECKS)
    assert [int(check) for check in Check] == list(range(9))


def test_a_check_says_how_bad_how_much_where_and_since_when() -> None:
    found = findings(
        dead("a", severity=0.2, since=50), dead("b", level=Level.CRITICAL, severity=0.6, change=0.2, note="all of it")
    )
    report = check_reports([found, findings(judged=0)], lambda step: step)["dead_neurons"]
    assert report.level == "critical"
    assert report.layers == ["b", "a"]
    assert (report.severity, report.fraction, report.scale) == (0.6, 0.2, "moderate")
    assert (report.trend, report.since, report.last_good, report.note) == ("worsening", 40, 38, "all of it")
    assert (report.judged, report.watched) == (10, 10)


@pytest.mark.parametrize(("change", "trend"), [(0.2, "worsening"), (0.0, "stable"), (-0.2, "recovering")])
def test_the_trend_is_that_of_the_severity(change: float, trend: str) -> None:
    assert check_reports([findings(dead("a", change=change))], int)["dead_neurons"].trend == trend


@pytest.mark.parametrize(
    ("layers", "judged", "scale"),
    [(0, 9, ""), (1, 2, "isolated"), (1, 1, "isolated"), (3, 40, "isolated"), (2, 10, "moderate"), (3, 9, "widespread"),
     (6, 10, "systemic"), (12, 10, "systemic")],
)  # fmt: skip
def test_the_scale_is_the_share_of_the_layers(layers: int, judged: int, scale: str) -> None:
    assert scale_of(layers, judged) == scale


def test_a_quiet_detector_has_nothing_to_pass_on() -> None:
    assert health_of(check_reports([findings()], int), 10) is None


def test_what_is_passed_on_speaks_of_the_worst() -> None:
    critical = Finding(
        check=Check.HARDWARE_INTEGRITY,
        level=Level.CRITICAL,
        layer="b",
        severity=1.0,
        since=70,
        last_good=69,
        change=0.5,
    )
    checks = check_reports([findings(dead("a"), dead("b"), critical)], int)
    assert health_of(checks, 10) == {
        "worst_level": "critical",
        "trend": "worsening",
        "scale": "moderate",
        "affected_fraction": 0.2,
        "first_seen_step": 70,
        "last_stable_step": 69,
    }


def test_the_report_is_readable_and_writable() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector = LocalDetector(model, optimizer, parts=[Finds, Notes], quiet=True)
    for _ in range(30):
        update(model, optimizer, BATCH)
    report = detector.report()
    assert detector.worst_level == report.worst_level == "warn"
    assert (report.step, report.layers, report.errors) == (30, 3, 0)
    assert report.step_ms > 0.0
    assert 0.0 < report.duty < 1.0
    assert 1 <= report.visited_within <= 24
    written = json.loads(json.dumps(detector.to_dict()))
    assert list(written["checks"]) == list(CHECKS)
    assert written["checks"]["dead_neurons"]["layers"] == ["0"]
    text = detector.summary()
    assert "dead_neurons: 0" in text
    assert "half of its units are silent" in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_what_is_not_watched_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Says(Part):
        def end_step(self) -> None:
            self.context.warn("unknown optimizer SGD: moments not checked")

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector = LocalDetector(model, optimizer, parts=[Says])
    for _ in range(3):
        update(model, optimizer, BATCH)
    assert detector.report().not_watched == ["unknown optimizer SGD: moments not checked"]
    assert "not watched: unknown optimizer SGD" in detector.summary()
    assert capsys.readouterr().err.count("unknown optimizer SGD") == 1


def test_updates_get_the_numbers_of_the_loop() -> None:
    numbers = Numbers()
    assert numbers.of(7) == 7
    for own in range(10, 20):
        numbers.tell(own, own + 1000)
    assert (numbers.of(12), numbers.of(5), numbers.of(25)) == (1012, 1005, 1025)
    sparse = Numbers()
    for number in range(5):  # told after every tenth update
        sparse.tell(10 * number + 9, number)
    assert [sparse.of(own) for own in (0, 9, 12, 19, 49)] == [0, 0, 1, 1, 4]
    for own in range(50, 50_000, 2):
        sparse.tell(own, own // 2)
    assert abs(sparse.of(40_000) - 20_000) <= 20


# In a watched run.


@pytest.fixture
def finding_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_module, "PARTS", ((__name__, "Finds"), (__name__, "Notes")))


def train(watch: argus.Watch, model: Any, optimizer: Any, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        watch.step(update(model, optimizer, BATCH), step=step)


@pytest.mark.usefixtures("finding_watch")
def test_the_summary_travels_with_the_steps(tmp_path: Path) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with recording() as server:
        watch = argus.watch(model, optimizer, local=True, url=server.url, home=tmp_path, quiet=True)
        train(watch, model, optimizer, 40, first=1000)
        watch.complete(wait_s=60.0)
        steps = {each["step"]: each for each in server.of("POST /v2/detect")}
    assert sorted(steps) == list(range(1000, 1040))
    assert "local_health" not in steps[1002]
    assert steps[1039]["local_health"] == {
        "worst_level": "warn",
        "trend": "stable",
        "scale": "isolated",
        "affected_fraction": pytest.approx(1 / 3),
        "first_seen_step": 1004,
        "last_stable_step": 1003,
    }


@pytest.mark.usefixtures("finding_watch")
def test_a_watch_ends_and_resets_its_detector() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with argus.watch(model, optimizer, local=True, record=False, quiet=True) as watch:
        local = watch.local
        assert local is not None
        notes = next(part for part in local._crew.parts if isinstance(part, Notes))
        train(watch, model, optimizer, 20)
        watch.reset(10)
        assert len(notes.of("reset")) == 1
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())
    assert local.worst_level == "warn"


def test_without_being_asked_a_watch_does_not_look_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    assert argus.watch(model, optimizer, record=False).local is None
    monkeypatch.setenv("ARGUS_LOCAL", "1")
    assert argus.watch(model, optimizer, record=False).local is not None
    assert argus.watch(model, optimizer, record=False, local=False).local is None
    with pytest.raises(argus.UsageError):
        argus.watch(record=False, local=True)


def test_a_detector_that_cannot_be_made_leaves_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise OSError("broken")

    monkeypatch.setattr("argus.local._detector.unwrap", broken)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    watch = argus.watch(model, optimizer, record=False, local=True, quiet=True)
    train(watch, model, optimizer, 3)
    assert watch.local is None
    assert watch.watching
    assert watch.errors == 1


HEALTH = {
    "worst_level": "warn",
    "trend": "stable",
    "scale": "isolated",
    "affected_fraction": 0.5,
    "first_seen_step": 3,
    "last_stable_step": None,
}


@pytest.mark.parametrize(
    "member",
    [{"worst_level": "bad"}, {"worst_level": 3}, {"trend": "up"}, {"scale": None}, {"affected_fraction": "x"},
     {"first_seen_step": 1.5}, {"last_stable_step": "x"}],
)  # fmt: skip
def test_a_summary_that_cannot_be_meant_is_refused(member: dict[str, Any]) -> None:
    run = Run(run_id="health", record=False)
    scalars = [None] * len(argus._native.SCALARS)
    assert run.observe(1, 0, scalars, local_health=HEALTH) == 0
    with pytest.raises(ValueError, match="local_health"):
        run.observe(2, 0, scalars, local_health={**HEALTH, **member})
