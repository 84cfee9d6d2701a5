"""What delivery costs the training thread, and that a bad link loses nothing.

    python bench/delivery_bench.py --argus build/argus [--steps 10000] [--rounds 20]

1. `watch.step` with loss, norm and rate given, in microseconds of the training thread: nothing kept, kept at home, over a server
   that is up, over one that answers after 500 ms, and over none at all. The five watches take turns, a block of calls each.
2. A loop of real work through a link that is down a third of the time, cuts, delays and doubles what passes: how long the loop
   takes beside the same loop unwatched (blocks in turn), how many steps arrived, how often, and the memory the process gained.

Before a figure is printed every step is looked up where it should have arrived.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "sdk"), str(ROOT / "tests" / "e2e")]

import torch  # noqa: E402
from bad_link import BadLink  # noqa: E402
from losses import losses  # noqa: E402
from serving import serving  # noqa: E402

import argus  # noqa: E402

BLOCK = 500


def call_costs(url: str, home: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds a call by where the run is kept: median over blocks, and the worst single call."""
    with BadLink(url, delay_s=0.5) as slow:
        watches = {
            "nothing kept": argus.watch(record=False, quiet=True),
            "kept at home": argus.watch(home=home, quiet=True),
            "server up": argus.watch(url=url, home=home, quiet=True),
            "server answers after 500 ms": argus.watch(url=slow.url, home=home, quiet=True),
            "no server": argus.watch(url="http://127.0.0.1:9", home=home, quiet=True),
        }
        blocks: dict[str, list[float]] = {name: [] for name in watches}
        worst = dict.fromkeys(watches, 0.0)
        series = losses(BLOCK)
        for _ in range(rounds):
            for name, watch in watches.items():
                started = time.thread_time()
                for loss in series:
                    watch.step(loss, grad_norm=1.0 + loss * 0.01, lr=3e-4)
                blocks[name].append((time.thread_time() - started) / BLOCK * 1e6)
                for loss in series[:50]:
                    one = time.perf_counter()
                    watch.step(loss, grad_norm=1.0, lr=3e-4)
                    worst[name] = max(worst[name], (time.perf_counter() - one) * 1e6)
        for name, watch in watches.items():
            assert watch.errors == watch.rejected == 0, name
            watch.complete(wait_s=0.2 if name == "no server" else 30.0)
    return {name: (statistics.median(times), worst[name]) for name, times in blocks.items()}


def work(a: torch.Tensor) -> None:
    """A training step's worth of computation, a few milliseconds."""
    for _ in range(3):
        a = torch.tanh(a @ a)


def through_a_bad_link(url: str, server_home: Path, home: Path, program: Path, steps: int) -> str:
    """Trains through the link and looks up what arrived."""
    a = torch.randn(320, 320, generator=torch.Generator().manual_seed(1)) / 20
    with BadLink(url, seed=11, cut=0.1, duplicate=0.1, delay_s=0.05, down_share=1 / 3, period_s=6.0) as link:
        watch = argus.watch(url=link.url, home=home, run_id="bad-link", quiet=True)
        memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        watched: list[float] = []
        plain: list[float] = []
        series = losses(steps)
        for first in range(0, steps, 100):
            started = time.perf_counter()
            for step in range(first, min(steps, first + 100)):
                work(a)
                watch.step(series[step], step=step, grad_norm=1.0 + series[step] * 0.01, lr=3e-4)
            watched.append(time.perf_counter() - started)
            started = time.perf_counter()
            for _ in range(first, min(steps, first + 100)):
                work(a)
            plain.append(time.perf_counter() - started)
        counters = watch.counters
        watch.complete(wait_s=120.0)
        memory_after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        behaviour = f"{link.requests} requests, {link.cuts} cut, {link.duplicates} doubled, {link.refused} refused"
    done = subprocess.run(
        [program, "runs", "export", "bad-link", "--home", server_home], capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    arrived = [line["step"]["step"] for line in lines if "step" in line and "answer" in line]
    assert arrived == list(range(steps)), f"{len(arrived)} observations, {len(set(arrived))} different steps"
    ratio = sum(watched) / sum(plain)
    by_block = statistics.median(w / p for w, p in zip(watched, plain, strict=True))
    return (
        f"| {steps} | {behaviour} | every step once | {ratio:.4f} | {by_block:.4f} |"
        f" {(memory_after - memory_before) / 1024:.1f} | {int(counters['steps_in_spool'])} |"
    )


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--argus", type=Path, default=ROOT / "build" / "argus")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, serving(options.argus, Path(folder) / "server") as server:
        home = Path(folder) / "home"
        print("| where the run is kept | us a call, thread time | worst single call, us wall |")
        print("|--|--|--|")
        for name, (cost, worst) in call_costs(server.url, home, options.rounds).items():
            print(f"| {name} | {cost:.1f} | {worst:.0f} |")
        print()
        print(
            "| steps | the link | arrived | loop / unwatched | median block | MiB gained | waiting at the last step |"
        )
        print("|--|--|--|--|--|--|--|")
        print(through_a_bad_link(server.url, Path(folder) / "server", home, options.argus, options.steps))


if __name__ == "__main__":
    main()
