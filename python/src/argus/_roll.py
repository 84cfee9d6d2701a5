"""The reporting rank's view of all ranks: who is heard, who fell silent, how fast they are, and the sums they add up to."""

from __future__ import annotations

import statistics
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from argus._rank_record import Record

#: Numbers of unfinished sums kept, at most; beyond it the oldest step is given up.
_UNFINISHED_MAX = 65_536


@dataclass(frozen=True)
class Timing:
    """How often ranks speak and when one counts as silent. Times are seconds.

    Attributes:
        interval_s: Between two exchanges with the store; None: 0.25, and with more than 250 ranks 1 ms a rank, at most 2.
        quick_s: The same while an action is being agreed.
        heartbeat_s: A rank that has nothing to say writes its record this often.
        gone_s: Without a heartbeat for so long a rank is silent.
        first_s: So long a rank has to be heard of for the first time.
        still_s, still_steps: A rank that lives is silent too once it published nothing for `still_s` while another one published
            `still_steps` steps. Both, so that a long validation or compilation is not taken for silence.
        wait_s: Longest wait of a training thread for a decision of an agreement (see docs/distributed.md).
    """

    interval_s: float | None = None
    quick_s: float = 0.02
    heartbeat_s: float = 2.0
    gone_s: float = 15.0
    first_s: float = 60.0
    still_s: float = 10.0
    still_steps: int = 16
    wait_s: float = 5.0

    def interval(self, world_size: int) -> float:
        """Seconds between two exchanges in a world of this size."""
        return self.interval_s if self.interval_s is not None else min(2.0, max(0.25, 0.001 * world_size))


@dataclass(frozen=True)
class Joined:
    """The sums over all ranks of one step (`_shards.py` says of what)."""

    generation: int
    step: int
    sums: tuple[float, ...]


@dataclass(frozen=True)
class RankNews:
    """What the reporting rank knows of all ranks.

    Attributes:
        heard: Ranks heard of so far.
        non_finite: For each rank that had a non-finite value, the newest such step.
        fresh_non_finite: (rank, step) of those that came since the last `Ranks.collected`.
        slowest_rank, slowest_step_s: The rank with the longest step time; None before one is known.
        median_step_s: Median step time over the ranks, seconds.
        silent: Ranks that fell silent, each with the reason.
        left: Ranks that ended in order.
        joined: Sums of steps that became complete since the last `Ranks.collected`, oldest first.
    """

    heard: int = 0
    non_finite: dict[int, int] = field(default_factory=dict)
    fresh_non_finite: tuple[tuple[int, int], ...] = ()
    slowest_rank: int | None = None
    slowest_step_s: float | None = None
    median_step_s: float | None = None
    silent: dict[int, str] = field(default_factory=dict)
    left: tuple[int, ...] = ()
    joined: tuple[Joined, ...] = ()


@dataclass
class _Entry:
    record: Record | None = None
    heard_at: float = 0.0
    called_at: float = 0.0
    others_calls: int = 0  # of the busiest rank when this one published last
    taken: tuple[int, int] = (-1, -1)  # newest generation and step whose sums were taken


