"""A watch's place among the ranks of a distributed training: what it tells, what it hears, and what all do at the same step."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from argus import _shards
from argus._native import NAN_DETECTED
from argus._step import GRAD_NORM, LOSS, Pending

if TYPE_CHECKING:
    from argus._actions import Plan
    from argus._agreement import Agreement
    from argus._ranks import Ranks
    from argus._roll import RankNews


#: Steps a plan waits for an agreement that is under way before it is given up.
_PATIENCE_STEPS = 256


@dataclass
class _Waiting:
    """A proposal that is not settled yet: what it is, where it is reported, and since when."""

    payload: dict[str, Any]
    plan: Plan | None
    since_step: int
    name: str = ""
    attempts: int = 0


class Team:
    """One rank's watch, among others. Belongs to the thread that trains; waits for nobody (but see `Agreement.due`).

    Args:
        ranks: As `Ranks.discover` found them.
        can_apply: With AUTO, checkpoints or a pause: says of a payload why this rank cannot apply it, or None. Without it this
            rank takes no part in agreements.
        say_once: Takes a key and a line.
    """

    def __init__(
        self,
        ranks: Ranks,
        *,
        can_apply: Callable[[dict[str, Any]], str | None] | None,
        say_once: Callable[[str, str], None],
    ) -> None:
        self.ranks = ranks
        self._say_once = say_once
        self._joiner: _shards.Joiner[Pending] = _shards.Joiner(ranks.interval_s)
        self._agreement: Agreement | None = None if can_apply is None else ranks.agreement(can_apply)
        self._queue: deque[_Waiting] = deque()
        self._last_s = math.nan

    @property
    def reports(self) -> bool:
        """Whether this rank's watch speaks, records and decides for all."""
        return self.ranks.reports

    def take(self, pending: Pending) -> list[Pending]:
        """Publishes a step of this rank; returns those that may be judged now, in order."""
        now = time.perf_counter()
        took_s, self._last_s = now - self._last_s, now
        measured = pending.measured
        part = measured.part if measured is not None else None
        key = self.ranks.publish(pending.step, non_finite=_is_wild(pending), step_time_s=took_s, shard_squares=part)
        if not self.reports:
            return [pending]
        news = self.ranks.collected()
        if news.fresh_non_finite:
            pending.flags |= NAN_DETECTED
        self._say_non_finite(news)
        if part is None:
            return [pending]
        self._joiner.hold(key, part, pending, now)
        return [_released(*each) for each in self._joiner.release(news, now)]

    def ask(self, payload: dict[str, Any], plan: Plan | None, step: int) -> None:
        """The rank that decides wants this on all ranks, as soon as they can agree on it."""
        self._queue.append(_Waiting(payload, plan, step))

    def due(self, step: int) -> tuple[dict[str, Any] | None, list[Plan]]:
        """What all ranks do now, after `step`, and what they refused. Called once a step on every rank, with the loop's own number."""
        agreement = self._agreement
        if agreement is None:
            return None, [replace(w.plan, refused="this rank takes no part in agreements") for w in self._clear()]
        refused: list[Plan] = []
        if self._queue and not self._queue[0].name:
            front = self._queue[0]
            front.attempts += 1
            front.name = f"{front.since_step}:{front.attempts}:{next(iter(front.payload))}"
            agreement.propose(front.name, front.payload, step)
        payload = agreement.due(step)
        reasons = {each.id: each.reason for each in agreement.take_refused()}
        if self._queue and self._queue[0].name:
            front = self._queue[0]
            if payload is not None:
                self._queue.popleft()
            elif front.name in reasons and step - front.since_step < _PATIENCE_STEPS:
                front.name = ""
            elif front.name in reasons:
                self._queue.popleft()
                if front.plan is not None:
                    refused.append(replace(front.plan, refused=f"not all ranks agreed: {reasons[front.name]}"))
        return payload, refused

    def _clear(self) -> list[Any]:
        waiting = [w for w in self._queue if w.plan is not None]
        self._queue.clear()
        return waiting

    def _say_non_finite(self, news: RankNews) -> None:
        if news.fresh_non_finite:
            found = ", ".join(f"rank {rank} at step {step}" for rank, step in news.fresh_non_finite[:4])
            self._say_once("rank_nan", f"a value is not finite on {found} (said once)")

    def flush(self) -> list[Pending]:
        """The steps still held, as they are: the run ends."""
        return [_released(*each) for each in self._joiner.flush()]

    def close(self) -> None:
        """Says that this rank ends in order, and hears what the others said last."""
        self.ranks.close()
        if self.reports:
            self._say_non_finite(self.ranks.collected())


def _is_wild(pending: Pending) -> bool:
    measured = pending.measured
    found: Iterable[float | None] = (
        pending.scalars[LOSS],
        None if pending.skipped else pending.scalars[GRAD_NORM],
        None if measured is None or pending.skipped else measured.grad_norm,
    )
    return any(value is not None and not math.isfinite(value) for value in found)


def _released(pending: Pending, kind: str, sums: tuple[float, ...] | None) -> Pending:
    measured = pending.measured
    if measured is not None:
        if sums is not None:
            _shards.put_whole(measured, sums)
            measured.local = False
        elif kind == _shards.LEFT_OUT:
            _shards.blank(measured)
    return pending
