"""What the whole-process tests share: the program under test, and recorded-looking runs made from a seed."""

import json
import math
import os
import random
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

Step = dict[str, object]


@pytest.fixture(scope="session")
def program() -> Path:
    path = Path(os.environ.get("ARGUS_BIN", ROOT / "build" / "argus"))
    if not path.exists():
        pytest.fail(f"{path} is missing; ./dev build makes it")
    return path


@pytest.fixture(scope="session")
def argus(program: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """argus("replay", "--json", file) runs the program with no terminal and a time limit."""

    def run(*arguments: object, timeout_s: float = 120.0, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            **options,
        )

    return run


def healthy_run(steps: int = 600, seed: int = 1) -> list[Step]:
    """A small language model's loss and gradient norm: falling, noisy, nothing wrong."""
    rng = random.Random(seed)
    run: list[Step] = []
    for step in range(steps):
        loss = 2.2 + 3.0 * math.exp(-step / 150.0) + rng.gauss(0.0, 0.04)
        norm = (0.9 + 0.8 * math.exp(-step / 100.0)) * math.exp(rng.gauss(0.0, 0.12))
        run.append({"step": step, "training": {"loss": loss, "grad_norm": norm, "current_lr": 3e-4}})
    return run


def diverging_run(steps: int = 600, fault_step: int = 400, seed: int = 1) -> list[Step]:
    """The healthy run until `fault_step`; from there loss and gradient norm grow by a few percent a step."""
    run = healthy_run(steps, seed)
    for step in run[fault_step:]:
        training = step["training"]
        grown = 1.04 ** (step["step"] - fault_step)
        training["loss"] *= min(grown, 50.0)
        training["grad_norm"] *= min(grown**2, 1e4)
    return run


def write_jsonl(path: Path, steps: Iterable[Step]) -> Path:
    path.write_text("".join(json.dumps(step) + "\n" for step in steps))
    return path
