"""Several real ranks, each a process: trainings under DDP and FSDP on the CPU, a rank that stops, a rank that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import torch.distributed as dist  # noqa: E402

if not (dist.is_available() and dist.is_gloo_available()):
    pytest.skip("this torch has no gloo", allow_module_level=True)

WORKER = Path(__file__).with_name("rank_worker.py")
#: Until a hang is called one; far beyond what a busy machine needs.
DEADLINE_S = 120.0


def run(scenario: str, world: int, killed: tuple[int, ...] = (), address: str = "") -> list[dict[str, Any]]:
    """What each rank printed; {} for one that was to be killed before it could."""
    server = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    environment = dict(os.environ, GLOO_SOCKET_IFNAME="lo", TORCH_CPP_LOG_LEVEL="FATAL")
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), scenario, str(rank), str(world), address or str(server.port)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(world)
    ]  # fmt: skip
    results = []
    try:
        for rank, process in enumerate(processes):
            out, errors = process.communicate(timeout=DEADLINE_S)
            expected = -signal.SIGKILL if rank in killed else 0
            assert process.returncode == expected, f"rank {rank} ended with {process.returncode}: {errors[-3000:]}"
            lines = out.splitlines()
            results.append(json.loads(lines[-1]) if lines else {})
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return results


def test_ddp_ranks_share_what_they_see_and_act_together_or_not_at_all() -> None:
    first, second = run("ddp", 2, killed=(1,))
    # A NaN that rank 1 alone saw, in a batch it skipped: no gradient of rank 0 shows it.
    assert (first["local_nans"], second["local_nans"]) == (0, 1)
    assert first["non_finite"] == [[1, 5]]
    assert first["slowest"] == 1
    # The agreed actions after the same steps, the refused one nowhere.
    assert first["applied"].keys() == {"REDUCE_LR", "STOP"}
    assert first["applied"] == second["applied"]
    assert first["refused"].keys() == second["refused"].keys() == {"ROLLBACK"}
    assert "no such checkpoint here" in first["refused"]["ROLLBACK"]
    changed = first["applied"]["REDUCE_LR"]
    rates = first["rates"]
    assert rates == [0.05] * changed + [0.025] * (len(rates) - changed)
    # Bit for bit, after every step.
    assert first["rates"] == second["rates"]
    assert first["digests"] == second["digests"]
    # Rank 1 was killed at the end: rank 0 got its error from its own collective and closed all the same.
    assert first["died"] and not first["alive"]


def test_the_ranks_that_live_go_on_and_it_is_said_once_which_are_silent() -> None:
    reporting, still, dead = run("silent", 3, killed=(2,))
    assert dead == {}
    assert reporting["silent"]["1"].startswith("alive")
    assert reporting["silent"]["2"].startswith("not heard of")
    assert 1 <= len(reporting["lines"]) <= 2
    assert still["lines"] == []
    assert (reporting["due"], reporting["refused"]) == (None, ["r1"])
    assert reporting["errors"] == 0


def test_norms_of_a_sharded_model_are_those_of_the_whole(tmp_path: Path) -> None:
    reporting, other = run("fsdp", 2, address=str(tmp_path / "store"))
    for name in ("fully_shard", "hybrid", "partly", "fsdp1 flat", "fsdp1 original"):
        plain = reporting["plain of rank 0" if name == "partly" else "plain"]
        assert len(reporting[name]) == len(plain), name
        for step, (expected, found) in enumerate(zip(plain, reporting[name])):
            for norm, value in expected.items():
                if name == "fsdp1 flat" and norm.startswith("third"):
                    continue  # one flat parameter has no depth
                assert found[norm] == pytest.approx(value, rel=1e-5, abs=1e-7), f"{name}, step {step}, {norm}"
        if name != "hybrid":
            assert reporting[name][0]["local"] < 0.999 * plain[0]["grad_norm"], f"{name} was not sharded at all"
    assert other["fully_shard"] == []


def test_under_auto_all_ranks_lower_their_rate_after_the_same_step_and_stay_equal() -> None:
    first, second = run("auto", 2)
    assert first["errors"] == second["errors"] == 0
    assert min(first["factors"]) < 1.0
    assert first["factors"] == second["factors"]
    assert first["digests"] == second["digests"]
    # One rank records, under the one name that all know.
    assert first["run_id"] == second["run_id"]
    assert (first["certificate"], second["certificate"]) == (True, False)
    assert first["scheduled"] == 0.1
