"""All tasks by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import tasks_generative, tasks_pairs, tasks_rl, tasks_sequences, tasks_tables
from .task import Task

TASKS: dict[str, Callable[[np.random.Generator], Task]] = {
    **tasks_tables.TASKS,
    **tasks_sequences.TASKS,
    **tasks_generative.TASKS,
    **tasks_pairs.TASKS,
    **tasks_rl.TASKS,
}
