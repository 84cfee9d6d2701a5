"""AUTO: what a decision asks for is done here, once, within bounds, and given back.

The engine decides what to try and judges whether it helped; this applies it to the training process. In MANUAL nothing here touches anything.
Every number below is a bound on what AUTO may do to a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from argus._endings import describe
from argus._errors import TrainingPaused, UsageError
from argus._filter import SampleFilter
from argus._native import Decision, Recommendation
from argus._report import number, say

if TYPE_CHECKING:
    from argus._lr_scale import LearningRateScale

#: Most rollbacks and most optimizer resets in a run.
ROLLBACKS_MAX = 8
RESETS_MAX = 3
#: Most rollbacks in a row to one checkpoint, each going on at half the rate of the one before; then it is one further back.
SAME_ANCHOR_MAX = 4
#: What the rate is multiplied by after a rollback: the same batches at the same rate would bring the same accident.
AFTER_ROLLBACK = 0.5
#: Observations at pressure 2 in a row after which samples are left out (at once at 3): what the engine waits for with any other action.
SUSTAINED = 6
#: Calm observations in a row after which a lowered rate that the engine does not give back itself rises by `GIVE_BACK`, and between two rises.
CALM_FIRST = 24
CALM_BETWEEN = 12
GIVE_BACK = math.sqrt(2.0)
#: Calm observations after which a quarter of the samples left out is let in again, and between two quarters; those named once more stay out.
CALM_FILTER_FIRST = 1000
CALM_FILTER_BETWEEN = 250

#: Kinds of failures inside that are said, once each.
_FAILURES_SAID_MAX = 16


class Anchor(Protocol):
    """A checkpoint, by the step it is the state after."""

    @property
    def step(self) -> int: ...


class Checkpoints(Protocol):
    """What a rollback needs of the ring of checkpoints."""

    def anchor(self, before_step: int | None = None) -> Anchor | None:
        """The newest whole and promoted one of a step below this, or None."""

    def restore(self, anchor: int) -> int:
        """Brings that state back whole, or raises and changes nothing; returns the step restored."""


class Report(NamedTuple):
    """What was done about one recommendation: an entry of `control.applied`."""

    id: int
    kind: str
    step: int
    ok: bool
    detail: str


@dataclass(frozen=True)
class Plan:
    """One action in full: nothing is left to look up where it is carried out, so that every rank does the same.

    Attributes:
        id: The recommendation; 0 for a person's command.
        kind: As in the recommendation; STOP for a person's command.
        asked: The learning-rate factor by the engine's REDUCE_LR and RESTORE_LR, after the action.
        guard: The one by rollbacks and resets, after the action.
        anchor: ROLLBACK: the step to restore.
        ids: FILTER_SAMPLES: the ids to leave out, or to let in again.
        release: Gives back what an earlier action took.
        more: Goes on with an action that was reported: no report of its own.
        why: The evidence, in words.
        refused: Why it is not done; empty when it is.
    """

    id: int
    kind: str
    asked: float = 1.0
    guard: float = 1.0
    anchor: int | None = None
    ids: tuple[Any, ...] = ()
    release: bool = False
    more: bool = False
    why: str = ""
    refused: str = ""


@dataclass
class ActionResult:
    """What `Actions.act` did.

    Attributes:
        reports: For `control.applied` of the next step and the run's record.
        restored_step: The training state is that after this step now; None when nothing was restored.
        paused: To be raised from `watch.step` once the reports are recorded; None when training goes on.
    """

    reports: list[Report] = field(default_factory=list)
    restored_step: int | None = None
    paused: TrainingPaused | None = None


class _Refused(Exception):
    """What was asked for is not done, for this reason. Nothing was changed."""


class Actions:
    """Carries out what decisions ask for. Belongs to the thread that trains; nothing raises out of it.

    Args:
        mode: "manual" or "auto".
        optimizers: Whose state RESET_OPTIMIZER replaces.
        lr_scale: Made before anything that reads learning rates; None in MANUAL.
        checkpoints: The ring a ROLLBACK restores from; None refuses rollbacks.
        on_pause: "raise", a function of one decision, or None: a pause is said and training goes on.
        audit: Takes one line for each action.

    Attributes:
        left_out: The samples left out, for `watch.filter` and `FilteredSampler`.
        errors: Failures inside, contained.
    """

    def __init__(
        self,
        mode: str,
        *,
        optimizers: Sequence[Any] = (),
        lr_scale: LearningRateScale | None = None,
        checkpoints: Checkpoints | None = None,
        on_pause: Any = None,
        audit: Callable[[str], object] = say,
    ) -> None:
        if mode not in ("manual", "auto"):
            raise UsageError(f"mode: {mode!r}; accepted is 'manual' or 'auto'", field="mode")
        if on_pause is not None and on_pause != "raise" and not callable(on_pause):
            raise UsageError(
                f"on_pause: {on_pause!r}; accepted is 'raise', a function of one decision, or None", field="on_pause"
            )
        self._auto = mode == "auto"
        self._optimizers = list(optimizers)
        self._lr_scale = lr_scale
        self._checkpoints = checkpoints
        self._on_pause = on_pause
        self._audit = audit
        self.left_out = SampleFilter()
        self.errors = 0
        self._said: set[str] = set()
        # Once each: ids rise within a run, so the newest planned says which have been.
        self._planned_id = 0
        self._decided_step: int | None = None
        self._hot = 0
        self._calm = 0
        # Learning rate: what the engine asked for and will ask back, and what rollbacks and resets took.
        self._asked = 1.0
        self._guard = 1.0
        self._guard_id = 0
        self._guard_waits = CALM_FIRST
        self._guard_until_step = -1
        self._rollbacks = 0
        self._resets = 0
        self._last_anchor: int | None = None
        self._same_anchor = 0
        self._named_for = 0
        self._named: dict[Any, None] = {}
        self._temporary: dict[Any, None] = {}
        self._filter_id = 0
        self._filter_waits = CALM_FILTER_FIRST
        self._quarter = 1
        self._before: set[Any] = set()

    @property
    def lr_factor(self) -> float:
        """What the learning rates of the schedule are multiplied by now."""
        return 1.0 if self._lr_scale is None else self._lr_scale.factor

    def act(
        self, decision: Decision | None, step: int, named: Sequence[Any] | None = None, command: str = ""
    ) -> ActionResult:
        """Does what the decision asks for, if anything: `plan`, and `carry_out` at once."""
        plan = self.plan(decision, step, named, command)
        return ActionResult() if plan is None else self.carry_out(plan, decision, step)

    def plan(
        self, decision: Decision | None, step: int, named: Sequence[Any] | None = None, command: str = ""
    ) -> Plan | None:
        """What the decision asks for, as `carry_out` takes it, on this rank or on all; None when nothing is to be done.

        Args:
            decision: The newest decision, also when it is an old one given again: it is planned for once. None: there is none (no
                answer came); nothing is concluded from that.
            step: The optimizer step that has just been taken.
            named: Ids of the samples the decision names (`spike_samples`), not positions; None when there are no ids.
            command: PAUSE or STOP when a person asked for it, given once; else empty.
        """
        try:
            if command:
                return self._as_it_is(0, command, "asked for by a person")
            if decision is not None and self._auto:
                return self._plan(decision, step, [each for each in named or () if isinstance(each, Hashable)])
        except Exception as error:  # nothing may reach the training loop
            self._fail(error)
        return None

    def carry_out(self, plan: Plan, decision: Decision | None, step: int) -> ActionResult:
        """Does what was planned, here or on the rank that decides: the same on every rank. `decision` is for `on_pause`."""
        result = ActionResult()
        try:
            self._carry_out(plan, decision, step, result)
        except Exception as error:  # nothing may reach the training loop
            self._fail(error)
        return result

    def _fail(self, error: Exception) -> None:
        self.errors += 1
        text = f"AUTO failed: {describe(error)}; training goes on"
        if text not in self._said and len(self._said) < _FAILURES_SAID_MAX:
            self._said.add(text)
            self._audit(text)

    def close(self) -> None:
        """Takes the learning-rate hooks off and says what was still in force. Safe to call twice."""
        scale, self._lr_scale = self._lr_scale, None
        if scale is None:
            return
        if scale.factor < 1.0:
            self._audit(f"the run ends with its learning rate at {number(scale.factor)} of its schedule")
        scale.close()

    # What is to be done.

    def _plan(self, decision: Decision, step: int, named: Sequence[Any]) -> Plan | None:
        if decision.step != self._decided_step:  # the same one again is no further observation
            self._decided_step = decision.step
            self._hot = self._hot + 1 if decision.harm_pressure >= 2 else 0
            calm = decision.harm_pressure == 0 and decision.episode is None and not decision.calibrating
            self._calm = self._calm + 1 if calm else 0
        asked = self._recommended(decision, step, named)
        return asked if asked is not None else self._give_back(decision)

    def _recommended(self, decision: Decision, step: int, named: Sequence[Any]) -> Plan | None:
        r = decision.recommendation
        if r is not None and r.id == self._filter_id and r.state in ("proposed", "applied", "watching"):
            return self._filter_on(r, decision, named)
        if r is None or r.id <= self._planned_id:
            return None
        plan: Plan | None = None
        if r.kind == "FILTER_SAMPLES":
            plan = self._filter_plan(r, decision, named)
        elif decision.lr_factor is not None and r.kind in ("REDUCE_LR", "RESTORE_LR"):
            plan = self._rate_plan(r, decision.lr_factor)
        elif decision.reset_optimizer and r.kind == "RESET_OPTIMIZER":
            plan = self._reset_plan(r, decision.suggested_lr)
        elif decision.reset_optimizer and r.kind == "ROLLBACK":
            plan = self._rollback_plan(r, decision)
        elif decision.action == "PAUSE" and r.kind == "PAUSE":
            plan = self._as_it_is(r.id, "PAUSE", _why(r))
        if plan is not None:
            self._planned_id = r.id
        return plan

    def _as_it_is(self, id: int, kind: str, why: str) -> Plan:
        return Plan(id, kind, self._asked, self._guard, why=why)

    def _rate_plan(self, r: Recommendation, factor: float) -> Plan:
        plan = self._as_it_is(r.id, r.kind, _why(r))
        scale = self._lr_scale
        if scale is None or not scale.effective:
            return replace(plan, refused="the optimizer carries no learning rate")
        if r.kind == "REDUCE_LR" and not 0.0 < factor < 1.0 or factor <= 0.0 or not math.isfinite(factor):
            return replace(plan, refused=f"a factor of {number(factor)} is not one to {r.kind} by")
        asked = min(1.0, max(_floor() / self._guard, self._asked * factor))
        if r.kind == "REDUCE_LR" and asked * self._guard > 0.999 * scale.factor:
            return replace(plan, refused=f"the rate is at its floor, {number(scale.factor)} of its schedule")
        return replace(plan, asked=asked)

    def _reset_plan(self, r: Recommendation, suggested: float | None) -> Plan:
        plan = self._as_it_is(r.id, r.kind, _why(r))
        if self._resets >= RESETS_MAX:
            return replace(plan, refused=f"{RESETS_MAX} resets have been made in this run")
        rate = self._lr_scale.effective_lr() if self._lr_scale is not None else None
        share = 1.0
        if suggested is not None and isinstance(rate, (int, float)) and rate > 0.0:
            share = min(1.0, suggested / rate)
        elif suggested is not None and rate is not None:
            share = AFTER_ROLLBACK  # a rate on a device is not waited for
        return replace(plan, guard=max(_floor() / self._asked, self._guard * share))

    def _rollback_plan(self, r: Recommendation, decision: Decision) -> Plan:
        plan = self._as_it_is(r.id, r.kind, _why(r))
        if self._checkpoints is None:
            return replace(plan, refused="there are no checkpoints: none were asked for with checkpoint_dir")
        if self._rollbacks >= ROLLBACKS_MAX:
            return replace(plan, refused=f"{ROLLBACKS_MAX} rollbacks have been made in this run")
        if r.anchor_step is not None:
            before = r.anchor_step + 1
        else:
            before = decision.anchor.collapse_step if decision.anchor is not None else decision.step
        found = self._checkpoints.anchor(before)
        if found is not None and found.step == self._last_anchor and self._same_anchor >= SAME_ANCHOR_MAX:
            found = self._checkpoints.anchor(found.step)
        if found is None:
            return replace(plan, refused=f"there is no healthy checkpoint from before step {before} that was not tried")
        # What is restored brings its own rate: the engine forgets what it asked for, and so do we.
        return replace(plan, anchor=found.step, asked=1.0, guard=max(_floor(), self._guard * AFTER_ROLLBACK))

    def _filter_plan(self, r: Recommendation, decision: Decision, named: Sequence[Any]) -> Plan | None:
        # A decision names the samples of its own step alone: those of one recommendation are gathered until it is acted on.
        if r.id != self._named_for:
            self._named_for, self._named = r.id, {}
        if decision.spike_indices:
            self._named.update(dict.fromkeys(named))
        lasting = decision.harm_pressure >= 3 or self._hot >= SUSTAINED
        if r.state not in ("proposed", "applied") or not lasting:
            return None
        plan = replace(self._as_it_is(r.id, r.kind, _why(r)), ids=tuple(self._named))
        if not self._named:
            return replace(plan, refused="the samples have no ids: give step() sample_ids")
        if not self.left_out.consulted:
            return replace(plan, refused="nothing asks watch.filter and no FilteredSampler is in use")
        return plan

    def _filter_on(self, r: Recommendation, decision: Decision, named: Sequence[Any]) -> Plan | None:
        # While it is being judged, what the engine goes on naming for it is left out too: bad samples come by one batch at a time.
        ids = tuple(each for each in named if each not in self.left_out) if decision.spike_indices else ()
        return replace(self._as_it_is(r.id, r.kind, ""), ids=ids, more=True) if ids else None

    def _give_back(self, decision: Decision) -> Plan | None:
        r = decision.recommendation
        if r is not None and r.kind == "ROLLBACK" and r.state in ("proposed", "applied", "watching"):
            return None  # it is not known yet whether it helped
        if self._guard < 1.0 and self._calm >= self._guard_waits and decision.step > self._guard_until_step:
            plan = self._as_it_is(self._guard_id, "RESTORE_LR", f"{self._calm} calm observations")
            guard = self._guard * GIVE_BACK
            return replace(plan, guard=guard if guard < 0.99 else 1.0, release=True)
        if self._temporary and self._calm >= self._filter_waits:
            plan = self._as_it_is(self._filter_id, "FILTER_SAMPLES", f"{self._calm} calm observations")
            return replace(plan, ids=tuple(self._temporary)[: self._quarter], release=True)
        return None

    # Doing it: the same on every rank.

    def _carry_out(self, plan: Plan, decision: Decision | None, step: int, result: ActionResult) -> None:
        ok, detail = False, plan.refused
        if not plan.refused:
            try:
                detail = self._do(plan, decision, step, result)
                ok = True
            except TrainingPaused as paused:
                result.paused = paused
                ok, detail = True, str(paused)
            except _Refused as reason:
                detail = str(reason)
            except Exception as error:
                self.errors += 1
                detail = f"{type(error).__name__}: {error}"
        if plan.more and ok:
            return
        text = f"{detail} ({plan.why})" if plan.why else detail
        result.reports.append(Report(plan.id, plan.kind, step, ok, text))
        self._audit(f"step {step}: {plan.kind}{'' if ok else ' not done'}: {text}")

    def _do(self, plan: Plan, decision: Decision | None, step: int, result: ActionResult) -> str:
        if plan.kind in ("PAUSE", "STOP"):
            return self._pause(plan, decision, step)
        if plan.kind == "FILTER_SAMPLES":
            return self._filter(plan)
        said = ""
        if plan.kind == "RESET_OPTIMIZER":
            said = self._reset(plan) + "; "
        elif plan.kind == "ROLLBACK":
            said = self._rollback(plan, step, result) + "; "
        return said + self._rate(plan)

    def _rate(self, plan: Plan) -> str:
        before = self.lr_factor
        if plan.release:
            self._guard_waits = self._calm + CALM_BETWEEN
        elif plan.guard < self._guard:
            self._guard_id, self._guard_waits, self._calm = plan.id, CALM_FIRST, 0
        self._asked, self._guard = plan.asked, plan.guard
        if self._lr_scale is None:
            return "learning rate as scheduled"
        self._lr_scale.factor = plan.asked * plan.guard
        return f"learning rate at {number(self.lr_factor)} of its schedule, was {number(before)}"

    def _reset(self, plan: Plan) -> str:
        from argus._optimizer_state import CannotReset, fresh_state, innermost, put_in_place

        optimizers = [innermost(o) for o in self._optimizers]
        if not optimizers:
            raise _Refused("no optimizer was given to argus.watch")
        try:
            states = [fresh_state(o) for o in optimizers]  # all, before any is changed
        except CannotReset as reason:
            raise _Refused(str(reason)) from reason
        for optimizer, state in zip(optimizers, states, strict=True):
            put_in_place(optimizer, state)
        self._resets += 1
        return f"state of {', '.join(type(o).__name__ for o in optimizers)} begun anew"

    def _rollback(self, plan: Plan, step: int, result: ActionResult) -> str:
        assert self._checkpoints is not None and plan.anchor is not None
        # The moments of a certified step are healthy: they come back with it, and beginning them anew would only lose them.
        result.restored_step = self._checkpoints.restore(plan.anchor)
        self._rollbacks += 1
        same = result.restored_step == self._last_anchor
        self._same_anchor = self._same_anchor + 1 if same else 1
        self._last_anchor = result.restored_step
        self._guard_until_step = step
        self._decided_step, self._hot = None, 0
        return f"restored the state after step {result.restored_step}"

    def _filter(self, plan: Plan) -> str:
        if plan.release:
            self.left_out.remove(plan.ids)
            for each in plan.ids:
                self._temporary.pop(each, None)
            self._filter_waits = self._calm + CALM_FILTER_BETWEEN
            return f"{len(plan.ids)} samples let in again, {len(self._temporary)} to follow"
        new = self.left_out.add(plan.ids)
        if not new and plan.ids:
            raise _Refused(f"{len(self.left_out)} samples are left out already, and no more may be")
        again = [each for each in new if each in self._before]
        self._temporary.update(dict.fromkeys(each for each in new if each not in self._before))
        self._before.update(new)
        self._filter_id, self._filter_waits = plan.id, CALM_FILTER_FIRST
        self._quarter = max(1, -(-len(self._temporary) // 4))
        text = f"{len(new)} samples left out: {_some(new)}"
        return text + (f"; for good, named twice: {_some(again)}" if again else "")

    def _pause(self, plan: Plan, decision: Decision | None, step: int) -> str:
        what = "stop" if plan.kind == "STOP" else "pause"
        if self._on_pause is None:
            raise _Refused(f"training goes on: no on_pause was given to {what} by")
        if self._on_pause == "raise":
            raise TrainingPaused(f"{what} after step {step}", step=step)
        self._on_pause(decision)
        return "on_pause was called"


def _floor() -> float:
    from argus._lr_scale import FLOOR

    return FLOOR


def _why(r: Recommendation) -> str:
    if not r.signals:
        return f"recommendation {r.id}"
    return f"recommendation {r.id}: {', '.join(r.signals)}, evidence {number(r.evidence)}"


def _some(ids: Sequence[Any]) -> str:
    shown = ", ".join(str(each)[:40] for each in ids[:5])
    return shown + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
