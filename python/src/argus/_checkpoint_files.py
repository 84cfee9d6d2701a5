"""One checkpoint as a folder: manifest, files, hashes. The format is docs/formats/checkpoint.md.

Everything is written under another name, made durable, and renamed; so a folder with the name of a checkpoint is a whole one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus._checkpoint_tree import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
FORMAT = "argus-checkpoint"
VERSION = 1
_CHECK = ',\n"check":"'
_CHECK_END = '"}\n'
_MANIFEST_BYTES_MAX = 16 << 20
_READ_BYTES = 8 << 20


@dataclass(frozen=True)
class FileEntry:
    """A file of a checkpoint, as its manifest states it."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class CheckpointInfo:
    """What a manifest says of one checkpoint.

    Attributes:
        step: Optimizer step after which it was taken.
        segment: Rewinds and resets of the run before it.
        signal: "SAVE" (a certified healthy moment) or "SAVE_NOW" (something was developing).
        reason: Why then, in words.
        slot: The engine's number for it.
        loss: Training loss of that step; None when not known.
        promoted: A quiet window has passed since: healthy as far as can be known.
        serial: Order in which the checkpoints of the folder were taken.
        run_id: The run it is of; may be empty.
        created_ms: When, in milliseconds since 1970 UTC.
        world_size: Processes whose state it holds.
        parts: What it holds: "model", "optimizers", "schedulers", "scaler", "rng", "loader", "extra".
        bytes: Size of its files together.
        path: Its folder.
        files: Its files.
    """

    step: int
    segment: int
    signal: str
    reason: str
    slot: int
    loss: float | None
    promoted: bool
    serial: int
    run_id: str
    created_ms: int
    world_size: int
    parts: tuple[str, ...]
    bytes: int
    path: Path
    files: tuple[FileEntry, ...]


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_file(path: Path, chunks: Iterable[bytes | memoryview]) -> FileEntry:
    """Writes and syncs a file, hashing on the way. Its entry bears the last part of the path."""
    digest, size = hashlib.sha256(), 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            digest.update(view)
            size += len(view)
            while len(view) > 0:
                view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    return FileEntry(path.name, size, digest.hexdigest())


def replace_file(path: Path, content: bytes) -> None:
    """Puts `content` in the place of a file, whole or not at all, and durably."""
    temporary = path.with_name(path.name + ".tmp")
    write_file(temporary, [content])
    os.replace(temporary, path)
    sync_folder(path.parent)


def hash_file(path: Path, name: str) -> FileEntry:
    """The entry of a file that somebody else wrote; also makes it durable."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
            size += len(chunk)
        os.fsync(file.fileno())
    return FileEntry(name, size, digest.hexdigest())


def read_file(folder: Path, entry: FileEntry) -> Tensor:
    """The whole file as uint8, checked against its hash. Raises CheckpointError when it differs or cannot be read."""
    import torch

    from argus._checkpoint_tensors import memory_of

    data = torch.empty(max(entry.bytes, 1), dtype=torch.uint8)[: entry.bytes]
    view = memory_of(data)
    digest, at = hashlib.sha256(), 0
    try:
        with open(folder / entry.name, "rb", buffering=0) as file:
            while at < entry.bytes:
                count = file.readinto(view[at : at + _READ_BYTES])
                if not count:
                    break
                digest.update(view[at : at + count])
                at += count
            longer = bool(file.read(1))
    except OSError as error:
        raise CheckpointError(f"{entry.name} cannot be read ({error.strerror or error})") from error
    if at != entry.bytes or longer:
        raise CheckpointError(
            f"{entry.name} is {'longer' if longer else 'shorter'} than the {entry.bytes} bytes it was written with"
        )
    if digest.hexdigest() != entry.sha256:
        raise CheckpointError(f"{entry.name} is not what was written: its SHA-256 differs")
    return data


def check_file(folder: Path, entry: FileEntry) -> str:
    """What is wrong with a file, in words; empty when nothing is."""
    try:
        found = hash_file(folder / entry.name, entry.name)
    except OSError as error:
        return f"{entry.name} cannot be read ({error.strerror or error})"
    if found.bytes != entry.bytes:
        return f"{entry.name} has {found.bytes} bytes, was written with {entry.bytes}"
    return "" if found.sha256 == entry.sha256 else f"{entry.name} is not what was written: its SHA-256 differs"


def encode_manifest(fields: dict[str, Any]) -> bytes:
    """A manifest: JSON whose last member, `check`, is the SHA-256 of all bytes before it."""
    loss = fields.get("loss")
    if isinstance(loss, float) and not math.isfinite(loss):
        fields = {**fields, "loss": "NaN" if math.isnan(loss) else "Infinity" if loss > 0 else "-Infinity"}
    lines = [f"{json.dumps(key)}:{json.dumps(value)}" for key, value in fields.items()]
    body = ("{" + ",\n".join(lines)).encode()
    return body + (_CHECK + hashlib.sha256(body).hexdigest() + _CHECK_END).encode()


def decode_manifest(content: bytes) -> dict[str, Any]:
    """The fields of a manifest. Raises CheckpointError when a byte of it is not as it was written, or the version is unknown."""
    tail = len(_CHECK) + 64 + len(_CHECK_END)
    body, end = content[:-tail], content[-tail:]
    if end != (_CHECK + hashlib.sha256(body).hexdigest() + _CHECK_END).encode():
        raise CheckpointError(f"{MANIFEST} is not what was written: its check differs")
    try:
        fields = json.loads(content)
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError(f"format {fields.get('format')!r}")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{MANIFEST} is no manifest ({error})") from error
    if fields.get("version") != VERSION:
        raise CheckpointError(f"{MANIFEST} has version {fields.get('version')!r}; this one reads {VERSION}")
    return fields


def read_manifest(folder: Path) -> tuple[CheckpointInfo, dict[str, Any]]:
    """What a checkpoint's manifest says. Raises CheckpointError, also when there is none."""
    try:
        with open(folder / MANIFEST, "rb") as file:
            content = file.read(_MANIFEST_BYTES_MAX)
    except OSError as error:
        raise CheckpointError(f"{MANIFEST} cannot be read ({error.strerror or error})") from error
    fields = decode_manifest(content)
    try:
        files = tuple(FileEntry(f["name"], f["bytes"], f["sha256"]) for f in fields["files"])
        for entry in files:
            parts = Path(entry.name).parts
            if not parts or Path(entry.name).is_absolute() or ".." in parts:
                raise ValueError(f"a file named {entry.name!r}")
        loss = fields["loss"]
        info = CheckpointInfo(
            step=fields["step"],
            segment=fields["segment"],
            signal=fields["signal"],
            reason=fields["reason"],
            slot=fields["slot"],
            loss=None if loss is None else float(loss),
            promoted=fields["promoted"],
            serial=fields["serial"],
            run_id=fields["run_id"],
            created_ms=fields["created_ms"],
            world_size=fields["world_size"],
            parts=tuple(fields["parts"]),
            bytes=sum(entry.bytes for entry in files),
            path=folder,
            files=files,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{MANIFEST} is no manifest ({error!r})") from error
    return info, fields


def verify_folder(info: CheckpointInfo) -> list[str]:
    """What is damaged, a line each; empty when all is as it was written. Reads everything."""
    try:
        read_manifest(info.path)
    except CheckpointError as error:
        return [str(error)]
    return [wrong for entry in info.files if (wrong := check_file(info.path, entry))]
