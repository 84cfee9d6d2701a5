"""What the tests of the SDK share: a real server, real small trainings, and programs that end in every way."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from serving import Served  # noqa: E402


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, also for what is started from it."""
    folder = tmp_path / "home"
    monkeypatch.setenv("ARGUS_HOME", str(folder))
    return folder


@pytest.fixture
def served(program: Path, tmp_path: Path) -> Iterator[Served]:
    """A real server, without keys, over a home of its own."""
    server = Served(program, tmp_path / "server").start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def python(home: Path) -> Callable[..., subprocess.Popen[str]]:
    """python(code, name=value, ...) starts a program; the names are its environment."""

    def start(code: str, **environment: object) -> subprocess.Popen[str]:
        variables = os.environ | {name: str(value) for name, value in environment.items()}
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables,
        )

    return start


@pytest.fixture(scope="session")
def argus_program(
    argus: Callable[..., subprocess.CompletedProcess[str]],
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The program, under a name that leaves `argus` to the package."""
    return argus
