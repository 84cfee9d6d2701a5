"""`argus.watch`: a training run watched in its own process."""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from argus._errors import UsageError
from argus._native import IS_ANCHOR, LR_RESTARTED, SCALARS, STEP_SKIPPED, Decision, Engine, History
from argus._report import Announcer, say
from argus._samples import PerSample

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from argus._gather import Gather, Measured
    from argus._transfer import Transfer

_AT = {name: i for i, name in enumerate(SCALARS)}
_LOSS = _AT["loss"]
_GRAD_NORM = _AT["grad_norm"]
_SIMILARITY = _AT["gradient_similarity"]
_UPDATE_NORM = _AT["update_norm"]
_LR = _AT["lr"]
_LOSS_SCALE = _AT["loss_scale"]
_L1 = _AT["weights_l1"]
_L2 = _AT["weights_l2"]
_THIRDS = (_AT["grad_norm_early"], _AT["grad_norm_mid"], _AT["grad_norm_late"])
_NOTHING: list[float | None] = [None] * len(SCALARS)

#: Lowest value that can be meant; a field that is not here may be any real.
_LOWEST = {"grad_norm": 0.0, "update_norm": 0.0, "lr": 0.0, "epoch": 0.0, "batch_size": 1.0, "sequence_length": 1.0,
           "accumulation_steps": 1.0, "loss_scale": 0.0, "weights_l1": 0.0, "weights_l2": 0.0}  # fmt: skip
_LAYER2 = ("losses", "confidences", "margins", "entropies", "correct")
_SAMPLES_MAX = 65536
_STEP_END = 1 << 62

#: Steps that may wait for a device at a time. Past it the oldest goes on without what was to come from the device.
_WAITING_MAX = 64


@dataclass
class _Pending:
    """One step on its way to the engine: what is known, and where the rest goes when it arrives."""

    step: int
    segment: int
    flags: int
    scalars: list[float | None]
    transfer: Transfer | None = None
    decode: Callable[[list[Any]], Measured] | None = None
    measured_leaves: int = 0
    places: list[int] = field(default_factory=list)  # scalar slots of the leaves after the measured ones
    clip_leaves: int = 0
    clip_norms: list[float] = field(default_factory=list)
    layer2: dict[str, Any] = field(default_factory=dict)
    layer2_leaves: list[str] = field(default_factory=list)
    sample_ids: Sequence[Any] | None = None
    skipped: bool = False


