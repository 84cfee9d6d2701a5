"""Steps per second and memory of `argus replay --json`: reading, judging and writing, on one core.

Inform only: wall time. Each size is run five times and the fastest counts; memory is the peak resident set. It would measure
nothing if the output were not checked, so the answers are counted and the last one is read.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = os.environ.get("ARGUS_BIN", str(ROOT / "build" / "argus"))
SIZES = (100_000, 1_000_000)
REPEATS = 5


def write_run(path: Path, steps: int) -> None:
    """A calm run of four scalars a step, printed by Python's json as a training script would."""
    rng = random.Random(steps)
    with path.open("w") as out:
        for i in range(steps):
            training = {
                "loss": 1.5 + 2.0 / (1.0 + i / 2000) + rng.gauss(0.0, 0.02),
                "grad_norm": 0.8 * 1.1 ** rng.gauss(0.0, 1.0),
                "current_lr": 3e-4,
            }
            out.write(json.dumps({"run_id": "bench", "step": i, "epoch": i / 1000, "training": training}) + "\n")


def replay(path: Path) -> tuple[float, float, float, int]:
    """Wall seconds, processor seconds, peak MiB and number of answers of one replay, pinned to one core."""
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        child = subprocess.Popen([PROGRAM, "replay", "--json", str(path)], stdout=out)
        os.sched_setaffinity(child.pid, {min(os.sched_getaffinity(0))})
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        if status != 0:
            sys.exit(f"argus replay ended with status {status}")
        out.seek(0)
        answers = sum(chunk.count(b"\n") for chunk in iter(lambda: out.read(1 << 20), b""))
        out.seek(-4096, os.SEEK_END)
        json.loads(out.read().splitlines()[-1])
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, answers


def main() -> None:
    print(
        f"{'steps':>10} {'steps/s (wall)':>15} {'steps/s (cpu)':>14} {'us/step (cpu)':>14} {'peak MiB':>9} {'bytes/line':>11}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for steps in SIZES:
            path = Path(folder) / f"{steps}.jsonl"
            write_run(path, steps)
            runs = [replay(path) for _ in range(REPEATS)]
            if any(answers != steps for *_, answers in runs):
                sys.exit("an answer is missing")
            wall, cpu, peak = min(r[0] for r in runs), min(r[1] for r in runs), max(r[2] for r in runs)
            line = path.stat().st_size / steps
            print(
                f"{steps:>10,} {steps / wall:>15,.0f} {steps / cpu:>14,.0f} {1e6 * cpu / steps:>14.2f} {peak:>9.1f} {line:>11.0f}"
            )


if __name__ == "__main__":
    main()
