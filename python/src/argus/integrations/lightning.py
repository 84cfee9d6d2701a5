"""Watching `lightning.pytorch` (or `pytorch_lightning`).

    from argus.integrations.lightning import ArgusCallback

    trainer = Trainer(..., callbacks=[ArgusCallback()])
    trainer.fit(module)

A step is an optimizer step and carries `trainer.global_step`. Its loss is the mean of what `training_step` returned over the
micro-batches; its gradient norm is the one before `gradient_clip_val` clips. A validation loss is taken where `val_loss` is logged.
"""

from __future__ import annotations

import math
import sys
from typing import Any

from argus.integrations import generic


def _callback_class() -> Any:
    """The base class of callbacks, of the package that the program already uses, else of the one that is installed.

    The two packages hold the same code under two names; either's Trainer takes the other's callbacks.
    """
    if "lightning.pytorch" not in sys.modules and "pytorch_lightning" in sys.modules:
        from pytorch_lightning import Callback as Older

        return Older
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError as error:
            raise generic.missing("lightning or pytorch_lightning", "lightning", error) from error
    return Callback


_Callback: Any = _callback_class()


class ArgusCallback(_Callback):
    """A callback for Lightning's Trainer. Of a distributed training the first process reports, for all.

    With manual optimization the loss is what `training_step` returns, and the gradient norm is as the optimizer sees it.

    Args:
        options: What `argus.watch` takes by name. `total_steps` and the gradient scaler come from the Trainer.

    Raises:
        UsageError: An option that `argus.watch` does not know.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self._run = generic.ArgusCallback(**options)
        self._global_step = 0

    @property
    def watch(self) -> Any:
        """The `argus.Watch` of the training under way, or of the last one; None in a process that does not watch."""
        return self._run.watch

    @property
    def errors(self) -> int:
        """Failures inside the callback, contained."""
        return self._run.errors

    # What the Trainer calls.

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begins to watch."""
        if not generic.watches(trainer.is_global_zero):
            return
        total_steps = None
        with self._run.contained():
            self._global_step = trainer.global_step
            steps = trainer.estimated_stepping_batches
            total_steps = int(steps) if math.isfinite(steps) and steps > 0 else None
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._run.on_train_begin(pl_module, list(trainer.optimizers), scaler=scaler, total_steps=total_steps)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Takes the gradient norm where it is about to be clipped."""
        if not self._run.running or not pl_module.automatic_optimization:
            return
        with self._run.contained():
            own_clipping = _overrides(pl_module, "configure_gradient_clipping")
            if own_clipping or (trainer.gradient_clip_val or 0) > 0:
                self._run.on_grad_norm(_norm(optimizer))

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Takes a micro-batch; hands over the step when the optimizer stepped."""
        if not self._run.running:
            return
        number = self._global_step
        with self._run.contained():
            loss = outputs.get("loss") if hasattr(outputs, "get") else outputs
            if loss is not None and pl_module.automatic_optimization:
                # Lightning has divided it by the number of micro-batches.
                loss = loss * trainer.accumulate_grad_batches
            self._run.on_loss(loss)
            number = trainer.global_step
        if number != self._global_step:
            self._global_step = number
            self._run.on_step_end(
                step=number, epoch=_epoch(trainer, batch_idx), accumulation_steps=trainer.accumulate_grad_batches
            )

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Takes the validation loss."""
        if not trainer.sanity_checking:
            self._run.on_validation_end(trainer.callback_metrics.get("val_loss"))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The training came to its end."""
        self._run.on_train_end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The training was left by an exception."""
        self._run.on_exception(exception)


def _overrides(module: Any, name: str) -> bool:
    """Whether a LightningModule has its own method of this name."""
    for base in type(module).__mro__:
        if name in vars(base):
            return base.__name__ != "LightningModule"
    return False


def _norm(optimizer: Any) -> Any:
    """L2 norm of an optimizer's gradients, 0-d; nothing waits for it."""
    from torch.nn.utils import get_total_norm

    return get_total_norm([p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None])


def _epoch(trainer: Any, batch_idx: int) -> float:
    batches = trainer.num_training_batches
    part = (batch_idx + 1) / batches if math.isfinite(batches) and batches > 0 else 0.0
    return float(trainer.current_epoch + part)
