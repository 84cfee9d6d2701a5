"""Norms of a model whose parameters are spread over ranks (FSDP, tensor parallelism): each rank's part, and their sum.

A rank's part is a tuple of `WIDTH` numbers in the order of `PARTS`. An entry of -1 says that the rank has nothing to add; NaN and
infinity are values like any other. Nothing here communicates.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from argus._gather import Measured
    from argus._roll import Joined, RankNews

#: Squared gradient norms by thirds of depth; squared norm of the update; squared L2 and L1 norm of the weights; dot product with the
#: previous gradient and both squared lengths.
PARTS = ("early", "mid", "late", "update", "l2", "l1", "dot", "previous", "current")
WIDTH = len(PARTS)
_NONE = -1.0
NOTHING = (_NONE,) * WIDTH
#: Part of a rank that holds no entry of any parameter.
EMPTY = (_NONE,) * 3 + (0.0,) * 6

T = TypeVar("T")


def part_of(units: Iterable[tuple[Measured, int | None]]) -> tuple[float, ...] | None:
    """What a rank adds to the sums, from what each of its units measured and the number of ranks that add the same.

    None when one of these numbers is not known. What no unit measured in this step is missing.
    """
    part: list[float | None] = [None] * WIDTH
    any_unit = False
    for measured, shared in units:
        any_unit = True
        if shared is None:
            return None
        norms = (*measured.thirds, measured.update_norm, measured.weights_l2)
        found = [None if norm is None else norm * norm for norm in norms]
        found += [measured.weights_l1, *(measured.direction or (None, None, None))]
        for i, value in enumerate(found):
            if value is not None:
                part[i] = value / shared + (part[i] or 0.0)
    return tuple(_NONE if value is None else value for value in part) if any_unit else EMPTY


def add(parts: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """The sum of all ranks' parts. A third is missing when no rank has it, anything else when one rank lacks it."""
    sums = list(NOTHING)
    for i in range(3):
        there = [part[i] for part in parts if not part[i] < 0]
        if there:
            sums[i] = _sum(there)
    for group in ((3,), (4, 5), (6, 7, 8)):
        if not any(part[group[-1]] < 0 for part in parts):
            for i in group:
                sums[i] = _sum([part[i] for part in parts])
    return tuple(sums)


def _sum(values: list[float]) -> float:
    # fsum raises where infinities meet or a sum overflows; a plain sum gives what the norm of such values is.
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def clipped_from(part: tuple[float, ...], scale: float) -> tuple[float, ...]:
    """The same part with the gradient norms multiplied by `scale`: back from clipped gradients to those before clipping."""
    return tuple(x * scale * scale if i < 3 and x >= 0 else x for i, x in enumerate(part))


@dataclass(frozen=True)
class Whole:
    """Norms of the whole model, from sums over all ranks. None: not measured."""

    grad_norm: float | None
    thirds: tuple[float | None, float | None, float | None]
    similarity: float | None
    update_norm: float | None
    weights_l1: float | None
    weights_l2: float | None


def whole(sums: tuple[float, ...]) -> Whole:
    """The norms that sums over all ranks come to."""
    early, mid, late = (_root(x) for x in sums[:3])
    present = [x for x in sums[:3] if not x < 0]
    similarity = None
    length = _root(sums[7]), _root(sums[8])
    if length[0] is not None and length[1] is not None:
        product = length[0] * length[1]
        if product > 0 and math.isfinite(product) and math.isfinite(sums[6]):
            similarity = max(-1.0, min(1.0, sums[6] / product))
    return Whole(
        grad_norm=_root(sum(present)) if present else None,
        thirds=(early, mid, late),
        similarity=similarity,
        update_norm=_root(sums[3]),
        weights_l1=None if sums[5] < 0 else sums[5],
        weights_l2=_root(sums[4]),
    )


def _root(square: float) -> float | None:
    return None if square < 0 else math.sqrt(square)


def blank(measured: Measured) -> None:
    """Takes out norms that are of this rank's shard alone, so that a series of whole norms stays one; non-finite ones are kept, for
    the norm of the whole is then not finite either."""
    measured.grad_norm = _if_wild(measured.grad_norm)
    early, mid, late = (_if_wild(third) for third in measured.thirds)
    measured.thirds = (early, mid, late)
    measured.update_norm = _if_wild(measured.update_norm)
    measured.weights_l1 = _if_wild(measured.weights_l1)
    measured.weights_l2 = _if_wild(measured.weights_l2)
    measured.similarity = None


def _if_wild(value: float | None) -> float | None:
    return value if value is not None and not math.isfinite(value) else None


def put_whole(measured: Measured, sums: tuple[float, ...]) -> None:
    """Replaces the norms of this rank's shard by those of the whole model."""
    found = whole(sums)
    measured.grad_norm = found.grad_norm
    measured.thirds = found.thirds
    measured.similarity = found.similarity
    measured.update_norm = found.update_norm
    measured.weights_l1 = found.weights_l1
    measured.weights_l2 = found.weights_l2


#: Where the norms of a released step come from.
WHOLE, LOCAL, LEFT_OUT = "whole", "local", "left out"
_HOLD_STEPS = 8
_HOLD_STEPS_MAX = 64
_HOLD_INTERVALS = 3


@dataclass
class _Held(Generic[T]):
    key: tuple[int, int]
    item: T
    wild: bool
    since: float


