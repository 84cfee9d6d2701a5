"""Which runs a proof holds, and running them on several cores."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from .faults import FAULTS
from .healthy import setups
from .loop import Setup, Trace, train
from .models import TASKS

Job = tuple[Setup, str | None]  # a training, and the fault put into it


def optimizer_for(fault: str, task: str, seed: int) -> str | None:
    """Mostly AdamW, every third seed momentum; where a fault asks for certain optimizers, these in turn."""
    rates, wanted = TASKS[task].rates, FAULTS[fault].optimizers
    names = [o for o in rates if (o in wanted if wanted else o in ("adamw", "momentum"))]
    if not names:
        return None
    return names[seed % len(names)] if wanted else names[-1 if seed % 3 == 2 else 0]


def faulty(name: str, task: str, seed: int) -> Job | None:
    """The run of a fault in a task; None where the task cannot have it."""
    fault, optimizer = FAULTS[name], optimizer_for(name, task, seed)
    if optimizer is None or not fault.fits(TASKS[task]):
        return None
    schedule = "warmup" if seed % 2 else "constant"
    return Setup(task, seed, optimizer, rate=fault.rate, schedule=schedule, by_layer=fault.by_layer), name


def faulty_jobs(faults: Iterable[str], seeds: range, models: int) -> list[Job]:
    """Every fault in `models` of the tasks that can have it; the next seed takes the next ones."""
    jobs: list[Job] = []
    for seed in seeds:
        for name in faults:
            able = [job for task in TASKS if (job := faulty(name, task, seed))]
            start = seed * models % len(able)
            jobs += (able[start:] + able[:start])[:models]
    return jobs


def twins_of(jobs: Iterable[Job]) -> list[Job]:
    """The same trainings with nothing put into them, each once."""
    return [(setup, None) for setup in dict.fromkeys(setup for setup, _ in jobs)]


def healthy_jobs(count: int, first_seed: int) -> list[Job]:
    rounds = count // len(setups(1, first_seed)) + 1
    return [(setup, None) for setup in setups(rounds, first_seed)[:count]]


def work(job: Job) -> tuple[Job, Trace]:
    return job, train(*job)


def run(jobs: list[Job], workers: int) -> list[tuple[Job, Trace]]:
    """In the order given; tells the time left on the way."""
    began, done = time.monotonic(), []
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) if workers > 1 else None
    try:
        for result in pool.map(work, jobs, chunksize=2) if pool else map(work, jobs):
            done.append(result)
            if len(done) % 50 == 0:
                left = (time.monotonic() - began) / len(done) * (len(jobs) - len(done))
                print(f"  {len(done)}/{len(jobs)} runs, {left / 60:.0f} min left", file=sys.stderr, flush=True)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return done