class Watch:
    """A watched run. Made by `argus.watch`; belongs to the thread that trains.

    Nothing here raises inside the loop, changes a weight, a random number or a learning rate, or waits for a device. What goes
    wrong inside is said once on stderr, counted in `errors`, and the run goes on unwatched or watched by less.

    Attributes:
        errors: Failures inside argus, contained.
        rejected: Values given to `step` that could not be used, dropped.
        unread: Steps whose device numbers did not arrive in time and were left out.
        norm_source: Where the newest gradient norm comes from: "given", "before_clipping" (`clip_grad_norm_`), "measured" (as the
            optimizer saw it, after any clipping), or None.
    """

    def __init__(
        self,
        gather: Gather | None,
        *,
        model_type: str,
        quiet: bool,
        on_change: Callable[[Decision], object] | None,
        history_steps: int,
    ) -> None:
        self._gather = gather
        self._engine = Engine(model_type)
        self._history = History(history_steps)
        self._announcer = Announcer(quiet=quiet)
        self._on_change = on_change
        self._pressure = 0
        self._off = False
        self._closed = False
        self._next_step = 0
        self._last_step = -1
        self._segment = 0
        self._seq = 0
        self._fetch = _fetch
        self._rate: Any = None
        self._waiting: deque[_Pending] = deque()
        self._clip: dict[int, Any] = {}
        self._ids: Sequence[Any] | None = None
        self._said: set[str] = set()
        self.errors = 0
        self.rejected = 0
        self.unread = 0
        self.norm_source: str | None = None

    # What the loop calls.

    def step(
        self,
        loss: Any = None,
        *,
        step: int | None = None,
        grad_norm: Any = None,
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
            lr: Learning rate in force. Else the largest of all param groups as the step used it.
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

        Cost: some microseconds with the numbers given; with a model, a pass over the gradients and a strided one over the
        weights, most of it inside `optimizer.step()`; never a synchronisation.
        """
        if self._off:
            return self._pressure
        try:
            number = self._step_number(step)
            pending = _Pending(number, self._segment, 0, _NOTHING[:])
            if lr_restarted:
                pending.flags |= LR_RESTARTED
            if is_anchor:
                pending.flags |= IS_ANCHOR
            leaves: list[Tensor] = []
            if self._gather is not None:
                self._collect(pending, leaves)
                if lr is None:
                    lr = self._rate
            if step_skipped is not None:
                pending.skipped = bool(step_skipped)
            for name, value in (
                ("loss", loss), ("grad_norm", grad_norm), ("lr", lr), ("val_loss", val_loss), ("epoch", epoch),
                ("batch_size", batch_size), ("sequence_length", sequence_length), ("accumulation_steps", accumulation_steps),
                ("gradient_similarity", gradient_similarity), ("update_norm", update_norm), ("weights_l1", weights_l1),
                ("weights_l2", weights_l2), ("loss_scale", loss_scale),
            ):  # fmt: skip
                if value is not None:
                    self._set(pending, leaves, name, value)
            if samples is not None or losses is not None or confidences is not None or correct is not None \
                    or entropies is not None or margins is not None:  # fmt: skip
                self._take_samples(
                    pending, leaves, samples, sample_ids, (losses, confidences, margins, entropies, correct)
                )
            if self._clip:
                pending.clip_norms, clip_leaves = self._take_clip()
                leaves.extend(clip_leaves)
                pending.clip_leaves = len(clip_leaves)
            if leaves:
                try:
                    pending.transfer = self._fetch(leaves)
                except Exception as error:
                    self.lose_gather(error)
                    pending.decode, pending.measured_leaves, pending.clip_leaves = None, 0, 0
                    pending.places, pending.layer2_leaves = [], []
            self._waiting.append(pending)
            self._drain()
        except Exception as error:  # nothing may reach the training loop
            self._give_up(error)
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

    def reset(self, step: int | None = None) -> None:
        """A checkpoint was restored and the optimizer reset: a new segment begins at `step`, by default the next one."""
        try:
            self._drain()
            self._waiting.clear()
            start = self._next_step if step is None else max(0, int(step))
            self._engine.reset(start)
            self._segment += 1
            self._next_step, self._last_step = start, start - 1
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        """Takes the hooks off and reads what is still on its way from a device, waiting for it. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            for pending in self._waiting:
                if pending.transfer is not None:
                    pending.transfer.wait()
            self._drain()
            if self._gather is not None:
                self._gather.close()
        except Exception as error:
            self._give_up(error)
        self._off = True

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # What it knows.

    @property
    def pressure(self) -> int:
        """The newest harm pressure, 0 to 3."""
        return self._pressure

    @property
    def decision(self) -> Decision:
        """The newest decision; `decision.step` names the step it speaks of (on a device at most one behind it)."""
        return self._engine.decision()

    @property
    def history(self) -> History:
        """The newest steps as columns: `watch.history["loss"]`."""
        return self._history

    @property
    def spike_samples(self) -> list[Any]:
        """Ids of the samples that outlier_batch rests on in the newest decision; positions where no ids were given."""
        indices = self._engine.decision().spike_indices
        if self._ids is None:
            return list(indices)
        return [self._ids[i] for i in indices if i < len(self._ids)]

    @property
    def watching(self) -> bool:
        """False once closed, or once a failure inside argus ended the watch (said on stderr, counted in `errors`)."""
        return not self._off

    # How a step is made.

    def _step_number(self, given: int | None) -> int:
        number = self._next_step
        if given is not None:
            try:
                number = int(given)
                if not 0 <= number < _STEP_END:
                    raise ValueError("out of range")
            except (TypeError, ValueError, OverflowError) as error:
                self._reject("step", f"{given!r} ({error}); accepted is an integer of 0 or more, below 2**62")
                number = self._next_step
        if number < self._last_step:
            self._segment += 1
        self._last_step = number
        self._next_step = number + 1
        return number

    def _collect(self, pending: _Pending, leaves: list[Tensor]) -> None:
        """What the hooks of this step left behind."""
        self._rate = None
        gather = self._gather
        assert gather is not None
        try:
            self._rate = gather.learning_rate()
            own, pending.decode, pending.skipped = gather.hand_over()
            leaves.extend(own)
            pending.measured_leaves = len(own)
        except Exception as error:
            self.lose_gather(error)

    def _set(self, pending: _Pending, leaves: list[Tensor], name: str, value: Any) -> None:
        """Puts a given number in its place, or its tensor among what is to be fetched."""
        if type(value) is not float:
            try:
                if hasattr(value, "detach"):
                    tensor = value.detach()
                    if tensor.numel() != 1:
                        tensor = tensor.float().mean()
                    if tensor.device.type != "cpu":
                        leaves.append(tensor.reshape(()))
                        pending.places.append(_AT[name])
                        return
                    value = tensor
                value = float(value)
            except (TypeError, ValueError, RuntimeError, OverflowError) as error:
                self._reject(name, f"{type(value).__name__} ({error}); accepted is a number or a tensor of one element")
                return
        lowest = _LOWEST.get(name)
        if lowest is not None and value < lowest:
            self._reject(name, f"{value!r}; accepted is {lowest:g} or more")
            return
        pending.scalars[_AT[name]] = value

    def _take_samples(
        self, pending: _Pending, leaves: list[Tensor], samples: PerSample | None, ids: Any, arrays: tuple[Any, ...]
    ) -> None:
        given = {name: value for name, value in zip(_LAYER2, arrays, strict=True) if value is not None}
        if samples is not None:
            if not len(samples):
                return
            for name in _LAYER2:
                given.setdefault(name, getattr(samples, name))
            given = {name: value for name, value in given.items() if value is not None}
            if ids is not None:
                all_ids = list(ids)
                # Ids of the whole batch: those of the samples that were looked at.
                ids = (
                    all_ids
                    if len(all_ids) == len(samples)
                    else [all_ids[i] for i in samples.indices if i < len(all_ids)]
                )
        try:
            ids = None if ids is None else (ids.tolist() if hasattr(ids, "tolist") else list(ids))
            lengths = {name: len(value) for name, value in given.items()}
            if ids is not None:
                lengths["sample_ids"] = len(ids)
            if len(set(lengths.values())) > 1:
                raise ValueError("lengths differ: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
            if max(lengths.values()) > _SAMPLES_MAX:
                raise ValueError(f"{max(lengths.values())} samples; at most {_SAMPLES_MAX} are accepted")
            held: dict[str, Any] = {}
            fetched: list[tuple[str, Tensor]] = []
            for name, value in given.items():
                if hasattr(value, "detach") and value.device.type != "cpu":
                    fetched.append((name, value.detach().reshape(-1)))
                else:
                    held[name] = _doubles(value)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            self._reject("per-sample arrays", str(error))
            return
        pending.layer2 = held
        pending.sample_ids = ids
        for name, tensor in fetched:
            leaves.append(tensor)
            pending.layer2_leaves.append(name)

    def _take_clip(self) -> tuple[list[float], list[Tensor]]:
        norms, leaves = [], []
        for norm in self._clip.values():
            if norm.device.type == "cpu":
                norms.append(float(norm))
            else:
                leaves.append(norm.reshape(()))
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
                self._observe(waiting.popleft(), None)
            else:
                pending = waiting.popleft()
                self._observe(pending, transfer.values() if transfer is not None else [])

    def _observe(self, pending: _Pending, values: list[Any] | None) -> None:
        scalars = pending.scalars
        source = "given" if scalars[_GRAD_NORM] is not None else None
        if values is not None:
            position = pending.measured_leaves
            measured = pending.decode(values[:position]) if pending.decode is not None else None
            for place in pending.places:
                scalars[place] = (
                    float(values[position]) if not isinstance(values[position], list) else values[position][0]
                )
                position += 1
                if place == _GRAD_NORM:
                    source = "given"
            for name in pending.layer2_leaves:
                pending.layer2[name] = array("d", values[position])
                position += 1
            clip = pending.clip_norms + values[position : position + pending.clip_leaves]
            source = self._merge(pending, measured, clip, source)
        if pending.skipped:
            pending.flags |= STEP_SKIPPED
        self.norm_source = source
        self._ids = pending.sample_ids
        engine = self._engine
        pressure = engine.observe(pending.step, self._seq, pending.segment, pending.flags, scalars, **pending.layer2)
        self._seq += 1
        self._history.record(engine)
        if pressure != self._pressure:
            self._pressure = pressure
            self._changed(engine.decision())

    def _merge(self, pending: _Pending, measured: Measured | None, clip: list[float], source: str | None) -> str | None:
        """Fills what was not given from what was measured; returns where the gradient norm came from."""
        scalars = pending.scalars
        before_clipping = math.hypot(*clip) if clip else None
        if source is None and before_clipping is not None:
            scalars[_GRAD_NORM] = before_clipping
            source = "before_clipping"
        if measured is None:
            return source
        if measured.found_inf or (measured.overflow and not measured.stepped and not measured.update_norm):
            # The optimizer did not step and overflowed gradients are why, though no scaler has been seen yet.
            pending.skipped = True
        if source is None and measured.grad_norm is not None:
            scalars[_GRAD_NORM] = measured.grad_norm
            source = "measured"
        # Clipping scales all gradients alike, so the thirds are brought back to the norm before it.
        scale = 1.0
        if source == "before_clipping" and before_clipping is not None and measured.grad_norm:
            scale = before_clipping / measured.grad_norm
        for place, third in zip(_THIRDS, measured.thirds, strict=True):
            if third is not None:
                scalars[place] = third * scale
        found: tuple[tuple[int, float | None], ...] = (
            (_SIMILARITY, measured.similarity),
            (_LOSS_SCALE, measured.loss_scale),
        )
        if not pending.skipped:
            # After a skipped step an unmoved parameter says nothing.
            found += ((_UPDATE_NORM, measured.update_norm), (_L1, measured.weights_l1), (_L2, measured.weights_l2))
        for place, value in found:
            if scalars[place] is None and value is not None:
                scalars[place] = value
        return source

    def _changed(self, decision: Decision) -> None:
        self._announcer.update(decision)
        if self._on_change is not None:
            try:
                self._on_change(decision)
            except Exception as error:
                self.errors += 1
                self._say_once("on_change", f"on_change raised {_cause(error)}; training goes on")

    # What can go wrong.

    def _reject(self, name: str, why: str) -> None:
        self.rejected += 1
        self._say_once(name, f"{name} not used: {why} (said once, counted in watch.rejected)")

    def lose_gather(self, error: Exception) -> None:
        """Stops measuring; what is given by hand is still watched."""
        self.errors += 1
        gather, self._gather = self._gather, None
        self._say_once(
            "gather",
            f"no longer measuring gradients and weights: {_cause(error)}; what is given to step() is still watched",
        )
        if gather is not None:
            gather.close()

    def _give_up(self, error: Exception) -> None:
        self.errors += 1
        self._off = True
        self._waiting.clear()
        self._say_once("watch", f"not watching any more: {_cause(error)}; training goes on")
        gather, self._gather = self._gather, None
        if gather is not None:
            gather.close()

    def _say_once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            say(text)


def _fetch(leaves: list[Tensor]) -> Transfer:
    from argus._transfer import Transfer

    return Transfer(leaves)


def _cause(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _doubles(value: Any) -> array[float]:
    """A flat array of doubles from a list, array, NumPy array or CPU tensor; None becomes NaN."""
    if hasattr(value, "detach"):
        value = value.detach().reshape(-1)
    if hasattr(value, "tolist"):
        value = value.tolist()
    try:
        return array("d", value)
    except TypeError:
        return array("d", [math.nan if v is None else float(v) for v in value])


def watch(
    model: nn.Module | None = None,
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
    *,
    scaler: Any = None,
    measure: bool = True,
    model_type: str = "other",
    quiet: bool = False,
    on_change: Callable[[Decision], object] | None = None,
    history_steps: int = 100_000,
) -> Watch:
    """Watches a training run in this process. No server, no file, no thread.

    Args:
        model: The model that trains. Gives the depth order of its parameters; without it the optimizer's order is used.
        optimizer: Its optimizer, or several. Without any, what can be read at `step` is; without a model either, only what is
            given to `step` is watched, and torch is not needed.
        scaler: A `torch.amp.GradScaler`; found by itself at the first step it lets through, needed only to report a scale before.
        measure: False to measure nothing and watch only what is given to `step` and the learning rate.
        model_type: A hint that shortens calibration and never adds an alarm: transformer, llm, cnn, vision, rnn, mlp, diffusion,
            rl, gan, moe, ssm, gnn or other.
        quiet: True prints no line when the pressure rises or clears. Failures inside argus are said all the same, once.
        on_change: Called with the decision whenever the pressure changes, on the training thread; its exceptions are contained.
        history_steps: Steps `Watch.history` keeps, about 260 bytes each.

    Raises:
        UsageError: An argument is of a kind that cannot be meant. Only here, never from a call inside the loop.

    Example:
        >>> watch = argus.watch()
        >>> for loss in (2.3, 2.2, 2.1):
        ...     pressure = watch.step(loss, grad_norm=1.0)
        >>> watch.decision.step
        2
        >>> watch.history["loss"].tolist()
        [2.3, 2.2, 2.1]
    """
    if not isinstance(history_steps, int) or history_steps < 1:
        raise UsageError(
            f"history_steps: {history_steps!r}; accepted is an integer of 1 or more", field="history_steps"
        )
    if on_change is not None and not callable(on_change):
        raise UsageError(
            f"on_change: {on_change!r} cannot be called; accepted is a function of one decision", field="on_change"
        )
    if not isinstance(model_type, str):
        raise UsageError(f"model_type: {model_type!r}; accepted is a word such as 'transformer'", field="model_type")
    watched = Watch(None, model_type=model_type, quiet=quiet, on_change=on_change, history_steps=history_steps)
    if model is None and optimizer is None:
        return watched
    optimizers = _checked_optimizers(model, optimizer)
    from argus._gather import Gather

    try:
        watched._gather = Gather(model, optimizers, scaler, measure=measure, on_error=watched.lose_gather)
    except Exception as error:  # an optimizer that cannot be hooked is still trained
        watched.lose_gather(error)
    return watched


def _checked_optimizers(model: Any, optimizer: Any) -> list[Optimizer]:
    from torch import nn

    if model is not None and not isinstance(model, nn.Module):
        raise UsageError(f"model: a {type(model).__name__}; accepted is a torch.nn.Module or None", field="model")
    if optimizer is None:
        return []
    optimizers = list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer]
    for each in optimizers:
        if not hasattr(each, "param_groups") or not hasattr(each, "register_step_pre_hook"):
            raise UsageError(
                f"optimizer: a {type(each).__name__}; accepted is a torch.optim.Optimizer or a list of them",
                field="optimizer",
            )
    return optimizers
