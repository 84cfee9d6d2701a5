"""A watch that is given its numbers, without a model: no torch needed."""

from __future__ import annotations

import math
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import argus
from argus import _version


def healthy(watch: argus.Watch, steps: int, seed: int = 0) -> None:
    noise = random.Random(seed)
    for _ in range(steps):
        watch.step(2.0 + noise.gauss(0, 0.05), grad_norm=1.0 + abs(noise.gauss(0, 0.1)), lr=1e-3)


def test_steps_are_counted_from_zero() -> None:
    watch = argus.watch()
    healthy(watch, 5)
    assert watch.decision.step == 4
    assert watch.history["step"].tolist() == [0, 1, 2, 3, 4]


def test_a_given_step_number_is_kept_and_counted_on_from() -> None:
    watch = argus.watch()
    watch.step(1.0, step=100)
    watch.step(1.0)
    assert watch.history["step"].tolist() == [100, 101]


def test_a_healthy_stream_stays_at_pressure_zero_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    healthy(watch, 300)
    assert max(watch.history["harm_pressure"]) == 0
    assert capsys.readouterr() == ("", "")


def test_non_finite_loss_is_said_once_and_reported_to_the_callback(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[argus.Decision] = []
    watch = argus.watch(on_change=seen.append)
    healthy(watch, 120)
    for _ in range(3):
        assert watch.step(math.nan, grad_norm=math.nan) == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("argus: step 120: pressure 3 (critical)")
    assert [decision.harm_pressure for decision in seen] == [3]
    assert seen[0].step == 120


def test_return_to_zero_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    healthy(watch, 120)
    watch.step(math.nan, grad_norm=math.nan)
    healthy(watch, 400, seed=1)
    assert watch.pressure == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "clear again" in lines[1]


def trouble(watch: argus.Watch, steps: int, *, grad_norm: float, loss: float = 2.0, seed: int = 9) -> None:
    noise = random.Random(seed)
    for _ in range(steps):
        watch.step(loss + noise.gauss(0, 0.05), grad_norm=grad_norm * (1.0 + abs(noise.gauss(0, 0.1))), lr=1e-3)


def test_a_line_says_what_is_not_finite_in_place_of_the_last_finite_value(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    healthy(watch, 120)
    watch.step(math.nan, grad_norm=1.0)
    line = capsys.readouterr().err
    assert "loss is nan" in line
    assert "gradient norm" not in line
    assert "usual here" not in line


def test_a_value_is_shown_only_where_it_is_outside_its_band(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    healthy(watch, 300)
    for height in (2.0, 1.5, 8.0, 30.0):
        trouble(watch, 12, grad_norm=height)
        healthy(watch, 200)
    lines = capsys.readouterr().err
    shown = re.findall(r"([\d.e+-]+) \(usual here ([\d.e+-]+) to ([\d.e+-]+)\)", lines)
    assert shown
    assert all(not float(low) <= float(value) <= float(high) for value, low, high in shown)


def test_a_rise_without_a_signal_names_what_comes_nearest_to_one(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[argus.Decision] = []
    watch = argus.watch(on_change=seen.append)
    healthy(watch, 300)
    for seed in range(6):
        trouble(watch, 8, grad_norm=1.0, loss=4.0, seed=seed)
        healthy(watch, 150)
    bare = [d for d in seen if d.harm_pressure == 1 and not d.signals and max(d.breakdown.values()) > 0]
    assert bare
    lines = {int(line.split()[2][:-1]): line for line in capsys.readouterr().err.splitlines()}
    named = [d for d in bare if d.step in lines]
    assert named
    for decision in named:
        assert max(decision.breakdown, key=decision.breakdown.__getitem__) in lines[decision.step]


def test_after_a_rewind_the_clear_line_counts_the_steps_that_were_trained(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    healthy(watch, 120)
    watch.step(math.nan, grad_norm=math.nan)
    watch.reset(60)
    healthy(watch, 40)
    assert watch.pressure == 0
    columns = zip(watch.history["step"].tolist(), watch.history["harm_pressure"].tolist(), strict=True)
    raised = [step for step, pressure in columns if pressure > 0]
    assert f"after {len(raised)} step" in capsys.readouterr().err.splitlines()[1]


def test_a_pressure_that_flaps_is_one_line_in_fifty_steps_and_critical_is_said_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch = argus.watch()
    healthy(watch, 600)
    for seed in range(10):
        trouble(watch, 5, grad_norm=8.0, seed=seed)
        healthy(watch, 12, seed=seed)
    healthy(watch, 20)
    watch.step(math.nan, grad_norm=math.nan)
    last = watch.decision.step
    watch.complete()
    said = [(int(line.split()[2][:-1]), line) for line in capsys.readouterr().err.splitlines()]
    pressures = watch.history["harm_pressure"].tolist()
    rises = [i for i in range(1, len(pressures)) if pressures[i] > 0 and pressures[i - 1] == 0]
    rise_lines = [step for step, line in said if ": pressure" in line]
    assert len(rise_lines) < len(rises)
    cleared = [step for step, line in said if "clear" in line]
    for step, line in said:
        if ": pressure" in line and "critical" not in line:
            assert not any(0 < step - at < 50 for at in cleared)
    assert said[-1][0] == last
    assert "critical" in said[-1][1]
    assert any("it rose and cleared" in line for _, line in said)


def test_what_is_held_back_is_said_when_the_run_ends(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    healthy(watch, 600)
    trouble(watch, 5, grad_norm=8.0)
    while watch.pressure:
        healthy(watch, 1)
    healthy(watch, 5)
    capsys.readouterr()
    trouble(watch, 5, grad_norm=8.0)
    assert watch.pressure > 0
    assert capsys.readouterr().err == ""
    watch.complete()
    assert ": pressure" in capsys.readouterr().err


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch(quiet=True)
    healthy(watch, 120)
    assert watch.step(math.nan) == 3
    assert capsys.readouterr().err == ""


def test_a_callback_that_raises_is_contained(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(decision: argus.Decision) -> None:
        raise RuntimeError("the chat is down")

    watch = argus.watch(on_change=broken, quiet=True)
    healthy(watch, 120)
    watch.step(math.nan)
    healthy(watch, 400)
    assert watch.watching
    assert watch.errors >= 2
    assert capsys.readouterr().err.splitlines() == [
        "argus: on_change raised RuntimeError: the chat is down; training goes on"
    ]


@pytest.mark.parametrize("bad", ["three", object(), [1.0], 1j, {}])
def test_a_loss_that_is_no_number_is_dropped(bad: object, capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    watch.step(bad)
    watch.step(bad, grad_norm=1.0)
    assert watch.rejected == 2
    assert watch.watching
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("argus: loss not used:")
    assert watch.history["grad_norm"].tolist()[1] == 1.0


def test_impossible_values_are_dropped_not_learned() -> None:
    watch = argus.watch(quiet=True)
    watch.step(1.0, grad_norm=-1.0, lr=-2.0, batch_size=0)
    assert watch.rejected == 3
    assert math.isnan(watch.history["grad_norm"].tolist()[0])


@pytest.mark.parametrize("bad", [-1, "x", None, 2**80])
def test_a_step_number_that_cannot_be_is_replaced_by_the_count(bad: object) -> None:
    watch = argus.watch(quiet=True)
    watch.step(1.0)
    watch.step(1.0, step=bad)  # type: ignore[arg-type]
    assert watch.watching
    assert watch.history["step"].tolist() == [0, 1]


def test_nothing_at_all_is_a_step_too() -> None:
    watch = argus.watch()
    watch.step()
    watch.step(None)
    assert len(watch.history) == 2


def test_a_rewind_is_observed_and_kept() -> None:
    watch = argus.watch()
    healthy(watch, 50)
    watch.step(2.0, step=20)
    healthy(watch, 3)
    assert watch.history["step"].tolist()[-4:] == [20, 21, 22, 23]
    assert watch.decision.step == 23


def test_reset_begins_again_at_the_given_step() -> None:
    watch = argus.watch()
    healthy(watch, 50)
    watch.reset(step=40)
    watch.step(2.0)
    assert watch.decision.step == 40


def test_history_keeps_the_newest_steps() -> None:
    watch = argus.watch(history_steps=1500)
    for i in range(4000):
        watch.step(float(i))
    assert len(watch.history) == 1500
    assert watch.history["loss"].tolist() == [float(i) for i in range(2500, 4000)]


def test_history_has_every_column_and_refuses_others() -> None:
    watch = argus.watch()
    healthy(watch, 3)
    for name in argus.History.names:
        assert len(watch.history[name]) == 3
    with pytest.raises(KeyError, match="no column 'los'"):
        watch.history["los"]


def test_sample_arrays_are_taken_as_lists(capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch()
    watch.step(1.0, sample_ids=["a", "b"], losses=[1.0, None], correct=[True, False], entropies=(0.1, 0.2))
    assert watch.rejected == 0
    assert capsys.readouterr().err == ""


def test_sample_arrays_of_different_lengths_are_dropped_with_the_lengths_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch = argus.watch()
    watch.step(1.0, sample_ids=[1, 2, 3], losses=[1.0, 2.0])
    assert watch.rejected == 1
    assert "losses 2, sample_ids 3" in capsys.readouterr().err
    assert watch.history["loss"].tolist() == [1.0]


def test_outlying_samples_are_named_by_their_ids() -> None:
    watch = argus.watch(quiet=True)
    noise = random.Random(3)
    for step in range(200):
        losses = [1.0 + abs(noise.gauss(0, 0.1)) for _ in range(16)]
        ids = [f"row{16 * step + i}" for i in range(16)]
        if step >= 195:
            losses[5] = 60.0
        watch.step(sum(losses) / 16, grad_norm=1.0 + abs(noise.gauss(0, 0.1)), sample_ids=ids, losses=losses)
        if watch.decision.spike_indices:
            assert watch.spike_samples == [ids[i] for i in watch.decision.spike_indices]


def test_used_as_a_context_it_closes_and_lets_exceptions_through() -> None:
    with pytest.raises(ZeroDivisionError), argus.watch() as watch:
        watch.step(1.0)
        raise ZeroDivisionError
    assert not watch.watching
    watch.step(1.0)
    assert len(watch.history) == 1


def test_a_failure_inside_ends_the_watch_not_the_loop(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def observe(self, *args: object, **kwargs: object) -> int:
            raise RuntimeError("broken engine")

    watch = argus.watch()
    watch.step(1.0)
    watch.run = Broken()  # type: ignore[assignment]
    for _ in range(5):
        assert watch.step(1.0) == 0
    assert watch.errors == 1
    assert not watch.watching
    assert capsys.readouterr().err.splitlines() == [
        "argus: not watching any more: RuntimeError: broken engine; training goes on"
    ]


@pytest.mark.parametrize(
    "arguments", [{"history_steps": 0}, {"history_steps": 1.5}, {"on_change": 3}, {"model_type": 3}]
)
def test_wrong_arguments_to_watch_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(argus.UsageError, match="accepted is") as caught:
        argus.watch(**arguments)  # type: ignore[arg-type]
    assert isinstance(caught.value, argus.ArgusError)
    assert caught.value.field in arguments


def test_closed_stderr_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    watch = argus.watch()
    healthy(watch, 60)
    watch.step(math.nan)
    assert watch.watching


@pytest.fixture
def nobody() -> Iterator[str]:
    """A url whose port is taken and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("given", [True, False])
def test_what_was_not_delivered_by_the_end_is_said_with_the_command_that_delivers_it(
    given: bool, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARGUS_HOME", str(tmp_path))
    home = tmp_path / "else where" if given else None
    watch = argus.watch(url=nobody, run_id="kept-back", home=home)
    healthy(watch, 100)
    watch.complete(wait_s=0.5)
    said = capsys.readouterr().err.splitlines()[-1]
    command = f"argus spool send kept-back --home '{home}'" if given else "argus spool send kept-back"
    assert said == f"argus: 100 steps wait on disk; `{command}` delivers them"


def test_quiet_leaves_it_to_the_counters(nobody: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch(url=nobody, home=tmp_path, quiet=True)
    healthy(watch, 100)
    watch.complete(wait_s=0.5)
    assert watch.counters["steps_in_spool"] == 100
    assert "spool send" not in capsys.readouterr().err


def test_what_was_delivered_needs_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch(home=tmp_path)
    healthy(watch, 100)
    watch.complete(wait_s=60.0)
    assert capsys.readouterr().err == ""


def test_a_url_without_a_scheme_is_told_to_have_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch(url="localhost:8088", home=tmp_path)
    watch.step(1.0)
    assert watch.watching
    assert "put http:// or https:// before it" in capsys.readouterr().err


def test_the_package_has_a_version() -> None:
    assert argus.__version__ == _version.package_version()
