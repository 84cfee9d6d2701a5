"""Score Argus, four simple peers and the study's prototype on recorded real runs, and write the tables of docs/detection.md.

    ./dev bench detection                                   the runs in this repository
    python3 bench/detection.py --logs FOLDER                the public logs too (docs/public-logs.md says where each comes from)
    python3 bench/detection.py --detectors argus --dry-run  print, write nothing

What a figure means is said in bench/score.py. Only the text between the markers of docs/detection.md is written. The answers of
the peers and of the prototype are kept under build/detection and used again while scorer, peers and runs are unchanged.
"""

import argparse
import functools
import hashlib
import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))
import score
from intervals import clopper_pearson
from tables import fill_counts, replace_between, table

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "detection.md"
FAILURES = ROOT / "docs" / "failures.md"
SIGNALS_DOCUMENT = ROOT / "docs" / "signals.md"
SIGNALS = (
    "loss_divergence gradient_explosion vanishing_gradients oscillation training_stagnation distribution_shift confidence_collapse "
    "entropy_drift outlier_batch label_noise representational_collapse"
).split()
KEPT = ROOT / "build" / "detection"
PROTOTYPE = ROOT / "bench" / "peers" / "prototype.py"
DETECTORS = ("argus", "threshold", "ewma", "pagehinkley", "mad", "prototype")
PARTS = {
    "study, tuning": "The part the engine was developed on, run by run.",
    "study, validation": "A third of the study's runs, by hash. Its aggregate was visible during development.",
    "extra A": "Other models, optimizers and faults (`bench/record`), looked at during development.",
    "extra B": "The same recorder's set-aside, with tasks and faults that A has not. Nobody looked into its runs.",
}


def part_of(name: str, meta: dict) -> str:
    """Tuning or validation: a twin goes with the run it was forked from."""
    key = meta.get("twin_of") or name
    return "validation" if int(hashlib.md5(key.encode()).hexdigest(), 16) % 3 == 0 else "tuning"


def recorded_runs() -> list[tuple[str, str, Path, dict]]:
    """(part, name, path, meta) of every run in bench/recorded."""
    runs = []
    for folder in ("study", "extra/A", "extra/B"):
        for name, path, meta in score.runs_in(str(ROOT / "bench" / "recorded" / folder), None):
            part = f"study, {part_of(name, meta)}" if folder == "study" else folder.replace("extra/", "extra ")
            runs.append((part, name, path, meta))
    return runs


def note_signals(row: dict, meta: dict, decisions: list[dict]) -> None:
    """Which signals were active: on how many steps of a healthy run, and within 20 steps of the alarm of a fault."""
    if row["label"] == "healthy":
        row["active"] = Counter(s["name"] for d in decisions for s in d.get("signals", []))
    for part in row.get("parts", []):
        if part["detected"]:
            after = [d for d in decisions if part["alarm"] <= d["step"] <= part["alarm"] + 20]
            part["named"] = sorted({s["name"] for d in after for s in d.get("signals", [])})
            part["expected"] = meta.get("expected_signals", [])


def judge_one(job: tuple[str, str, tuple]) -> dict:
    detector, argus, (part, name, path, meta) = job
    command = {"argus": f"{argus} replay --json {{trace}}", "prototype": f"{sys.executable} {PROTOTYPE} {{trace}}"}
    peer = detector if detector in score.PEERS else None
    decisions = score.decide(path, SimpleNamespace(peer=peer, cmd=command.get(detector)))
    steps = sum(1 for _ in score.steps_of(path))
    if len(decisions) != steps:
        sys.exit(f"{detector}, {name}: {steps} steps in the trace, {len(decisions)} decisions")
    row = score.judge(name, meta, decisions, peer is not None)
    row["part"] = part
    if detector == "argus":
        note_signals(row, meta, decisions)
    row["noted"] = any("no_progress" in json.dumps(d.get("notes", "")) for d in decisions)
    return row


def rows_of(detector: str, argus: str, runs: list, jobs: int) -> list[dict]:
    """Judged rows, from KEPT where the detector is not ours and nothing it depends on changed."""
    sources = [ROOT / "bench" / "score.py", PROTOTYPE]
    seen = hashlib.sha256(b"".join(p.read_bytes() for p in sources))
    for _, name, path, meta in runs:
        seen.update(f"{name} {Path(path).stat().st_size} {json.dumps(meta, sort_keys=True)}".encode())
    kept = KEPT / f"{detector}-{seen.hexdigest()[:16]}.json"
    if detector != "argus" and kept.exists():
        return json.loads(kept.read_text())
    with ProcessPoolExecutor(jobs) as pool:
        rows = list(pool.map(judge_one, [(detector, argus, run) for run in runs], chunksize=4))
    if detector != "argus":
        KEPT.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows))
    return rows


