"""Which runs a set holds: tasks, optimizers, schedules, habits, faults and reporting, drawn once from the seed of the set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from . import faults_data, faults_model, faults_model_family, faults_optimizer, habits
from .fault import FAULTS, PLAIN, Fault, pick
from .habit import HABITS
from .loop import Scaler, World
from .optim import Optimizer, Schedule
from .task import Card, Task
from .tasks import TASKS
from .telemetry import Reporting

Rng = np.random.Generator
_ENROLLED = (faults_data, faults_model, faults_model_family, faults_optimizer, habits)

#: Tasks and faults that only one of the two sets uses; all others are shared.
ONLY = {
    "A": {
        "mixer",
        "wine_maxout",
        "wave_ssm",
        "word_lm",
        "flow",
        "codes",
        "ratings",
        "grid_actor",
        "graph_nodes",
        "set_regression",
        "moment_lost_on_resume",
        "scale_underflow",
        "one_class_shard",
        "saturated",
        "mode_collapse",
        "labels_shifted",
        "gradient_noise",
        "wrong_warmup_peak",
        "clip_tiny",
        "same_batch",
        "decay_times_1000",
    },
    "B": {
        "separable",
        "spiral_ode",
        "counts",
        "conv_lm",
        "sums_lm",
        "low_rank",
        "pinn",
        "ranking",
        "grid_q",
        "graph_kinds",
        "flow_matching",
        "adam_constants",
        "stale_gradients",
        "momentum_above_one",
        "update_sharded_twice",
        "weights_rounded",
        "target_leak",
        "padding_flood",
        "memory_errors",
        "values_run_away",
        "loss_summed",
        "kl_weight_runaway",
        "worker_inverted",
        "random_tokens",
    },
}
OPTIMIZERS = {
    "A": ("sgd", "momentum", "adam", "adamw", "rmsprop", "lion", "nadam", "adadelta", "signum"),
    "B": ("sgd", "nesterov", "adam", "adamw", "adagrad", "lamb", "adafactor", "amsgrad", "adamax"),
}
RATE = {
    "adam": 1.0,
    "adamw": 1.0,
    "nadam": 0.8,
    "amsgrad": 1.2,
    "adamax": 1.5,
    "rmsprop": 0.4,
    "adagrad": 5.0,
    "lion": 0.15,
    "signum": 0.1,
    "lamb": 3.0,
    "adafactor": 1.5,
}
SCHEDULES = (
    "constant",
    "constant",
    "constant",
    "cosine",
    "onecycle",
    "warmup_rsqrt",
    "stable_decay",
    "stairs",
    "exponential",
)


@dataclass
class Plan:
    """One run to record; `key` seeds everything in it."""

    which: str
    label: str
    key: int
    task: str
    fault: str = ""
    habits: tuple[str, ...] = ()
    keep_twin: bool = False
    cyclic: bool = False
    level: str = "full"
    quirk: str = ""


@dataclass
class Made:
    """A world ready to run, and what its meta file will say."""

    world: World
    steps: int
    onset: int | None
    fault: Fault | None
    how: Reporting
    notes: list[str] = field(default_factory=list)


def allowed(which: str, name: str) -> bool:
    return name in ONLY[which] or not any(name in s for s in ONLY.values())


def card_of(name: str) -> Card:
    """The card of a task; built once from a fixed seed, as cards need the task."""
    if name not in _CARDS:
        torch.manual_seed(0)
        _CARDS[name] = TASKS[name](np.random.default_rng(0)).card
    return _CARDS[name]


_CARDS: dict[str, Card] = {}


def optimizer_for(card: Card, which: str, rng: Rng, wanted: tuple[str, ...] | None) -> str:
    kinds = [k for k in OPTIMIZERS[which] if wanted is None or k in wanted]
    if card.model_type in ("gan", "rl") or card.family in ("pinn", "lora"):
        kinds = [k for k in kinds if k in ("adam", "adamw", "rmsprop", "amsgrad", "adamax", "nadam")] or kinds
    elif card.y == "token" and wanted is None:
        kinds = [k for k in kinds if k not in ("sgd", "adadelta")] or kinds
    return str(pick(rng, *kinds)) if kinds else "adam"


def rate_for(card: Card, kind: str, rng: Rng) -> float:
    base = (
        card.sgd * (1.0 if kind == "sgd" else 0.15)
        if kind in PLAIN
        else 1.0
        if kind == "adadelta"
        else card.adam * RATE[kind]
    )
    return float(f"{base * rng.uniform(0.7, 1.3):.3g}")


def reporting(plan: Plan, card: Card, rng: Rng, steps: int) -> Reporting:
    level, quirk = plan.level, plan.quirk
    probable = card.y in ("class", "token") and card.classes > 0 and card.model_type != "rl"
    layer2 = int(pick(rng, 8, 12, 16)) if level == "full" and rng.random() < (0.6 if probable else 0.25) else 0
    lacks = tuple(
        k for k in ("similarity", "update", "weights", "thirds", "batch") if quirk == "lacking" and rng.random() < 0.45
    )
    return Reporting(
        level=level,
        every={"every10": 10, "every5": 5, "mean10": 10}.get(quirk, 1),
        mean=quirk == "mean10",
        postclip=quirk == "postclip",
        digits=4 if quirk == "rounded" else 6,
        rate=str(pick(rng, "force", "force", "force", "planned", "none")),
        layer2=layer2,
        lacks=lacks,
        length=bool(rng.random() < 0.5),
        times=bool(level == "full" and rng.random() < 0.3),
    )


def make(plan: Plan) -> Made:
    """Build the world of a plan; everything is a function of `plan.key`."""
    rng = np.random.default_rng(plan.key)
    torch.manual_seed(plan.key)
    torch.set_num_threads(1)
    task: Task = TASKS[plan.task](rng)
    card, cls = task.card, FAULTS.get(plan.fault)
    steps = int(rng.integers(220, 520) if card.slow else rng.integers(300, 900))
    if plan.quirk in ("every10", "mean10"):
        steps = int(rng.integers(700, 900) if card.slow else rng.integers(1000, 1500))
    if plan.label == "healthy" and rng.random() < 0.12:
        steps = int(rng.integers(150, 220))
    kind = optimizer_for(card, plan.which, rng, cls.opts if cls else None)
    lr = rate_for(card, kind, rng)
    period = max(40, steps // int(rng.integers(3, 7)))
    name = (
        str(pick(rng, "restarts", "growing_restarts", "triangle", "onecycle"))
        if plan.cyclic
        else str(
            pick(rng, "constant", "constant", "cosine", "warmup_rsqrt", "stable_decay")
            if cls
            else pick(rng, *SCHEDULES)
        )
    )
    schedule = Schedule(name, steps, period=period, announced=bool(rng.random() < 0.5))
    decay = float(pick(rng, 0.0, 0.0, 1e-4, 1e-2)) if kind not in PLAIN else float(pick(rng, 0.0, 1e-4))
    opt = Optimizer(kind, [tuple(p.shape) for p in task.parameters() if p.requires_grad], decay=decay)
    clip = 0.1 if cls is not None and cls.clip else 1.0 if plan.quirk == "postclip" or rng.random() < 0.2 else None
    if cls is not None and cls.clip:
        lr *= 12  # clipping carries this run: without it the step is several times too long
    notes = []
    if clip is not None:
        notes.append(f"gradient clipping at {clip:g}.")
    hooks = [HABITS[h](rng, steps) for h in plan.habits]
    world = World(
        task,
        opt,
        schedule,
        lr,
        clip,
        list(hooks),
        accumulate=2 if rng.random() < 0.08 and card.model_type != "rl" else 1,
        rng=rng,
    )
    if cls is not None and cls.amp or plan.quirk == "amp":
        world.scaler = Scaler(2.0**14, int(rng.integers(30, 80)))
        notes.append("gradients pass through half precision under a dynamic loss scale.")
    for h in hooks:
        h.start(world, 0)
        if h.note:
            notes.append(h.note + ".")
    how = reporting(plan, card, rng, steps)
    if how.rate == "none":
        notes.append("no learning rate reported.")
    if plan.quirk:
        notes.append(
            {
                "lacking": "lacks " + ", ".join(how.lacks) if how.lacks else "",
                "rounded": "four digits",
                "postclip": "norm after clipping",
                "every10": "logged every 10 steps",
                "every5": "logged every 5 steps",
                "mean10": "mean loss logged every 10 steps",
            }.get(plan.quirk, "")
            + "."
        )
    if plan.level != "full":
        notes.append({"loss": "loss only.", "norms": "loss, norm and rate only."}[plan.level])
    onset = fault = None
    if cls is not None:
        onset = int(rng.integers(int(0.3 * steps), int(0.6 * steps)))
        fault = cls(np.random.default_rng(plan.key + 1))
    world.torch_state = torch.get_rng_state()
    return Made(world, steps, onset, fault, how, [n for n in notes if n != "."])


def level_at_least(level: str, floor: str) -> str:
    order = ("loss", "norms", "full")
    return order[max(order.index(level), order.index(floor))]


def build(which: str, seed: int, healthy: int = 52, faulty: int = 70, twins: int = 18) -> list[Plan]:
    """The plans of a set, stratified over kinds, tasks and reporting levels."""
    rng = np.random.default_rng([seed, ord(which)])
    tasks = [t for t in TASKS if allowed(which, t)]
    levels = ["norms"] * 5 + ["loss"] * 3 + ["full"] * 12
    quirks = ["", "", "", "", "lacking", "rounded", "postclip", "every10", "every5", "mean10", "amp"]
    plans: list[Plan] = []
    wishes = [str(h) for h in rng.permutation(list(HABITS))]
    used: dict[str, int] = {t: 0 for t in tasks}

    def least(fits: list[str]) -> str:
        low = min(used[t] for t in fits)
        name = str(pick(rng, *[t for t in fits if used[t] == low]))
        used[name] += 1
        return name

    for i in range(healthy):
        wanted = wishes[i % len(wishes)] if i < 40 else ""
        fits = [t for t in tasks if not wanted or HABITS[wanted].fits(card_of(t))]
        if not fits:
            wanted, fits = "", tasks
        level = levels[i % 20]
        quirk = (
            str(quirks[int(rng.integers(0, len(quirks)))])
            if level != "loss"
            else str(pick(rng, "", "", "every5", "every10"))
        )
        plans.append(
            Plan(
                which,
                "healthy",
                int(rng.integers(1, 2**31)),
                least(fits),
                habits=(wanted,) if wanted else (),
                cyclic=bool(rng.random() < 0.25),
                level=level,
                quirk=quirk,
            )
        )
    used = {t: 0 for t in tasks}
    kinds = [k for k in FAULTS if allowed(which, k)]
    kinds = [str(k) for k in rng.permutation(kinds)]
    kinds = [k for k in kinds if any(FAULTS[k].fits(card_of(t)) for t in tasks)]
    kept = set(rng.permutation(faulty)[:twins].tolist())
    for i in range(faulty):
        kind = kinds[i % len(kinds)]
        cls = FAULTS[kind]
        level = level_at_least(levels[(i * 7) % 20], cls.level)
        quirk = str(quirks[int(rng.integers(0, len(quirks)))]) if level != "loss" else str(pick(rng, "", "", "every5"))
        if cls.amp and quirk == "postclip" or cls.clip or quirk == "amp" and kind == "clip_tiny":
            quirk = ""
        plans.append(
            Plan(
                which,
                "fault",
                int(rng.integers(1, 2**31)),
                least([t for t in tasks if cls.fits(card_of(t))]),
                fault=kind,
                keep_twin=i in kept,
                level=level,
                quirk=quirk,
            )
        )
    return plans
