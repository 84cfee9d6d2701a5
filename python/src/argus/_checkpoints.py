"""Checkpoints driven by health: staged at one step, written beside the training, certified by what follows."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from argus import _checkpoint_state as state
from argus._checkpoint_callbacks import CUSTOM, CallbackFailed, CheckpointState, call_save, check_callbacks
from argus._checkpoint_files import CheckpointInfo, verify_folder
from argus._checkpoint_restore import Damaged, put_back, read_tree, reason
from argus._checkpoint_ring import Ring, to_remove
from argus._checkpoint_tensors import Arena, Layout
from argus._checkpoint_tree import CheckpointError, flatten
from argus._checkpoint_writer import StagedSave, Worker, write_save
from argus._errors import UsageError
from argus._report import say

if TYPE_CHECKING:
    from torch import nn

_Infos = list[CheckpointInfo]
_Texts = list[str]

#: Calm observations after a checkpoint, and in a row, that promote it: as engine/life/checkpoints.cpp counts them.
QUIET_WINDOW = 24
#: Observations after which the staging memory is reserved: the optimizer has its state by then.
_RESERVE_AT = 8
_SPACE_MARGIN_BYTES = 64 << 20
_SPACE_WAIT_S = 0.05


@dataclass
class _Candidate:
    """A certified save that a quiet window may still promote."""

    step: int
    seen_at: int  # observations made when it was taken
    is_new: bool = True
    is_durable: bool = False
    is_quiet: bool = False
    name: str = ""


class Checkpoints:
    """The ring of checkpoints of a run.

    `stage`, `observe`, `anchor` and `restore` belong to the thread that trains; `list`, `verify`, `wait` and `close` are for any thread.
    Writing is done by one background thread. Nothing but the constructor (UsageError) and `restore` (CheckpointError) raises.

    Memory: one copy of the state, kept from save to save; a second one while a SAVE_NOW is staged before the SAVE before it is written.
    Disk: at most `keep` certified checkpoints, the newest promoted one, one of SAVE_NOW, and one being written.

    Args:
        directory: Folder of the ring; made when missing. One run at a time uses it; a later run may go on with it.
        model: The model; inside torch.compile and data-parallel wrappers the weights bear the user's own names.
        optimizers: Its optimizers, in an order that stays.
        schedulers: LR schedulers, or anything with `state_dict` and `load_state_dict`.
        scaler: A GradScaler.
        loader: A data loader, or sampler, with `state_dict` and `load_state_dict`; the position of any other is not kept.
        extra: Further objects with `state_dict` and `load_state_dict` (an EMA, say), by name.
        save: `save(state: CheckpointState, directory: Path)`, in place of our files of model and optimizers: for sharded models. Called
            on the training thread, which it holds up for as long as it takes. All ranks are given the same directory.
        load: `load(directory: Path)`, which puts back in place what `save` wrote. Given together with `save`.
        rank, world_size: Of this process. Each rank keeps its own state; rank 0 lists a checkpoint once all ranks have written theirs.
        run_id: Written into each checkpoint.
        keep: Certified checkpoints to keep, 1 or more. The engine remembers 4: with fewer, one it names may be gone.
        on_problem: `on_problem(key, text)`, called from either thread, once for each kind of failure. Default: a line on stderr.

    Attributes:
        saved: Checkpoints written.
        skipped: Saves left out because the one before was still being written.
        failed: Saves that came to nothing.
        promoted: Checkpoints promoted.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        model: nn.Module,
        optimizers: Iterable[Any],
        schedulers: Iterable[Any] = (),
        scaler: Any = None,
        loader: Any = None,
        extra: Mapping[str, Any] | None = None,
        save: Callable[[CheckpointState, Path], object] | None = None,
        load: Callable[[Path], object] | None = None,
        rank: int = 0,
        world_size: int = 1,
        run_id: str = "",
        keep: int = 4,
        on_problem: Callable[[str, str], object] | None = None,
    ) -> None:
        self._parts = state.Parts(model, tuple(optimizers), tuple(schedulers), scaler, loader, dict(extra or {}))
        self._parts.check()
        check_callbacks(save, load)
        if save is None and state.is_sharded(model):
            raise UsageError("the model is sharded: no process can save it alone", hint="give save= and load=")
        if keep < 1 or not 0 <= rank < world_size:
            raise UsageError(
                f"keep={keep}, rank={rank}, world_size={world_size}; accepted are keep of 1 or more, rank below world_size"
            )
        if not isinstance(directory, (str, os.PathLike)):
            raise UsageError(f"directory is {directory!r}; accepted is a path")
        self._save, self._load = save, load
        self._run_id, self._keep = run_id, keep
        self._on_problem = on_problem if on_problem is not None else lambda _key, text: say(text)
        self._ring = Ring(directory, rank=rank, world_size=world_size)
        self._worker = Worker()
        self._pid = os.getpid()
        self._closed = False
        self._said: set[str] = set()
        self._seen = 0
        self._calm_run = 0
        # Of the fields below, never held while files are touched. SIGTERM's handler may come while the training thread holds it.
        self._lock = threading.RLock()
        self._arenas = [Arena(), Arena()]
        self._in_use: set[int] = set()
        self._candidates: list[_Candidate] = []
        self._slots: dict[int, str] = {}
        self._frozen = False
        self._folder_lock = threading.Lock()  # held while checkpoints are read, promoted or removed
        self.ranks_timeout_s = 600.0
        self.saved = self.skipped = self.failed = self.promoted = 0
        try:
            self._ring.open()
        except OSError as error:  # tried again with each save
            self._problem("directory", f"checkpoint directory {self._ring.directory} cannot be used ({reason(error)})")

    # What the loop calls.

    def stage(self, step: int, *, signal: str, slot: int, reason: str, loss: float | None, segment: int = 0) -> bool:
        """Takes one consistent snapshot of everything, as it is now. Call it on the training thread, after `optimizer.step()`.

        Args:
            step: The optimizer step just done.
            signal: "SAVE" or "SAVE_NOW".
            slot: The engine's number for it, which may replace the one that had the number.
            reason: Why, in words.
            loss: Training loss of the step; None when not known.
            segment: Rewinds and resets of the run before it.

        Returns:
            Whether it was staged. It is not when the writer is behind (counted in `skipped`) or something is wrong (`failed`).

        Cost: copying the state's tensors, and some microseconds a tensor. On CUDA the copies are queued and not waited for.
        """
        if self._closed or os.getpid() != self._pid:
            return False
        try:
            with self._lock:
                free = [i for i in range(len(self._arenas)) if i not in self._in_use]
                if not free or (self._in_use and signal != "SAVE_NOW"):
                    self.skipped += 1
                    return False
            fields = {
                "format": "argus-checkpoint", "version": 1, "serial": 0, "run_id": self._run_id, "step": int(step), "segment": int(segment),
                "slot": int(slot), "signal": str(signal), "reason": str(reason), "loss": None if loss is None else float(loss),
                "promoted": False, "created_ms": time.time_ns() // 1_000_000, "world_size": self._ring.world_size,
                "parts": list(self._parts.names()),
            }  # fmt: skip
            self._stage(fields, free[0])
            return True
        except Exception as error:  # nothing may reach the training loop
            self._fail(error, f"step {step}")
            return False

    def _stage(self, fields: dict[str, Any], index: int) -> None:
        flat = flatten(state.capture(self._parts, with_weights=self._save is None))
        layout, tensors = Layout.of(flat.leaves)
        if self._worker.is_idle:
            self._check_space(layout.total_bytes)
        arena = self._arenas[index]
        arena.fill(layout, tensors)
        begun = None if self._save is None else self._call_save(self._save, fields)
        candidate = None
        with self._lock:
            self._in_use.add(index)
            if fields["signal"] != "SAVE_NOW":
                candidate = _Candidate(fields["step"], self._seen)
                self._candidates.append(candidate)
        save = StagedSave(fields, flat.skeleton, arena, begun, self._save is None)
        self._worker.put(lambda: self._write(save, index, candidate))

    def observe(self, step: int, *, calm: bool) -> None:
        """Takes one step's judgement, every step: whether nothing at all is wrong. Promotes what a quiet window certifies, and
        keeps every promoted checkpoint while something is wrong. Cost: about a microsecond."""
        self._seen += 1
        self._calm_run = self._calm_run + 1 if calm else 0
        self._frozen = not calm
        if self._seen == _RESERVE_AT and not self._closed:
            self._reserve()
        if not self._candidates:
            return
        with self._lock:
            for candidate in self._candidates:
                if candidate.is_new:
                    candidate.is_new = False
                    if candidate.step == step:
                        candidate.seen_at = self._seen
                elif self._seen - candidate.seen_at >= QUIET_WINDOW and self._calm_run >= QUIET_WINDOW:
                    candidate.is_quiet = True
            self._promote_ready()

    def _reserve(self) -> None:
        """Has staging memory made and touched in the background, so that the first save costs what the later ones do."""
        try:
            flat = flatten(state.capture(self._parts, with_weights=self._save is None))
            layout, tensors = Layout.of(flat.leaves)
            pinned = any(tensor.device.type == "cuda" for tensor in tensors)
            self._worker.put(lambda: self._make_arena(layout.total_bytes, pinned))
        except Exception as error:
            self._problem("state", f"this training cannot be saved: {reason(error)}")

    def _make_arena(self, total_bytes: int, pinned: bool) -> None:
        try:
            fresh = Arena()
            fresh.reserve(total_bytes, pinned=pinned)
            with self._lock:
                if 0 not in self._in_use and self._arenas[0].bytes < total_bytes:
                    self._arenas[0] = fresh
        except Exception as error:
            self._problem("memory", f"no memory to stage {total_bytes} bytes in ({reason(error)})")

    # Which there are.

    def list(self) -> _Infos:
        """The checkpoints on disk, oldest first. Empty when the folder cannot be read."""
        try:
            saves, damaged = self._ring.scan()
        except OSError as error:
            self._problem("directory", f"checkpoint directory {self._ring.directory} cannot be read ({reason(error)})")
            return []
        for path, why in damaged:
            self._problem(f"damaged {path.name}", f"checkpoint {path.name} is damaged and passed over: {why}")
        return saves

    def anchor(self, before_step: int | None = None) -> CheckpointInfo | None:
        """The newest promoted checkpoint of this run, of a step below `before_step`, that is whole on disk. Reads it through."""
        for save in self._promoted_of(self._run_id):
            if before_step is None or save.step < before_step:
                with self._folder_lock:
                    wrong = verify_folder(save)
                if not wrong:
                    return save
                self._say_damaged(save, wrong[0])
        return None

    def verify(self, checkpoint: int | CheckpointInfo | None = None) -> _Texts:
        """What is damaged, a line each, of one checkpoint (by step or info) or of all; empty when all is as written."""
        if checkpoint is None:
            try:
                saves, damaged = self._ring.scan()
            except OSError as error:
                return [f"{self._ring.directory} cannot be read ({reason(error)})"]
            wrong = [f"{path.name}: {why}" for path, why in damaged]
        else:
            saves, wrong = self._matching(checkpoint), []
            if not saves:
                return [f"there is no checkpoint of step {checkpoint}"]
        return wrong + [f"{save.path.name}: {text}" for save in saves for text in verify_folder(save)]

    def _promoted_of(self, run_id: str | None) -> _Infos:
        return [s for s in reversed(self.list()) if s.promoted and (run_id is None or s.run_id == run_id)]

    def _matching(self, checkpoint: int | CheckpointInfo) -> _Infos:
        if isinstance(checkpoint, CheckpointInfo):
            return [save for save in self.list() if save.path == checkpoint.path] or [checkpoint]
        found = [save for save in self.list() if save.step == checkpoint]
        return sorted(found, key=lambda s: (s.run_id == self._run_id, s.signal == "SAVE", s.serial), reverse=True)

    # Back to one of them.

    def restore(self, anchor: int | CheckpointInfo | None = None) -> int:
        """Puts everything back in place as it was at a checkpoint: the same objects, every bit.

        Args:
            anchor: A step, or what `list` or `anchor` gave. None: the newest promoted checkpoint of this run, else of the folder.

        Returns:
            The step restored. Of a damaged checkpoint nothing is used: the next older promoted one is taken, and that is said.

        Raises:
            CheckpointError: There is none such, or none that is whole, or it is not of these objects, or one of them refused it. The
                training is then as it was (with a `load` callback: as that left it).

        Cost: reads the checkpoint; needs two copies of the state in memory while it runs.
        """
        for save in self._to_try(anchor):
            try:
                with self._folder_lock:
                    put_back(self._parts, save, read_tree(self._ring, save, self._load), self._load)
            except Damaged as error:
                self._say_damaged(save, str(error))
                continue
            with self._lock:
                self._candidates.clear()  # what follows is another course: it certifies nothing of the one left
                self._calm_run = 0
            return save.step
        raise CheckpointError(
            "no checkpoint that could be restored is whole", hint="`argus checkpoints verify` says what is damaged"
        )

    def _to_try(self, anchor: int | CheckpointInfo | None) -> _Infos:
        if anchor is None:
            promoted = self._promoted_of(self._run_id)
            promoted += [save for save in self._promoted_of(None) if save.run_id != self._run_id]
            if not promoted:
                raise CheckpointError(
                    "no checkpoint is promoted yet" + self._there_are(), hint="name a step to take one that is not"
                )
            return promoted
        exact = self._matching(anchor)
        if not exact and self._in_use:
            self.wait(60.0)
            exact = self._matching(anchor)
        if not exact:
            raise CheckpointError(f"there is no checkpoint of step {anchor}" + self._there_are())
        older = [s for s in self._promoted_of(exact[0].run_id) if s.step < exact[0].step and s.serial < exact[0].serial]
        return exact + older

    def _there_are(self) -> str:
        steps = ", ".join(str(save.step) for save in self.list())
        return f"; there are checkpoints of steps {steps}" if steps else f"; there are none in {self._ring.directory}"

    # The end.

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until all that was staged is written; whether that came within `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self, timeout: float | None = 30.0) -> bool:
        """Takes no more, waits as `wait` does, and lets other processes use the folder. Safe to call twice."""
        if self._closed or os.getpid() != self._pid:
            return True
        self._closed = True
        done = self._worker.close(timeout)
        if done:
            self._ring.close()
            for arena in self._arenas:
                arena.release()
        return done

    # In the background.

    def _write(self, save: StagedSave, index: int, candidate: _Candidate | None) -> None:
        try:
            if not self._ring.is_open:
                self._ring.open()
            self._space_or_raise(sum(place.size for place in save.arena.places))
            info = write_save(self._ring, save, ranks_timeout_s=self.ranks_timeout_s)
            self.saved += 1
            if info is not None:
                self._listed(info, candidate)
        except Exception as error:
            self._fail(error, f"step {save.fields['step']}")
            with self._lock:
                self._drop(candidate)
        finally:
            with self._lock:
                self._in_use.discard(index)
            if index > 0:
                save.arena.release()

    def _listed(self, info: CheckpointInfo, candidate: _Candidate | None) -> None:
        with self._lock:
            if info.signal == "SAVE":
                self._slots[info.slot] = info.path.name
            if candidate is not None:
                candidate.name, candidate.is_durable = info.path.name, True
            self._promote_ready()
            held = set(self._slots.values())
        with self._folder_lock:
            for old in to_remove(
                self._ring.saves(), keep=self._keep, held=held, frozen=self._frozen, run_id=self._run_id
            ):
                self._ring.remove(old)

    def _promote_ready(self) -> None:
        """With the lock held."""
        for candidate in [c for c in self._candidates if c.is_quiet and c.is_durable]:
            self._candidates.remove(candidate)
            self._worker.put(lambda name=candidate.name: self._promote(name))  # type: ignore[misc]

    def _drop(self, candidate: _Candidate | None) -> None:
        if candidate in self._candidates:
            self._candidates.remove(candidate)

    def _promote(self, name: str) -> None:
        try:
            with self._folder_lock:
                if (self._ring.directory / name).exists():
                    self._ring.promote(name)
                    self.promoted += 1
        except (OSError, CheckpointError) as error:
            self._problem("promote", f"checkpoint {name} could not be marked as healthy ({reason(error)})")

    # Room, callbacks, and what goes wrong.

    def _check_space(self, need_bytes: int) -> None:
        """Asks on the writing thread, which idles, so that a file system that hangs cannot hold up the training."""
        answers: list[Exception | None] = []
        answered = threading.Event()

        def look() -> None:
            try:
                self._space_or_raise(need_bytes)
            except Exception as error:
                answers.append(error)
            answered.set()

        self._worker.put(look)
        if answered.wait(_SPACE_WAIT_S) and answers and answers[0] is not None:
            raise answers[0]

    def _space_or_raise(self, need_bytes: int) -> None:
        margin = max(_SPACE_MARGIN_BYTES, need_bytes // 20)
        free = shutil.disk_usage(self._ring.directory).free
        if free < need_bytes + margin:
            raise OSError(errno.ENOSPC, f"{free} bytes are free, {need_bytes + margin} are needed")

    def _call_save(self, save: Callable[[CheckpointState, Path], object], fields: dict[str, Any]) -> tuple[str, Path]:
        if not self._ring.is_open:
            self._ring.open()
        fields["parts"] = [CUSTOM, *(part for part in fields["parts"] if part not in ("model", "optimizers"))]
        given = {key: fields[key] for key in ("step", "segment", "signal", "reason", "loss", "world_size", "run_id")}
        parts = self._parts
        return call_save(
            save,
            CheckpointState(**given, rank=self._ring.rank, model=parts.model, optimizers=tuple(parts.optimizers)),
            self._ring,
        )

    def _say_damaged(self, save: CheckpointInfo, why: str) -> None:
        self._problem(f"damaged {save.path.name}", f"checkpoint {save.path.name} is damaged and passed over: {why}")

    def _fail(self, error: Exception, what: str) -> None:
        self.failed += 1
        key = "callback" if isinstance(error, CallbackFailed) else "space" if _is_full(error) else \
            "write" if isinstance(error, OSError) else "state"  # fmt: skip
        self._problem(key, f"no checkpoint of {what} in {self._ring.directory}: {reason(error)}; those before it stay")

    def _problem(self, key: str, text: str) -> None:
        if key in self._said:
            return
        self._said.add(key)
        with contextlib.suppress(Exception):  # telling must not hurt either
            self._on_problem(f"checkpoint {key}", text)


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
