"""Several ranks of one training run: what each sees reaches rank 0, and actions are agreed, beside the user's process group.

Nothing here takes part in a collective. Every rank has a thread with a connection of its own to the default group's key-value
store, and writes one value there, over and over; rank 0 reads all of them. docs/distributed.md says what follows from that.
"""

from __future__ import annotations

import atexit
import itertools
import math
import statistics
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from argus._agreement import Agreement, prepare_agreements
from argus._courier import Courier, Store, default_store, steady_s
from argus._rank_record import Record, ShardEntry
from argus._report import say
from argus._roll import RankNews, RollCall, Timing, describe

_SHARDS_KEPT = 256
#: Parts of sums that are said again in each record: those of the last intervals, and some in any case.
_SHARDS_AGAIN = 8
_INTERVALS_AGAIN = 5
_STEP_TIMES_KEPT = 16
_CLOSE_S = 2.0
#: Lines about silent ranks, at most: a thousand ranks may fall silent one by one.
_SILENCES_SAID_MAX = 8
_RUN = "run"
_ENDED = "ended"
_sessions = itertools.count(1)


class Ranks:
    """This process among the ranks of `torch.distributed`'s default group. Made by `discover`.

    `publish`, `collected`, `agreement` and `close` belong to the training thread and never block, `close` aside, which waits two
    seconds at most. Failures are said once, by rank 0 only, counted in `errors`, and never raised.

    Attributes:
        rank: This rank.
        world_size: Number of ranks, 2 or more.
        reports: Whether this rank reports for all (rank 0).
        interval_s: Seconds between two exchanges with the store.
        errors: Exchanges that failed.
    """

    def __init__(
        self,
        rank: int,
        world_size: int,
        *,
        source: Callable[[], Any] = default_store,
        timing: Timing | None = None,
        say: Callable[[str], None] = say,
        session: str | None = None,
    ) -> None:
        self.rank = rank
        self.world_size = world_size
        self.reports = rank == 0
        self._timing = timing or Timing()
        self.interval_s = self._timing.interval(world_size)
        self.errors = 0
        self._say = say
        self._said: set[str] = set()
        self._lock = threading.RLock()  # SIGTERM's handler may come while the training thread holds it
        self._calls = 0
        self._step = -1
        self._non_finite = 0
        self._non_finite_step = -1
        self._left = False
        self._fresh = True
        self._generation = 0
        self._shards: deque[tuple[float, ShardEntry]] = deque(maxlen=_SHARDS_KEPT)
        self._step_times: deque[float] = deque(maxlen=_STEP_TIMES_KEPT)
        self._news = RankNews()
        self._run_id = ""
        self._run_id_known = threading.Event()
        self._agreement: Agreement | None = None
        self._closed = False
        # The courier's thread alone.
        self._roll: RollCall | None = None
        self._written_at = -math.inf
        self._standing: dict[str, Any] = {}
        self._beat = 0
        self._latency_s = 0.0
        self._silences: set[int] = set()
        self._ended = False  # rank 0 has closed its watch: nobody listens any more
        # Every rank runs the same program, so the count is the same on all of them, and no key of an earlier watch is met.
        self._courier = Courier(rank, f"argus/{session or next(_sessions)}", self, source)
        self._at_exit = _close_at_exit(self)

    @staticmethod
    def discover(timing: Timing | None = None) -> Ranks | None:
        """The ranks of the default group; None without an initialised group of two or more. Costs nothing then, and never raises."""
        try:
            if default_store() is None:
                return None
            import torch.distributed as dist

            world_size = dist.get_world_size()
            return Ranks(dist.get_rank(), world_size, timing=timing) if world_size > 1 else None
        except Exception as error:
            say(f"only this rank is watched: {_cause(error)}")
            return None

    # The training thread.

    def publish(
        self, step: int, *, non_finite: bool, step_time_s: float, shard_squares: tuple[float, ...] | None = None
    ) -> tuple[int, int]:
        """Says what this rank saw in a step. Never blocks; some microseconds.

        Args:
            step: Step number, the same on all ranks; lower than the last after a rewind.
            non_finite: Whether a value of this rank (loss, gradients) was NaN or infinite.
            step_time_s: Duration of the step, seconds; what is not a positive number is not used.
            shard_squares: `Measured.part`, what this rank adds to sums over all ranks; None when gradients are the same on all ranks.

        Returns:
            The generation and the number of the step, by which its sums are known in `RankNews.joined`.
        """
        with self._lock:
            if step < self._step:
                self._generation += 1
            key = (self._generation, step)
            if 0 < step_time_s < math.inf:
                self._step_times.append(step_time_s)
            if shard_squares is not None:
                self._shards.append((steady_s(), ShardEntry(*key, shard_squares)))
            self._calls += 1
            self._step = step
            if non_finite:
                self._non_finite += 1
                self._non_finite_step = step
            self._fresh = True
        if non_finite:
            self._courier.wake()
        return key

    def collected(self) -> RankNews:
        """The newest news, on rank 0; without any on the other ranks. What is `fresh_` or `joined` there is returned once."""
        with self._lock:
            news = self._news
            if news.fresh_non_finite or news.joined:
                self._news = replace(news, fresh_non_finite=(), joined=())
        return news

    def agreement(self, can_apply: Callable[[dict[str, Any]], str | None] | None = None) -> Agreement:
        """Takes part in agreements from now on (AUTO). The same object each time; `can_apply` counts in the first call."""
        if self._agreement is None:
            self._agreement = Agreement(
                self.rank,
                wait_s=self._timing.wait_s,
                wake=self._courier.wake,
                alive=self._courier.alive,
                blocker=self._blocker,
                lead_steps=self._lead_steps,
                say=self._say,
                can_apply=can_apply,
            )
            with self._lock:
                self._fresh = True
            self._courier.wake()
        return self._agreement

    def common_run_id(self, own: str, wait_s: float = 10.0) -> str:
        """Rank 0's run id, on all ranks. To be called before the loop: the others wait for rank 0's call, `wait_s` at most.

        Args:
            own: On rank 0 the run id; on the others what is used when rank 0 is not heard of in time.
        """
        if self.reports:
            self._run_id = own
            self._courier.wake()
            return own
        return self._run_id if self._run_id_known.wait(wait_s) else own

    def close(self) -> None:
        """Says that this rank ends in order and stops the thread. Waits two seconds at most. Safe to call twice.

        Rank 0 listens for one more second at most until the others have ended too, for what they saw last.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        with self._lock:
            self._left = True
            self._fresh = True
        self._courier.close(_CLOSE_S)

    def _blocker(self) -> str | None:
        """Why no action can be agreed now."""
        roll, agreement = self._roll, self._agreement
        if not self._courier.alive():
            return "the other ranks are out of reach"
        if roll is None or agreement is None:
            return "the other ranks are not reached yet"
        with self._lock:
            silent = self._news.silent
        if silent:
            return describe(silent, 1)
        for rank, record in enumerate(roll.records()):
            if record is None:
                return f"rank {rank} has not been heard of yet"
            if record.left:
                return f"rank {rank} has ended"
            if not record.agrees:
                return f"rank {rank} does not take part"
            if record.settled != agreement.number:
                return f"the action before is not over yet on rank {rank}"
        return None

    def _lead_steps(self) -> int:
        """Steps in which a proposal, all answers and the decision have gone round with time to spare."""
        timing = self._timing
        lead_s = 2 * self.interval_s + 4 * timing.quick_s + 10 * self._latency_s + 0.1
        with self._lock:
            step_s = statistics.median(self._step_times) if self._step_times else 0.001
        return math.ceil(lead_s / max(step_s, 1e-5)) + 3

    # The courier's thread.

    def prepare(self, store: Store) -> None:
        """Makes every key that is read later, so that no read waits for one; takes up the roll."""
        prepare_agreements(store)
        for key in (_RUN, _ENDED):
            store.compare_set(key, "", "-")
        if self.reports:
            for rank in range(self.world_size):
                store.compare_set(_key(rank), "", "-")
            if self._roll is None:
                self._roll = RollCall(self.world_size, self._timing, steady_s())
        self._written_at = -math.inf

    def exchange(self, store: Store) -> float:
        """Writes this rank's record, takes part in an agreement, and on rank 0 reads all records."""
        begun = steady_s()
        agreement = self._agreement
        self._attend(store)
        if agreement is not None:
            agreement.send(store)
        self._write(store, agreement, begun)
        if agreement is not None:
            agreement.receive(store)
        if self._roll is not None:
            self._read(store, self._roll, agreement)
        took = steady_s() - begun
        self._latency_s = max(took, 0.9 * self._latency_s)
        busy = agreement is not None and agreement.busy()
        return min(self.interval_s, self._timing.quick_s) if busy else self.interval_s

    def over(self, closing: bool) -> bool:
        """Whether nothing more is to come: for rank 0 when all that live have ended, for the others when rank 0 has."""
        if not self.reports:
            return closing or self._ended
        if not closing or self._roll is None:
            return False
        silent = self._news.silent
        return all(
            record is None or record.left or rank in silent or rank == self.rank
            for rank, record in enumerate(self._roll.records())
        )

    def cut_off(self, error: Exception) -> None:
        """The store was not reached; the courier tries again."""
        self.errors += 1
        if self.reports and not self._closed:
            self._say_once("store", f"no word from the other ranks for now: {_cause(error)}; training goes on")

    def _attend(self, store: Store) -> None:
        """What rank 0 tells all: the run's id, and that it has ended."""
        if self.reports:
            if self._run_id and not self._run_id_known.is_set():
                store.set(_RUN, self._run_id.encode())
                self._run_id_known.set()
            if self._closed:
                store.set(_ENDED, b"1")
            return
        run, ended = store.multi_get([_RUN, _ENDED])
        if run != b"-" and not self._run_id_known.is_set():
            self._run_id = run.decode(errors="replace")
            self._run_id_known.set()
        if ended != b"-":
            with self._lock:
                self._ended = self._left = self._fresh = True

    def _write(self, store: Store, agreement: Agreement | None, now: float) -> None:
        standing = agreement.standing() if agreement is not None else {}
        with self._lock:
            same = not self._fresh and standing == self._standing
            if same and now - self._written_at < self._timing.heartbeat_s:
                return
            # A record replaces the last one: what rank 0 may not have read yet is said again.
            while len(self._shards) > _SHARDS_AGAIN and self._shards[0][0] < now - _INTERVALS_AGAIN * self.interval_s:
                self._shards.popleft()
            self._beat += 1
            record = Record(
                beat=self._beat,
                calls=self._calls,
                step=self._step,
                step_time_s=statistics.median(self._step_times) if self._step_times else 0.0,
                non_finite=self._non_finite,
                non_finite_step=self._non_finite_step,
                left=self._left,
                shards=tuple(entry for _, entry in self._shards),
                **standing,
            )
            self._fresh = False
        store.set(_key(self.rank), record.pack())
        self._written_at, self._standing = now, standing

    def _read(self, store: Store, roll: RollCall, agreement: Agreement | None) -> None:
        values = store.multi_get([_key(rank) for rank in range(self.world_size)])
        news = roll.take(((rank, b"" if value == b"-" else value) for rank, value in enumerate(values)), steady_s())
        with self._lock:
            waiting = self._news
            self._news = replace(
                news,
                fresh_non_finite=(waiting.fresh_non_finite + news.fresh_non_finite)[-_SHARDS_KEPT:],
                joined=(waiting.joined + news.joined)[-_SHARDS_KEPT:],
            )
        self._tell(news.silent)
        if agreement is not None:
            agreement.judge(store, roll.records(), news.silent)

    def _tell(self, silent: dict[int, str]) -> None:
        new = {rank: why for rank, why in silent.items() if rank not in self._silences}
        if not new or self._closed:
            return
        self._silences.update(new)
        self._say_once(f"silent {min(len(self._said), _SILENCES_SAID_MAX)}", f"{describe(new)}; training goes on")

    def _say_once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._say(text)


def _key(rank: int) -> str:
    return f"rank/{rank}"


def _cause(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0][:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _close_at_exit(ranks: Ranks) -> Callable[[], None]:
    """Registers the end of a process as the end of its watch. A thread that is still in the store then could end it badly."""
    reference = weakref.ref(ranks)

    def close() -> None:
        living = reference()
        if living is not None:
            living.close()

    atexit.register(close)
    return close
