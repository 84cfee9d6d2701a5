"""The local detector against real faults in real small trainings, and against healthy ones: bench/local in its short form."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

pytest.importorskip("torch")

from bench.local import quick  # noqa: E402


@pytest.fixture(scope="module")
def result() -> quick.Result:
    return quick.measure(workers=2)


def test_finds_faults_names_their_layers_and_leaves_healthy_runs_alone(result: quick.Result) -> None:
    assert result.short_of() == []


def test_watched_faults_are_real(result: quick.Result) -> None:
    """A fault that does not do what it claims would prove nothing."""
    void = [v.fault.name for v in result.verdicts if not v.trace.real]
    assert len(void) <= 2, void


def test_healthy_runs_of_the_proof_do_learn(result: quick.Result) -> None:
    assert [t.setup for t in result.healthy if not t.fell > 0.02] == []
