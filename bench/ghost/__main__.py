"""Command line: python -m bench.ghost --out FOLDER [--seed N] [--ghosts 26] [--recoveries 26] [--tries 200].

Goes through seeds until the wanted numbers are reached.  Every seed that did not behave is listed in VOID.tsv with the reason.
Meta fields beside those of the recorder: kind (ghost, recovery), onset_step, clear_step (end of the accident), recovered_step
(loss back within its earlier range for at least 30 steps), collapse_step (second collapse; null for a recovery).
"""

from __future__ import annotations

import argparse
import pathlib
import time
from typing import Any

import numpy as np
import torch

from bench.record.__main__ import write
from bench.record.loop import World
from bench.record.optim import Optimizer, Schedule
from bench.record.plan import rate_for
from bench.record.run import Recorded
from bench.record.tasks import TASKS
from bench.record.telemetry import Reporting, Writer

from .accidents import DAMAGES, REPAIRS, SOURCES, STRENGTHS, Accident
from .judge import Verdict, judge, shows

FAMILIES = (
    "mixer",
    "experts",
    "chain_lm",
    "word_lm",
    "forecast",
    "set_regression",
    "coordinate_image",
    "distilled",
    "codes",
    "rewriter",
    "denoiser",
    "conv_lm",
    "point_sets",
    "graph_kinds",
    "wave_vae",
)
AFTER_NAN = 20


def calibrate(w: World, hook: Accident, losses: list[float]) -> None:
    """Set the strength to the weakest of a few that shows in the loss, tried on forks of the world."""
    for strength in STRENGTHS:
        hook.strength = strength
        trial, seen = w.fork(), list(losses)
        for t in range(hook.onset, hook.clear + 3):
            seen.append(trial.step(t).loss)
        if shows(seen, hook.onset):
            return


def one(seed: int, kind: str) -> tuple[Recorded, Verdict]:
    """Record one run of this kind from this seed, and judge it."""
    rng = np.random.default_rng([seed, kind == "ghost"])
    torch.manual_seed(seed)
    ghost = kind == "ghost"
    task = TASKS[str(rng.choice(FAMILIES))](rng)
    damage = str(rng.choice(list(DAMAGES))) if ghost else ""
    opt_kind = str(rng.choice(DAMAGES[damage] if ghost else sorted({k for v in DAMAGES.values() for k in v})))
    onset, steps = int(rng.integers(170, 300)), int(rng.integers(620, 760))
    beta2 = float(rng.choice([0.95, 0.96, 0.97]) if "second_moment" in damage else rng.choice([0.95, 0.98, 0.99]))
    opt = Optimizer(opt_kind, [tuple(p.shape) for p in task.parameters() if p.requires_grad], betas=(0.9, beta2))
    lr = rate_for(task.card, opt_kind, rng)
    source = str(rng.choice(SOURCES[opt_kind]))
    repair = "none" if ghost else str(rng.choice(REPAIRS))
    hook = Accident(np.random.default_rng(seed + 1), kind, onset, damage, repair, source)
    schedule = Schedule(str(rng.choice(["constant", "constant", "warmup_rsqrt"])), steps)
    w = World(
        task, opt, schedule, lr, 1.0 if rng.random() < 0.2 and hook.source == "rate_spike" else None, [hook], rng=rng
    )
    writer = Writer(Reporting(times=bool(rng.random() < 0.3)))
    rows: list[dict[str, Any]] = []
    losses: list[float] = []
    for t in range(steps):
        if w.dead is not None and t > w.dead + AFTER_NAN:
            break
        if t == onset:
            calibrate(w, hook, losses)
        if t == hook.clear + 15 and not shows(losses, onset):
            break
        s = w.step(t)
        losses.append(s.loss)
        row = writer.row(s)
        assert row is not None
        rows.append(row)
    v = judge(losses, onset, hook.clear, ghost)
    card = task.card
    meta = {
        "name": "",
        "family": card.family,
        "arch": card.arch,
        "task": card.task,
        "optimizer": opt_kind,
        "schedule": schedule.kind,
        "steps": len(rows),
        "layer2": False,
        "model_type": card.model_type,
        "learning_rate": lr,
        "label": "fault" if ghost else "recovery",
        "kind": kind,
        "fault": "ghost_recovery" if ghost else "none",
        "fault_params": hook.params(),
        "onset_step": onset,
        "clear_step": hook.clear,
        "recovered_step": v.recovered,
        "collapse_step": v.collapse,
        "damage": "lasting" if ghost else "none",
        "harmless": not ghost,
        "expected_signals": ["loss_divergence", "gradient_explosion", "oscillation", "representational_collapse"],
        "undetectable": False,
        "notes": "clipping at 1." if w.clip else "",
        "generator_seed": seed,
    }
    return Recorded(rows, meta, []), v


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--ghosts", type=int, default=26)
    ap.add_argument("--recoveries", type=int, default=26)
    ap.add_argument("--tries", type=int, default=200)
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    folder = pathlib.Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"gh_{n}" for n in np.random.default_rng(args.seed).permutation(np.arange(100, 1000))]
    have, want = {"ghost": 0, "recovery": 0}, {"ghost": args.ghosts, "recovery": args.recoveries}
    index, void = [], []
    for k in range(args.tries):
        open_kinds = [x for x in want if have[x] < want[x]]
        if not open_kinds:
            break
        kind, seed, begun = open_kinds[k % len(open_kinds)], 1000 * args.seed + k, time.perf_counter()
        r, v = one(seed, kind)
        m, p = r.meta, r.meta["fault_params"]
        line = [
            kind,
            m["family"],
            m["optimizer"],
            p["accident"],
            p["damage"],
            p["repair"],
            m["onset_step"],
            m["clear_step"],
            v.recovered,
            v.collapse,
            m["steps"],
        ]
        print(f"{seed} {time.perf_counter() - begun:4.1f}s", *line, v.void or "kept", flush=True)
        if v.void:
            void.append("\t".join(map(str, [seed, v.void, *line])))
            continue
        name = names[have["ghost"] + have["recovery"]]
        have[kind] += 1
        write(folder, name, r)
        index.append("\t".join(map(str, [name, *line])))
    head = "kind\tfamily\toptimizer\taccident\tdamage\trepair\tonset\tclear\trecovered\tcollapse\tsteps"
    (folder / "INDEX.tsv").write_text("\n".join(["name\t" + head, *sorted(index)]) + "\n")
    (folder / "VOID.tsv").write_text("\n".join(["seed\twhy\t" + head, *void]) + "\n")
    print(have, "kept;", len(void), "void")


if __name__ == "__main__":
    main()
