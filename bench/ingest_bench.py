"""Ingest of a real server: steps and requests a second with durable acknowledgements, latency, memory, start.

  ingest_bench.py --argus build/argus --load build-bench/bench/http_load --nothing build-bench/bench/http_nothing

Beside each figure stand the same load without fsync and a handler of the same HTTP library that does nothing, and the
fsyncs a second of the same disk. Loads alternate within one run, so that a busy machine is unfair to all of them alike.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CASES = {
    "packs of 32": ["--mode", "pack32", "--connections", "16"],
    "packs of 32, ?answers=last": ["--mode", "pack32", "--connections", "16", "--answers", "last"],
    "single steps, 256 connections": ["--mode", "single", "--connections", "256"],
}


@contextlib.contextmanager
def started(*command: object) -> Iterator[tuple[int, subprocess.Popen]]:
    begun = time.monotonic()
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    process.ready_s = time.monotonic() - begun
    try:
        yield int(re.search(r":(\d+)", line.split("//")[1]).group(1)), process
    finally:
        process.terminate()
        process.wait(timeout=60)


def serve(argus: str, home: Path, *flags: str):
    return started(argus, "serve", "--home", home, "--port", 0, "--log-level", "warn", *flags)


def load(program: str, port: int, *flags: object) -> dict[str, float]:
    done = subprocess.run([program, "127.0.0.1", str(port), "--json", *map(str, flags)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr or done.stdout)
    return json.loads(done.stdout.strip().splitlines()[-1])


def fsyncs_per_s(folder: Path, count: int = 500) -> float:
    descriptor = os.open(folder / "fsync", os.O_CREAT | os.O_WRONLY)
    begun = time.monotonic()
    for _ in range(count):
        os.write(descriptor, b"x" * 4096)
        os.fdatasync(descriptor)
    os.close(descriptor)
    return count / (time.monotonic() - begun)


def resident_mb(pid: int) -> float:
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def first_step_ms(port: int, run_id: str, step: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/health")
    connection.getresponse().read()
    body = json.dumps({"run_id": run_id, "step": step, "training": {"loss": 1.5, "grad_norm": 0.5}})
    begun = time.monotonic()
    connection.request("POST", "/v2/detect", body)
    status = connection.getresponse()
    status.read()
    assert status.status == 200
    return (time.monotonic() - begun) * 1e3


def throughput(options: argparse.Namespace, folder: Path) -> None:
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for repetition in range(options.repetitions):
        for case, flags in CASES.items():
            for kind, extra in (("durable", ()), ("no fsync", ("--sync", "off"))):
                with serve(options.argus, folder / f"{repetition}-{kind}-{len(rows)}", *extra) as (port, _):
                    rows.setdefault((case, kind), []).append(
                        load(options.load, port, *flags, "--seconds", options.seconds)
                    )
            with started(options.nothing, 0) as (port, _):
                limit = load(options.load, port, *flags, "--seconds", options.seconds, "--any-answer")
                rows.setdefault((case, "does nothing"), []).append(limit)
        rate = statistics.median(r["requests_per_s"] for r in rows[("single steps, 256 connections", "durable")]) / 2
        with serve(options.argus, folder / f"half-{repetition}") as (port, _):
            half = load(
                options.load,
                port,
                *CASES["single steps, 256 connections"],
                "--seconds",
                options.seconds,
                "--rate",
                rate,
            )
            rows.setdefault(("single steps at half of that rate", "durable"), []).append(half)
    print("| load | server | requests/s | steps/s | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
    for (case, kind), runs in rows.items():
        middle = {
            name: statistics.median(r[name] for r in runs)
            for name in runs[0]
            if isinstance(runs[0][name], (int, float))
        }
        print(
            f"| {case} | {kind} | {middle['requests_per_s']:,.0f} | {middle['steps_per_s']:,.0f} "
            f"| {middle['p50_ms']:.2f} | {middle['p99_ms']:.2f} |"
        )


def many_runs(options: argparse.Namespace, folder: Path) -> None:
    home = folder / "many"
    with serve(options.argus, home) as (port, process):
        load(options.load, port, "--mode", "pack32", "--connections", 16, "--requests", 10_000, "--steps-per-run", 32)
        print(f"\n10,000 runs open at once: {resident_mb(process.pid):.0f} MB resident")
    with serve(options.argus, home) as (port, _):
        done = subprocess.run(
            [options.argus, "runs", "list", "--home", home, "--json", "--limit", "200"], capture_output=True, text=True
        )
        names = [json.loads(line)["run_id"] for line in done.stdout.splitlines()]
        times = sorted(first_step_ms(port, name, 1000) for name in names[50:150])
        print(f"a cold run's first step: median {times[50]:.2f} ms, 99th of 100 {times[98]:.2f} ms")
    stored = folder / "stored"
    with serve(options.argus, stored, "--sync", "off") as (port, _):
        load(options.load, port, "--mode", "single", "--connections", 256, "--requests", 100_000, "--steps-per-run", 1)
    with serve(options.argus, stored) as (_, process):
        print(f"start to ready with 100,000 stored runs: {process.ready_s * 1e3:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--argus", default="build/argus")
    parser.add_argument("--load", default="build-bench/bench/http_load")
    parser.add_argument("--nothing", default="build-bench/bench/http_nothing")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="argus-ingest-", dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        print(f"{fsyncs_per_s(folder):,.0f} fsyncs/s on this disk, {os.cpu_count()} cores\n")
        throughput(options, folder)
        many_runs(options, folder)


if __name__ == "__main__":
    main()
