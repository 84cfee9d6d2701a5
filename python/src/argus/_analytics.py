"""The second stream: what a run is and how it goes, in an event now and then. Off unless switched on.

An event is made of what is known at that moment. What is not known is absent: there are no defaults.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from argus._discover import Architecture, count_optimized, count_parameters, discover, versions
from argus._native import analytics_event
from argus._redact import message_of
from argus._report import say

HEARTBEAT_S = 10.0
MILESTONE_STEPS = 1000
_SECONDS_PER_HOUR = 3600.0


def quality_index_of(certificate: str) -> float | None:
    """The data quality index that a certificate states (JSON, as a completion answers it); None where it states none."""
    try:
        stated = json.loads(certificate)["data_quality"]["index"]
    except (ValueError, KeyError, TypeError):  # no certificate, or none of this version: the index is not known
        return None
    return float(stated) if isinstance(stated, (int, float)) else None


class _Window:
    """Steps and samples since a moment, for a rate."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.steps = 0
        self.samples: int | None = 0

    def begin(self, now: float) -> None:
        self.began, self.steps, self.samples = now, 0, 0

    def add(self, samples: int | None) -> None:
        self.steps += 1
        self.samples = None if samples is None or self.samples is None else self.samples + samples

    def rates(self, now: float) -> dict[str, object]:
        """Steps and samples a second; nothing where no step was timed."""
        if self.began is None or self.steps == 0 or not now > self.began:
            return {}
        elapsed = now - self.began
        found: dict[str, object] = {"steps_per_s": self.steps / elapsed}
        if self.samples is not None:
            found["samples_per_s"] = self.samples / elapsed
        return found


class Analytics:
    """Makes the events of one run and hands their JSON to `send`.

    Nothing here raises, reads a tensor or starts a thread. A failure ends the stream, is said once and counted in `errors`;
    the run and its first stream go on. Not thread-safe: belongs to the thread that trains.

    Args:
        send: Takes the JSON of one event and returns at once (`Run.analytics`).
        run_id: The run's name.
        model: A torch model, wrapped or not, or None.
        optimizers: Counted instead where there is no model; nothing else is read of them.
        model_type: Family the user named, in place of the discovered one.
        architecture: What `discover` found, where that was done already.
        clock: Seconds of a clock that never goes back.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        send: Callable[[str], object],
        run_id: str,
        model: Any = None,
        optimizers: Iterable[Any] = (),
        *,
        model_type: str | None = None,
        architecture: Architecture | None = None,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._send = send
        self._run_id = run_id
        self._model = model
        self._optimizers = tuple(optimizers)
        self._model_type = model_type
        self._architecture = architecture
        self._clock = clock
        self._wall = wall
        self._started: float | None = None
        self._due = math.inf
        self._last_step: int | None = None
        self._loss: float | None = None
        self._samples: int | None = None
        self._next_milestone: int | None = None
        self._since_heartbeat = _Window()
        self._since_milestone = _Window()
        self._whole = _Window()
        self._off = False
        self.errors = 0

    def start(self) -> None:
        """Sends run_start. Call it once, before the first step."""
        if self._off or self._started is not None:
            return
        try:
            self._started = self._clock()
            self._due = self._started + HEARTBEAT_S
            found = self._architecture if self._architecture is not None else discover(self._model)
            family = self._model_type
            if family is None and found.model_name is not None:
                family = found.model_type
            self._emit(
                "run_start",
                {
                    "model_name": found.model_name,
                    "model_type": family,
                    "devices": list(found.devices),
                    "versions": versions(),
                    **self._counts(),
                },
            )
        except Exception as error:
            self._give_up(error)

    def step(self, step: int, loss: float | None = None, samples: int | None = None) -> None:
        """Takes one step; sends a heartbeat or milestone when one is due.

        Args:
            step: Number of the optimizer step.
            loss: Its loss where it is a Python float already; a tensor is not waited for, nor read.
            samples: Samples in it, where known.

        Cost: one reading of the clock and some additions, under 1 us; an event some microseconds more.
        """
        if self._off or self._started is None:
            return
        try:
            now = self._clock()
            self._last_step = step
            self._loss = float(loss) if isinstance(loss, (float, int)) else None
            self._samples = samples if isinstance(samples, int) and samples > 0 else None
            if self._next_milestone is None:  # the first step: rates are counted from its end
                self._next_milestone = (step // MILESTONE_STEPS + 1) * MILESTONE_STEPS
                for window in (self._since_heartbeat, self._since_milestone, self._whole):
                    window.begin(now)
            else:
                for window in (self._since_heartbeat, self._since_milestone, self._whole):
                    window.add(self._samples)
            if step >= self._next_milestone:
                self._next_milestone = (step // MILESTONE_STEPS + 1) * MILESTONE_STEPS
                self._emit("milestone", self._progress(now, self._since_milestone))
                self._since_milestone.begin(now)
            if now >= self._due:
                self._due = now + HEARTBEAT_S
                self._emit("heartbeat", self._progress(now, self._since_heartbeat))
                self._since_heartbeat.begin(now)
        except Exception as error:
            self._give_up(error)

    def end(self, status: str, error: BaseException | str | None = None, dqi: float | None = None) -> None:
        """Sends run_end, once; later calls do nothing.

        Args:
            status: COMPLETED, FAILED or STOPPED.
            error: What ended it; bounded, and without paths, names of host and user, and values of the environment.
            dqi: The certificate's data quality index, where there is a certificate and it has one.
        """
        if self._off or self._started is None:
            return
        try:
            now = self._clock()
            is_known = dqi is not None and math.isfinite(dqi)
            self._emit(
                "run_end",
                {
                    **self._progress(now, self._whole),
                    "status": status,
                    "error": message_of(error),
                    "data_quality_index": float(dqi) if dqi is not None and is_known else None,
                    **self._counts(),
                },
            )
        except Exception as failure:
            self._give_up(failure)
        self._off = True

    def _progress(self, now: float, window: _Window) -> dict[str, object]:
        assert self._started is not None
        return {
            "step": self._last_step,
            "loss": self._loss,
            "batch_size": self._samples,
            "elapsed_hours": (now - self._started) / _SECONDS_PER_HOUR,
            **window.rates(now),
        }

    def _counts(self) -> dict[str, object]:
        """Parameters now: at the start a lazy module may not have any yet, and some may have been frozen since."""
        try:
            if self._model is None:
                return {"trainable_params": count_optimized(self._optimizers)}
            counts = count_parameters(self._model)
        except Exception:  # what cannot be looked at has no count, as `Architecture.problems` says
            counts = None
        return {} if counts is None else {"total_params": counts[0], "trainable_params": counts[1]}

    def _emit(self, event: str, fields: dict[str, object]) -> None:
        self._send(analytics_event(self._run_id, event, self._wall(), fields))

    def _give_up(self, error: Exception) -> None:
        self.errors += 1
        self._off = True
        say(f"no more analytics: {type(error).__name__}: {error}"[:300] + "; training goes on")
