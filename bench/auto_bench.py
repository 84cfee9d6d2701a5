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


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seeds", type=int, default=20)
    ap.add_argument("--first", type=int, default=100)
    ap.add_argument("--only", action="append", help="a fault; may be given several times")
    ap.add_argument("--runs", action="store_true", help="one line a run")
    ap.add_argument("--write", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    seeds = range(args.first, args.first + args.seeds)
    faults = [f for f in FAULTS if not args.only or f.__name__ in args.only]
    twins = {seed: train(seed, healthy, auto=False) for seed in seeds}
    touched = 0
    for seed in seeds:
        watched = train(seed, healthy, auto=True)
        same = all(torch.equal(a, b) for a, b in zip(watched.weights, twins[seed].weights, strict=True))
        touched += bool(watched.actions) or not same
        if args.runs and (watched.actions or not same):
            print("healthy", seed, "touched", watched.lines, flush=True)
    rows = []
    everything = [0, 0, 0]
    for fault in faults:
        plain = saved = harmed = rescued = 0
        lost: list[int] = []
        kinds: Counter[str] = Counter()
        for seed in seeds:
            alone = train(seed, fault, auto=False)
            watched = train(seed, fault, auto=True)
            target = NEAR * twins[seed].loss
            fine_alone, fine = alone.loss <= target, watched.loss <= target
            plain += fine_alone
            saved += fine
            rescued += fine and not fine_alone
            harmed += fine_alone and not fine
            lost.append(watched.steps_lost)
            kinds.update(set(a for a in watched.actions if not a.endswith("-")))
            if args.runs:
                ratio = twins[seed].loss
                print(
                    f"{fault.__name__} {seed} {TASKS[seed % len(TASKS)].__name__} alone {alone.loss / ratio:.3f}"
                    f" auto {watched.loss / ratio:.3f} lost {watched.steps_lost} {' '.join(watched.actions)}",
                    flush=True,
                )
        n = len(seeds)
        everything = [everything[0] + plain, everything[1] + saved, everything[2] + n]
        lost.sort()
        used = ", ".join(f"{k} {v}" for k, v in sorted(kinds.items()) if k != "RESTORE_LR")
        rows.append(
            f"| {fault.__name__} | {wilson(plain, n)} | {wilson(saved, n)} | {rescued} | {harmed} "
            f"| {lost[n // 2]} / {lost[-1]} | {used} |"
        )
    n = len(seeds)
    rows.append(f"| all | {wilson(everything[0], everything[2])} | {wilson(everything[1], everything[2])} | | | | |")
    lines = [
        "| fault | unwatched | AUTO | rescued | harmed | steps lost, median / most | runs in which AUTO used |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Healthy runs touched: {touched} of {n}. {STEPS} steps a run, {time.perf_counter() - begun:.0f} s in all.",
    ]
    print("\n".join(lines))
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
