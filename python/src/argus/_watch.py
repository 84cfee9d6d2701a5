"""`argus.watch`: a training run watched in its own process."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from argus import _endings, _hooks
from argus._filter import SampleFilter
from argus._native import IS_ANCHOR, LR_RESTARTED, STEP_SKIPPED, Decision, History, Run
from argus._options import Options
from argus._redact import message_of
from argus._report import Announcer, say
from argus._samples import PerSample
from argus._step import STEP_MAX, Intake, Pending, names_of

if TYPE_CHECKING:
    from torch import Tensor

    from argus._gather import Gather
    from argus._parts import Parts
    from argus._team import Team
    from argus._transfer import Transfer
    from argus.local import LocalDetector

#: Steps that may wait for a device at a time. Past it the oldest goes on without what was to come from the device.
_WAITING_MAX = 64
#: Seconds `complete` and `close` wait for the delivery of what is still on its way.
_CLOSE_WAIT_S = 10.0


class Watch:
    """A watched run. Made by `argus.watch`; belongs to the thread that trains.

    Nothing here raises inside the loop (but `TrainingPaused`, and that only with `on_pause="raise"`), waits for a device or a
    network, or, in manual mode, changes a weight, a random number or a learning rate. What goes wrong inside is said once on
    stderr, counted in `errors`, and the run goes on unwatched or watched by less.

    Attributes:
        errors: Failures inside argus, contained.
        unread: Steps whose device numbers did not arrive in time and were left out.
        norm_source: Where the newest gradient norm comes from: "given", "before_clipping" (`clip_grad_norm_`), "measured" (as the
            optimizer saw it, after any clipping), "measured_local" (the same, of this rank's shard alone), or None.
        local: The detector inside the model with `local=True`: `watch.local.summary()`; else None.
    """

    def __init__(self, options: Options, run: Run) -> None:
        self._options = options
        self.run = run
        self._history = History(options.history_steps)
        self._announcer = Announcer(quiet=options.quiet)
        self._intake = Intake(self.say_once)
        self.gather: Gather | None = None
        self.local: LocalDetector | None = None
        self.optimizers: Sequence[Any] = ()
        self._parts: Parts | None = None
        self._team: Team | None = None
        self._pid = os.getpid()
        self._started_s = time.monotonic()
        self._pressure = 0
        self._off = False
        self._ended = False
        self._next_step = 0
        self._last_step = -1
        self._fetch = _fetch
        self._rate: Any = None
        self._waiting: deque[Pending] = deque()
        self._clip: dict[int, Any] = {}
        self._ids: Sequence[Any] | None = None
        self._left_out = SampleFilter()
        self._said: set[str] = set()
        self._certificate = ""
        self.errors = 0
        self.unread = 0
        self.norm_source: str | None = None

    # What the loop calls.

    def step(
        self,
        loss: Any = None,
        *,
        step: int | None = None,
        grad_norm: Any = None,
        norm_before_clipping: Any = None,
        lr: Any = None,
        val_loss: Any = None,
        epoch: Any = None,
        batch_size: Any = None,
        sequence_length: Any = None,
        accumulation_steps: Any = None,
        gradient_similarity: Any = None,
        update_norm: Any = None,
        weights_l1: Any = None,
        weights_l2: Any = None,
        loss_scale: Any = None,
        step_skipped: bool | None = None,
        lr_restarted: bool = False,
        is_anchor: bool = False,
        samples: PerSample | None = None,
        sample_ids: Any = None,
        losses: Any = None,
        confidences: Any = None,
        margins: Any = None,
        entropies: Any = None,
        correct: Any = None,
    ) -> int:
        """Takes one optimizer step. Call it once per optimizer step, after `optimizer.step()`.

        Every number may be a Python, NumPy or 0-d torch number on any device, of any precision, requiring grad or not, NaN or
        infinite; a larger tensor is averaged. What is given wins over what is measured.

        Args:
            loss: Training loss of the step (with accumulation: the mean over its micro-batches), task units.
            step: Optimizer step, 0 or more. Without it steps are counted from 0. A number below the last one is a rewind.
            grad_norm: Global L2 norm of the gradients, best before clipping.
            norm_before_clipping: The same where all that is measured is of gradients already clipped: what `clip_grad_norm_` returned,
                of torch or of a framework. Norms measured by depth are brought back to it.
            lr: Learning rate of the schedule (AUTO's factor is put to it). Else the largest of all param groups as the step used it.
            val_loss: Validation loss, on the steps where validation ran.
            epoch: Epoch, a real of 0 or more.
            batch_size: Samples in the step.
            sequence_length: Tokens in a sample.
            accumulation_steps: Micro-batches in the step.
            gradient_similarity: Cosine to the previous step's gradient, -1 to 1.
            update_norm: L2 norm of the parameter change.
            weights_l1: L1 norm of all trainable parameters.
            weights_l2: L2 norm of all trainable parameters.
            loss_scale: Scale of a mixed-precision scaler.
            step_skipped: The scaler found an overflow and the optimizer did not step.
            lr_restarted: The schedule restarts here on purpose.
            is_anchor: A checkpoint known to be good was taken here.
            samples: What `argus.per_sample` gave; or the arrays one by one:
            sample_ids: Integers or strings, returned by `spike_samples`.
            losses: Per-sample losses; this and the arrays below of one length, at most 65,536.
            confidences: Probability of the likeliest class.
            margins: That minus the second likeliest.
            entropies: Entropy of the prediction, nats.
            correct: 1 correct, 0 wrong.

        Returns:
            The newest harm pressure, 0 to 3: of this step on the CPU, of the step before on a device.

        Raises:
            TrainingPaused: Only with `on_pause="raise"`, when a pause is asked for.

        Cost: some microseconds with the numbers given; with a model, a pass over the gradients and a strided one over the
        weights, most of it inside `optimizer.step()`; never a synchronisation.
        """
        if _hooks.late:
            _hooks.sweep()
        if self._off:
            return self._pressure
        try:
            pending = Pending(self._step_number(step))
            if lr_restarted is not False and self._intake.flag("lr_restarted", lr_restarted):
                pending.flags |= LR_RESTARTED
            if is_anchor is not False and self._intake.flag("is_anchor", is_anchor):
                pending.flags |= IS_ANCHOR
            leaves: list[Tensor] = []
            if self.gather is not None:
                self._collect(pending, leaves)
                if lr is None:
                    lr = self._rate
                elif hasattr(lr, "detach"):  # what the user knows is the schedule's
                    lr = lr.detach() * self._lr_factor()
                elif isinstance(lr, (int, float)):
                    lr = lr * self._lr_factor()
            if self.local is not None:
                self.local.number(pending.step)
                pending.local_health = self.local.health()
            if step_skipped is not None:
                pending.skipped = self._intake.flag("step_skipped", step_skipped)
            for name, value in (
                ("loss", loss), ("grad_norm", grad_norm), ("lr", lr), ("val_loss", val_loss), ("epoch", epoch),
                ("batch_size", batch_size), ("sequence_length", sequence_length), ("accumulation_steps", accumulation_steps),
                ("gradient_similarity", gradient_similarity), ("update_norm", update_norm), ("weights_l1", weights_l1),
                ("weights_l2", weights_l2), ("loss_scale", loss_scale),
            ):  # fmt: skip
                if value is not None:
                    self._intake.number(pending, leaves, name, value)
            if samples is not None or losses is not None or confidences is not None or correct is not None \
                    or entropies is not None or margins is not None:  # fmt: skip
                self._intake.samples(
                    pending, leaves, samples, sample_ids, (losses, confidences, margins, entropies, correct)
                )
            if norm_before_clipping is not None:
                self._clip[0] = norm_before_clipping
            if self._clip:
                pending.clip_norms, clip_leaves = self._take_clip()
                leaves.extend(clip_leaves)
                pending.clip_leaves = len(clip_leaves)
            if leaves:
                try:
                    pending.transfer = self._fetch(leaves)
                except Exception as error:
                    self.lose_gather(error)
                    pending.forget_device()
            self._waiting.append(pending)
            self._drain()
            if self._team is not None and self._parts is not None:
                self._parts.after_step(pending.step)
                self._take_restored(self._parts)
        except Exception as error:  # nothing may reach the training loop
            self._give_up(error)
        paused = self._parts.take_paused() if self._parts is not None else None
        if paused is not None:
            raise paused
        return self._pressure

    def clip_grad_norm_(
        self,
        parameters: Iterable[Tensor] | Tensor,
        max_norm: float,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = False,
        foreach: bool | None = None,
    ) -> Tensor:
        """`torch.nn.utils.clip_grad_norm_`, whose result is also taken as the norm before clipping of this step.

        The same arguments, result and exceptions as torch's. Called several times in a step on different parameters (one call
        per optimizer, say), the norms are joined.
        """
        from torch import Tensor as TensorType
        from torch.nn.utils import clip_grad_norm_

        given = parameters if isinstance(parameters, TensorType) else list(parameters)
        norm = clip_grad_norm_(given, max_norm, norm_type, error_if_nonfinite, foreach)
        if float(norm_type) == 2.0:
            first = given if isinstance(given, TensorType) else (given[0] if given else None)
            self._clip[id(first)] = norm.detach()
        return norm

    def filter(self, batch_ids: Any) -> Any:
        """Which samples of a batch to train on: False for those that a FILTER_SAMPLES action left out, True for all others.

        Args:
            batch_ids: The ids of the batch's samples, as given to `step(sample_ids=...)`: a list, an array, or an integer tensor.

        Returns:
            A list of booleans; for a tensor a boolean tensor of its shape and device. A batch is never left out whole.
        """
        return self._left_out.keep(batch_ids)

    @property
    def left_out(self) -> SampleFilter:
        """The samples left out now; give it to `argus.FilteredSampler` in place of calling `filter`."""
        return self._left_out

    def restore(self, anchor: int | None = None) -> int:
        """Brings model, optimizer, scheduler, scaler, random numbers and loader back to a checkpoint of this run, in place.

        Args:
            anchor: Step of the checkpoint; None takes the newest healthy one.

        Returns:
            The step restored: training goes on with the one after it.

        Raises:
            ArgusError: There is no `checkpoint_dir`, no such checkpoint, or it is damaged. Nothing was changed.
        """
        from argus._errors import UnavailableError

        if self._parts is None or self._parts.checkpoints is None:
            raise UnavailableError(
                "restore: this run keeps no checkpoints; accepted is a watch with checkpoint_dir=..."
            )
        restored = self._parts.checkpoints.restore(anchor)
        self.reset(restored + 1)
        return int(restored)

    def reset(self, step: int | None = None) -> None:
        """A checkpoint was restored and the optimizer reset: a new segment begins at `step`, by default the next one."""
        if self._off:
            return
        try:
            self._drain()
            self._waiting.clear()
            start = None if step is None else self._intake.step_number(step)
            self._begin_segment(self._next_step if start is None else start)
        except Exception as error:
            self._give_up(error)

    def complete(self, status: str = "COMPLETED", error: str = "", *, wait_s: float = _CLOSE_WAIT_S) -> str:
        """Ends the run: takes the hooks off, reads what is on its way from a device, and delivers what is left.

        Args:
            status: COMPLETED, FAILED or STOPPED.
            error: Why, for the record; one line.
            wait_s: Seconds to wait for the delivery. What is not delivered by then stays in the spool, for the next
                process of this run or `argus spool send`.

        Returns:
            The signed certificate as JSON; empty when it did not come in time. Safe to call again.
        """
        if not self._ended:
            self._ended = True
            _endings.dismiss(self)
            self._stop()
            try:
                status, error = self._intake.status(status, message_of(error) or "")
                wait_s = self._intake.seconds(wait_s, _CLOSE_WAIT_S)
                last = self._last_step if self._last_step >= 0 else None
                duration_s = time.monotonic() - self._started_s
                self._certificate = self.run.complete(status, last, error, duration_s, wait_s)
                if self._parts is not None:
                    self._parts.completed(status, error, self._certificate, wait_s)
                self.run.close(wait_s)
                self._say_notices()
            except Exception as failure:
                self.errors += 1
                self.say_once("complete", f"the run's end may not be recorded: {_endings.describe(failure)}")
        return self._certificate

    def end(self, status: str, error: str, wait_s: float) -> None:
        """Completes the run at the end of the program."""
        self.complete(status, error, wait_s=wait_s)

    def close(self) -> None:
        """As `complete()`: the run ended as it should. Safe to call twice."""
        self.complete()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.complete(*_endings.status_of(error))

    def __del__(self) -> None:
        """Nobody refers to it any more: the function that trained was left without `complete`."""
        with contextlib.suppress(Exception):  # it may be half made, and at the end of the interpreter little is there
            if self._ended or os.getpid() != self._pid or sys.is_finalizing():
                return
            total, done = self._options.total_steps, self._last_step + 1
            if not self.run.is_recording and self.checkpoints is None and self._team is None:
                self.complete(wait_s=0.0)
            elif total and done < total:
                _endings.end_aside(self, "STOPPED", f"the watch was given up after {done} of {total} steps")
            else:
                _endings.end_aside(self, "COMPLETED", "")

    # What it knows.

    @property
    def run_id(self) -> str:
        """The name under which the run is kept."""
        return self.run.run_id

    @property
    def pressure(self) -> int:
        """The newest harm pressure, 0 to 3."""
        return self._pressure

    @property
    def decision(self) -> Decision:
        """The newest decision; `decision.step` names the step it speaks of (on a device at most one behind it)."""
        return self.run.decision()

    @property
    def history(self) -> History:
        """The newest steps as columns: `watch.history["loss"]`."""
        return self._history

    @property
    def counters(self) -> dict[str, int | float]:
        """What was recorded, delivered, waits or was lost, and why: see docs/delivery.md."""
        return self.run.counters()

    @property
    def checkpoints(self) -> Any:
        """The ring of checkpoints; None without `checkpoint_dir`."""
        return None if self._parts is None else self._parts.checkpoints

    @property
    def rejected(self) -> int:
        """Values given to `step` that could not be used, dropped."""
        return self._intake.rejected

    @property
    def spike_samples(self) -> list[Any]:
        """Ids of the samples that outlier_batch rests on in the newest decision; positions where no ids were given."""
        indices = self.run.decision().spike_indices
        stride = self.run.sample_stride
        positions = [i * stride for i in indices]
        if self._ids is None:
            return positions
        return [self._ids[i] for i in positions if i < len(self._ids)]

    @property
    def watching(self) -> bool:
        """False once closed, or once a failure inside argus ended the watch (said on stderr, counted in `errors`)."""
        return not self._off

    # How a step is made.

    def _step_number(self, given: int | None) -> int:
        number = None if given is None else self._intake.step_number(given)
        if number is None:
            number = self._next_step
        self._last_step = number
        self._next_step = min(number + 1, STEP_MAX)
        return number

    def _collect(self, pending: Pending, leaves: list[Tensor]) -> None:
        """What the hooks of this step left behind."""
        self._rate = None
        gather = self.gather
        assert gather is not None
        try:
            self._rate = gather.learning_rate(self._lr_factor())
            own, pending.decode, pending.skipped = gather.hand_over()
            leaves.extend(own)
            pending.measured_leaves = len(own)
        except Exception as error:
            self.lose_gather(error)

    def _lr_factor(self) -> float:
        """What AUTO multiplies learning rates by."""
        return 1.0 if self._parts is None or self._parts.actions is None else self._parts.actions.lr_factor

    def _take_clip(self) -> tuple[list[float], list[Tensor]]:
        norms: list[float] = []
        leaves: list[Tensor] = []
        for given in self._clip.values():
            norm = self._intake.norm("norm_before_clipping", given)
            if isinstance(norm, float):
                norms.append(norm)
            elif norm is not None:
                leaves.append(norm)
        self._clip.clear()
        return norms, leaves

    def _drain(self) -> None:
        """Gives the engine every step whose numbers have arrived, in order."""
        waiting = self._waiting
        while waiting:
            transfer = waiting[0].transfer
            if transfer is not None and not transfer.ready():
                if len(waiting) <= _WAITING_MAX:
                    return
                self.unread += 1
                pending = waiting.popleft()
            else:
                pending = waiting.popleft()
                pending.arrive(transfer.values() if transfer is not None else [])
            if self._team is None:
                self._observe(pending)
            else:
                for each in self._team.take(pending):
                    self._observe(each)

    def _observe(self, pending: Pending) -> None:
        self.norm_source = pending.fill()
        if pending.skipped:
            pending.flags |= STEP_SKIPPED
        self._ids = pending.sample_ids
        run = self.run
        pressure = run.observe(
            pending.step,
            pending.flags,
            pending.scalars,
            **pending.layer2,
            sample_ids=names_of(pending.sample_ids),
            local_health=pending.local_health,
        )
        self._history.record(run)
        if pressure != self._pressure:
            self._pressure = pressure
            self._changed(run.decision())
        self._say_notices()
        if self._parts is not None:
            self._parts.observed(pending, self.spike_samples if pending.sample_ids else None)
            self._take_restored(self._parts)

    def _take_restored(self, parts: Parts) -> None:
        restored = parts.take_restored()
        if restored is not None:
            self._begin_segment(restored + 1)

    def _begin_segment(self, start: int) -> None:
        self.run.reset(start)
        self._next_step, self._last_step = start, start - 1
        if self.local is not None:
            self.local.reset()

    def _changed(self, decision: Decision) -> None:
        self._announcer.update(decision)
        on_change = self._options.on_change
        if on_change is not None:
            try:
                on_change(decision)
            except Exception as error:
                self.errors += 1
                self.say_once("on_change", f"on_change raised {_endings.describe(error)}; training goes on")

    def _say_notices(self) -> None:
        for line in self.run.take_notices():
            say(line)

    # What `argus.watch` puts together.

    def attach(self, parts: Parts, left_out: SampleFilter) -> None:
        """The parts around this watch."""
        self._parts, self._team, self._left_out = parts, parts.team, left_out

    def send_analytics(self, event: str) -> None:
        """Hands over one event of the second stream."""
        self.run.analytics(event)

    # What can go wrong.

    def contain(self, error: Exception) -> None:
        """A failure inside argus that leaves the watch as it is."""
        self.errors += 1
        self.say_once("contained", f"a failure inside argus: {_endings.describe(error)}; training goes on")

    def lose_gather(self, error: Exception) -> None:
        """Stops measuring; what is given by hand is still watched."""
        self.errors += 1
        gather, self.gather = self.gather, None
        self.say_once(
            "gather",
            f"no longer measuring gradients and weights: {_endings.describe(error)}; what is given to step() is still watched",
        )
        if gather is not None:
            gather.close()

    def _stop(self) -> None:
        """Reads what is still on its way from a device, waiting for it, and takes the hooks off."""
        try:
            for pending in self._waiting:
                if pending.transfer is not None:
                    pending.transfer.wait()
            self._drain()
            if self._team is not None:
                for each in self._team.flush():
                    self._observe(each)
        except Exception as error:
            self._give_up(error)
        self._off = True
        self._unhook()

    def _unhook(self) -> None:
        gather, self.gather = self.gather, None
        self.optimizers = ()
        if gather is not None:
            gather.close()
        if self.local is not None:
            self.local.detach()
        if self._parts is not None:
            self._parts.unhook()

    def _give_up(self, error: Exception) -> None:
        self.errors += 1
        self._off = True
        self._waiting.clear()
        self.say_once("watch", f"not watching any more: {_endings.describe(error)}; training goes on")
        self._unhook()

    def say_once(self, key: str, text: str) -> None:
        """A line for the user, unless one of this key was said before."""
        if key not in self._said:
            self._said.add(key)
            say(text)


def _fetch(leaves: list[Tensor]) -> Transfer:
    from argus._transfer import Transfer

    return Transfer(leaves)
