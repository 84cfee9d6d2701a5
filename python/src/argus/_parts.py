"""What surrounds the judging of a run: checkpoints, actions, the ranks beside it, and the second stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from argus._analytics import Analytics, quality_index_of
from argus._report import say
from argus._step import BATCH_SIZE, LOSS, Pending

if TYPE_CHECKING:
    from argus._actions import Actions, Plan
    from argus._checkpoints import Checkpoints
    from argus._errors import TrainingPaused
    from argus._native import Decision, Run
    from argus._team import Team


class Parts:
    """The parts of one watch, each None where it was not asked for. Belongs to the thread that trains."""

    def __init__(
        self,
        run: Run,
        *,
        checkpoints: Checkpoints | None = None,
        actions: Actions | None = None,
        acts: bool = False,
        analytics: Analytics | None = None,
    ) -> None:
        self._run = run
        self.checkpoints = checkpoints
        self.actions = actions
        self._acts = acts
        self.team: Team | None = None
        self._analytics = analytics
        self._restored: int | None = None
        self._broken = ""
        self._paused: TrainingPaused | None = None

    def observed(self, pending: Pending, named: Sequence[Any] | None) -> None:
        """After a step was judged: stages checkpoints and carries out what is asked for."""
        if self._analytics is not None:
            samples = pending.scalars[BATCH_SIZE]
            self._analytics.step(pending.step, pending.scalars[LOSS], None if samples is None else int(samples))
        command = self._run.take_command()
        if self.checkpoints is None and not self._acts and not command:
            return
        if self.team is not None and not self.team.reports:
            if self.checkpoints is not None:
                self.checkpoints.observe(pending.step, calm=True)
            return
        decision = self._run.decision()
        if self.checkpoints is not None:
            self.checkpoints.observe(decision.step, calm=decision.harm_pressure == 0 and not decision.signals)
            if decision.checkpoint_signal != "NONE":
                self._save(decision, pending)
        if self.actions is None:
            return
        plan = self.actions.plan(decision, pending.step, named, command)
        if plan is None:
            return
        if self.team is None or plan.refused:
            self._carry_out(self.actions, plan, decision, pending.step)
        else:
            self.team.ask({"plan": asdict(plan)}, plan, pending.step)

    def after_step(self, step: int) -> None:
        """With several ranks: once a step of the loop, on each of them, what all agreed to do now."""
        if self.team is None:
            return
        payload, refused = self.team.due(step)
        for plan in refused:
            if self.actions is not None:
                self._carry_out(self.actions, plan, None, step)
        if payload is None:
            return
        if "save" in payload:
            self._stage(payload["save"], step)
        elif self.actions is not None:
            from argus._actions import Plan

            fields = payload["plan"]
            plan = Plan(**{**fields, "ids": tuple(fields["ids"])})
            if not self._carry_out(self.actions, plan, None, step):
                self._broken = f"rank {self.team.ranks.rank} could not do what was agreed at step {step}"
                say(f"{self._broken}: the ranks may differ now; AUTO does nothing more")

    def can_apply(self, payload: dict[str, Any]) -> str | None:
        """Why this rank cannot do what is proposed; None when it can."""
        if self._broken:
            return self._broken
        if "save" in payload:
            return None if self.checkpoints is not None else "no checkpoint_dir on this rank"
        if self.actions is None:
            return "nothing was given to act on"
        anchor = payload["plan"]["anchor"]
        if anchor is None:
            return None
        problems = ["no checkpoint_dir"] if self.checkpoints is None else self.checkpoints.verify(anchor)
        return "; ".join(problems)[:200] or None

    def take_restored(self) -> int | None:
        """The step that was restored since the last call, once."""
        restored, self._restored = self._restored, None
        return restored

    def take_paused(self) -> TrainingPaused | None:
        """What is to be raised, once."""
        paused, self._paused = self._paused, None
        return paused

    def keep(self, ids: Sequence[Any]) -> list[bool]:
        """Which of these samples are not left out."""
        return [True] * len(ids) if self.actions is None else self.actions.left_out.keep(ids)

    def unhook(self) -> None:
        """Takes the learning-rate hooks off."""
        if self.actions is not None:
            self.actions.close()

    def completed(self, status: str, error: str, certificate: str, wait_s: float) -> None:
        """The run has ended: the last event, the last checkpoint, the last word to the other ranks."""
        if self._analytics is not None:
            self._analytics.end(status, error or None, quality_index_of(certificate))
        if self.checkpoints is not None:
            self.checkpoints.close(wait_s)
        if self.team is not None:
            self.team.close()

    def _save(self, decision: Decision, pending: Pending) -> None:
        fields = {
            "signal": decision.checkpoint_signal,
            "slot": decision.checkpoint_slot,
            "reason": decision.checkpoint_reason,
            "loss": pending.scalars[LOSS],
        }
        if self.team is None:
            self._stage(fields, decision.step)
        else:
            self.team.ask({"save": fields}, None, pending.step)

    def _stage(self, fields: dict[str, Any], step: int) -> None:
        if self.checkpoints is not None:
            self.checkpoints.stage(
                step, signal=fields["signal"], slot=fields["slot"], reason=fields["reason"], loss=fields["loss"]
            )

    def _carry_out(self, actions: Actions, plan: Plan, decision: Decision | None, step: int) -> bool:
        result = actions.carry_out(plan, decision, step)
        for report in result.reports:
            if report.id:
                self._run.report(report.id, report.kind, report.step, report.ok, report.detail)
        if result.restored_step is not None:
            self._restored = result.restored_step
        if result.paused is not None:
            self._paused = result.paused
        return all(report.ok for report in result.reports)
