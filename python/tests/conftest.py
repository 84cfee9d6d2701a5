"""Shared by the package's tests. Tests that need torch ask for the `torch` fixture module by importorskip."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs of the tests are kept in a folder of the tests."""
    before = os.environ.get("ARGUS_HOME")
    os.environ["ARGUS_HOME"] = str(tmp_path_factory.mktemp("home"))
    yield
    if before is not None:
        os.environ["ARGUS_HOME"] = before


@pytest.fixture(autouse=True)
def runs_end_with_their_test() -> Iterator[None]:
    """A watch that a test leaves open would end, and may say so, whenever it is collected: in the middle of another test."""
    from argus import _endings

    before = _endings.open_runs()
    yield
    for run in _endings.open_runs():
        if not any(run is each for each in before):
            run.end("STOPPED", "", 0.0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked slow compile a model: without a C++ compiler they are skipped."""
    import shutil

    if shutil.which("g++") or shutil.which("clang++"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="no C++ compiler"))
