"""The second stream: which events a run sends, and that they hold only what was known."""

from __future__ import annotations

import getpass
import json
import math
import platform
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import families  # noqa: E402
from torch import nn  # noqa: E402

from argus import _discover  # noqa: E402
from argus._analytics import HEARTBEAT_S, Analytics, quality_index_of  # noqa: E402
from argus._native import analytics_event  # noqa: E402


class Recorder:
    """A stream, the events it sent, and a clock that moves when told to."""

    def __init__(self, model: Any = None, **options: Any) -> None:
        self.now = 100.0
        self.sent: list[str] = []
        self.stream = Analytics(
            self.sent.append, "r", model, clock=lambda: self.now, wall=lambda: 1.7e9 + self.now, **options
        )

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.sent]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def test_a_run_begins_beats_passes_milestones_and_ends() -> None:
    run = Recorder(families.Mlp())
    run.stream.start()
    for step in range(2501):
        run.now += 0.01
        run.stream.step(step, 2.0 - step / 10_000, 8)
    run.stream.end("COMPLETED", dqi=0.75)
    kinds = [event["event"] for event in run.events]
    assert kinds == ["run_start", "heartbeat", "milestone", "heartbeat", "milestone", "run_end"]
    assert [event["step"] for event in run.of("milestone")] == [1000, 2000]
    for event in run.of("milestone") + run.of("heartbeat") + run.of("run_end"):
        assert event["steps_per_s"] == pytest.approx(100.0, rel=1e-6)
        assert event["samples_per_s"] == pytest.approx(800.0, rel=1e-6)
        assert event["loss"] == pytest.approx(2.0 - event["step"] / 10_000)
    (end,) = run.of("run_end")
    assert (end["status"], end["step"], end["data_quality_index"]) == ("COMPLETED", 2500, 0.75)
    assert end["elapsed_hours"] == pytest.approx(25.01 / 3600)
    assert all(event["run_id"] == "r" and event["ts"] > 1.7e9 for event in run.events)


def test_the_start_tells_the_model_and_what_it_runs_on() -> None:
    model = families.Mlp()
    model.layers[0].requires_grad_(False)
    run = Recorder(model)
    run.stream.start()
    (start,) = run.events
    total = sum(p.numel() for p in model.parameters())
    assert start.pop("ts") == pytest.approx(1.7e9 + 100.0)
    assert start == {
        "run_id": "r", "event": "run_start", "model_name": "Mlp", "model_type": "mlp", "total_params": total,
        "trainable_params": total - 4 * 32 - 32, "devices": [{"vendor": "cpu"}], "versions": _discover.versions(),
    }  # fmt: skip


def test_nothing_is_sent_that_was_not_measured() -> None:
    run = Recorder()
    run.stream.start()
    run.stream.step(0, torch.tensor(3.0, requires_grad=True), None)  # not known on the host
    run.now += HEARTBEAT_S
    run.stream.step(1, None, None)
    run.stream.end("STOPPED", dqi=math.nan)
    start, beat, end = run.events
    assert set(start) == {"run_id", "event", "ts", "versions"}
    assert set(beat) == {"run_id", "event", "ts", "step", "steps_per_s", "elapsed_hours"}
    assert set(end) == {"run_id", "event", "ts", "step", "steps_per_s", "elapsed_hours", "status"}


def test_a_run_without_a_step_has_neither_step_nor_rate() -> None:
    run = Recorder()
    run.stream.start()
    run.stream.end("FAILED", "no data")
    assert set(run.events[1]) == {"run_id", "event", "ts", "elapsed_hours", "status", "error"}


def test_samples_per_second_needs_every_step_to_tell_its_samples() -> None:
    run = Recorder()
    run.stream.start()
    for step, samples in enumerate([8, 8, None, 8]):
        run.now += 4.0
        run.stream.step(step, 1.0, samples)
    (beat,) = run.of("heartbeat")
    assert "steps_per_s" in beat and "samples_per_s" not in beat and "batch_size" not in beat
    run.now += 4.0
    run.stream.step(4, 1.0, 8)
    run.now += 4.0
    run.stream.step(5, 1.0, 8)
    run.now += 4.0
    run.stream.step(6, 1.0, 8)
    assert run.of("heartbeat")[1]["samples_per_s"] == pytest.approx(2.0)
    assert run.of("heartbeat")[1]["batch_size"] == 8


def test_a_loss_that_is_known_to_be_no_number_is_sent_as_such() -> None:
    run = Recorder()
    run.stream.start()
    run.stream.step(1, 1.0)
    run.stream.step(2, math.nan)
    run.stream.end("FAILED")
    assert run.of("run_end")[0]["loss"] == "NaN"


def test_a_resumed_run_passes_the_milestones_that_lie_ahead_once_each() -> None:
    run = Recorder()
    run.stream.start()
    for step in [*range(1500, 2100), *range(1900, 2100), 7000]:
        run.stream.step(step)
    assert [event["step"] for event in run.of("milestone")] == [2000, 7000]


