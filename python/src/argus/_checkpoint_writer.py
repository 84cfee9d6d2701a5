"""What happens to a staged checkpoint beside the training: it is written, made durable and listed."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argus._checkpoint_callbacks import CUSTOM
from argus._checkpoint_files import CheckpointInfo, FileEntry, hash_file, write_file
from argus._checkpoint_ring import Ring
from argus._checkpoint_tensors import Arena
from argus._checkpoint_tree import CheckpointError

_POLL_S = 0.05


class Worker:
    """One background thread that does jobs in order. Jobs contain their own exceptions. The thread starts with the first job and
    does not keep the process alive; `close` waits for it.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._left = 0
        self._thread: threading.Thread | None = None

    def put(self, job: Callable[[], None]) -> None:
        """Has a job done after those before it. Never blocks."""
        with self._changed:
            self._left += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="argus-checkpoints", daemon=True)
                self._thread.start()
        self._jobs.put(job)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do."""
        return self._left == 0

    def wait(self, timeout: float | None) -> bool:
        """Waits until nothing is left to do; whether that came within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._left == 0, timeout)

    def close(self, timeout: float | None) -> bool:
        """Waits as `wait` does, then ends the thread (when it is busy still: after what it has to do)."""
        done = self.wait(timeout)
        self._jobs.put(None)
        return done

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                with self._changed:
                    self._left -= 1
                    self._changed.notify_all()
                del job


@dataclass
class StagedSave:
    """A consistent snapshot in memory, on its way to disk."""

    fields: dict[str, Any]
    skeleton: Any
    arena: Arena
    begun: tuple[str, Path] | None  # name and folder, when a callback has already written there
    has_weights: bool


def file_names(rank: int, world_size: int) -> dict[str, str]:
    """Names of a rank's files: of the weights, of the other tensors, of the skeleton."""
    suffix = "" if world_size == 1 else f"-rank{rank}"
    return {"model": f"model{suffix}.safetensors", "state": f"state{suffix}.safetensors", "json": f"state{suffix}.json"}


def write_save(ring: Ring, save: StagedSave, *, ranks_timeout_s: float) -> CheckpointInfo | None:
    """Writes a staged save and lists it; on a rank other than 0 hands its files in and returns None.

    Raises OSError or CheckpointError; what was written is then gone and the ring as it was.
    """
    fields = save.fields
    name, partial = save.begun or ring.begin(fields["step"], fields["segment"], fields["signal"])
    try:
        names = file_names(ring.rank, ring.world_size)
        save.arena.wait()
        files = []
        if save.has_weights:
            files.append(write_file(partial / names["model"], save.arena.chunks("model")))
        files.append(write_file(partial / names["state"], save.arena.chunks("state")))
        files.append(write_file(partial / names["json"], [json.dumps(save.skeleton, separators=(",", ":")).encode()]))
        if ring.rank != 0:
            ring.hand_in(partial, files)
            return None
        files += _of_other_ranks(ring, partial, ranks_timeout_s)
        if not save.has_weights:
            files += _of_callback(partial)
        return ring.publish(name, partial, fields, files)
    except BaseException:
        ring.discard(partial)
        raise


def _of_other_ranks(ring: Ring, partial: Path, timeout_s: float) -> list[FileEntry]:
    deadline = time.monotonic() + timeout_s
    while (files := ring.handed_in(partial)) is None:
        if time.monotonic() > deadline:
            raise CheckpointError(f"not all {ring.world_size} ranks wrote their part within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return files


def _of_callback(partial: Path) -> list[FileEntry]:
    paths = sorted(path for path in (partial / CUSTOM).rglob("*") if path.is_file())
    if not paths:
        raise CheckpointError("the save callback wrote no file into its directory")
    return [hash_file(path, path.relative_to(partial).as_posix()) for path in paths]
