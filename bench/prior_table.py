"""Measure the family table of engine/prior.cpp on recorded runs.

For each run: the first 6 values of a stream give its centre (median) and, for the loss, its unit (largest - smallest).
Of the next 18 values, the furthest above and below that centre is taken, in units (loss) or as a ratio (gradient norm).
A family's entry is the 0.9 quantile of these over its runs, shrunk toward that of all families with the weight of 8 runs.
Only steps before a fault's onset are read. All figures are dimensionless.

    python3 bench/prior_table.py bench/recorded/study bench/recorded/extra/A
"""

import argparse
import collections
import gzip
import json
import math
import pathlib
import statistics

FIRST, NEXT, POOLED_RUNS = 6, 18, 8
FAMILIES = {"transformer": "transformer", "llm": "transformer", "cnn": "cnn", "vision": "cnn"}
FAMILIES |= {name: name for name in ("rnn", "mlp", "diffusion", "rl", "gan", "moe", "ssm", "gnn")}
ORDER = ["transformer", "cnn", "rnn", "mlp", "diffusion", "rl", "gan", "moe", "ssm", "gnn"]


def first_values(path: pathlib.Path, before: int) -> tuple[list[float], list[float]]:
    loss, norm = [], []
    with gzip.open(path, "rt") as lines:
        for line in lines:
            step = json.loads(line)
            if step["step"] >= before or min(len(loss), len(norm)) >= FIRST + NEXT:
                break
            training = step.get("training", {})
            x, g = training.get("loss"), training.get("grad_norm")
            if isinstance(x, (int, float)) and math.isfinite(x):
                loss.append(x)
            if isinstance(g, (int, float)) and math.isfinite(g) and g > 0:
                norm.append(math.log(g))
    return loss[: FIRST + NEXT], norm[: FIRST + NEXT]


def reach(values: list[float], relative: bool) -> tuple[float, float] | None:
    """Furthest above and below the centre of the first values."""
    if len(values) < FIRST + NEXT:
        return None
    first, rest = values[:FIRST], values[FIRST:]
    unit = max(first) - min(first) if relative else 1.0
    if unit <= 0:
        return None
    centre = statistics.median(first)
    return max(0.0, max(rest) - centre) / unit, max(0.0, centre - min(rest)) / unit


def high(values: list[float]) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(0.9 * len(ranked)) - 1)]


def line(name: str, runs: int, entry: list[float]) -> str:
    figures = [entry[0], entry[1], math.exp(entry[2]), math.exp(entry[3])]
    return f"{name:12} {runs:5}  " + "  ".join(f"{x:7.2f}" for x in figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    columns: dict[str, list[list[float]]] = collections.defaultdict(lambda: [[], [], [], []])
    for folder in parser.parse_args().folders:
        for meta_path in sorted(folder.glob("*.meta.json")):
            meta = json.loads(meta_path.read_text())
            onset = meta.get("onset_step")
            trace = meta_path.with_name(meta_path.name.replace(".meta.json", ".jsonl.gz"))
            loss, norm = first_values(trace, 10**9 if onset is None else onset)
            for at, pair in ((0, reach(loss, True)), (2, reach(norm, False))):
                if pair is None:
                    continue
                for name in (FAMILIES.get(meta.get("model_type", "other"), "other"), "all"):
                    columns[name][at].append(pair[0])
                    columns[name][at + 1].append(pair[1])
    pooled = [high(c) for c in columns["all"]]
    print("family        runs  loss up  loss down  norm up  norm down")
    for name in ORDER:
        own = columns[name]
        entry = [(len(c) * high(c) + POOLED_RUNS * p) / (len(c) + POOLED_RUNS) for c, p in zip(own, pooled)]
        print(line(name, len(own[0]), entry))
    print(line("all", len(columns["all"][0]), pooled))


if __name__ == "__main__":
    main()
