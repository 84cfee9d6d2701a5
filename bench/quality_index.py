"""The Data Quality Index of recorded runs; writes the tables of docs/quality-index.md.

    python3 bench/quality_index.py [--program build/quality_index]

The program is built by `cmake --build build --target quality_index` with -DARGUS_BENCH=ON. The runs of the first table
were chosen by what is known of them (their notes and labels), each as the example of one reason.
"""

import argparse
import gzip
import json
import statistics
import subprocess
from pathlib import Path

from tables import replace_between, table

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "bench" / "recorded" / "study"
DOCUMENT = ROOT / "docs" / "quality-index.md"

EXAMPLES = {
    "dev_874": "a transformer that learns steadily to the end",
    "dev_842": "a VAE whose loss falls below zero",
    "dev_465": "a CNN with one batch of shuffled labels",
    "dev_105": "modular addition: learns late",
    "dev_094": "parity: a plateau, then one sudden drop",
    "dev_608": "the task is made harder in stages: the loss jumps up by design",
    "dev_324": "REINFORCE: noise, and a trend below it",
    "dev_796": "a VAE whose learning rate makes it oscillate",
    "dev_399": "data sorted by class: the loss swings with the class",
    "dev_620": "a GAN: the loss says little about learning",
    "dev_710": "a slow drift away from what was learned",
    "dev_441": "ends in NaN",
}


def losses(path: Path) -> list[str]:
    with gzip.open(path, "rt") as lines:
        found = (json.loads(line).get("training", {}).get("loss") for line in lines)
        return [str(loss) for loss in found if loss is not None]


def qualities(program: Path, series: list[list[str]]) -> list[list[float] | None]:
    """[index, coherence, spread, retention, finite] of each, None where there is no index."""
    text = "".join(" ".join(one) + "\n" for one in series)
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    return [None if line == "-" else [float(x) for x in line.split()] for line in done.stdout.splitlines()]


def shown(quality: list[float]) -> list[str]:
    return [f"{x:.2f}" for x in quality]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "quality_index")
    program = parser.parse_args().program

    metas = [json.loads(p.read_text()) for p in sorted(STUDY.glob("*.meta.json"))]
    series = [losses(STUDY / f"{m['name']}.jsonl.gz") for m in metas]
    found = dict(zip((m["name"] for m in metas), qualities(program, series), strict=True))

    ranked = sorted(EXAMPLES, key=lambda name: -found[name][0])
    rows = [[name, EXAMPLES[name], *shown(found[name])] for name in ranked]
    head = ["run", "what is known of it", "index", "coherence", "spread", "retention", "finite"]
    replace_between(DOCUMENT, "examples", table(head, rows))

    groups = {
        "healthy": [m for m in metas if m["label"] == "healthy"],
        "faulty, without lasting damage": [m for m in metas if m["label"] == "fault" and m["harmless"]],
        "faulty, with lasting damage": [m for m in metas if m["label"] == "fault" and not m["harmless"]],
    }
    rows = []
    values = {name: sorted(found[m["name"]][0] for m in group) for name, group in groups.items()}
    for name, group in values.items():
        low, middle, high = statistics.quantiles(group, n=4)
        rows.append([name, len(group), f"{low:.2f}", f"{middle:.2f}", f"{high:.2f}"])
    text = table(["runs", "n", "lower quartile", "median", "upper quartile"], rows)
    healthy, damaged = values["healthy"], values["faulty, with lasting damage"]
    above = sum((h > d) + 0.5 * (h == d) for h in healthy for d in damaged) / (len(healthy) * len(damaged))
    text += f"\nA healthy run has the higher index than one with lasting damage in {above:.0%} of all pairs.\n"

    other = dict(zip(found, qualities(program, [s[::2] for s in series]), strict=True))
    both = [name for name in found if found[name] and other[name]]
    moved = sorted(abs(found[name][0] - other[name][0]) for name in both)
    text += (
        f"Of every second loss alone, the index is within {statistics.median(moved):.2f} of that of all of them"
        f" in half of {len(both)} runs, within {moved[int(0.9 * len(moved))]:.2f} in nine of ten.\n"
    )
    replace_between(DOCUMENT, "groups", text)


if __name__ == "__main__":
    main()
