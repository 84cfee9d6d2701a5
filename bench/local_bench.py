"""Whether the local detector is right: faults put into real small trainings, their healthy twins, and healthy runs of all kinds.

    python bench/local_bench.py [--seeds N] [--first N] [--models N] [--healthy N] [--only CHECK|FAULT ...] [--jobs N] [--details] [--write]
    python bench/local_bench.py --quick [--jobs N]

Needs the package: installed, or PYTHONPATH=python/src with the native module beside it. Every fault is put into every model that can have it,
`--models` of them a seed in turn, at a step and in a layer drawn by the seed; the report is read every ten steps. A fault counts when it truly
did what it claims, by a measurement of its own: the void ones are told and not scored. Healthy: the twin of each faulty run (same seed, same
batches, nothing broken) and `--healthy` runs of bench/local/healthy.py. `--write` puts the tables into docs/local-detector-figures.md.
The detector thins itself by measured time, so figures may differ by a run or two from machine to machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.local import quick  # noqa: E402
from bench.local.faults import FAULTS  # noqa: E402
from bench.local.healthy import healthy  # noqa: E402
from bench.local.loop import Trace  # noqa: E402
from bench.local.plan import faulty_jobs, healthy_jobs, run, twins_of  # noqa: E402
from bench.local.score import HEAD, Verdict, alarms, judge, rows_by_check, rows_by_fault, share  # noqa: E402
from bench.tables import replace_between, table  # noqa: E402

DOCUMENT = ROOT / "docs" / "local-detector-figures.md"


def false_alarms(traces: list[Trace]) -> tuple[str, str]:
    """Shares of runs with any warn and with any critical."""
    worst = [alarms(t) for t in traces]
    return share(sum(map(bool, worst)), len(worst)), share(sum("critical" in w.values() for w in worst), len(worst))


def healthy_table(twins: list[Trace], others: list[Trace]) -> str:
    kept = [t for t in others if healthy(t)]
    titled = (("twins of the faulty runs", twins), ("other healthy runs", kept), ("all", [*twins, *kept]))
    rows = [(title, *false_alarms(traces)) for title, traces in titled if traces]
    by_check = Counter(check for t in (*twins, *kept) for check in alarms(t))
    told = ", ".join(f"{check} {n}" for check, n in by_check.most_common()) or "none"
    text = table(("healthy runs", "any warn", "any critical"), rows)
    return f"{text}\nBy check: {told}. Drawn as healthy and not so by their own loss: {len(others) - len(kept)}.\n"


def fault_tables(verdicts: list[Verdict]) -> str:
    void = Counter(v.fault.name for v in verdicts if not v.trace.real)
    told = ", ".join(f"{name} {n}" for name, n in sorted(void.items())) or "none"
    early = sum(bool(v.early) for v in verdicts)
    return "\n".join(
        (
            table(HEAD, rows_by_check(verdicts)),
            f"Of {len(verdicts)} runs void and not scored: {told}. With an alarm before the fault: {early}.\n",
            table(("fault", *HEAD[1:]), rows_by_fault(verdicts)),
        )
    )


def details(verdicts: list[Verdict], healthy_ones: list[Trace]) -> str:
    """Each run that was not as it should be, with what makes it again."""
    lines = [v.line() for v in verdicts if v.trace.real and (not v.right_first or v.extra or v.early)]
    for trace in healthy_ones:
        if alarms(trace):
            first = next(p for p in trace.polls if p.checks)
            s = trace.setup
            what = f"{s.label or 'twin'}: {s.task} {s.optimizer} {s.schedule} rate {s.rate} seed {s.seed}"
            lines.append(f"{what}: {alarms(trace)}, first at {first.step}: {first.checks}")
    return "\n".join(lines)


def chosen(only: list[str]) -> list[str]:
    unknown = set(only) - set(FAULTS) - {f.check for f in FAULTS.values()}
    if unknown:
        raise SystemExit(
            f"--only: no check or fault is called {', '.join(sorted(unknown))}; faults: {', '.join(FAULTS)}"
        )
    return [name for name, f in FAULTS.items() if not only or name in only or f.check in only]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--first",
        type=int,
        default=5000,
        help="first seed; failing cases below 3000 were looked at while the checks were made",
    )
    parser.add_argument(
        "--models", type=int, default=4, help="a seed, for each fault; the next seed takes the next ones"
    )
    parser.add_argument("--healthy", type=int, default=300, metavar="N")
    parser.add_argument("--only", nargs="*", default=[], metavar="CHECK|FAULT")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-twins", action="store_true")
    parser.add_argument("--details", action="store_true", help="each run that was not as it should be, with its seed")
    parser.add_argument(
        "--quick", action="store_true", help="the fixed subset that CI runs; exit status 1 below its floors"
    )
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.quick:
        result = quick.measure(args.jobs)
        print(result.told())
        sys.exit(1 if result.short_of() else 0)
    jobs = faulty_jobs(chosen(args.only), range(args.first, args.first + args.seeds), args.models)
    twin_jobs = [] if args.no_twins else twins_of(jobs)
    done = run([*jobs, *twin_jobs, *healthy_jobs(args.healthy, args.first)], args.jobs)
    verdicts = [judge(trace, FAULTS[name]) for (_, name), trace in done if name]
    unbroken = [trace for (_, name), trace in done if not name]
    twins, others = unbroken[: len(twin_jobs)], unbroken[len(twin_jobs) :]
    parts = [fault_tables(verdicts)] if verdicts else []
    text = "\n".join([*parts, healthy_table(twins, others)])
    print(text)
    if args.details:
        print(details(verdicts, [*twins, *(t for t in others if healthy(t))]))
    if args.write:
        replace_between(DOCUMENT, "figures", text)


if __name__ == "__main__":
    main()