def test_a_loop_that_stands_still_beats_once_when_it_goes_on() -> None:
    run = Recorder()
    run.stream.start()
    run.stream.step(0)
    run.now += 600.0
    run.stream.step(1)
    run.stream.step(2)
    assert len(run.of("heartbeat")) == 1
    assert run.of("heartbeat")[0]["steps_per_s"] == pytest.approx(1 / 600.0)


def test_a_stream_that_was_not_started_sends_nothing() -> None:
    run = Recorder()
    run.stream.step(0, 1.0)
    run.stream.end("COMPLETED")
    assert run.sent == []


def test_an_end_is_sent_once_and_nothing_after_it() -> None:
    run = Recorder()
    run.stream.start()
    run.stream.end("COMPLETED")
    run.stream.end("FAILED")
    run.stream.step(1)
    run.stream.start()
    assert [event["event"] for event in run.events] == ["run_start", "run_end"]


def test_without_a_model_only_what_the_optimizers_move_is_counted() -> None:
    model = families.Mlp()
    optimizer = torch.optim.SGD([{"params": model.layers[0].parameters()}, {"params": model.layers[2].parameters()}])
    run = Recorder(optimizers=[optimizer], model_type="mlp")
    run.stream.start()
    (start,) = run.events
    assert start["trainable_params"] == 4 * 32 + 32 + 32 * 8 + 8
    assert start["model_type"] == "mlp" and "total_params" not in start and "model_name" not in start


def test_a_lazy_model_is_counted_at_the_end() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    run = Recorder(model)
    run.stream.start()
    model(torch.zeros(2, 3))
    run.stream.end("COMPLETED")
    start, end = run.events
    assert "total_params" not in start and end["total_params"] == 16


def test_the_name_of_a_device_is_in_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="NVIDIA Secret 9000", total_memory=80 * 2**30, uuid="GPU-1234", major=9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(_discover, "devices_of", lambda model: {torch.device("cuda", 0)})
    run = Recorder(families.Mlp())
    run.stream.start()
    run.now += HEARTBEAT_S
    run.stream.step(1, 1.0, 4)
    run.stream.end("COMPLETED", dqi=0.5)
    assert run.events[0]["devices"] == [{"vendor": "nvidia", "vram_gb": 80}]
    everything = "".join(run.sent)
    assert "9000" not in everything and "Secret" not in everything and "GPU" not in everything
    # Not even when the full name is given as the vendor.
    named = analytics_event("r", "run_start", 1.0, {"devices": [("NVIDIA Secret 9000", 80)]})
    assert json.loads(named)["devices"] == [{"vendor": "nvidia", "vram_gb": 80}]


def test_an_error_is_bounded_and_tells_neither_place_nor_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "trainbox7.lab.example")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    monkeypatch.setenv("SOME_TOKEN", "tok-1234567890")
    error = OSError(
        "trainbox7: user ada cannot read '/mnt/ada/adapters/x.bin' with tok-1234567890 \udc80" + " again" * 500
    )
    run = Recorder()
    run.stream.start()
    run.stream.end("FAILED", error)
    text = run.of("run_end")[0]["error"]
    assert text.startswith("OSError: ***: user *** cannot read 'x.bin' with *** ? again")
    assert len(text.encode()) <= 1024


@pytest.mark.parametrize(
    "fields",
    [
        {"hostname": "h"},
        {"step": -1},
        {"loss": "low"},
        {"versions": {"cuda": "12"}},
        {"devices": [{"name": "x"}]},
        {"ts": 1},
    ],
)
def test_a_field_outside_the_table_cannot_be_written(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        analytics_event("r", "run_start", 1.0, fields)


def test_a_failure_of_the_way_out_ends_the_stream_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(text: str) -> None:
        raise RuntimeError("no way out")

    stream = Analytics(broken, "r", families.Mlp())
    stream.start()
    for step in range(3000):
        stream.step(step, 1.0)
    stream.end("COMPLETED")
    assert stream.errors == 1
    assert capsys.readouterr().err.count("no way out") == 1


@pytest.mark.parametrize("make", [families.LanguageModel, nn.Identity, lambda: None, lambda: "a model", object])
def test_whatever_is_watched_the_stream_begins(make: Callable[[], object]) -> None:
    run = Recorder(make())
    run.stream.start()
    assert [event["event"] for event in run.events] == ["run_start"]
    assert run.stream.errors == 0


def test_the_index_is_that_of_the_certificate_or_unknown() -> None:
    assert quality_index_of('{"run_id": "r", "data_quality": {"index": 0.73, "spread": 1}}') == 0.73
    for nothing in ("", "{}", "[]", "{", '{"data_quality": {"index": null}}', '{"data_quality": {"index": "high"}}'):
        assert quality_index_of(nothing) is None


def test_real_clocks_are_the_default() -> None:
    sent: list[str] = []
    stream = Analytics(sent.append, "r")
    before = time.time()
    stream.start()
    assert before <= json.loads(sent[0])["ts"] <= time.time()
