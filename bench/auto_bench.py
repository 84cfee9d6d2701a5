"""AUTO against the unwatched run: python3 bench/auto_bench.py [--seeds 20] [--first 100] [--only FAULT] [--runs] [--write].

Trains each seed healthy, then with each fault unwatched and under AUTO, and compares the loss on held-out batches at the end with that of the healthy
twin (same seed, same batches). A healthy run under AUTO counts as touched when anything was done to it or its last weights differ in a single bit.
Constants of AUTO were chosen on seeds below 100; the figures are from 100 on. `--write` puts the table into docs/auto-figures.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python" / "src")]

from bench.auto.faults import FAULTS, healthy  # noqa: E402
from bench.auto.run import Outcome, train  # noqa: E402
from bench.auto.tasks import STEPS, TASKS  # noqa: E402

NEAR = 1.10


def wilson(hits: int, n: int) -> str:
    """A share with its 95 % interval (Wilson, 1927)."""
    if n == 0:
        return "-"
    z, p = 1.96, hits / n
    centre, half = p + z * z / (2 * n), z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return f"{100 * p:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


@dataclass(frozen=True)
class Seed:
    """All runs of one seed."""

    twin: Outcome
    watched: Outcome
    faulty: dict[str, tuple[Outcome, Outcome]]  # alone, under AUTO

    @property
    def touched(self) -> bool:
        same = all(torch.equal(a, b) for a, b in zip(self.watched.weights, self.twin.weights, strict=True))
        return bool(self.watched.actions) or not same


def runs_of(seed: int, faults: list[str]) -> Seed:
    torch.set_num_threads(1)
    pairs = {
        f.__name__: (train(seed, f, auto=False), train(seed, f, auto=True)) for f in FAULTS if f.__name__ in faults
    }
    return Seed(train(seed, healthy, auto=False), train(seed, healthy, auto=True), pairs)


def row(name: str, seeds: dict[int, Seed]) -> tuple[int, int, str]:
    """Runs of a fault that ended near their twins, alone and under AUTO, and its line of the table."""
    plain = saved = harmed = rescued = 0
    lost: list[int] = []
    kinds: Counter[str] = Counter()
    for seed in seeds.values():
        alone, watched = seed.faulty[name]
        fine_alone, fine = (o.loss <= NEAR * seed.twin.loss for o in (alone, watched))
        plain, saved = plain + fine_alone, saved + fine
        rescued, harmed = rescued + (fine and not fine_alone), harmed + (fine_alone and not fine)
        lost.append(watched.steps_lost)
        kinds.update({a for a in watched.actions if not a.endswith("-")} - {"RESTORE_LR"})
    n = len(seeds)
    lost.sort()
    used = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    cells = (name, wilson(plain, n), wilson(saved, n), rescued, harmed, f"{lost[n // 2]} / {lost[-1]}", used)
    return plain, saved, "| " + " | ".join(map(str, cells)) + " |"


def print_runs(number: int, seed: Seed) -> None:
    if seed.touched:
        print("healthy", number, "touched", seed.watched.lines)
    for name, (alone, watched) in seed.faulty.items():
        print(
            f"{name} {number} {TASKS[number % len(TASKS)].__name__} alone {alone.loss / seed.twin.loss:.3f}"
            f" auto {watched.loss / seed.twin.loss:.3f} lost {watched.steps_lost} {' '.join(watched.actions)}",
            flush=True,
        )


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seeds", type=int, default=20)
    ap.add_argument("--first", type=int, default=100)
    ap.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    ap.add_argument("--only", action="append", choices=[f.__name__ for f in FAULTS], help="may be given several times")
    ap.add_argument("--runs", action="store_true", help="one line a run")
    ap.add_argument("--write", action="store_true")
    args = ap.parse_args()
    begun = time.perf_counter()
    names = args.only or [f.__name__ for f in FAULTS]
    numbers = range(args.first, args.first + args.seeds)
    with ProcessPoolExecutor(args.jobs) as pool:
        seeds: dict[int, Seed] = {}
        for number, seed in zip(numbers, pool.map(runs_of, numbers, [names] * len(numbers)), strict=True):
            seeds[number] = seed
            if args.runs:
                print_runs(number, seed)
    touched = sum(seed.touched for seed in seeds.values())
    rows = [row(name, seeds) for name in names]
    n = len(names) * len(seeds)
    lines = [
        "| fault | unwatched | AUTO | rescued | harmed | steps lost, median / most | runs in which AUTO used |",
        "|---|---|---|---|---|---|---|",
        *(text for _, _, text in rows),
        f"| all | {wilson(sum(r[0] for r in rows), n)} | {wilson(sum(r[1] for r in rows), n)} | | | | |",
        "",
        f"Healthy runs touched: {touched} of {len(seeds)}. {STEPS} steps a run.",
    ]
    print("\n".join(lines))
    print(f"{time.perf_counter() - begun:.0f} s in all")
    if args.write:
        write(lines, args)
    return 0


def write(lines: list[str], args: argparse.Namespace) -> None:
    """docs/auto-figures.md is made by this and nothing else."""
    tasks = "; ".join((t.__doc__ or "").strip().rstrip(".") for t in TASKS)
    what = "; ".join(f"**{f.__name__}**: {(f.__doc__ or '').strip().split(chr(10))[0].rstrip('.')}" for f in FAULTS)
    head = [
        "# AUTO against the unwatched run: figures",
        "",
        f"    python3 bench/auto_bench.py --seeds {args.seeds} --first {args.first} --write",
        "",
        f"Share of runs whose held-out loss at the end is within {round(100 * (NEAR - 1))} % of the healthy twin's, with the 95 % interval; torch {torch.__version__}, one",
        f"thread. Tasks, in turn by seed: {tasks}.",
        f"Faults: {what}.",
        "",
        *lines,
    ]
    (ROOT / "docs" / "auto-figures.md").write_text("\n".join(head) + "\n")


if __name__ == "__main__":
    sys.exit(main())
