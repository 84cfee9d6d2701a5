"""Command line: python -m bench.record --out FOLDER --set A|B [--seed N] [--only REGEX] [--limit N] [--list].

Writes NAME.jsonl.gz and NAME.meta.json for each run, INDEX.tsv, and VOID.tsv with every run that was made and not kept.
Runs whose files exist are skipped, so an interrupted set is taken up where it ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import pathlib
import re
import time

import numpy as np
import torch

from .fault import FAULTS
from .plan import Plan, allowed, build, card_of
from .run import Recorded, learned, record
from .tasks import TASKS

COLUMNS = ("name", "label", "fault", "family", "optimizer", "steps", "layer2", "onset", "collapse", "harmless", "bytes")
TRIES = 4


def write(folder: pathlib.Path, name: str, r: Recorded) -> None:
    """Both files of one run, the meta file last."""
    r.meta["name"] = name
    path = folder / f"{name}.jsonl.gz"
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in r.rows)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    (folder / f"{name}.meta.json").write_text(json.dumps(r.meta, indent=1) + "\n")


def index_line(meta: pathlib.Path) -> str:
    m, size = json.loads(meta.read_text()), meta.with_name(meta.name.replace(".meta.json", ".jsonl.gz")).stat().st_size
    cells = [
        m["name"],
        m["label"],
        m["fault"],
        m["family"],
        m["optimizer"],
        m["steps"],
        int(m["layer2"]),
        m.get("onset_step"),
        m.get("collapse_step"),
        int(m.get("harmless", False)),
        size,
    ]
    return "\t".join("" if c is None else str(c) for c in cells)


def again(plan: Plan, attempt: int) -> Plan:
    """The same wish with another seed, and from the second attempt on another task."""
    rng = np.random.default_rng([plan.key, attempt])
    task = plan.task
    if attempt > 1 and plan.fault:
        task = str(rng.choice([t for t in TASKS if allowed(plan.which, t) and FAULTS[plan.fault].fits(card_of(t))]))
    return dataclasses.replace(plan, key=int(rng.integers(1, 2**31)), task=task)


def keep(plan: Plan, got: list[Recorded], attempt: int) -> str:
    """Empty if the run is kept, else why not.  Most harmless faults are made again; about one in four is kept as it is."""
    if plan.label == "healthy":
        return "" if learned(got[0].e) else "did not learn"
    meta = got[0].meta
    if not learned(got[0].e):
        return "twin did not learn"
    if meta["undetectable"]:
        return "no difference to the twin"
    if meta["harmless"] and plan.key % 4 and attempt < TRIES - 1:
        return "harmless, made again"
    return ""


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out")
    ap.add_argument("--set", choices=("A", "B"), default="A", dest="which")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--only", default="", help="regular expression on task/fault/habit")
    ap.add_argument("--limit", type=int)
    ap.add_argument("--list", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    plans = build(args.which, args.seed)
    names = [
        f"x{args.which.lower()}_{n}"
        for n in np.random.default_rng([args.seed, 9, ord(args.which)]).permutation(np.arange(100, 1000))
    ]
    order = np.random.default_rng([args.seed, 8]).permutation(len(plans))
    if args.list:
        for p in plans:
            print(
                p.label,
                p.task,
                p.fault or "-",
                ",".join(p.habits) or "-",
                p.level,
                p.quirk or "-",
                "twin" if p.keep_twin else "",
                sep="\t",
            )
        return
    folder = pathlib.Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    void = folder / "VOID.tsv"
    if not void.exists():
        void.write_text("why\ttask\tfault_or_habit\toptimizer\tseed\n")
    for n, i in enumerate(order[: args.limit]):
        plan, begun = plans[int(i)], time.perf_counter()
        if args.only and not re.search(args.only, f"{plan.task}/{plan.fault}/{','.join(plan.habits)}"):
            continue
        if (folder / f"{names[2 * int(i)]}.meta.json").exists():
            continue
        for attempt in range(TRIES):
            now = plan if attempt == 0 else again(plan, attempt)
            got = record(now)
            why = keep(now, got, attempt)
            if not why:
                break
            m = got[0].meta
            cells = (why, now.task, now.fault or ",".join(now.habits) or "-", m["optimizer"], now.key)
            with void.open("a") as f:
                f.write("\t".join(map(str, cells)) + "\n")
        if why:
            print(f"void {plan.task} {plan.fault} {plan.habits}: {why}", flush=True)
            continue
        own = ""
        for k, r in enumerate(got):
            name = names[2 * int(i) + k]
            if k:
                r.meta["twin_of"] = own
            own = own or name
            write(folder, name, r)
        m = got[0].meta
        print(
            f"{n:3} {time.perf_counter() - begun:5.1f}s {now.task:18} {now.fault or ','.join(now.habits) or '-':28} {m['optimizer']:9} {now.level:5} "
            f"{m['onset_step']} {m['collapse_step']} {m['steps']} {m.get('damage', '')}",
            flush=True,
        )
    lines = [index_line(f) for f in sorted(folder.glob("*.meta.json"))]
    (folder / "INDEX.tsv").write_text("\n".join(["\t".join(COLUMNS), *lines]) + "\n")


if __name__ == "__main__":
    main()
