"""A client of the published protocol that retries until it is answered: what a training process does, in a few lines."""

import http.client
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from conftest import Step, healthy_run

PACK_STEPS = 16


def numbered_steps(run_id: str, steps: int, seed: int) -> list[Step]:
    """A run that has an accident every 700 steps, each step with its `seq`."""
    run = healthy_run(steps, seed)
    for step in run:
        if step["step"] % 700 > 660:
            step["training"]["loss"] *= 3.0
            step["training"]["grad_norm"] *= 20.0
    return [{"run_id": run_id, "seq": i, "segment": 0, "model_type": "transformer", **s} for i, s in enumerate(run)]


@dataclass
class PackClient:
    """Sends a run in packs, in order, each again and again until it is acknowledged with 200."""

    run_id: str
    steps: list[Step]
    connect: Callable[[], http.client.HTTPConnection]
    answers: dict[int, dict] = field(default_factory=dict)  # by seq: the last answer given to it
    next_seq: int = 0
    retries: int = 0
    connection: http.client.HTTPConnection | None = None

    @property
    def is_done(self) -> bool:
        return self.next_seq == len(self.steps)

    def try_pack(self, rng: random.Random) -> bool:
        """One attempt at the next pack; now and then it overlaps what was acknowledged. True when acknowledged."""
        first = max(0, self.next_seq - rng.choice((0, 0, 0, PACK_STEPS // 2, PACK_STEPS)))
        pack = self.steps[first : self.next_seq + PACK_STEPS]
        try:
            if self.connection is None:
                self.connection = self.connect()
            self.connection.request("POST", "/v2/detect", json.dumps(pack), {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            self._drop()
            return False
        if response.status == 503:
            self.retries += 1
            return False
        assert response.status == 200, (response.status, body[:500])
        given = json.loads(body)["steps"]
        assert [a["step"] for a in given] == [s["step"] for s in pack]
        for step, answer in zip(pack, given, strict=True):
            seq = step["seq"]
            if seq < self.next_seq:
                assert answer == self.answers[seq], f"seq {seq} was answered otherwise when it was sent again"
            self.answers[seq] = answer
        self.next_seq = first + len(pack)
        return True

    def _drop(self) -> None:
        self.retries += 1
        if self.connection is not None:
            self.connection.close()
        self.connection = None
