"""Watching a loop of one's own on Accelerate.

from argus.integrations.accelerate import watch

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
with watch(accelerator, model, optimizer) as watched:
    for inputs, targets in loader:
        with accelerator.accumulate(model):
            loss = criterion(model(inputs), targets)
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            watched.step(loss)
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import argus
from argus.integrations import generic

try:
    import accelerate  # noqa: F401
except ImportError as error:
    raise generic.missing("accelerate", "accelerate", error) from error


class AcceleratedWatch:
    """A watched loop. Made by `watch`; nothing it does raises inside the loop or waits for a device.

    Attributes:
        watch: The `argus.Watch`; None in a process that does not watch.
    """

    def __init__(self, accelerator: Any, model: Any, optimizer: Any, options: dict[str, Any]) -> None:
        self._accelerator = accelerator
        self._run = generic.ArgusCallback(**options)
        self._undo: Callable[[], None] = lambda: None
        self._pressure = 0
        if not generic.watches(accelerator.is_main_process):
            return
        given = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
        optimizers = [_inner(each) for each in given]
        self._run.on_train_begin(model, optimizers, scaler=accelerator.scaler)
        self._undo = generic.observed(accelerator, "clip_grad_norm_", self._see_norm)

    @property
    def watch(self) -> argus.Watch | None:
        """The `argus.Watch`; None in a process that does not watch."""
        return self._run.watch

    @property
    def pressure(self) -> int:
        """The newest harm pressure, 0 to 3."""
        return self._pressure

    @property
    def errors(self) -> int:
        """Failures inside the integration, contained."""
        return self._run.errors

    def step(self, loss: Any, *, step: int | None = None, **numbers: Any) -> int:
        """Takes the loss of a micro-batch; ends the step where `accelerator.sync_gradients` says that the optimizer stepped.

        Call it once per micro-batch, after `optimizer.step()`. The step's loss is the mean over its micro-batches.

        Args:
            loss: Loss as given to `accelerator.backward`.
            step: Optimizer step; without it steps are counted from 0.
            numbers: Further arguments of `argus.Watch.step`.

        Returns:
            The newest harm pressure, 0 to 3.
        """
        self._run.on_loss(loss)
        if self._accelerator.sync_gradients:
            numbers.setdefault("accumulation_steps", self._accelerator.gradient_accumulation_steps)
            self._pressure = self._run.on_step_end(step=step, **numbers)
        return self._pressure

    def close(self) -> None:
        """The loop came to its end. Safe to call twice."""
        self._undo()
        self._run.on_train_end()

    def __enter__(self) -> AcceleratedWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._run.on_exception(error)
        self.close()

    def _see_norm(
        self, norm: Any, parameters: Any = None, max_norm: Any = None, norm_type: Any = 2, **kwargs: Any
    ) -> None:
        if norm_type == 2:
            self._run.on_grad_norm(norm)


def watch(accelerator: Any, model: Any, optimizer: Any, **options: Any) -> AcceleratedWatch:
    """Watches a loop that an `accelerate.Accelerator` runs. Of several processes the main one reports, for all.

    Args:
        accelerator: The Accelerator. The norm that its `clip_grad_norm_` returns is taken as the norm before clipping.
        model: The model, as prepared or before.
        optimizer: The optimizer as prepared, or several.
        options: What `argus.watch` takes by name.

    Raises:
        UsageError: An option or an argument of a kind that cannot be meant.
    """
    return AcceleratedWatch(accelerator, model, optimizer, options)


def _inner(optimizer: Any) -> Any:
    """The torch optimizer inside Accelerate's, whose step hooks run."""
    from accelerate.optimizer import AcceleratedOptimizer

    while isinstance(optimizer, AcceleratedOptimizer):
        optimizer = optimizer.optimizer
    return optimizer