class Joiner(Generic[T]):
    """Holds the steps of a sharded model on the reporting rank until their sums are known, in order and without waiting.

    A series of norms is of one kind: of the whole model from the first sum on (a step whose sum does not come is left out), or
    of the local shard when a rank fell silent before any sum came. A step waits for 8 later ones and three exchanges with the
    store, for 64 later ones at most, and not at all once a rank is silent or the own part is not finite. For the training thread.

    Args:
        interval_s: Seconds between two exchanges (`Ranks.interval_s`).
    """

    def __init__(self, interval_s: float) -> None:
        self._held: deque[_Held[T]] = deque()
        self._sums: dict[tuple[int, int], tuple[float, ...]] = {}
        self._hold_s = _HOLD_INTERVALS * interval_s
        self._joined = False
        self._local = False

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, key: tuple[int, int], part: tuple[float, ...], item: T, now: float) -> None:
        """Takes a step: what `Ranks.publish` returned for it, its own part, and what is to be released."""
        self._held.append(_Held(key, item, not all(math.isfinite(x) for x in part), now))

    def release(self, news: RankNews, now: float) -> list[tuple[T, str, tuple[float, ...] | None]]:
        """The steps that need not wait any longer, in order: item, where its norms come from, and the sums for `WHOLE`."""
        self._learn(news.joined)
        out: list[tuple[T, str, tuple[float, ...] | None]] = []
        hurry = bool(news.silent or news.left or news.fresh_non_finite)
        last_wild = max((i for i, held in enumerate(self._held) if held.wild), default=-1)
        while self._held:
            held = self._held[0]
            sums = None if self._local else self._sums.pop(held.key, None)
            if sums is not None:
                self._joined = True
                out.append((held.item, WHOLE, sums))
            elif hurry or last_wild >= 0 or self._local or self._expired(held, now):
                self._local = self._local or (not self._joined and bool(news.silent or news.left))
                out.append((held.item, LOCAL if self._local else LEFT_OUT, None))
            else:
                break
            self._held.popleft()
            last_wild -= 1
        return out

    def flush(self) -> list[tuple[T, str, tuple[float, ...] | None]]:
        """All steps still held, as they are."""
        out: list[tuple[T, str, tuple[float, ...] | None]] = []
        for held in self._held:
            sums = self._sums.pop(held.key, None)
            kind = WHOLE if sums is not None else LOCAL if self._local else LEFT_OUT
            out.append((held.item, kind, sums))
        self._held.clear()
        return out

    def _learn(self, joined: Iterable[Joined]) -> None:
        waiting = {held.key for held in self._held}
        for each in joined:
            key = (each.generation, each.step)
            if key in waiting:
                self._sums[key] = each.sums

    def _expired(self, held: _Held[T], now: float) -> bool:
        behind = len(self._held) - 1
        return behind >= _HOLD_STEPS_MAX or (behind >= _HOLD_STEPS and now - held.since >= self._hold_s)


# Which parameters are spread, and over how many copies.


def copies(parameter: Any, world_size: int, modules: dict[int, int]) -> int | None:
    """On how many ranks each entry of a parameter's local part lies; None when that cannot be known.

    Args:
        parameter: A parameter of the model.
        world_size: Number of ranks.
        modules: What `fsdp1_copies` found.
    """
    placements = getattr(parameter, "placements", None)
    if placements is not None and hasattr(parameter, "_local_tensor"):
        mesh = parameter.device_mesh
        # A mesh may cover part of the world (a pipeline stage); the ranks outside hold other parameters.
        count = 1
        for dim, placement in enumerate(placements):
            if placement.is_partial():
                return None
            if placement.is_replicate():
                count *= mesh.size(dim)
        return count
    if is_flat(parameter):
        return modules.get(id(parameter))
    return world_size


def is_flat(parameter: Any) -> bool:
    """Whether a parameter is, or lies in, a flat parameter of FSDP1."""
    return bool(getattr(parameter, "_is_flat_param", False) or getattr(parameter, "_fsdp_flattened", False))


def is_spread(parameter: Any) -> bool:
    """Whether this rank may hold a part of the parameter only."""
    return hasattr(parameter, "_local_tensor") or is_flat(parameter)


def fsdp1_copies(model: Any, world_size: int) -> dict[int, int]:
    """For each parameter in a flat parameter of FSDP1, by id, the number of ranks that hold the same part."""
    found: dict[int, int] = {}
    for module in model.modules() if model is not None else ():
        handle: Any = getattr(module, "_handle", None)
        flat = getattr(handle, "flat_param", None)
        if flat is None:
            continue
        size = max(1, world_size // max(1, handle.world_size)) if handle.uses_sharded_strategy else world_size
        for parameter in (
            flat,
            *(getattr(flat, "_params", None) or ()),
            *(getattr(flat, "_shared_params", None) or ()),
        ):
            found[id(parameter)] = size
    return found


def plain_norm(norm: Any) -> tuple[Any, bool]:
    """A norm as an ordinary tensor, and whether it is of this rank's shard alone.

    Reading a distributed tensor that still has to be summed would start a collective; its local part does not.
    """
    part = getattr(norm, "_local_tensor", None)
    if part is None:
        return norm, False
    return part, any(placement.is_partial() for placement in norm.placements)
