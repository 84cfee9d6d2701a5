"""`python -m argus.demo [--out FOLDER] [--quick]`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from argus._report import Announcer


def main(arguments: list[str] | None = None) -> int:
    """Trains the three runs, says what argus saw, writes the page. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m argus.demo",
        description="Three real trainings, one healthy and two with an accident, watched by argus.",
    )
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="folder of the page (default: demo-out)")
    parser.add_argument("--quick", action="store_true", help="a smaller model and fewer steps")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads torch may use (default: 2)")
    options = parser.parse_args(arguments)
    # Threads that spin while they wait make a small model ten times slower on a machine with other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import torch
    except ImportError:
        print("the demo trains a model and needs torch: pip install torch", file=sys.stderr)
        return 1
    torch.set_num_threads(max(1, options.threads))

    from argus.demo import page, runs
    from argus.demo.task import Corpus, reference_text

    plan = runs.quick_plan() if options.quick else runs.Plan()
    text = reference_text()
    corpus = Corpus(text, context=plan.context, batch_size=plan.batch_size, seed=plan.seed)
    print(
        f"Training a {plan.shape.layers}-layer transformer on the Python language reference ({len(text):,} characters, from "
        f"pydoc_data), {plan.steps} steps, three times from one seed.\n"
    )
    records = []
    for story in runs.stories():
        print(f"{story.title}\n  {story.account.format(onset=plan.onset, accident_steps=plan.accident_steps)}")
        say = Announcer(quiet=False, write=_print, hold=0).update
        record = runs.train(story, plan, corpus, say, home=options.out / "home")
        records.append(record)
        for line in page.summary(record, records[0]):
            print(f"  = {line}")
        print(f"  ({record.seconds:.0f} s)\n", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "argus-demo.html"
    target.write_text(page.render(records), encoding="utf-8")
    print(f"The page: {target.resolve()}\nThe runs: argus runs list --home {options.out / 'home'}")
    return 0


def _print(text: str) -> None:
    print(f"  argus: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
