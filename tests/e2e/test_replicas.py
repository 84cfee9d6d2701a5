"""Two servers over one PostgreSQL, fed the same runs in turn: servers and database are killed, restarted, made read-only."""

import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from postgres import Postgres, postgres  # noqa: F401 (a fixture)
from protocol_client import PackClient, numbered_steps
from serving import Served, serving

from conftest import write_jsonl

SEED = int(os.environ.get("ARGUS_SEED", "20261124"))
TROUBLES = int(os.environ.get("ARGUS_TROUBLES", "12"))
RUNS = 2


def exported(argus, url: str, run_id: str) -> list[dict]:
    done = argus("runs", "export", run_id, "--database", url)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if "step" in line and "answer" in line]


def either(servers: list[Served], rng: random.Random) -> Callable:
    return lambda: rng.choice(servers).connect(timeout_s=10.0)


def feed(client: PackClient, seed: int, enough: threading.Event) -> None:
    rng = random.Random(seed)
    pause = threading.Event()
    while not enough.is_set() and not client.is_done:
        if not client.try_pack(rng):
            pause.wait(0.02)
        if client.connection is not None and rng.random() < 0.3:
            client.connection.close()  # the next pack goes to whichever replica
            client.connection = None
    for _ in range(2000):
        if client.is_done or client.try_pack(rng):
            return
        pause.wait(0.02)
    pytest.fail(f"{client.run_id} was not served again after the last trouble")


def cause(trouble: str, servers: list[Served], database: Postgres, rng: random.Random) -> None:
    wait = threading.Event()
    wait.wait(rng.uniform(0.05, 0.4))
    server = rng.choice(servers)
    if trouble == "server killed":
        server.kill()
        server.start()
    elif trouble == "database restarted":
        database.restart()
    elif trouble == "database killed":
        database.kill()
        wait.wait(rng.uniform(0.0, 0.3))
        database.start()
    elif trouble == "database read-only":
        database.set_read_only(True)
        wait.wait(0.3)
        database.set_read_only(False)


def test_replicas_keep_every_step_once_through_every_trouble(program, argus, tmp_path: Path, postgres):  # noqa: F811
    url = postgres.make_database()
    rng = random.Random(SEED)
    enough = threading.Event()
    kinds = ["server killed", "database restarted", "database killed", "database read-only"]
    with (
        serving(program, tmp_path / "a", "--database", url) as a,
        serving(program, tmp_path / "b", "--database", url) as b,
    ):
        servers = [a, b]
        clients = [
            PackClient(
                f"run-{i}", numbered_steps(f"run-{i}", 40_000, SEED + i), either(servers, random.Random(SEED + i))
            )
            for i in range(RUNS)
        ]
        threads = [threading.Thread(target=feed, args=(c, SEED + i, enough)) for i, c in enumerate(clients)]
        for thread in threads:
            thread.start()
        try:
            for i in range(TROUBLES):
                cause(kinds[i % len(kinds)], servers, postgres, rng)
            threading.Event().wait(1.0)
        finally:
            enough.set()
            for thread in threads:
                thread.join(timeout=180)
        assert not any(thread.is_alive() for thread in threads)
        for client in clients:
            client.steps = client.steps[: client.next_seq]
            assert client.steps, f"{client.run_id} was never served, seed {SEED}"
            kept = exported(argus, url, client.run_id)
            assert [o["step"]["seq"] for o in kept] == list(range(len(client.steps))), f"seed {SEED}"
            replay = argus("replay", "--json", write_jsonl(tmp_path / f"{client.run_id}.jsonl", client.steps))
            expected = [json.loads(line) for line in replay.stdout.splitlines()]
            assert [o["answer"] for o in kept] == expected, f"seed {SEED}, {client.run_id}"
            assert [client.answers[o["step"]["seq"]] for o in kept] == expected, f"seed {SEED}, {client.run_id}"
    print(
        f"{TROUBLES} troubles, {sum(c.next_seq for c in clients)} steps, {sum(c.retries for c in clients)} retries, seed {SEED}"
    )
