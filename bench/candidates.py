"""Would an observable that Argus only displays earn a place? Gradient similarity, depth thirds, shape of the gradient.

    python3 bench/candidates.py [--argus build/argus]

Each candidate gets what every observable of the engine gets, the novelty statistic (engine/novelty.h, in the Python of
bench/peers/prototype.py) in both directions with a warm-up of 40 values, and is asked of every recorded run that carries its
fields: on how many healthy runs it would confirm at least once, and how many faults it confirms in time, or at all, that
Argus does not. Writes its table of docs/ablation.md.
"""

import argparse
import math
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import score
from ablation import DOCUMENT
from detection import ROOT, commit, recorded_runs, rows_of
from prototype import Nov, P
from tables import replace_between, table

WARM_UP = 40


def similarity(step: dict) -> float | None:
    return step["training"].get("gradient_similarity")


def depth_share(third: str, step: dict) -> float | None:
    d = step.get("distribution", {})
    values = [d.get(f"grad_norm_{t}") for t in ("early", "mid", "late")]
    if any(not isinstance(v, (int, float)) or v <= 0 for v in values):
        return None
    return math.log(d[f"grad_norm_{third}"]) - 0.5 * math.log(sum(v * v for v in values))


def early_over_late(step: dict) -> float | None:
    early, late = depth_share("early", step), depth_share("late", step)
    return None if early is None or late is None else early - late


def gradient_shape(step: dict) -> float | None:
    d = step.get("distribution", {})
    l1, l2 = d.get("l1_norm"), d.get("l2_norm")
    if not isinstance(l1, (int, float)) or not isinstance(l2, (int, float)) or l1 <= 0 or l2 <= 0:
        return None
    return math.log(l1 / l2)


CANDIDATES = {
    "gradient similarity": similarity,
    "share of the early third": partial(depth_share, "early"),
    "share of the middle third": partial(depth_share, "mid"),
    "share of the late third": partial(depth_share, "late"),
    "early over late third": early_over_late,
    "L1/L2 of the gradient": gradient_shape,
}
WINDOWS = (1, 8)  # the value itself, and its mean over 8 steps


def confirmations(path: str) -> dict[tuple[str, int], list[int] | None]:
    """For each candidate and window the steps at which its evidence rises to the confirmation level; None: no such field."""
    streams = {(name, w): [Nov(nmin=WARM_UP), Nov(nmin=WARM_UP)] for name in CANDIDATES for w in WINDOWS}
    kept: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    out: dict[tuple[str, int], list[int]] = {key: [] for key in streams}
    for step in score.steps_of(path):
        for name, read in CANDIDATES.items():
            value = read(step)
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            kept[name].append(value)
            for w in WINDOWS:
                if len(kept[name]) < w:
                    continue
                mean = sum(kept[name][-w:]) / w
                before = max(n.S for n in streams[name, w])
                for sign, novelty in zip((1.0, -1.0), streams[name, w], strict=True):
                    novelty.step(sign * mean, floor=1e-4)
                if max(n.S for n in streams[name, w]) >= P.h > before:
                    out[name, w].append(step["step"])
    return {key: steps if kept[key[0]] else None for key, steps in out.items()}


def windows_of(meta: dict) -> list[tuple[int, int]]:
    """(onset, deadline) of each part of a fault, as bench/score.py has them."""
    collapse, second = meta.get("collapse_step"), meta.get("onset2_step")
    parts = [(meta["onset_step"], collapse)]
    if second is not None:
        parts = [(meta["onset_step"], meta.get("clear_step")), (second, collapse)]
    return [(o, c if c is not None else o + score.GRACE_NO_COLLAPSE) for o, c in parts]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--argus", default=str(ROOT / "build" / "argus"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--commit")
    args = parser.parse_args()
    runs = recorded_runs()
    ours = rows_of("argus", args.argus, runs, args.jobs)
    with ProcessPoolExecutor(args.jobs) as pool:
        found = list(pool.map(confirmations, [str(r[2]) for r in runs], chunksize=8))
    rows = []
    for key in ((name, w) for name in CANDIDATES for w in WINDOWS):
        healthy = false = faults = in_time = new_in_time = new = 0
        for (_, _, _, meta), row, answer in zip(runs, ours, found, strict=True):
            steps = answer[key]
            if steps is None:
                continue
            if row["label"] == "healthy":
                healthy += 1
                false += bool(steps)
            for part, (onset, deadline) in zip(row["parts"], windows_of(meta)) if row.get("parts") else ():
                faults += 1
                first = next((s for s in steps if s >= onset), math.inf)
                in_time += first <= deadline
                new_in_time += first <= deadline and not part["in_time"]
                new += first <= deadline + score.LATE and not part["detected"]
        window = "one step" if key[1] == 1 else f"mean of {key[1]}"
        rows.append([key[0], window, f"{false}/{healthy}", f"{in_time}/{faults}", new_in_time, new])
    head = [
        "candidate",
        "over",
        "healthy runs it confirms on",
        "faults in time",
        "of these late for Argus",
        "detected that Argus misses",
    ]
    text = f"Made by `bench/candidates.py` from commit {args.commit or commit()}.\n\n" + table(head, rows)
    print(text)
    replace_between(DOCUMENT, "candidates", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
