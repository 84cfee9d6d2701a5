"""One step on its way to the engine: what was given, what is still on a device, and how both become numbers."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from argus._native import SCALARS

if TYPE_CHECKING:
    from torch import Tensor

    from argus._gather import Measured
    from argus._samples import PerSample
    from argus._transfer import Transfer

AT = {name: i for i, name in enumerate(SCALARS)}
LOSS = AT["loss"]
GRAD_NORM = AT["grad_norm"]
BATCH_SIZE = AT["batch_size"]
_SIMILARITY = AT["gradient_similarity"]
_UPDATE_NORM = AT["update_norm"]
_LOSS_SCALE = AT["loss_scale"]
_L1 = AT["weights_l1"]
_L2 = AT["weights_l2"]
_THIRDS = (AT["grad_norm_early"], AT["grad_norm_mid"], AT["grad_norm_late"])
_NOTHING: list[float | None] = [None] * len(SCALARS)

#: Lowest value that can be meant; a field that is not here may be any real.
_LOWEST = {"grad_norm": 0.0, "update_norm": 0.0, "lr": 0.0, "epoch": 0.0, "batch_size": 1.0, "sequence_length": 1.0,
           "accumulation_steps": 1.0, "loss_scale": 0.0, "weights_l1": 0.0, "weights_l2": 0.0}  # fmt: skip
_LAYER2 = ("losses", "confidences", "margins", "entropies", "correct")
_SAMPLES_MAX = 65536
#: Highest step number: the protocol's integers are exact up to here.
STEP_MAX = 1 << 53
STATUSES = ("COMPLETED", "FAILED", "STOPPED")


@dataclass
class Pending:
    """What is known of one step, and where the rest goes when it arrives."""

    step: int
    flags: int = 0
    scalars: list[float | None] = field(default_factory=_NOTHING.copy)
    transfer: Transfer | None = None
    decode: Callable[[list[Any]], Measured] | None = None
    measured_leaves: int = 0
    places: list[int] = field(default_factory=list)  # scalar slots of the leaves after the measured ones
    clip_leaves: int = 0
    clip_norms: list[float] = field(default_factory=list)
    layer2: dict[str, Any] = field(default_factory=dict)
    layer2_leaves: list[str] = field(default_factory=list)
    sample_ids: list[Any] | None = None
    local_health: dict[str, Any] | None = None
    skipped: bool = False
    measured: Measured | None = None
    _clip: list[float] = field(default_factory=list)

    def forget_device(self) -> None:
        """The numbers on a device will not come."""
        self.decode, self.measured_leaves, self.clip_leaves = None, 0, 0
        self.places, self.layer2_leaves = [], []

    def arrive(self, values: list[Any]) -> None:
        """Puts what arrived from the devices in its place."""
        position = self.measured_leaves
        self.measured = self.decode(values[:position]) if self.decode is not None else None
        for place in self.places:
            value = values[position]
            self.scalars[place] = float(value[0] if isinstance(value, list) else value)
            position += 1
        for name in self.layer2_leaves:
            self.layer2[name] = array("d", values[position])
            position += 1
        self._clip = self.clip_norms + values[position : position + self.clip_leaves]

    def fill(self) -> str | None:
        """Fills what was not given from what was measured; returns where the gradient norm came from (`Watch.norm_source`)."""
        scalars, measured = self.scalars, self.measured
        source = "given" if scalars[GRAD_NORM] is not None else None
        before_clipping = math.hypot(*self._clip) if self._clip else None
        if source is None and before_clipping is not None:
            scalars[GRAD_NORM] = before_clipping
            source = "before_clipping"
        if measured is None:
            return source
        if measured.found_inf or (measured.overflow and not measured.stepped and not measured.update_norm):
            # The optimizer did not step and overflowed gradients are why, though no scaler has been seen yet.
            self.skipped = True
        if source is None and measured.grad_norm is not None:
            scalars[GRAD_NORM] = measured.grad_norm
            source = "measured_local" if measured.local else "measured"
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
        if not self.skipped:
            # After a skipped step an unmoved parameter says nothing.
            found += ((_UPDATE_NORM, measured.update_norm), (_L1, measured.weights_l1), (_L2, measured.weights_l2))
        for place, value in found:
            if scalars[place] is None and value is not None:
                scalars[place] = value
        return source


class Intake:
    """Checks what is given to `step`, value by value. What cannot be used is dropped, said once and counted.

    Args:
        say_once: Called with a key and a line.
    """

    def __init__(self, say_once: Callable[[str, str], None]) -> None:
        self._say_once = say_once
        self.rejected = 0

    def reject(self, name: str, why: str) -> None:
        """Counts a value that could not be used."""
        self.rejected += 1
        self._say_once(name, f"{name} not used: {why} (said once, counted in watch.rejected)")

    def step_number(self, given: Any) -> int | None:
        """A step number that can be meant, or None."""
        try:
            number = int(given)
            if not 0 <= number <= STEP_MAX:
                raise ValueError("out of range")
            if number != given and not isinstance(given, str):
                raise ValueError("a fraction")
        except Exception as error:
            self.reject("step", f"{_shown(given)} ({_first_line(error)}); accepted is an integer of 0 to 2**53")
            return None
        return number

    def flag(self, name: str, given: Any) -> bool:
        """Whether something is so; what has no truth is not."""
        try:
            return bool(given)
        except Exception as error:
            self.reject(name, f"{type(given).__name__} ({_first_line(error)}); accepted is True or False")
            return False

    def status(self, given: Any, error: str) -> tuple[str, str]:
        """The status a run ends with, and its error text. A word that is none of the three says neither that the run came to its end
        nor that it failed."""
        word = given.strip().upper() if isinstance(given, str) else ""
        if word in STATUSES:
            return word, error
        self.reject("status", f"{_shown(given)}; accepted are {', '.join(STATUSES)}")
        return "STOPPED", error or f"completed as {_shown(given)}"

    def seconds(self, given: Any, otherwise: float) -> float:
        """Seconds to wait."""
        try:
            return float(given)
        except Exception as error:
            self.reject("wait_s", f"{_shown(given)} ({_first_line(error)}); accepted is a number of seconds")
            return otherwise

    def number(self, pending: Pending, leaves: list[Tensor], name: str, value: Any) -> None:
        """Puts a given number in its place, or its tensor among what is to be fetched."""
        number = value if type(value) is float else self._read(name, value)
        if isinstance(number, float):
            lowest = _LOWEST.get(name)
            if lowest is not None and number < lowest:
                self.reject(name, f"{number!r}; accepted is {lowest:g} or more")
                return
            pending.scalars[AT[name]] = number
        elif number is not None:
            leaves.append(number)
            pending.places.append(AT[name])

    def norm(self, name: str, value: Any) -> float | Tensor | None:
        """A norm: a number, a 0-d tensor on a device, or None where it could not be used."""
        number = self._read(name, value)
        if isinstance(number, float) and number < 0:
            self.reject(name, f"{number!r}; accepted is 0 or more")
            return None
        return number

    def _read(self, name: str, value: Any) -> float | Tensor | None:
        """A number, or what is on a device as a 0-d tensor, which nothing waits for; None: rejected."""
        try:
            if hasattr(value, "detach"):
                if hasattr(value, "_local_tensor"):  # distributed: read without a collective, or not at all
                    from argus._shards import plain_norm

                    value, is_partial = plain_norm(value)
                    if is_partial:
                        raise TypeError("a part of a sum over ranks")
                tensor = with_values(value.detach())
                if tensor.numel() != 1:
                    if tensor.numel() == 0:
                        raise TypeError("it is empty")
                    tensor = tensor.float().mean()
                if tensor.device.type != "cpu":
                    return tensor.reshape(())
                value = tensor
            return float(value)
        except Exception as error:
            self.reject(
                name, f"{type(value).__name__} ({_first_line(error)}); accepted is a number or a tensor of one element"
            )
            return None

    def samples(
        self, pending: Pending, leaves: list[Tensor], samples: PerSample | None, ids: Any, arrays: tuple[Any, ...]
    ) -> None:
        """Takes the per-sample arrays: those of `samples`, and those given one by one in the order of the wire."""
        given = {name: value for name, value in zip(_LAYER2, arrays, strict=True) if value is not None}
        held: dict[str, Any] = {}
        fetched: list[tuple[str, Tensor]] = []
        try:
            if samples is not None:
                if not len(samples):
                    return
                ids = _of_looked_at(samples, ids)
                for name in _LAYER2:
                    given.setdefault(name, getattr(samples, name))
            ids = None if ids is None else (ids.tolist() if hasattr(ids, "tolist") else list(ids))
            lengths: dict[str, int] = {}
            for name, value in given.items():
                if value is None:
                    continue
                if len(value) > _SAMPLES_MAX:
                    raise ValueError(f"{len(value)} samples; at most {_SAMPLES_MAX} are accepted")
                if hasattr(value, "detach") and value.device.type != "cpu":
                    fetched.append((name, with_values(value.detach()).reshape(-1)))
                    lengths[name] = value.numel()
                else:
                    held[name] = _doubles(value)
                    lengths[name] = len(held[name])
            if ids is not None:
                lengths["sample_ids"] = len(ids)
            if len(set(lengths.values())) > 1:
                raise ValueError("lengths differ: " + ", ".join(f"{name} {n}" for name, n in lengths.items()))
            if max(lengths.values(), default=0) > _SAMPLES_MAX:
                raise ValueError(f"{max(lengths.values())} samples; at most {_SAMPLES_MAX} are accepted")
        except Exception as error:
            self.reject("per-sample arrays", _first_line(error))
            return
        pending.layer2 = held
        pending.sample_ids = ids
        for name, tensor in fetched:
            leaves.append(tensor)
            pending.layer2_leaves.append(name)


def with_values(tensor: Tensor) -> Tensor:
    """The tensor, where it has values that can be read.

    Raises:
        TypeError: It is on the meta device.
    """
    if tensor.device.type == "meta":
        raise TypeError("it is on the meta device, without a value")
    return tensor


def _of_looked_at(samples: PerSample, ids: Any) -> Any:
    """The ids of the samples that were looked at, of those of the whole batch."""
    if ids is None:
        return None
    every = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    return every if len(every) == len(samples) else [every[i] for i in samples.indices if i < len(every)]


def _shown(value: Any) -> str:
    """A value in a message: short, and whatever it is."""
    try:
        return repr(value)[:80]
    except Exception:
        return f"a {type(value).__name__}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _doubles(value: Any) -> array[float]:
    """A flat array of doubles from a list, array, NumPy array or CPU tensor; None becomes NaN."""
    if isinstance(value, (str, bytes, bytearray, dict)):
        raise TypeError(f"a {type(value).__name__}; accepted are lists, arrays and tensors of numbers")
    if hasattr(value, "detach"):
        value = value.detach().reshape(-1)
    if hasattr(value, "tolist"):
        value = value.tolist()
    try:
        return array("d", value)
    except TypeError:
        return array("d", [math.nan if v is None else float(v) for v in value])


def names_of(ids: Sequence[Any] | None) -> list[int | str] | None:
    """Sample ids as the protocol has them: integers of 64 bits or texts."""
    if ids is None:
        return None
    return [i if type(i) is int and -(1 << 63) <= i < 1 << 63 else _whole(i) for i in ids]


def _whole(value: Any) -> int | str:
    try:
        number = int(value.__index__())
        if -(1 << 63) <= number < 1 << 64:
            return number
    except Exception:  # not a number
        pass
    try:
        text = str(value)
    except Exception:  # an integer too long to be written, an object that cannot be shown
        text = type(value).__name__
    return text.encode("utf-8", "replace")[:256].decode("utf-8", "ignore")
