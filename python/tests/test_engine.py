"""The native engine as Python sees it."""

from __future__ import annotations

import math
import random

import pytest

import argus
from argus._native import SCALARS, SIGNALS


def feed(engine: argus.Engine, start: int, stop: int) -> list[tuple[int, dict[str, float]]]:
    out = []
    for step in range(start, stop):
        noise = random.Random(step)
        scalars: list[float | None] = [None] * len(SCALARS)
        scalars[SCALARS.index("loss")] = 2.0 + noise.gauss(0, 0.1) + (step > 150) * 0.2 * (step - 150)
        scalars[SCALARS.index("grad_norm")] = 1.0 + abs(noise.gauss(0, 0.1))
        pressure = engine.observe(step, step, 0, 0, scalars)
        out.append((pressure, engine.decision().breakdown))
    return out


def test_names_are_those_of_the_protocol() -> None:
    assert len(SIGNALS) == 11
    assert SIGNALS[0] == "loss_divergence" and SIGNALS[-1] == "representational_collapse"
    assert SCALARS[:2] == ("loss", "grad_norm")


def test_a_rising_loss_becomes_an_alarm_with_evidence() -> None:
    engine = argus.Engine("transformer")
    assert max(pressure for pressure, _ in feed(engine, 0, 150)) == 0
    step = 150
    while feed(engine, step, step + 1)[0][0] < 2:
        step += 1
        assert step < 250
    decision = engine.decision()
    assert decision.harm_pressure >= 2
    signal = next(signal for signal in decision.signals if signal.name == "loss_divergence")
    assert signal.severity >= 1
    assert decision.breakdown["loss_divergence"] == signal.severity
    assert decision.expected_loss is None or decision.expected_loss[0] < decision.expected_loss[1]


def test_a_restored_engine_decides_the_same() -> None:
    engine = argus.Engine()
    feed(engine, 0, 140)
    twin = argus.Engine.load(engine.save())
    assert feed(engine, 140, 200) == feed(twin, 140, 200)


def test_torn_state_is_refused_as_an_argus_error() -> None:
    state = argus.Engine().save()
    with pytest.raises(argus.ArgusError):
        argus.Engine.load(state[: len(state) // 2])


def test_a_decision_is_a_copy() -> None:
    engine = argus.Engine()
    feed(engine, 0, 10)
    decision = engine.decision()
    feed(engine, 10, 20)
    assert decision.step == 9
    assert "step=9" in repr(decision)


@pytest.mark.parametrize(
    ("step", "scalars", "message"),
    [(-1, [None] * len(SCALARS), "step"), (0, [None], "one entry for each name")],
)
def test_impossible_input_is_refused(step: int, scalars: list[float | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        argus.Engine().observe(step, 0, 0, 0, scalars)


def test_sample_arrays_must_agree() -> None:
    from array import array

    with pytest.raises(ValueError, match="of one length"):
        argus.Engine().observe(0, 0, 0, 0, [math.pi] * len(SCALARS), array("d", [1.0]), array("d", [1.0, 2.0]))
