"""A watch's place among the ranks of a distributed training: what it tells, what it hears, and what all do at the same step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from argus import _shards
from argus._native import NAN_DETECTED
from argus._step import GRAD_NORM, LOSS, Pending

if TYPE_CHECKING:
    from argus._actions import Plan
    from argus._agreement import Agreement
    from argus._ranks import Ranks


class Team:
    """One rank's watch, among others. Belongs to the thread that trains; waits for nobody (but see `Agreement.due`).

    Args:
        ranks: As `Ranks.discover` found them.
        acts: Take part in agreements: AUTO, checkpoints, or a pause by a person.
        save: Stages a checkpoint that was agreed; takes the fields of the proposal.
        say_once: Takes a key and a line.
    """

    def __init__(
        self,
        ranks: Ranks,
        *,
        acts: bool,
        save: Callable[[dict[str, Any]], object],
        say_once: Callable[[str, str], None],
    ) -> None:
        self.ranks = ranks
        self._save = save
        self._say_once = say_once
        self._joiner: _shards.Joiner[Pending] = _shards.Joiner(ranks.interval_s)
        self._agreement: Agreement | None = ranks.agreement() if acts else None
        self._proposed: dict[str, Plan] = {}
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
            found = ", ".join(f"rank {rank} at step {step}" for rank, step in news.fresh_non_finite[:4])
            self._say_once("rank_nan", f"a value is not finite on {found}; later ones are in the record")
        if part is None:
            return [pending]
        self._joiner.hold(key, part, pending, now)
        return [_released(*each) for each in self._joiner.release(news, now)]

    def flush(self) -> list[Pending]:
        """The steps still held, as they are: the run ends."""
        return [_released(*each) for each in self._joiner.flush()]

    def agree(self, plan: Plan | None, step: int) -> Plan | None:
        """Called on every rank after every step with what this one plans; returns what all ranks carry out now."""
        from argus._actions import Plan

        agreement = self._agreement
        if agreement is None or (plan is not None and plan.refused):
            return plan
        if plan is not None:
            name = f"{plan.id}:{plan.kind}:{step}"
            self._proposed[name] = plan
            agreement.propose(name, {"plan": asdict(plan)}, step)
        payload = agreement.due(step)
        refused = [each for each in agreement.take_refused() if each.id in self._proposed]
        if payload is not None and "save" in payload:
            self._save(payload["save"])
        if payload is not None and "plan" in payload:
            fields = payload["plan"]
            self._proposed.clear()
            return Plan(**{**fields, "ids": tuple(fields["ids"])})
        if refused:
            return replace(self._proposed.pop(refused[0].id), refused=f"not all ranks agreed: {refused[0].reason}")
        return None

    def propose_save(self, fields: dict[str, Any], step: int) -> None:
        """Rank 0: all ranks are to stage a checkpoint at one step. Refused when another action is being agreed."""
        if self._agreement is not None:
            self._agreement.propose(f"save:{step}", {"save": fields}, step)

    def close(self) -> None:
        """Says that this rank ends in order."""
        self.ranks.close()


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