def share(k: int, n: int) -> str:
    """k of n with its 95 % interval."""
    if n == 0:
        return "-"
    low, high = clopper_pearson(k, n)
    return f"{k}/{n} = {100 * k / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def steps_share(k: int, n: int) -> str:
    return f"{100 * k / n:.3f} %" if n else "-"


def figures(rows: list[dict]) -> list[str]:
    """The cells of one detector over one part, in the order of HEAD."""
    healthy = [r for r in rows if r["label"] == "healthy"]
    scored = [r for r in rows if "healthy_steps" in r]
    faults = [p for r in rows for p in r.get("parts", [])]
    evidence = [p["evidence"] for p in faults if p.get("evidence") is not None]
    precision = [r["spike_precision"] for r in rows if r.get("spike_precision") is not None]
    steps = sum(r["healthy_steps"] for r in scored)
    delay, lead = (score.median([p.get(k) for p in faults]) for k in ("delay", "lead"))
    return [
        share(sum(r["alarm_steps"] > 0 for r in healthy), len(healthy)),
        share(sum(r["critical_steps"] > 0 for r in healthy), len(healthy)),
        steps_share(sum(r["alarm_steps"] for r in scored), steps),
        steps_share(sum(r["watch_steps"] for r in scored), steps),
        share(sum(p["detected"] for p in faults), len(faults)),
        share(sum(p["in_time"] for p in faults), len(faults)),
        share(sum(evidence), len(evidence)),
        f"{100 * sum(precision) / len(precision):.0f} % (n = {len(precision)} runs)" if precision else "-",
        f"{delay:g} / {lead:g}" if delay is not None and lead is not None else "-",
    ]


HEAD = [
    "detector",
    "healthy runs alarmed",
    "healthy runs critical",
    "alarmed healthy steps",
    "watch steps",
    "detected",
    "in time",
    "right signal",
    "named samples right",
    "delay / lead, median steps",
]


def recorded_tables(judged: dict[str, list[dict]]) -> str:
    text = []
    for part, what in PARTS.items():
        chosen = {d: [r for r in rows if r["part"] == part] for d, rows in judged.items()}
        one = next(iter(chosen.values()))
        steps = sum(r.get("healthy_steps", 0) for r in one)
        text.append(f"### {part[0].upper()}{part[1:]}\n\n{what} {len(one)} runs, {steps:,} healthy steps.\n")
        text.append(table(HEAD, [[d, *figures(rows)] for d, rows in chosen.items()]))
    return "\n".join(text)


def fault_tables(judged: dict[str, list[dict]]) -> str:
    text = []
    for group, parts in (
        ("The study's kinds", ("study, tuning", "study, validation")),
        ("Extra A and B", ("extra A", "extra B")),
    ):
        kinds: dict[str, list[dict]] = {}
        for row in judged.get("argus", []):
            for p in row.get("parts", []) if row["part"] in parts else []:
                kinds.setdefault(p["fault"], []).append(p)
        rows = []
        for kind, found in sorted(kinds.items()):
            delay, lead = (score.median([p.get(k) for p in found]) for k in ("delay", "lead"))
            rows.append([
                kind.replace("_", " "),
                len(found),
                sum(p["detected"] for p in found),
                sum(p["in_time"] for p in found),
                "-" if delay is None else f"{delay:g}",
                "-" if lead is None else f"{lead:g}",
            ])  # fmt: skip
        text.append(f"{group}, tuning and set-aside parts together:\n")
        text.append(table(["fault", "n", "detected", "in time", "median delay", "median lead"], rows))
    return "\n".join(text)


def signal_table(rows: list[dict]) -> str:
    healthy = [r for r in rows if r["label"] == "healthy"]
    faults = [p for r in rows for p in r.get("parts", []) if p["detected"]]
    steps = sum(r["healthy_steps"] for r in healthy)
    out = []
    for name in SIGNALS:
        active = [r["active"].get(name, 0) for r in healthy]
        expected = [p for p in faults if name in p["expected"]]
        named = sum(name in p["named"] for p in faults)
        right = sum(name in p["named"] for p in expected)
        rate = f"{1e6 * sum(active) / steps:,.0f}"
        out.append(
            [
                f"`{name}`",
                f"{sum(map(bool, active))}/{len(healthy)}",
                rate,
                f"{right}/{len(expected)}",
                f"{right}/{named}",
            ]
        )
    head = [
        "signal",
        "healthy runs active",
        "active steps per million healthy steps",
        "active where expected",
        "expected where active",
    ]
    return table(head, out)


def budget_table(rows: list[dict]) -> str:
    out = []
    for part in PARTS:
        scored = [r for r in rows if r["part"] == part and "healthy_steps" in r]
        steps, episodes = sum(r["healthy_steps"] for r in scored), sum(r["episodes"] for r in scored)
        alarmed = sum(r["episodes"] > 0 for r in scored)
        out.append([part, f"{steps:,}", episodes, f"{1e6 * episodes / steps:,.0f}", f"{alarmed}/{len(scored)}"])
    return table(["part", "healthy steps", "false alarms", "per million healthy steps", "in runs"], out)


