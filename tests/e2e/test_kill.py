"""kill -9 at random moments, under load: what was acknowledged is there, once, and says what an undisturbed engine says."""

import json
import os
import random
import threading
from pathlib import Path

import pytest
from protocol_client import PACK_STEPS, PackClient, numbered_steps
from serving import Served, serving

from conftest import write_jsonl

KILLS = int(os.environ.get("ARGUS_KILLS", "100"))
SEED = int(os.environ.get("ARGUS_SEED", "20261124"))
RUNS = 3
STEPS_PER_KILL = 1000  # more than a run gets between two kills
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


def send_until_told(client: PackClient, seed: int, enough: threading.Event, pause: threading.Event) -> None:
    rng = random.Random(seed)
    while not client.is_done and not enough.is_set():
        if not client.try_pack(rng):
            pause.wait(PAUSE_S)
    # What became of the last attempt is not known until it is answered.
    attempts = 0
    while not client.is_done and not client.try_pack(rng):
        attempts += 1
        assert attempts < 1000
        pause.wait(PAUSE_S)


def check_runs(argus, tmp_path: Path, home: Path, clients: list[PackClient]) -> None:
    for client in clients:
        client.steps = client.steps[: client.next_seq]
        kept = exported(argus, home, client.run_id)
        assert [o["step"]["seq"] for o in kept] == list(range(len(client.steps))), f"seed {SEED}, {client.run_id}"
        expected = undisturbed(argus, tmp_path, client)
        for observation, answer in zip(kept, expected, strict=True):
            assert observation["answer"] == answer, f"seed {SEED}, {client.run_id}"
            assert client.answers[observation["step"]["seq"]] == answer, f"seed {SEED}, {client.run_id}"


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_server_that_ends_at_any_moment_loses_nothing(program, argus, tmp_path, how):
    times = KILLS if how == "kill" else max(1, KILLS // 10)
    rng = random.Random(f"{SEED} {how}")
    home = tmp_path / "home"
    enough = threading.Event()
    with serving(program, home) as server:
        clients = [
            PackClient(f"run-{i}", numbered_steps(f"run-{i}", times * STEPS_PER_KILL, SEED + i), server.connect)
            for i in range(RUNS)
        ]
        threads = [
            threading.Thread(target=send_until_told, args=(client, SEED + i, enough, threading.Event()))
            for i, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(times):
                end_and_start_again(server, how, rng)
        finally:
            enough.set()
            for thread in threads:
                thread.join(timeout=120)
        assert not any(thread.is_alive() for thread in threads)
    steps = sum(client.next_seq for client in clients)
    retries = sum(client.retries for client in clients)
    print(f"{times} times {how}, {steps} steps, {retries} requests sent again, seed {SEED}")
    assert steps >= RUNS * PACK_STEPS
    check_runs(argus, tmp_path, home, clients)


def end_and_start_again(server: Served, how: str, rng: random.Random) -> None:
    threading.Event().wait(rng.uniform(0.0, 0.12))
    if how == "kill":
        server.kill()
    else:
        assert server.stop() == 0, server.log()[-2000:]
    server.start()
