"""A checkpoint read back, checked and put in place: all of it or nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus import _checkpoint_state as state
from argus._checkpoint_callbacks import CUSTOM
from argus._checkpoint_files import CheckpointInfo, read_file, verify_folder
from argus._checkpoint_ring import Ring
from argus._checkpoint_tensors import memory_of, tensors_in
from argus._checkpoint_tree import CheckpointError, flatten, unflatten
from argus._checkpoint_writer import file_names

if TYPE_CHECKING:
    from torch import Tensor

Load = Callable[[Path], object]


class Damaged(CheckpointError):
    """What is on disk is not what was written."""


def reason(error: BaseException) -> str:
    """An error in words for the user."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, CheckpointError) else f"{type(error).__name__}: {error}"


def read_tree(ring: Ring, save: CheckpointInfo, load: Load | None) -> dict[str, Any]:
    """The state in a checkpoint, every byte checked. Raises Damaged; CheckpointError when it is not for this process."""
    if save.world_size != ring.world_size:
        raise CheckpointError(
            f"checkpoint {save.path.name} is of {save.world_size} processes; now there are {ring.world_size}"
        )
    if (CUSTOM in save.parts) != (load is not None):
        how = "with" if CUSTOM in save.parts else "without"
        raise CheckpointError(f"checkpoint {save.path.name} was written {how} a save callback")
    entries = {entry.name: entry for entry in save.files}
    names = file_names(ring.rank, ring.world_size)
    try:
        if load is not None and (wrong := verify_folder(save)):
            raise CheckpointError(wrong[0])
        readers: dict[str, Callable[[dict[str, Any]], Tensor]] = {}
        for file in ("state",) if load is not None else ("model", "state"):
            readers[file] = tensors_in(read_file(save.path, entries[names[file]]))
        text = read_file(save.path, entries[names["json"]])
        tree: dict[str, Any] = unflatten(
            json.loads(bytes(memory_of(text))), lambda node: _own(readers[node["file"]](node), node)
        )
        return tree
    except (CheckpointError, KeyError, ValueError) as error:
        raise Damaged(reason(error)) from error


def put_back(parts: state.Parts, save: CheckpointInfo, tree: dict[str, Any], load: Load | None) -> None:
    """Puts a state in place; when an object refuses it, everything is put back as it was. Raises CheckpointError."""
    with_weights = load is None
    before = _copy_of(state.capture(parts, with_weights=with_weights))
    try:
        state.check_fits(parts, tree, with_weights=with_weights)
        if load is not None:
            load(save.path / CUSTOM)
        state.apply(parts, tree, with_weights=with_weights)
    except Exception as error:
        with contextlib.suppress(Exception):  # the first failure is the one to tell
            state.apply(parts, before, with_weights=with_weights)
        raise CheckpointError(f"checkpoint {save.path.name} cannot be restored: {reason(error)}") from error


def _own(tensor: Tensor, node: dict[str, Any]) -> Tensor:
    """A tensor as its owner will keep it. Of the model's the owner copies the values; others become part of a live state."""
    if node["file"] == "model":
        return tensor
    try:
        return tensor.clone().to(node["device"])
    except (RuntimeError, AssertionError):  # no such device here
        return tensor.clone()


def _copy_of(tree: dict[str, Any]) -> dict[str, Any]:
    flat = flatten(tree)
    tensors = {(leaf.file, leaf.name): leaf.tensor for leaf in flat.leaves}
    copied: dict[str, Any] = unflatten(
        flat.skeleton, lambda node: tensors[node["file"], node["name"]].to("cpu", copy=True)
    )
    return copied