class RollCall:
    """Takes the ranks' records in and says what they come to. Knows no clock and no store; for one thread.

    Args:
        world_size: Number of ranks.
        timing: When a rank counts as silent.
        now: Seconds on any steady clock.
    """

    def __init__(self, world_size: int, timing: Timing, now: float) -> None:
        self._world_size = world_size
        self._timing = timing
        self._ranks = [_Entry(heard_at=now, called_at=now) for _ in range(world_size)]
        self._unfinished: OrderedDict[tuple[int, int], dict[int, tuple[float, ...]]] = OrderedDict()
        self._unfinished_max = min(256, max(16, _UNFINISHED_MAX // world_size))
        self.unreadable = 0

    def take(self, records: Iterable[tuple[int, bytes]], now: float) -> RankNews:
        """Takes the newest records (empty bytes: none yet) and returns the news."""
        fresh: list[tuple[int, int]] = []
        joined: list[Joined] = []
        for rank, data in records:
            try:
                record = Record.unpack(data) if data else None
            except ValueError:
                self.unreadable += 1
                record = None
            if record is not None:
                self._update(rank, record, now, fresh, joined)
        return self._news(now, fresh, joined)

    def records(self) -> Sequence[Record | None]:
        """The newest record of each rank, by rank."""
        return [entry.record for entry in self._ranks]

    def _update(
        self, rank: int, record: Record, now: float, fresh: list[tuple[int, int]], joined: list[Joined]
    ) -> None:
        entry = self._ranks[rank]
        before = entry.record
        if before is not None and before.beat == record.beat:
            return
        entry.record, entry.heard_at = record, now
        if before is None or record.calls != before.calls:
            entry.called_at = now
            entry.others_calls = self._most_calls()
        if record.non_finite > (before.non_finite if before is not None else 0):
            fresh.append((rank, record.non_finite_step))
        for part in record.shards:
            key = (part.generation, part.step)
            if key <= entry.taken:
                continue
            entry.taken = key
            parts = self._unfinished.setdefault(key, {})
            parts[rank] = part.values
            if len(parts) == self._world_size:
                del self._unfinished[key]
                joined.append(Joined(*key, sums=_sums([parts[r] for r in range(self._world_size)])))
        while len(self._unfinished) > self._unfinished_max:
            self._unfinished.popitem(last=False)

    def _most_calls(self) -> int:
        return max((entry.record.calls for entry in self._ranks if entry.record is not None), default=0)

    def _silence(self, entry: _Entry, now: float, most_calls: int) -> str | None:
        timing, record = self._timing, entry.record
        if record is None:
            return "never heard of" if now - entry.heard_at >= timing.first_s else None
        if record.left:
            return None
        at = f"since step {record.step}" if record.step >= 0 else "before its first step"
        if now - entry.heard_at >= timing.gone_s:
            return f"not heard of {at}"
        lives = now - entry.heard_at < 3 * max(timing.heartbeat_s, timing.interval(self._world_size))
        if lives and now - entry.called_at >= timing.still_s and most_calls - entry.others_calls >= timing.still_steps:
            return f"alive, but has not called step {at}"
        return None

    def _news(self, now: float, fresh: list[tuple[int, int]], joined: list[Joined]) -> RankNews:
        most_calls = self._most_calls()
        silent: dict[int, str] = {}
        non_finite: dict[int, int] = {}
        times: list[tuple[float, int]] = []
        left: list[int] = []
        for rank, entry in enumerate(self._ranks):
            why = self._silence(entry, now, most_calls)
            if why is not None:
                silent[rank] = why
            record = entry.record
            if record is None:
                continue
            if record.non_finite:
                non_finite[rank] = record.non_finite_step
            if record.step_time_s > 0:
                times.append((record.step_time_s, rank))
            if record.left:
                left.append(rank)
        slowest = max(times, default=None)
        return RankNews(
            heard=sum(entry.record is not None for entry in self._ranks),
            non_finite=non_finite,
            fresh_non_finite=tuple(fresh),
            slowest_rank=slowest[1] if slowest else None,
            slowest_step_s=slowest[0] if slowest else None,
            median_step_s=statistics.median(t for t, _ in times) if times else None,
            silent=silent,
            left=tuple(left),
            joined=tuple(joined),
        )


def _sums(parts: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Column sums, independent of the order in which the parts came; see `_shards.py` for what a negative entry means."""
    from argus._shards import add

    return add(parts)


def describe(ranks: dict[int, str], most: int = 4) -> str:
    """Some of the ranks with their reasons, in words."""
    shown = [f"rank {rank} {why}" for rank, why in sorted(ranks.items())[:most]]
    more = len(ranks) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
