"""Watching Keras 3 on the torch backend (`KERAS_BACKEND=torch`).

    from argus.integrations.keras import ArgusCallback

    model.fit(x, y, callbacks=[ArgusCallback()])

Keras shows a callback the running mean of the loss over the epoch; here the loss of each step is taken where `compute_loss` returns
it. Its optimizers are not torch's: `_StepView` stands before the one of the model while it trains, so that gradients are read,
and a learning rate lowered in auto mode, as everywhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

from argus.integrations import generic

try:
    import keras
    import torch
except ImportError as error:
    raise generic.missing("keras and torch", "keras", error) from error


class ArgusCallback(keras.callbacks.Callback):
    """A callback for `model.fit`.

    Used in a `with` statement around `fit` it sees every exception; else those of the training step.

    Args:
        options: What `argus.watch` takes by name. `total_steps` comes from `fit`.

    Raises:
        UsageError: An option that `argus.watch` does not know.
        ImportError: Keras runs on another backend than torch.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        if keras.backend.backend() != "torch":
            raise ImportError(
                f"argus.integrations.keras: the backend is {keras.backend.backend()}; accepted is torch (KERAS_BACKEND=torch)"
            )
        self._run = generic.ArgusCallback(**options)
        self._undo: list[Callable[[], None]] = []
        self._view: _StepView | None = None
        self._step = 0
        self._epoch = 0

    @property
    def watch(self) -> Any:
        """The `argus.Watch` of the training under way, or of the last one."""
        return self._run.watch

    @property
    def errors(self) -> int:
        """Failures inside the callback, contained."""
        return self._run.errors

    # What fit calls.

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins to watch."""
        self._take_off()
        view = None
        with self._run.contained():
            view = _StepView(self.model, self._run.on_grad_norm)
            self._step = view.steps_before
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        total = epochs * steps // view.accumulation if view is not None and epochs and steps else None
        self._run.on_train_begin(self.model, view, total_steps=total)
        with self._run.contained():
            if view is not None:
                self._undo.append(view.stand_before())
            self._view = view
            see = _eager(self._see_loss)
            self._undo.append(generic.observed(self.model, "compute_loss", see))
            self._undo.append(self._guard())

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Hands over the step when the optimizer stepped."""
        view = self._view
        stepped = None if view is None else view.take_step()
        if view is None or stepped is None:
            return
        self._step += 1
        steps = self.params.get("steps")
        epoch = self._epoch + (batch + 1) / steps if steps else float(self._epoch)
        self._run.on_step_end(
            step=self._step,
            epoch=epoch,
            accumulation_steps=view.accumulation,
            loss_scale=view.loss_scale(),
            step_skipped=not stepped,
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Takes the validation loss."""
        self._run.on_validation_end((logs or {}).get("val_loss"))

    def on_train_end(self, logs: Any = None) -> None:
        """The training came to its end."""
        self._take_off()
        self._run.on_train_end()

    def on_exception(self, error: BaseException) -> None:
        """The training was left by an exception."""
        self._take_off()
        self._run.on_exception(error)

    def __enter__(self) -> ArgusCallback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.on_exception(error)

    def _see_loss(self, loss: Any, *args: Any, training: bool = True, **kwargs: Any) -> None:
        if training:
            self._run.on_loss(loss)

    def _guard(self) -> Callable[[], None]:
        """Puts a step function in the model's place for it that tells of the exception it is left by."""
        attributes: dict[str, Any] = self.model.__dict__
        original = attributes["train_function"]

        def step(data: Any) -> Any:
            try:
                return original(data)
            except BaseException as error:
                self.on_exception(error)
                raise

        attributes["train_function"] = step

        def undo() -> None:
            if attributes.get("train_function") is step:
                attributes["train_function"] = original

        return undo

    def _take_off(self) -> None:
        undo, self._undo = self._undo, []
        self._view = None
        for each in reversed(undo):
            each()


def _eager(function: Callable[..., None]) -> Callable[..., None]:
    """Keeps a function out of what `jit_compile=True` compiles."""
    disable: Callable[..., Any] = torch.compiler.disable
    kept: Callable[..., None] = disable(function)
    return kept


class _StepView(torch.optim.Optimizer):
    """The optimizer of a Keras model with the face of a torch optimizer: step hooks, a rate, a state.

    Args:
        model: Built and compiled.
        on_norm: Takes the gradient norm of a step made of several micro-batches, which Keras joins inside its optimizer.

    Attributes:
        accumulation: Micro-batches in a step.
        steps_before: Steps the optimizer has made before.
        grad_scale: Factor the gradients carry, 0-d; None where they carry none.
    """

    def __init__(self, model: Any, on_norm: Callable[[Any], None]) -> None:
        outer = model.optimizer
        # With a dynamic loss scale the inner optimizer is called with finite, unscaled gradients, or not at all.
        self._keras = getattr(outer, "inner_optimizer", outer)
        self._scaler = None if self._keras is outer else outer
        self._on_norm = on_norm
        self._update: Callable[[], None] = lambda: None
        self._called = self._stepped = False
        self.accumulation = int(self._keras.gradient_accumulation_steps or 1)
        self._micro = int(self._keras._iterations.value)
        self.steps_before = self._micro // self.accumulation
        scale = self._keras.loss_scale_factor
        self.grad_scale = None if scale is None else torch.tensor(float(scale))
        rate = self._rate()
        self._asked = (rate, getattr(rate, "_version", 0))
        super().__init__([v.value for v in model.trainable_variables], {"lr": rate})

    def stand_before(self) -> Callable[[], None]:
        """Lets updates of the Keras optimizer pass through `step`; returns what takes it off again."""
        attributes = vars(self._keras)
        original = self._keras.apply

        def apply(grads: Any, trainable_variables: Any = None) -> None:
            self._micro += 1
            self._called = True
            if self._micro % self.accumulation:
                original(grads, trainable_variables)
                return
            if self.accumulation > 1:
                self._on_norm(self._joined_norm(grads))
            if self._scaler is not None:
                self.grad_scale = self.loss_scale()
            rate = self.param_groups[0]["lr"] = self._rate()
            self._asked = (rate, getattr(rate, "_version", 0))
            self._update = functools.partial(original, grads, trainable_variables)
            self.step()

        placed = _eager(apply)
        attributes["apply"] = placed

        def undo() -> None:
            if attributes.get("apply") is placed:
                del attributes["apply"]

        return undo

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """The update under way, at the rate that the hooks before it left in the group."""
        update, self._update = self._update, lambda: None
        self._stepped = True
        rate = self.param_groups[0]["lr"]
        if _same(rate, self._asked):
            update()
            return
        attributes = vars(self._keras)
        own = attributes["_learning_rate"]
        attributes["_learning_rate"] = lambda: rate
        try:
            update()
        finally:
            attributes["_learning_rate"] = own

    def take_step(self) -> bool | None:
        """What came of the batch: True a step, False a step skipped for its overflow, None a micro-batch on the way to one."""
        called, stepped = self._called, self._stepped
        self._called = self._stepped = False
        if stepped:
            return True
        return False if self._scaler is not None and not called else None

    def loss_scale(self) -> Any:
        """The dynamic loss scale in force now, 0-d; None without one."""
        return None if self._scaler is None else self._scaler.dynamic_scale.value.detach().clone()

    def state_dict(self) -> dict[str, Any]:
        """Every variable of the Keras optimizer but its rate, as tensors that stay its own."""
        state = {0: {str(i): v.value.detach() for i, v in enumerate(self._kept())}}
        groups = [{"lr": self.param_groups[0]["lr"], "params": list(range(len(self.param_groups[0]["params"])))}]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Writes what `state_dict` gave back into the variables."""
        held = state_dict["state"].get(0, {})
        with torch.no_grad():
            for i, variable in enumerate(self._kept()):
                if str(i) in held:
                    variable.value.copy_(held[str(i)])
                else:
                    variable.value.zero_()

    def _kept(self) -> list[Any]:
        rate = vars(self._keras)["_learning_rate"]
        return [v for v in self._keras.variables if v is not rate]

    def _rate(self) -> Any:
        """The rate of the coming update: a number, or on a device a 0-d tensor that nothing waits for."""
        rate = self._keras.learning_rate
        rate = getattr(rate, "value", rate)
        if isinstance(rate, torch.Tensor) and rate.device.type != "cpu":
            return rate.detach().clone()
        return float(rate)

    def _joined_norm(self, grads: Any) -> Any:
        """L2 norm of the mean gradient of the step's micro-batches; one tensor at a time, nothing waits for it."""
        with torch.no_grad():
            held = self._keras._accumulated_gradients
            pairs = [(g, a) for g, a in zip(grads, held, strict=False) if g is not None]
            norms = [torch.linalg.vector_norm(g + (0 if a is None else a.value)) for g, a in pairs]
            return torch.linalg.vector_norm(torch.stack(norms)) / self.accumulation


def _same(rate: Any, asked: tuple[Any, int]) -> bool:
    """Whether a rate is the one noted, with its version: nothing waits for a device, so a tensor written to counts as another."""
    if isinstance(rate, torch.Tensor):
        return rate is asked[0] and rate._version == asked[1]
    return bool(rate == asked[0])
