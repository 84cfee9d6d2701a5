"""transformers.Trainer in two processes of one machine, joined by gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from accidents import ONSET, STEPS  # noqa: E402


def test_of_two_processes_the_first_records_for_both(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in ("0", "1"):
        own = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("two_processes.py")), str(tmp_path)],
                env=os.environ | own | {"OMP_NUM_THREADS": "1", "ARGUS_HOME": str(tmp_path / f"home{rank}")},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in said)
    assert first["weights"] == second["weights"]
    assert (first["errors"], second["errors"], first["steps"], second["steps"]) == (0, 0, STEPS, STEPS)
    record = json.loads(first["certificate"])
    assert (record["status"], record["first_step"], record["last_step"], record["observations"]) == (
        "COMPLETED",
        1,
        STEPS,
        STEPS,
    )
    assert record["episodes"][0]["peak_pressure"] == 3
    assert record["episodes"][0]["opened_step"] == ONSET + 1
    assert second["certificate"] == ""
    assert not (tmp_path / "home1" / "argus.db").exists()