def fill_failures(rows: list[dict]) -> None:
    """The counts of docs/failures.md: detected of recorded, by kind of fault."""
    kinds: dict[str, list[bool]] = {}
    for r in rows:
        for p in r.get("parts", []):
            kinds.setdefault(r["fault"], []).append(p["detected"])
    missing = fill_counts(FAILURES, {kind: f"{sum(found)}/{len(found)}" for kind, found in kinds.items()})
    if missing:
        print(f"not in {FAILURES.name}: {', '.join(sorted(missing))}", file=sys.stderr)


def log_tables(judged: dict[str, list[dict]], repositories: dict[str, str]) -> str:
    """Public logs: healthy ones by run and by repository, troubled ones by verdict and kind of event."""
    text, healthy = [], []
    for detector, rows in judged.items():
        calm = [r for r in rows if r["label"] == "healthy"]
        steps = sum(r["healthy_steps"] for r in calm)
        alarmed = {repositories[r["name"]] for r in calm if r["alarm_steps"] > 0}
        healthy.append([
            detector,
            share(sum(r["alarm_steps"] > 0 for r in calm), len(calm)),
            f"{len(alarmed)}/{len({repositories[r['name']] for r in calm})}",
            share(sum(r["critical_steps"] > 0 for r in calm), len(calm)),
            steps_share(sum(r["alarm_steps"] for r in calm), steps),
            steps_share(sum(r["watch_steps"] for r in calm), steps),
        ])  # fmt: skip
    first = next(iter(judged))
    calm = [r for r in judged[first] if r["label"] == "healthy"]
    text.append(f"Healthy logs: {len(calm)} runs, {sum(r['healthy_steps'] for r in calm):,} logged points.\n")
    text.append(
        table(
            ["detector", "runs alarmed", "repositories alarmed", "runs critical", "alarmed points", "watch points"],
            healthy,
        )
    )
    kinds: dict[str, dict[str, list[dict]]] = {}
    for detector, rows in judged.items():
        for r in rows:
            if r["label"] == "real":
                kinds.setdefault(r["fault"], {}).setdefault(detector, []).append(r)
    rows = []
    for kind, found in sorted(kinds.items()):
        g = found[first]
        late = score.median([r["points_late"] for r in g])
        rows.append([
            kind,
            len(g),
            sum(r["alarm_point"] is not None for r in g),
            sum(r["watched"] for r in g),
            sum(r["watched"] or r["noted"] for r in g),
            "-" if late is None else f"{late:g}",
            sum(r["early_false"] for r in g),
            *(sum(r["alarm_point"] is not None for r in found[d]) for d in judged if d != first),
        ])  # fmt: skip
    others = [f"alarmed: {d}" for d in judged if d != first]
    head = [
        "verdict/event",
        "n",
        "alarmed",
        "pressure >= 1",
        "... or noted",
        "points late, median",
        "false before",
        *others,
    ]
    text.append(f"Troubled logs: runs of each kind. Where no detector is named, the figure is {first}'s.\n")
    text.append(table(head, rows))
    return "\n".join(text)


def commit() -> str:
    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", "base", "engine", "wire", "cli")
    return git("rev-parse", "--short=10", "HEAD") + (" with uncommitted changes" if changed else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--argus", default=str(ROOT / "build" / "argus"))
    parser.add_argument("--logs", type=Path, help="folder of the public logs, with its INDEX.tsv")
    parser.add_argument("--detectors", default=",".join(DETECTORS))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--commit", help="what to print as the commit (default: of this working tree)")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, leave the document alone")
    args = parser.parse_args()
    collect = functools.partial(rows_of, argus=args.argus, jobs=args.jobs)
    runs = recorded_runs()
    judged = {d: collect(d, runs=runs) for d in args.detectors.split(",")}
    made = f"Made by `bench/detection.py` from commit {args.commit or commit()}.\n"
    sections = {"recorded": made + "\n" + recorded_tables(judged), "faults": fault_tables(judged)}
    if "argus" in judged and not args.dry_run:
        fill_failures(judged["argus"])
        replace_between(SIGNALS_DOCUMENT, "signals", made + "\n" + signal_table(judged["argus"]))
        replace_between(SIGNALS_DOCUMENT, "budget", made + "\n" + budget_table(judged["argus"]))
    if args.logs:
        logs = [("logs", name, path, meta) for name, path, meta in score.runs_in(str(args.logs), None)]
        index = [line.split("\t") for line in (args.logs / "INDEX.tsv").read_text().splitlines()[1:]]
        judged_logs = {d: collect(d, runs=logs) for d in args.detectors.split(",")}
        sections["logs"] = made + "\n" + log_tables(judged_logs, {row[0]: row[1] for row in index})
    for name, text in sections.items():
        print(f"\n## {name}\n\n{text}")
        if not args.dry_run:
            replace_between(DOCUMENT, name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
