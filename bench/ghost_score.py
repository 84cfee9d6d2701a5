"""Score episodes on recorded ghost runs and true recoveries.

After an explosion the loss may return while the optimizer is still poisoned (a ghost: it collapses again) or healed (a recovery).
A ghost is held when the answer's `episode` never becomes null between the confirmation of the first rise and the second
collapse. A recovery is released when the episode opened by the accident is closed within --within steps of `recovered_step`.

    python3 bench/ghost_score.py bench/recorded/ghost --argus build/argus

Each run is NAME.jsonl.gz with NAME.meta.json beside it: kind ghost | recovery, onset_step, recovered_step, collapse_step.
Runs are split in halves by the number in their name: even ones are for tuning, odd ones for checking.
"""

import argparse
import json
import pathlib
import subprocess
import sys


def half(name: str) -> str:
    """Even numbers are for tuning, odd ones for checking."""
    return "tune" if int("".join(c for c in name if c.isdigit()) or 0) % 2 == 0 else "check"


def decisions(argus: str, path: pathlib.Path) -> list[dict]:
    out = subprocess.run([argus, "replay", "--json", str(path)], capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def score_ghost(meta: dict, answers: list[dict]) -> dict:
    """Held: open at every step from the confirmed rise (at the latest from recovered_step) to the collapse."""
    onset, collapse = meta["onset_step"], meta["collapse_step"]
    confirmed = next((a["step"] for a in answers if a["step"] >= onset and a["harm_pressure"] >= 2), None)
    if confirmed is None or confirmed >= collapse:
        return {"good": False, "confirmed": confirmed, "gap_at": None}
    gap = next((a["step"] for a in answers if confirmed <= a["step"] < collapse and not a.get("episode")), None)
    return {"good": gap is None, "confirmed": confirmed, "gap_at": gap}


def score_recovery(meta: dict, answers: list[dict], within: int) -> dict:
    """Released: no episode at some step within `within` steps of recovered_step, having been opened by the accident or not."""
    recovered = meta["recovered_step"]
    after = [a for a in answers if a["step"] >= recovered]
    closed = next((a["step"] for a in after if not a.get("episode")), None)
    confirmed = next((a["step"] for a in answers if a["step"] >= meta["onset_step"] and a["harm_pressure"] >= 2), None)
    return {
        "good": closed is not None and closed <= recovered + within,
        "confirmed": confirmed,
        "closed_after": None if closed is None else closed - recovered,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default=pathlib.Path("bench/recorded/ghost"))
    parser.add_argument("--argus", default="build/argus")
    parser.add_argument("--half", choices=["tune", "check", "all"], default="all")
    parser.add_argument("--within", type=int, default=60, help="steps a recovery may stay open")
    parser.add_argument("--runs", action="store_true", help="one line a run")
    args = parser.parse_args()
    results: dict[str, list[dict]] = {"ghost": [], "recovery": []}
    for meta_path in sorted(args.folder.glob("*.meta.json")):
        meta = json.loads(meta_path.read_text())
        name = meta["name"]
        if args.half not in ("all", half(name)):
            continue
        answers = decisions(args.argus, args.folder / f"{name}.jsonl.gz")
        ghost = meta["kind"] == "ghost"
        result = score_ghost(meta, answers) if ghost else score_recovery(meta, answers, args.within)
        results[meta["kind"]].append(result)
        if args.runs:
            print(f"{meta['kind']:9} {name:10} {meta['family']:12} {result}")
    for kind, rows in results.items():
        good, n = sum(r["good"] for r in rows), len(rows)
        silent = sum(r["confirmed"] is None for r in rows)
        share = f"{100 * good / n:.1f} %" if n else "-"
        word = "held to the second collapse" if kind == "ghost" else f"closed within {args.within} steps"
        print(f"{kind:9} n={n:<3} {word}: {good} ({share}); never confirmed: {silent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
