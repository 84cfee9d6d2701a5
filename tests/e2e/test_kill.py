"""kill -9 at random moments, under load: what was acknowledged is there, once, and says what an undisturbed engine says."""

import json
import os
import random
import threading
from pathlib import Path

import pytest

from conftest import write_jsonl
from protocol_client import PackClient, numbered_steps
from serving import Served, serving

KILLS = int(os.environ.get("ARGUS_KILLS", "100"))
SEED = int(os.environ.get("ARGUS_SEED", "20261124"))
RUNS = 3
STEPS_PER_KILL = 160
PAUSE_S = 0.01


def exported(argus, home: Path, run_id: str) -> list[dict]:
    done = argus("runs", "export", run_id, "--home", home)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if "step" in line and "answer" in line]


def undisturbed(argus, tmp_path: Path, client: PackClient) -> list[dict]:
    done = argus("replay", "--json", write_jsonl(tmp_path / f"{client.run_id}.jsonl", client.steps))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def send_until_done(client: PackClient, seed: int, give_up: threading.Event, wait: threading.Event) -> None:
    rng = random.Random(seed)
    while not client.is_done and not give_up.is_set():
        if not client.try_pack(rng):
            wait.wait(PAUSE_S)


def check_runs(argus, tmp_path: Path, home: Path, clients: list[PackClient]) -> None:
    for client in clients:
        kept = exported(argus, home, client.run_id)
        assert [o["step"]["seq"] for o in kept] == list(range(len(client.steps))), f"seed {SEED}, {client.run_id}"
        expected = undisturbed(argus, tmp_path, client)
        for observation, answer in zip(kept, expected, strict=True):
            assert observation["answer"] == answer, f"seed {SEED}, {client.run_id}"
            assert client.answers[observation["step"]["seq"]] == answer, f"seed {SEED}, {client.run_id}"


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_server_that_ends_at_any_moment_loses_nothing(program, argus, tmp_path, how):
    kills = KILLS if how == "kill" else max(1, KILLS // 10)
    rng = random.Random(f"{SEED} {how}")
    home = tmp_path / "home"
    give_up = threading.Event()
    with serving(program, home) as server:
        clients = [
            PackClient(f"run-{i}", numbered_steps(f"run-{i}", kills * STEPS_PER_KILL // RUNS, SEED + i), server.connect)
            for i in range(RUNS)
        ]
        threads = [
            threading.Thread(target=send_until_done, args=(client, SEED + i, give_up, threading.Event()))
            for i, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            ended = _end_again_and_again(server, how, kills, rng, threads)
            for thread in threads:
                thread.join(timeout=300)
            assert all(client.is_done for client in clients), f"seed {SEED}"
        finally:
            give_up.set()
            for thread in threads:
                thread.join(timeout=60)
    print(f"{ended} times {how}, {sum(c.retries for c in clients)} requests sent again, seed {SEED}")
    check_runs(argus, tmp_path, home, clients)


def _end_again_and_again(server: Served, how: str, times: int, rng: random.Random, threads) -> int:
    ended = 0
    pause = threading.Event()
    while ended < times and any(thread.is_alive() for thread in threads):
        pause.wait(rng.uniform(0.0, 0.12))
        if how == "kill":
            server.kill()
        else:
            assert server.stop() == 0, server.log()[-2000:]
        ended += 1
        server.start()
    return ended
