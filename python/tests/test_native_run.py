"""`argus._native.Run`: judged here, recorded in a home folder."""

from __future__ import annotations

import json
import math
from array import array
from pathlib import Path

import pytest

from argus._errors import InvalidError
from argus._native import LR_RESTARTED, SCALARS, Engine, History, Run

LOSS, NORM, BATCH = SCALARS.index("loss"), SCALARS.index("grad_norm"), SCALARS.index("batch_size")
WAIT = 60.0


def scalars(loss: float, norm: float = 1.0) -> list[float | None]:
    values: list[float | None] = [None] * len(SCALARS)
    values[LOSS], values[NORM] = loss, norm
    return values


def healthy(i: int) -> list[float | None]:
    return scalars(2.0 + 0.01 * (i * 7 % 5), 1.0 + 0.01 * (i * 3 % 7))


def test_says_what_the_engine_says_and_has_it_recorded(tmp_path: Path) -> None:
    run = Run(run_id="a", model_type="transformer", home=str(tmp_path))
    engine = Engine("transformer")
    history = History(1000)
    for i in range(300):
        values = healthy(i) if i != 250 else scalars(math.nan)
        assert run.observe(i, 0, values) == engine.observe(i, i, 0, 0, values)
        history.record(run)
    assert len(history) == 300
    assert run.decision().step == 299
    assert run.flush(WAIT)
    assert run.counters()["steps_delivered"] == 300
    certificate = json.loads(run.complete("COMPLETED", 299, "", 1.5, WAIT))
    assert certificate["run_id"] == run.run_id == "a"
    assert run.close(WAIT)
    assert not run.is_recording
    assert run.take_notices() == []
    assert run.take_command() == ""


def test_takes_samples_with_ids_of_both_kinds(tmp_path: Path) -> None:
    run = Run(run_id="b", home=str(tmp_path))
    losses = array("d", [0.5, 1.0, math.nan])
    run.observe(0, LR_RESTARTED, healthy(0), losses=losses, sample_ids=["s\u00e9", -(2**63), 2**64 - 1])
    assert run.sample_stride == 1
    run.observe(1, 0, healthy(1), losses=array("d", [1.0] * 3000), sample_ids=list(range(3000)))
    assert run.sample_stride == 3
    assert run.flush(WAIT)
    counters = run.counters()
    assert (counters["steps_delivered"], counters["steps_strided"], counters["ids_rejected"]) == (2, 1, 0)


@pytest.mark.parametrize("bad", [[1.5, 2], [None, 1], [2**64, 1], [-(2**63) - 1, 1], ["\ud800", 1]])
def test_refuses_ids_that_are_none(tmp_path: Path, bad: list[object]) -> None:
    run = Run(run_id="c", home=str(tmp_path))
    with pytest.raises(ValueError, match="sample_ids"):
        run.observe(0, 0, healthy(0), losses=array("d", [1.0, 2.0]), sample_ids=bad)  # type: ignore[arg-type]
    assert run.counters()["steps_observed"] == 0


def test_values_out_of_range_are_not_observed_and_counted(tmp_path: Path) -> None:
    run = Run(run_id="d", home=str(tmp_path))
    values = healthy(0)
    values[NORM], values[BATCH] = -1.0, 2.5
    run.observe(0, 0, values)
    assert run.flush(WAIT)
    assert run.counters()["values_rejected"] == 2
    assert run.counters()["steps_delivered"] == 1


def test_reports_and_steps_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    run = Run(run_id="e", home=str(tmp_path))
    with pytest.raises(ValueError, match="kind"):
        run.report(1, "DANCE", 0, True)
    with pytest.raises(ValueError, match="step"):
        run.report(1, "REDUCE_LR", -1, True)
    with pytest.raises(ValueError, match="step"):
        run.observe(-1, 0, healthy(0))
    run.report(1, "REDUCE_LR", 0, True, "halved")
    run.observe(0, 0, healthy(0))
    assert run.flush(WAIT)


def test_only_arguments_that_cannot_be_meant_raise(tmp_path: Path) -> None:
    for arguments in ({"run_id": "a b"}, {"run_id": "f", "total_steps": -1}, {"run_id": "f", "url": "ftp://x"}):
        with pytest.raises(InvalidError):
            Run(home=str(tmp_path), **arguments)  # type: ignore[arg-type]
    file = tmp_path / "file"
    file.write_text("")
    run = Run(run_id="f", home=str(file))
    assert not run.is_recording
    assert len(run.take_notices()) == 1
    assert run.observe(0, 0, healthy(0)) == 0


def test_a_server_that_is_not_there_costs_a_line_and_nothing_else(tmp_path: Path) -> None:
    run = Run(run_id="g", home=str(tmp_path), url="http://127.0.0.1:9", key="secret-key")
    for i in range(50):
        assert run.observe(i, 0, healthy(i)) == 0
    notices: list[str] = []
    while not notices:
        assert not run.flush(0.05)
        notices = run.take_notices()
    assert len(notices) == 1
    assert "127.0.0.1:9" in notices[0]
    assert "secret-key" not in notices[0]
    assert run.complete("COMPLETED", None, "", None, 0.0) == ""
    assert not run.close(0.0)
    assert run.counters()["steps_in_spool"] == 50
