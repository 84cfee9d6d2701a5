"""The package as a whole: imports, stubs, types, examples."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import argus

PACKAGE = Path(argus.__file__).parent
SOURCE = Path(__file__).parents[1]


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "numpy"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
"""


def test_works_where_neither_torch_nor_numpy_can_be_imported() -> None:
    done = run(
        BLOCK
        + """
import argus, math
with argus.watch() as watch:
    for i in range(200):
        watch.step(2.0 + 0.01 * (i * 7 % 5), grad_norm=1.0 + 0.01 * (i * 3 % 7), losses=[1.0, 2.0])
    assert watch.step(math.nan) == 3
    print(len(watch.history["loss"]), watch.errors, watch.rejected)
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["201", "0", "0"]


def test_importing_does_not_import_torch_or_numpy() -> None:
    done = run("import argus, sys; print('torch' in sys.modules, 'numpy' in sys.modules)")
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_per_sample_without_torch_gives_nothing_and_does_not_raise() -> None:
    done = run(BLOCK + "import argus; print(len(argus.per_sample(1, 2)))")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0"]


@pytest.mark.skipif(importlib.util.find_spec("nanobind") is None, reason="nanobind is not installed")
def test_the_committed_stub_is_that_of_the_build(tmp_path: Path) -> None:
    stub = tmp_path / "_native.pyi"
    pattern = SOURCE / "bindings" / "native.pat"
    command = [sys.executable, "-m", "nanobind.stubgen", "-m", "argus._native", "-p", str(pattern), "-o", str(stub)]
    subprocess.run(command, check=True, capture_output=True)
    committed = (PACKAGE / "_native.pyi").read_text()
    assert stub.read_text() == committed, "rebuild it: python " + " ".join(command[1:-1]) + " src/argus/_native.pyi"


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert (PACKAGE / "_native.pyi").exists()


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="types of torch are needed")
def test_the_package_is_clean_under_strict_types() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "src/argus"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SOURCE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["argus._open", "argus._samples"])
def test_examples_in_docstrings_run(module: str) -> None:
    if module == "argus._samples":
        pytest.importorskip("torch")
    loaded = importlib.import_module(module)
    result = doctest.testmod(loaded, extraglobs={"argus": argus})
    assert result.attempted > 0
    assert result.failed == 0
