"""Adds up what the stages of ./dev test left behind: one line a stage, and the sum as the last line.

  tally.py RESULTS     RESULTS holds stages.tsv (name, exit status, seconds) and, for stages made of tests, NAME.xml (JUnit)

A stage without a JUnit file is one test. A stage that failed although no test of its did (a build error, a crash) is one
failure more. Exit status 1 when anything failed, or when nothing ran at all.
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

# GCC's and Clang's unit tests report under the name of the build preset they ran.
PRESET_OF_STAGE = {"gcc": "release"}


def count(junit: Path) -> tuple[int, int, int]:
    """(passed, failed, skipped) of a JUnit file, by its test cases, not by its own summary."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(junit).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            failed += 1
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def stage_counts(results: Path, name: str, status: int) -> tuple[int, int, int]:
    junit = results / f"{PRESET_OF_STAGE.get(name, name)}.xml"
    if not junit.exists():
        return (1, 0, 0) if status == 0 else (0, 1, 0)
    try:
        passed, failed, skipped = count(junit)
    except ElementTree.ParseError:
        return 0, 1, 0
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


def main() -> int:
    results = Path(sys.argv[1])
    totals = [0, 0, 0]
    print()
    for line in (results / "stages.tsv").read_text().splitlines():
        name, status, seconds = line.split("\t")
        counts = stage_counts(results, name, int(status))
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        verdict = "ok  " if int(status) == 0 and counts[1] == 0 else "FAIL"
        print(f"{verdict} {name:10} {counts[0]:5} passed {counts[1]:3} failed {counts[2]:3} skipped {int(seconds):5} s")
    print("{} passed, {} failed, {} skipped".format(*totals))
    return 1 if totals[1] > 0 or totals[0] == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
