"""Argus watches a training run and says, while it still matters, that it has stopped being normal for this run.

    import argus

    watch = argus.watch(model, optimizer)
    for inputs, targets in batches:
        loss = criterion(model(inputs), targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        watch.step(loss)

Importing this package imports neither torch nor numpy.
"""

from typing import TYPE_CHECKING, Any

from argus._checkpoint_files import CheckpointInfo
from argus._checkpoint_tree import CheckpointError
from argus._errors import (
    ArgusError,
    InvalidError,
    MalformedError,
    TooLargeError,
    TrainingPaused,
    UnavailableError,
    UnsupportedError,
    UsageError,
)
from argus._filter import FilteredSampler
from argus._native import (
    ENGINE_VERSION,
    Anchor,
    Decision,
    Engine,
    Episode,
    History,
    Note,
    Recommendation,
    Signal,
    explain_telemetry,
)
from argus._open import watch
from argus._samples import PerSample, per_sample
from argus._watch import Watch

if TYPE_CHECKING:
    from argus.local import LocalDetector

__all__ = [
    "ENGINE_VERSION",
    "Anchor",
    "ArgusError",
    "CheckpointError",
    "CheckpointInfo",
    "Decision",
    "Engine",
    "Episode",
    "FilteredSampler",
    "History",
    "InvalidError",
    "LocalDetector",
    "MalformedError",
    "Note",
    "PerSample",
    "Recommendation",
    "Signal",
    "TooLargeError",
    "TrainingPaused",
    "UnavailableError",
    "UnsupportedError",
    "UsageError",
    "Watch",
    "explain_telemetry",
    "per_sample",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name == "LocalDetector":  # on demand: it imports torch
        from argus.local import LocalDetector

        return LocalDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
