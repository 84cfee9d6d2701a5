"""Whether the local detector is right: faults put into real small trainings, their healthy twins, and healthy runs of all kinds.

    python bench/local_bench.py [--seeds N] [--first N] [--healthy N] [--only CHECK|FAULT ...] [--jobs N] [--details] [--write]

Every fault is put into every model that can have it, four of them a seed in turn, at a step and in a layer drawn by the seed; the report is
read every ten steps. A fault counts when it truly did what it claims, by a measurement of its own: the void ones are told and not scored.
Healthy: the twin of each faulty run (same seed, same batches, nothing broken) and `--healthy` runs of bench/local/healthy.py.
`--write` puts the tables into docs/local-detector-figures.md. The detector thins itself by measured time, so figures may differ by a run or two.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "python" / "src")]

from bench.local.faults import FAULTS  # noqa: E402
from bench.local.healthy import healthy, setups  # noqa: E402
from bench.local.loop import Setup, Trace, train  # noqa: E402
from bench.local.models import TASKS  # noqa: E402
from bench.local.score import HEAD, Verdict, alarms, judge, rows_by_check, rows_by_fault, share  # noqa: E402
from bench.tables import replace_between, table  # noqa: E402

DOCUMENT = ROOT / "docs" / "local-detector-figures.md"
MODELS_A_SEED = 4
Job = tuple[Setup, str | None]


def optimizer_for(fault: str, task: str, seed: int) -> str | None:
    """Mostly AdamW, every third time momentum; where a fault asks for certain optimizers, these in turn."""
    rates, wanted = TASKS[task].rates, FAULTS[fault].optimizers  # type: ignore[attr-defined]
    names = [o for o in rates if (o in wanted if wanted else o in ("adamw", "momentum"))]
    if not names:
        return None
    return names[seed % len(names)] if wanted else names[-1 if seed % 3 == 2 else 0]


def faulty_jobs(faults: list[str], seeds: range) -> list[Job]:
    jobs: list[Job] = []
    for seed in seeds:
        for name in faults:
            fault = FAULTS[name]
            able = [t for t in TASKS if fault.fits(TASKS[t]) and optimizer_for(name, t, seed)]  # type: ignore[arg-type]
            start = seed * MODELS_A_SEED % len(able)
            for task in (able[start:] + able[:start])[:MODELS_A_SEED]:
                optimizer = optimizer_for(name, task, seed)
                assert optimizer is not None
                schedule = "warmup" if seed % 2 else "constant"
                jobs.append(
                    (Setup(task, seed, optimizer, rate=fault.rate, schedule=schedule, by_layer=fault.by_layer), name)
                )
    return jobs


def work(job: Job) -> tuple[Job, Trace]:
    return job, train(*job)


def run(jobs: list[Job], workers: int) -> list[tuple[Job, Trace]]:
    """In order; with the time left told on the way."""
    began, done = time.monotonic(), []
    pool = ProcessPoolExecutor(workers) if workers > 1 else None
    try:
        for result in pool.map(work, jobs, chunksize=4) if pool else map(work, jobs):
            done.append(result)
            if len(done) % 50 == 0:
                left = (time.monotonic() - began) / len(done) * (len(jobs) - len(done))
                print(f"  {len(done)}/{len(jobs)} runs, {left / 60:.0f} min left", file=sys.stderr, flush=True)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return done


def false_alarms(traces: list[Trace]) -> tuple[str, str]:
    """Shares of runs with any warn and with any critical."""
    worst = [alarms(t) for t in traces]
    return share(sum(bool(w) for w in worst), len(worst)), share(
        sum("critical" in w.values() for w in worst), len(worst)
    )


def describe_alarm(trace: Trace) -> str:
    s = trace.setup
    first = next(p for p in trace.polls if p.checks)
    return f"{s.label or 'twin'}: {s.task} {s.optimizer} {s.schedule} rate {s.rate} seed {s.seed}: {alarms(trace)}, first at {first.step}: {first.checks}"


def report(verdicts: list[Verdict], twins: list[Trace], others: list[Trace], details: bool) -> str:
    parts = []
    if verdicts:
        void = Counter(v.fault.name for v in verdicts if not v.trace.real)
        parts.append(table(HEAD, rows_by_check(verdicts)))
        parts.append(f"Void and not scored: {', '.join(f'{n} {k}' for n, k in sorted(void.items())) or 'none'}.\n")
        parts.append(table(("fault", *HEAD[1:]), rows_by_fault(verdicts)))
    kept = [t for t in others if healthy(t)]
    rows = [
        (title, *false_alarms(traces))
        for title, traces in (("twins", twins), ("other healthy runs", kept), ("all", [*twins, *kept]))
        if traces
    ]
    parts.append(table(("healthy runs", "any warn", "any critical"), rows))
    parts.append(f"Drawn as healthy and not so by their own loss: {len(others) - len(kept)}.\n")
    if details:
        parts.append(
            "\n".join(v.line() for v in verdicts if v.trace.real and (not v.right_first or v.extra or v.early)) + "\n"
        )
        parts.append("\n".join(describe_alarm(t) for t in (*twins, *kept) if alarms(t)) + "\n")
    return "\n".join(parts)


def chosen(only: list[str]) -> list[str]:
    names = [n for n, f in FAULTS.items() if not only or n in only or f.check in only]
    unknown = set(only) - set(FAULTS) - {f.check for f in FAULTS.values()} - {"healthy"}
    if unknown:
        raise SystemExit(
            f"--only: no check or fault is called {', '.join(sorted(unknown))}; faults: {', '.join(FAULTS)}"
        )
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1000, help="first seed; thresholds were set on seeds below 1000")
    parser.add_argument("--healthy", type=int, default=300, metavar="N")
    parser.add_argument("--only", nargs="*", default=[], metavar="CHECK|FAULT")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--details", action="store_true", help="each run that was not as it should be, with its seed")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    jobs = faulty_jobs(chosen(args.only), range(args.first, args.first + args.seeds))
    twin_jobs: list[Job] = [(setup, None) for setup in dict.fromkeys(setup for setup, _ in jobs)]
    rounds = args.healthy // 250 + 1
    other_jobs: list[Job] = [(setup, None) for setup in setups(rounds, args.first)[: args.healthy]]
    done = run([*jobs, *twin_jobs, *other_jobs], args.jobs)
    faulty, twins, others = (
        done[: len(jobs)],
        done[len(jobs) : len(jobs) + len(twin_jobs)],
        done[len(jobs) + len(twin_jobs) :],
    )
    verdicts = [judge(trace, FAULTS[name]) for (_, name), trace in faulty if name]
    print(report(verdicts, [t for _, t in twins], [t for _, t in others], args.details))
    if args.write:
        replace_between(DOCUMENT, "figures", report(verdicts, [t for _, t in twins], [t for _, t in others], False))


if __name__ == "__main__":
    main()
