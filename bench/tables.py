"""Markdown tables, and the marked places of a document that commands write."""

import re
from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(str(c) for c in row) + " |" for row in (head, *rows)]
    lines.insert(1, "|" + "--|" * len(head))
    return "\n".join(lines) + "\n"


def replace_between(document: Path, name: str, text: str) -> None:
    """Puts `text` between `<!-- begin NAME -->` and `<!-- end NAME -->`, which must stand in the document once."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    old = document.read_text()
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{document}: the markers of '{name}' must stand in it once")
    head, rest = old.split(begin)
    tail = rest.split(end)[1]
    document.write_text(f"{head}{begin}\n{text.strip()}\n\n{end}{tail}")


def fill_counts(document: Path, counts: dict[str, str]) -> set[str]:
    """Rewrites every "`name` n/m" in the document for the names given; returns the names that do not stand in it."""
    text = document.read_text()
    missing = set()
    for name, count in counts.items():
        text, n = re.subn(rf"(`{re.escape(name)}` )\d+/\d+", rf"\g<1>{count}", text)
        if n == 0:
            missing.add(name)
    document.write_text(text)
    return missing
