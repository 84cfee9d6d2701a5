"""One training under the detector: what it was like, what was put into it, what the detector said and when."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import faults_attention, faults_gradient, faults_optimizer, faults_parameters, faults_units
from .faults import FAULTS, Fault
from .models import TASKS, Task

ENROLLED = (faults_units, faults_gradient, faults_parameters, faults_optimizer, faults_attention)
POLL_STEPS = 10
WINDOW_STEPS = 200  # a fault has to be found within
FIRST_FAULT, LAST_FAULT = 100, 200
AFTERMATH_STEPS = 30  # of training after a fault was found: what else is said


@dataclass(frozen=True)
class Setup:
    """A training: everything about it follows from these."""

    task: str
    seed: int
    optimizer: str = "adamw"
    rate: float = 1.0  # factor on the rate that suits task and optimizer
    schedule: str = "constant"  # constant, warmup, cosine, restarts, steps
    steps: int = 400
    by_layer: bool = False  # a parameter group for each layer
    batch_size: int | None = None
    dropout: float = 0.0
    samples: int | None = None  # so few samples that they are learned by heart
    bfloat16: bool = False  # autocast
    accumulate: int = 1
    clip: float | None = None  # gradient norm
    clamp: float | None = None  # weights clipped after each step, as in WGAN
    weight_decay: float = 0.01
    frozen: tuple[str, ...] = ()  # prefixes of names that do not train
    thaw_every: int | None = None  # steps after which one more of the frozen prefixes trains
    average: bool = False  # weights are exchanged with their moving average around an evaluation
    evaluate_every: int | None = None
    sparse: float = 0.0  # biases start this much lower, so that ReLUs are sparse from the start
    label: str = ""
    budget: float = 0.005  # of the detector: 1 thins nothing, and the clock then decides nothing


@dataclass
class Poll:
    step: int
    checks: dict[str, tuple[str, list[str]]]  # those not ok: level and layers
    origin: dict[str, Any] | None = None


@dataclass
class Trace:
    setup: Setup
    losses: list[float]
    polls: list[Poll] = field(default_factory=list)
    at: int | None = None  # the step of the fault
    struck: str = ""
    truth: set[str] = field(default_factory=set)
    real: bool = False
    direction: str = ""
    step_ms: float = 0.0  # median time of a step, the detector's included
    steps: int = 0

    @property
    def fell(self) -> float:
        """The share of the first loss that training took away."""
        head, tail = self.losses[:10], self.losses[-20:]
        return 1 - (sum(tail) / len(tail)) / (sum(head) / len(head))


def make_optimizer(task: Task, setup: Setup) -> torch.optim.Optimizer:
    if setup.by_layer:
        groups, seen = [], set()
        for name, module in task.model.named_modules():
            own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
            seen.update(id(p) for p in own)
            if own:
                groups.append({"params": own, "layers": sorted(task.owners(name)) if name else [""]})
    else:
        groups = [{"params": [p for p in task.model.parameters() if p.requires_grad or setup.thaw_every]}]
    rate, decay = task.rates[setup.optimizer] * setup.rate, setup.weight_decay
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr=rate, weight_decay=decay),
        "adam": lambda: torch.optim.Adam(groups, lr=rate),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr=rate),
        "adagrad": lambda: torch.optim.Adagrad(groups, lr=rate),
        "momentum": lambda: torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=decay / 100),
        "sgd": lambda: torch.optim.SGD(groups, lr=rate),
    }
    return makers[setup.optimizer]()


def factor_at(schedule: str, step: int, steps: int) -> float:
    """What the schedule multiplies the learning rate with."""
    warm = min(1.0, (step + 1) / 30)
    if schedule == "constant":
        return 1.0
    if schedule == "warmup":
        return warm
    if schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    if schedule == "restarts":
        return 0.5 * (1 + math.cos(math.pi * (step % 100) / 100))
    if schedule == "steps":
        return 0.1 ** (step // (steps // 3))
    raise ValueError(f"no schedule is called {schedule!r}")


class Training:
    """Model, data, optimizer and habits of one setup."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.task = TASKS[setup.task](
            setup.seed, batch_size=setup.batch_size, dropout=setup.dropout, samples=setup.samples
        )
        self.model = self.task.model
        self.prepare_model()
        self.optimizer = make_optimizer(self.task, setup)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda s: factor_at(setup.schedule, s, setup.steps)
        )
        self.average = [p.detach().clone() for p in self.model.parameters()] if setup.average else []
        self.fault: Fault | None = None

    def prepare_model(self) -> None:
        with torch.no_grad():
            if self.setup.sparse:
                for place in self.task.units:
                    module = self.model.get_submodule(place.norm or place.layer)
                    module.bias -= self.setup.sparse * (1.0 if place.norm else 0.3)
        for name, p in self.model.named_parameters():
            p.requires_grad_(not name.startswith(self.setup.frozen or ("\0",)))

    def step(self, step: int) -> float:
        setup = self.setup
        self.thaw(step)
        self.optimizer.zero_grad()
        total = 0.0
        for part in range(setup.accumulate):
            batch = self.task.batch(step * setup.accumulate + part)
            if self.fault and self.fault.active:
                batch = self.fault.batch(batch)
            with self.precision():
                loss = self.task.loss(self.model(batch[0]), batch[1]) / setup.accumulate
            loss.backward()
            total += float(loss.detach())
        if self.fault and self.fault.active:
            self.fault.gradients()
        if setup.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), setup.clip)
        self.optimizer.step()
        self.scheduler_step()
        self.after(step)
        return total

    def scheduler_step(self) -> None:
        """A fault that sets a layer's rate keeps it: the schedule is stopped at the onset."""
        if not (self.fault and self.fault.active):
            self.scheduler.step()

    def precision(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self.setup.bfloat16 else nullcontext()

    def thaw(self, step: int) -> None:
        setup = self.setup
        if not setup.thaw_every or not step or step % setup.thaw_every:
            return
        still = setup.frozen[: max(0, len(setup.frozen) - step // setup.thaw_every)]
        for name, p in self.model.named_parameters():
            p.requires_grad_(not name.startswith(still or ("\0",)))

    def after(self, step: int) -> None:
        setup = self.setup
        if setup.clamp is not None:
            with torch.no_grad():
                for p in self.model.parameters():
                    p.clamp_(-setup.clamp, setup.clamp)
        if setup.average:
            for mean, p in zip(self.average, self.model.parameters(), strict=True):
                mean.lerp_(p.detach(), 0.05)
        if setup.evaluate_every and (step + 1) % setup.evaluate_every == 0:
            self.evaluate()

    def evaluate(self) -> None:
        self.exchange()
        self.model.eval()
        with torch.no_grad():
            x, y = self.task.draw(torch.Generator().manual_seed(5), self.task.batch_size)
            self.task.loss(self.model(x), y)
        self.model.train()
        self.exchange()

    def exchange(self) -> None:
        with torch.no_grad():
            for mean, p in zip(self.average, self.model.parameters()):
                held = p.clone()
                p.copy_(mean)
                mean.copy_(held)


def attach_detector(training: Training) -> Any:
    import argus

    return argus.LocalDetector(training.model, training.optimizer, budget=training.setup.budget)


def look(detector: Any, root: str, step: int) -> Poll:
    """What stands in the report now. The model itself, which the report calls by its class, has the empty name as in PyTorch."""
    told = detector.to_dict()
    checks = {
        name: (check["level"], ["" if layer == root else layer for layer in check["layers"]])
        for name, check in told["checks"].items()
        if check["level"] in ("warn", "critical")
    }
    return Poll(step, checks, told["facts"].get("origin"))


def found(poll: Poll, fault: Fault) -> bool:
    return poll.origin is not None if fault.check == "origin" else fault.check in poll.checks


def train(setup: Setup, fault_name: str | None = None, *, detector: bool = True) -> Trace:
    """Trains, with the fault where one is named: its step is drawn from [100, 200], its layer by the seed too."""
    torch.set_num_threads(1)
    training = Training(setup)
    trace = Trace(setup, [])
    fault = None
    if fault_name is not None:
        rng = np.random.default_rng([setup.seed, *fault_name.encode()])
        trace.at = int(rng.integers(FIRST_FAULT, LAST_FAULT + 1))
        fault = training.fault = FAULTS[fault_name](training.task, training.optimizer, rng)
    watching = attach_detector(training) if detector else nullcontext()
    with watching as watched:
        times = run(training, trace, fault, watched)
    trace.step_ms, trace.steps = 1e3 * float(np.median(times)), len(times)
    if fault is not None:
        trace.real = fault.real(training_before(trace), fault.measure())
        trace.struck, trace.truth = fault.struck, fault.truth
        trace.direction = getattr(fault, "direction", "")
        fault.finish()
    return trace


def training_before(trace: Trace) -> Tensor:
    return trace.__dict__.pop("before")


def run(training: Training, trace: Trace, fault: Fault | None, detector: Any) -> list[float]:
    """The loop. After a fault it ends when the window is over or soon after it was found."""
    times: list[float] = []
    end = training.setup.steps if trace.at is None else trace.at + WINDOW_STEPS
    step = 0
    while step < end:
        if fault and step == trace.at:
            trace.__dict__["before"] = fault.measure()
            fault.begin()
        began = time.perf_counter()
        trace.losses.append(training.step(step))
        times.append(time.perf_counter() - began)
        if fault:
            fault.between() if fault.active else fault.history()
        step += 1
        if detector is not None and (step % POLL_STEPS == 0 or step == end):
            trace.polls.append(look(detector, type(training.model).__name__, step))
            if fault and fault.active and found(trace.polls[-1], fault):
                end = min(end, step + AFTERMATH_STEPS)
    return times
