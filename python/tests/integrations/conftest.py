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

from collections.abc import Iterator  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def argus_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs are kept in a folder of this session."""
    before = os.environ.get("ARGUS_HOME")
    os.environ["ARGUS_HOME"] = str(tmp_path_factory.mktemp("argus-home"))
    yield
    if before is None:
        del os.environ["ARGUS_HOME"]
    else:
        os.environ["ARGUS_HOME"] = before
