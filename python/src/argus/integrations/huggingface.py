"""Watching `transformers.Trainer`, and what is built on it (TRL).

    from argus.integrations.huggingface import ArgusCallback

    trainer = Trainer(..., callbacks=[ArgusCallback()])
    trainer.train()

A step is an optimizer step and carries `state.global_step`. Its loss is what `Trainer.training_step` returned, summed over
micro-batches as the Trainer sums it, before `logging_nan_inf_filter` replaces what is not finite; its gradient norm is the one
before `max_grad_norm` clips. Neither is waited for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

from argus._report import say
from argus.integrations import generic

try:
    from transformers import Trainer, TrainerCallback
except ImportError as error:
    raise generic.missing("transformers", "huggingface", error) from error


class ArgusCallback(TrainerCallback):
    """A callback for `transformers.Trainer`.

    Given in `Trainer(callbacks=[...])` it also sees how `train()` is left: FAILED by an exception, STOPPED by an interrupt. Added
    later, only what ends the program is seen. Of a distributed training the first process reports, for all.

    Args:
        options: What `argus.watch` takes by name. `total_steps` and the gradient scaler come from the Trainer.

    Attributes:
        nan_filter: Whether the Trainer of the training under way hides losses that are not finite from its own log.

    Raises:
        UsageError: An option that `argus.watch` does not know.
    """

    def __init__(self, **options: Any) -> None:
        self._run = generic.ArgusCallback(**options)
        self._quiet = bool(options.get("quiet"))
        self._loss: Any = None
        self._undo: list[Callable[[], None]] = []
        self.nan_filter = False

    @property
    def watch(self) -> Any:
        """The `argus.Watch` of the training under way, or of the last one; None in a process that does not watch."""
        return self._run.watch

    @property
    def errors(self) -> int:
        """Failures inside the callback, contained."""
        return self._run.errors

    # What the Trainer calls.

    def on_init_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keeps an eye on how `train()` will be left."""
        with self._run.contained():
            trainer = self._calling_trainer()
            if trainer is not None and "train" not in vars(trainer):
                trainer.train = MethodType(train, trainer)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begins to watch."""
        self.leave(None)
        if not generic.watches(state.is_world_process_zero):
            return
        trainer = None
        with self._run.contained():
            trainer = self._calling_trainer()
        accelerator = getattr(trainer, "accelerator", None)
        self._run.on_train_begin(
            kwargs.get("model"),
            inner_optimizer(kwargs.get("optimizer")),
            scaler=getattr(accelerator, "scaler", None),
            total_steps=state.max_steps if state.max_steps > 0 else None,
        )
        with self._run.contained():
            self._observe(trainer)
            self.nan_filter = bool(args.logging_nan_inf_filter)
            if self.nan_filter and not self._quiet and state.is_world_process_zero:
                _say_filter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hands over an optimizer step."""
        loss, self._loss = self._loss, None
        self._run.on_step_end(
            loss,
            step=state.global_step,
            epoch=state.epoch,
            batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            accumulation_steps=args.gradient_accumulation_steps,
        )

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Takes the validation loss."""
        self._run.on_validation_end((metrics or {}).get("eval_loss"))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The training came to its end."""
        self._take_off()
        self._run.on_train_end()

    def leave(self, error: BaseException | None) -> None:
        """`train()` was left by an exception, or begins again."""
        self._take_off()
        if error is not None:
            self._run.on_exception(error)

    # How the loss and the norm are come by.

    def _observe(self, trainer: Any) -> None:
        if trainer is None:
            self._run.say_once("trainer", "no transformers.Trainer calls this callback: losses are not watched")
            return
        self._undo.append(generic.observed(trainer, "training_step", self._see_loss))
        self._undo.append(generic.observed(trainer.accelerator, "clip_grad_norm_", self._see_norm))

    def _see_loss(self, loss: Any, *args: Any, **kwargs: Any) -> None:
        with self._run.contained():
            loss = loss.detach()
            self._loss = loss if self._loss is None else self._loss + loss

    def _see_norm(self, norm: Any, *args: Any, **kwargs: Any) -> None:
        self._run.on_grad_norm(norm)

    def _take_off(self) -> None:
        undo, self._undo = self._undo, []
        self._loss = None
        for each in undo:
            each()

    def _calling_trainer(self) -> Any:
        """The Trainer whose callback this is: callbacks are not told, but it is on the call stack."""
        frame = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, Trainer) and any(each is self for each in owner.callback_handler.callbacks):
                return owner
            frame = frame.f_back  # type: ignore[assignment]
        return None

    # Trainers are copied and pickled (hyperparameter search): a copy starts without what belongs to this process.

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_loss": None, "_undo": []}


_is_filter_said = False


def _say_filter() -> None:
    """Once in a process: the filter is on by default, and only a run that goes wrong would miss what it hides."""
    global _is_filter_said
    if not _is_filter_said:
        _is_filter_said = True
        say("logging_nan_inf_filter hides NaN losses from the Trainer's log, not from argus")


def train(self: Any, *args: Any, **kwargs: Any) -> Any:
    """`Trainer.train`; its ArgusCallbacks are told of the exception it is left by."""
    try:
        return type(self).train(self, *args, **kwargs)
    except BaseException as error:
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, ArgusCallback):
                callback.leave(error)
        raise


def inner_optimizer(optimizer: Any) -> Any:
    """The torch optimizer inside Accelerate's, whose step hooks run."""
    while type(optimizer).__name__ == "AcceleratedOptimizer":
        optimizer = optimizer.optimizer
    return optimizer if hasattr(optimizer, "register_step_pre_hook") else None
