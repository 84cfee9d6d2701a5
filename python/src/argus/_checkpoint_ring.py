"""The folder of a run's checkpoints: which there are, which stay, and how one comes and goes whole.

A checkpoint is written as `.partial-NAME` and renamed to NAME; it is renamed to `.removed-NAME` before it is deleted. So whatever
moment a process is killed at, each NAME is a whole checkpoint; what a killed process left behind goes when the folder is next opened.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any

from argus._checkpoint_files import (
    MANIFEST,
    CheckpointInfo,
    FileEntry,
    encode_manifest,
    read_manifest,
    replace_file,
    sync_folder,
    write_file,
)
from argus._checkpoint_tree import CheckpointError
from argus._errors import UsageError

MARKER = "ring.json"
_MARKER_CONTENT = b'{"format":"argus-checkpoint-ring","version":1}\n'
_PARTIAL, _REMOVED = ".partial-", ".removed-"


def to_remove(
    saves: Sequence[CheckpointInfo], *, keep: int, held: Collection[str], frozen: bool, run_id: str
) -> list[CheckpointInfo]:
    """Which checkpoints make room.

    Of the certified ones `keep` stay: first those of `held` (names; what the engine's slots hold), then the newest. Beside them stays
    the newest promoted one, of this run and of the folder, and while `frozen` every promoted one. Of SAVE_NOW the newest stays.
    """
    newest_first = sorted(saves, key=lambda save: -save.serial)
    certified = [save for save in newest_first if save.signal == "SAVE"]
    emergencies = [save for save in newest_first if save.signal != "SAVE"]
    ranked = [s for s in certified if s.path.name in held] + [s for s in certified if s.path.name not in held]
    stays = {save.path.name for save in ranked[:keep]}
    promoted = [save for save in certified if save.promoted]
    own = [save for save in promoted if save.run_id == run_id]
    stays |= {save.path.name for save in (promoted if frozen else promoted[:1] + own[:1])}
    return [save for save in certified if save.path.name not in stays] + emergencies[1:]


class Ring:
    """A folder of checkpoints. Reading is for any thread; what changes it is for one thread of rank 0 at a time.

    Attributes:
        directory: The folder.
    """

    def __init__(self, directory: str | os.PathLike[str], *, rank: int, world_size: int) -> None:
        self.directory = Path(directory).absolute()
        self.rank = rank
        self.world_size = world_size
        self._lock: IO[bytes] | None = None
        self._serial = 0
        self.is_open = False

    def open(self) -> None:
        """Makes the folder and its marker, and clears what killed processes left. Raises OSError; UsageError when another process uses it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        if self.rank == 0:
            for leftover in self.directory.iterdir():
                if leftover.name.startswith((_PARTIAL, _REMOVED)):
                    shutil.rmtree(leftover)
        if not (self.directory / MARKER).exists():
            replace_file(self.directory / MARKER, _MARKER_CONTENT)
        self._serial = max((save.serial for save in self.saves()), default=0)
        self.is_open = True

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            import fcntl
        except ImportError:  # no such locks on this system
            return
        name = ".lock" if self.rank == 0 else f".lock-rank{self.rank}"
        lock = open(self.directory / name, "ab")  # noqa: SIM115 (held as long as the ring)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise UsageError(
                f"checkpoint directory {self.directory} is in use by another process", hint="give each run its own"
            ) from None
        except OSError:  # a file system without locks
            pass
        self._lock = lock

    def close(self) -> None:
        """Lets another process use the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.is_open = False

    def scan(self) -> tuple[list[CheckpointInfo], list[tuple[Path, str]]]:
        """The checkpoints, in the order in which they were taken, and those whose manifest is damaged, with the reason.

        Raises OSError when the folder cannot be read.
        """
        saves, damaged = [], []
        for path in self.directory.iterdir():
            if path.name.startswith("step-") and path.is_dir():
                try:
                    saves.append(read_manifest(path)[0])
                except CheckpointError as error:
                    if path.exists():  # not one that was removed meanwhile
                        damaged.append((path, str(error)))
        return sorted(saves, key=lambda save: save.serial), damaged

    def saves(self) -> list[CheckpointInfo]:
        """The checkpoints whose manifest is whole, in the order in which they were taken."""
        return self.scan()[0]

    def begin(self, step: int, segment: int, signal: str) -> tuple[str, Path]:
        """A name for a new checkpoint, the same on every rank, and the folder to write it in. Raises OSError."""
        stem = f"step-{step:08d}-{segment}" + ("-now" if signal == "SAVE_NOW" else "")
        name, again = stem, 2
        while (self.directory / name).exists():
            name, again = f"{stem}.{again}", again + 1
        partial = self.directory / (_PARTIAL + name)
        if self.world_size == 1 and partial.exists():
            shutil.rmtree(partial)
        partial.mkdir(exist_ok=True)
        return name, partial

    def discard(self, partial: Path) -> None:
        """Removes what a failed save wrote; whatever resists goes when the folder is next opened."""
        shutil.rmtree(partial, ignore_errors=True)

    def hand_in(self, partial: Path, files: list[FileEntry]) -> None:
        """Says, for a rank other than 0, which files it wrote."""
        content = json.dumps([[f.name, f.bytes, f.sha256] for f in files]).encode()
        replace_file(partial / f"part-rank{self.rank}.json", content)

    def handed_in(self, partial: Path) -> list[FileEntry] | None:
        """The files of all other ranks, once all are there."""
        files: list[FileEntry] = []
        parts = [partial / f"part-rank{rank}.json" for rank in range(1, self.world_size)]
        if not all(part.exists() for part in parts):
            return None
        for part in parts:
            files += [FileEntry(*entry) for entry in json.loads(part.read_bytes())]
        for part in parts:
            os.unlink(part)
        return files

    def publish(self, name: str, partial: Path, fields: dict[str, Any], files: list[FileEntry]) -> CheckpointInfo:
        """Makes a written checkpoint one of the ring's."""
        self._serial += 1
        listed = [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in files]
        write_file(partial / MANIFEST, [encode_manifest({**fields, "serial": self._serial, "files": listed})])
        sync_folder(partial)
        final = self.directory / name
        os.rename(partial, final)
        sync_folder(self.directory)
        return read_manifest(final)[0]

    def promote(self, name: str) -> None:
        """Marks a checkpoint as healthy, durably."""
        _, fields = read_manifest(self.directory / name)
        fields.pop("check")
        replace_file(self.directory / name / MANIFEST, encode_manifest({**fields, "promoted": True}))

    def remove(self, save: CheckpointInfo) -> None:
        """Removes a checkpoint: at once as far as readers can tell."""
        hidden = self.directory / (_REMOVED + save.path.name)
        os.rename(save.path, hidden)
        shutil.rmtree(hidden)
