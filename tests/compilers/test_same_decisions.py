"""GCC's and Clang's builds must decide alike, bit for bit: no fused arithmetic, no libm in a decision.

ARGUS_BIN is one build, ARGUS_BIN_OTHERS the others (colon-separated). Each recorded run, and some made from seeds, is replayed
by all of them; the printed decisions must be the same bytes. `./dev test compilers` sets both.
"""

import os
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, diverging_run, healthy_run, write_jsonl

OTHERS = [Path(path) for path in os.environ.get("ARGUS_BIN_OTHERS", "").split(":") if path]
RECORDED = sorted((ROOT / "bench" / "recorded").rglob("*.jsonl.gz"))


def replay(program: Path, file: Path) -> bytes:
    done = subprocess.run(
        [program, "replay", "--json", file], stdin=subprocess.DEVNULL, capture_output=True, timeout=300
    )
    assert done.returncode == 0, f"{program}: {done.stderr.decode()}"
    return done.stdout


def first_difference(ours: bytes, theirs: bytes) -> str:
    pairs = zip(ours.splitlines(), theirs.splitlines(), strict=False)
    return next((f"{a.decode()}\n{b.decode()}" for a, b in pairs if a != b), "one of the two is shorter")


@pytest.mark.parametrize(
    "other", OTHERS or [pytest.param(None, marks=pytest.mark.skip("no second build given"))], ids=str
)
class TestSameDecisions:
    @pytest.mark.parametrize("file", RECORDED, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
    def test_on_a_recorded_run(self, program, other, file):
        ours, theirs = replay(program, file), replay(other, file)
        assert ours == theirs, first_difference(ours, theirs)

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("make", [healthy_run, diverging_run])
    def test_on_a_made_run(self, program, other, tmp_path, make, seed):
        file = write_jsonl(tmp_path / "made.jsonl", make(2000, seed=seed))
        ours, theirs = replay(program, file), replay(other, file)
        assert ours == theirs, first_difference(ours, theirs)
