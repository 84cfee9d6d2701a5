"""Frameworks under test stay on this machine, quiet, on one thread and on torch. Set before any of them is imported."""

from __future__ import annotations

import os

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TRANSFORMERS_VERBOSITY="error",
    TRACKIO_DISABLE="1",
    WANDB_MODE="disabled",
    TOKENIZERS_PARALLELISM="false",
    KERAS_BACKEND="torch",
)
