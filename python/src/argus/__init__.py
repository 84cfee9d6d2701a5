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
