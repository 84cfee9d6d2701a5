"""What surrounds the judging of a run: checkpoints, actions, the ranks beside it, and the second stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from argus._analytics import Analytics, quality_index_of
from argus._step import BATCH_SIZE, LOSS, Pending

if TYPE_CHECKING:
    from argus._actions import Actions
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
        team: Team | None = None,
        analytics: Analytics | None = None,
    ) -> None:
        self._run = run
        self.checkpoints = checkpoints
        self.actions = actions
        self._acts = acts
        self.team = team
        self._analytics = analytics
        self._restored: int | None = None
        self._paused: TrainingPaused | None = None

    def observed(self, pending: Pending, named: Sequence[Any] | None) -> None:
        """After a step was judged: stages checkpoints and carries out what is asked for."""
        if self._analytics is not None:
            samples = pending.scalars[BATCH_SIZE]
            self._analytics.step(pending.step, pending.scalars[LOSS], None if samples is None else int(samples))
        command = self._run.take_command()
        if self.checkpoints is None and not self._acts and not command:
            return
        leads = self.team is None or self.team.reports
        decision = self._run.decision() if leads else None
        if self.checkpoints is not None and decision is not None:
            self.checkpoints.observe(decision.step, calm=decision.harm_pressure == 0 and not decision.signals)
            if decision.checkpoint_signal != "NONE":
                self._save(decision, pending)
        if self.actions is not None:
            self._act(self.actions, decision, pending.step, named, command)

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

    def stage(self, fields: dict[str, Any]) -> None:
        """Stages a checkpoint from the fields of `_save`."""
        if self.checkpoints is not None:
            self.checkpoints.stage(
                fields["step"],
                signal=fields["signal"],
                slot=fields["slot"],
                reason=fields["reason"],
                loss=fields["loss"],
            )

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
            "step": decision.step,
            "signal": decision.checkpoint_signal,
            "slot": decision.checkpoint_slot,
            "reason": decision.checkpoint_reason,
            "loss": pending.scalars[LOSS],
        }
        if self.team is None:
            self.stage(fields)
        else:
            self.team.propose_save(fields, pending.step)

    def _act(
        self, actions: Actions, decision: Decision | None, step: int, named: Sequence[Any] | None, command: str
    ) -> None:
        result = actions.act(decision, step, named, command)
        for report in result.reports:
            if report.id:
                self._run.report(report.id, report.kind, report.step, report.ok, report.detail)
        if result.restored_step is not None:
            self._restored = result.restored_step
        if result.paused is not None:
            self._paused = result.paused
