"""What a lying local detector can do: every recorded healthy run, replayed with a local finding reported falsely at every step.

    python3 bench/local_health_bench.py [--argus build/argus]

Prints, without and with the lie: runs alarmed (pressure 2 or more anywhere), alarmed and watched steps, steps at pressure 3. The lie is the worst possible:
critical, all layers, first seen at that very step, so that it never stops being news.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import score
from tables import table

ROOT = Path(__file__).resolve().parents[1]


def replay(argus: Path, rows: list[dict]) -> list[int]:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        answer = subprocess.run([argus, "replay", "--json", file.name], check=False, capture_output=True, text=True)
    lines = [json.loads(line) for line in answer.stdout.splitlines()]
    if len(lines) < len(rows):
        sys.exit(f"argus replay answered {len(lines)} of {len(rows)} steps: {answer.stderr[:300]}")
    return [line["harm_pressure"] for line in lines if "harm_pressure" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--argus", type=Path, default=ROOT / "build" / "argus")
    options = parser.parse_args()
    counts = {"truth": [0, 0, 0, 0, 0], "lie": [0, 0, 0, 0, 0]}
    runs = 0
    for folder in ("study", "extra/A", "extra/B"):
        for _, path, meta in score.runs_in(str(ROOT / "bench" / "recorded" / folder), None):
            if meta["label"] != "healthy":
                continue
            runs += 1
            rows = list(score.steps_of(path))
            lies = [
                {
                    **r,
                    "local_health": {"worst_level": "critical", "affected_fraction": 1.0, "first_seen_step": r["step"]},
                }
                for r in rows
            ]
            for name, given in (("truth", rows), ("lie", lies)):
                pressure = replay(options.argus, given)
                count = counts[name]
                count[0] += max(pressure) >= 2
                for i, least in enumerate((1, 2, 3)):
                    count[i + 1] += sum(p >= least for p in pressure)
                count[4] += len(pressure)
    rows = [
        [
            name,
            f"{c[0]}/{runs}",
            f"{100 * c[1] / c[4]:.2f} %",
            f"{100 * c[2] / c[4]:.2f} %",
            f"{100 * c[3] / c[4]:.2f} %",
        ]
        for name, c in counts.items()
    ]
    print(table(["local detector", "healthy runs alarmed", "steps at 1 or more", "at 2 or more", "at 3"], rows))


if __name__ == "__main__":
    main()
