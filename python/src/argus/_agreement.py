"""An action that all ranks apply after the same step, or none does. docs/distributed.md has the argument."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from argus._courier import Store
from argus._rank_record import TEXT_MAX, Record

_PROPOSAL = "proposal"
_DECISION = "decision"
#: Longest payload, bytes of JSON.
PAYLOAD_BYTES_MAX = 4096
_IDS_KEPT = 256


@dataclass(frozen=True)
class Refused:
    """An action that no rank applies, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class _Proposal:
    number: int
    id: str
    payload: dict[str, Any]
    step: int

    def pack(self) -> bytes:
        return json.dumps([self.number, self.id, self.payload, self.step]).encode()

    @staticmethod
    def unpack(data: bytes) -> _Proposal | None:
        try:
            number, id_, payload, step = json.loads(data)
        except ValueError:
            return None
        if not (
            isinstance(number, int) and isinstance(id_, str) and isinstance(payload, dict) and isinstance(step, int)
        ):
            return None
        return _Proposal(number, id_, payload, step)


class Agreement:
    """Proposes actions (rank 0) and says, on every rank, when one is due.

    The decision about a proposal is one value in the store, written once by compare-and-set: `commit` by rank 0 when all ranks
    answered yes before the step, or `abort` by whoever objects, or whoever reaches the step first without a decision. All ranks
    read that one value, so they do the same. `propose`, `due` and `take_refused` belong to the training thread, the rest to
    the side channel's.

    Args:
        rank: This rank.
        wait_s: Longest that `due` may wait, see there.
        wake: Starts an exchange with the store; never blocks.
        blocker: Why no action can be agreed now, or None (rank 0).
        lead_steps: How many steps ahead an action is to be set (rank 0).
        say: Takes a line for the user.
        can_apply: Called on the training thread with a payload: None when this rank can apply it, else why not.
    """

    def __init__(
        self,
        rank: int,
        *,
        wait_s: float,
        wake: Callable[[], None],
        alive: Callable[[], bool],
        blocker: Callable[[], str | None],
        lead_steps: Callable[[], int],
        say: Callable[[str], None],
        can_apply: Callable[[dict[str, Any]], str | None] | None = None,
    ) -> None:
        self._rank = rank
        self._wait_s = wait_s
        self._wake = wake
        self._alive = alive
        self._blocker = blocker
        self._lead_steps = lead_steps
        self._say = say
        self._can_apply = can_apply
        self._changed = threading.Condition()
        self._seen: _Proposal | None = None  # not over yet for this rank
        self._outgoing: _Proposal | None = None  # not yet in the store
        self._open: _Proposal | None = None  # rank 0: without a decision
        self._decision = ""
        self._pressing = ""
        self._answered = 0
        self._promised_at = 0
        self._objection = ""
        self._settled = 0
        self._number = 0
        self._ids: deque[str] = deque(maxlen=_IDS_KEPT)
        self._refused: deque[Refused] = deque(maxlen=_IDS_KEPT)
        self._missed: _Proposal | None = None
        self._off = ""

    # The training thread.

    def propose(self, id: str, payload: dict[str, Any], step: int) -> None:
        """Rank 0 proposes an action after `step`. Never blocks; the outcome comes from `due` or `take_refused`.

        Args:
            id: Names the recommendation. An id is proposed once; again, it is ignored.
            payload: What every rank needs to apply it: JSON, 4,096 bytes at most.
            step: The newest step.
        """
        if id in self._ids:
            return
        self._ids.append(id)
        proposal = _Proposal(self._number + 1, id, payload, int(step) + self._lead_steps())
        try:
            size = len(proposal.pack())
        except (TypeError, ValueError) as error:
            return self._refuse(id, f"not JSON: {error}")
        if self._rank != 0:
            return self._refuse(id, "only rank 0 proposes")
        if size > PAYLOAD_BYTES_MAX:
            return self._refuse(id, f"a payload of {size} bytes; accepted are {PAYLOAD_BYTES_MAX}")
        reason = self._off or ("the action before is not over yet" if self._open or self._seen else self._blocker())
        if reason:
            return self._refuse(id, reason)
        with self._changed:
            self._number = proposal.number
            self._decision = ""
            self._open = self._outgoing = self._seen = proposal
        self._wake()

    def due(self, step: int) -> dict[str, Any] | None:
        """The payload to apply now, after `step`; almost always None. Call it on every rank after every step.

        Waits only when this rank promised to take part, reached the step, and has not read the decision yet: then for one
        exchange with the store, and `wait_s` at most if the store does not answer.
        """
        proposal = self._seen
        if proposal is None:
            return None
        if self._answered != proposal.number:
            self._answer(proposal, step)
        if self._objection:
            return None
        if step < proposal.step:
            if step < self._promised_at and not self._pressing:
                # The steps were set back: its step may be far away now, and the reason for it gone.
                self._pressing = f"rank {self._rank} was set back to step {step}"
                self._wake()
            return None
        return self._resolve(proposal)

    def take_refused(self) -> list[Refused]:
        """The actions refused since the last call, on all ranks that saw them proposed."""
        out: list[Refused] = []
        while self._refused:
            out.append(self._refused.popleft())
        return out

    def _refuse(self, id: str, reason: str) -> None:
        self._refused.append(Refused(id, reason))

    def _answer(self, proposal: _Proposal, step: int) -> None:
        objection = self._off
        if not objection and step >= proposal.step:
            objection = f"the proposal came after its step {proposal.step}"
        if not objection and self._can_apply is not None:
            try:
                objection = self._can_apply(proposal.payload) or ""
            except Exception as error:
                objection = f"{type(error).__name__}: {error}"
        with self._changed:
            if self._seen is proposal:
                self._objection = objection[:TEXT_MAX]
                self._answered = proposal.number
                self._promised_at = step
        self._wake()

    def _resolve(self, proposal: _Proposal) -> dict[str, Any] | None:
        with self._changed:
            if self._seen is proposal and not self._decision:
                self._pressing = f"rank {self._rank} reached step {proposal.step} before all ranks had agreed"
                self._wake()
                self._changed.wait_for(
                    lambda: self._seen is not proposal or self._decision or not self._alive(), self._wait_s
                )
            if self._seen is not proposal:
                return None  # refused meanwhile
            self._over(proposal)
            if self._decision == "commit":
                return proposal.payload
            self._missed = proposal
            self._off = self._objection = "a decision could not be read from the store in time"
        self._refuse(proposal.id, self._off)
        return None

    @property
    def number(self) -> int:
        """Number of the newest proposal, 0 before the first."""
        return self._number

    # The side channel's thread.

    def standing(self) -> dict[str, Any]:
        """What this rank's record says of agreements."""
        with self._changed:
            return {
                "agrees": True,
                "answered": self._answered,
                "objection": self._objection,
                "settled": self._settled,
            }

    def busy(self) -> bool:
        """Whether a proposal is under way, so that exchanges should be frequent."""
        return self._seen is not None or self._missed is not None

    def send(self, store: Store) -> None:
        """Puts a new proposal into the store, its open decision first."""
        proposal = self._outgoing
        if proposal is not None:
            store.set(_DECISION, f"{proposal.number} open".encode())
            store.set(_PROPOSAL, proposal.pack())
            self._outgoing = None

    def receive(self, store: Store) -> None:
        """Reads proposal and decision; presses for a decision when the training thread waits for it."""
        seen, missed, pressing = self._seen, self._missed, self._pressing
        if seen is not None and pressing:
            self._decide(store, seen, f"abort {pressing}")
        if missed is not None:
            self._decide(store, missed, f"abort rank {self._rank}: {self._off}")
        data, decision = store.multi_get([_PROPOSAL, _DECISION])
        self._learn(decision)
        proposal = _Proposal.unpack(data)
        with self._changed:
            if proposal is not None and self._seen is None and proposal.number > max(self._settled, self._number):
                self._number = proposal.number
                self._decision = ""
                self._seen = proposal
        self._learn(decision)

    def judge(self, store: Store, records: Sequence[Record | None], silent: dict[int, str]) -> None:
        """Rank 0: commits when all ranks said yes, aborts when one cannot."""
        proposal = self._open
        if proposal is None or self._outgoing is not None:
            return
        objections = [f"rank {rank} {why}" for rank, why in silent.items()]
        yes = 0
        for rank, record in enumerate(records):
            if record is None:
                continue
            if record.left:
                objections.append(f"rank {rank} has ended")
            elif record.answered == proposal.number:
                if record.objection:
                    objections.append(f"rank {rank}: {record.objection}")
                else:
                    yes += 1
        if objections:
            self._decide(store, proposal, f"abort {objections[0]}"[:TEXT_MAX])
        elif yes == len(records):
            self._decide(store, proposal, "commit")

    def _decide(self, store: Store, proposal: _Proposal, word: str) -> None:
        self._learn(store.compare_set(_DECISION, f"{proposal.number} open", f"{proposal.number} {word}"))

    def _learn(self, data: bytes) -> None:
        number, _, word = data.decode(errors="replace").partition(" ")
        if not number.isdigit() or word == "open":
            return
        with self._changed:
            missed = self._missed
            if missed is not None and int(number) == missed.number:
                self._missed = None
                if word == "commit":
                    self._say(
                        f"rank {self._rank} did not apply {missed.id} after step {missed.step} as the other ranks did: the store did not "
                        "answer in time. Their weights differ from here on; go back to a checkpoint"
                    )
            if self._open is not None and int(number) == self._open.number:
                self._open = None
            seen = self._seen
            if seen is None or int(number) != seen.number or self._decision:
                return
            if word == "commit":
                self._decision = "commit"
            else:
                self._over(seen)
                self._refuse(seen.id, word.removeprefix("abort ") or "refused")
            self._changed.notify_all()

    def _over(self, proposal: _Proposal) -> None:
        self._seen = None
        self._pressing = ""
        self._settled = proposal.number
        self._objection = ""


def prepare_agreements(store: Store) -> None:
    """Makes the two keys of agreements, where no rank has made them yet."""
    for key in (_PROPOSAL, _DECISION):
        store.compare_set(key, "", "-")
