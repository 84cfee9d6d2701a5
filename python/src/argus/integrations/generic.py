"""A callback for any training loop that calls back; the other integrations are made of it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import argus
from argus import _endings
from argus._errors import TrainingPaused, UsageError
from argus._report import say


class ArgusCallback:
    """Watches one training at a time, told of it by four calls.

    Nothing raises inside the loop (but `argus.TrainingPaused`, and that only with `on_pause="raise"`): what goes wrong is said once
    on stderr, counted in `errors`, and training goes on. Belongs to the thread that trains.

    Args:
        options: What `argus.watch` takes by name (`mode`, `url`, `run_id`, `checkpoint_dir`, `quiet`, ...).

    Attributes:
        watch: The watch of the training under way, or of the last one; None before the first, and in a process that does not watch.
        errors: Failures inside the callback, contained.

    Raises:
        UsageError: An option that `argus.watch` does not know.

    Example:
        >>> callback = ArgusCallback(quiet=True)
        >>> callback.on_train_begin()
        >>> for loss in (2.3, 2.2, 2.1):
        ...     callback.on_loss(loss)
        ...     pressure = callback.on_step_end(grad_norm=1.0)
        >>> callback.on_train_end()
        >>> callback.watch.history["loss"].tolist()
        [2.3, 2.2, 2.1]
    """

    def __init__(self, **options: Any) -> None:
        accepted = inspect.signature(argus.watch).parameters
        for name in options:
            if name not in accepted:
                raise UsageError(
                    f"{name}: not an option; accepted is what argus.watch takes: {', '.join(accepted)}", field=name
                )
        self._options = options
        self._running = False
        self._optimizers: list[Any] = []
        self._loss: Any = None
        self._losses = 0
        self._val_loss: Any = None
        self._norm: Any = None
        self._said: set[str] = set()
        self.watch: argus.Watch | None = None
        self.errors = 0

    # What the training calls.

    def on_train_begin(self, model: Any = None, optimizer: Any = None, **found: Any) -> None:
        """Begins to watch; a training still open is completed first, as stopped.

        Args:
            model: As for `argus.watch`.
            optimizer: As for `argus.watch`.
            found: Further arguments of `argus.watch` that the framework knows; options of the user go before them, and what this
                version of `argus.watch` does not take, and None, is left out.

        Raises:
            UsageError: An argument of a kind that cannot be meant: said before the training begins.
        """
        self._end("STOPPED", "training began again")
        with self.contained():
            accepted = inspect.signature(argus.watch).parameters
            arguments = {name: value for name, value in found.items() if name in accepted and value is not None}
            arguments |= {"model": model, "optimizer": optimizer} | self._options
            self._forget()
            self._optimizers = (
                list(optimizer) if isinstance(optimizer, (list, tuple)) else [optimizer] if optimizer else []
            )
            self.watch = argus.watch(**arguments)
            self._running = True

    def on_loss(self, loss: Any) -> None:
        """Takes the loss of one micro-batch, a number or a tensor of any device; nothing waits for it."""
        with self.contained():
            if self._running and loss is not None:
                loss = loss.detach() if hasattr(loss, "detach") else loss
                self._loss = loss if self._losses == 0 else self._loss + loss
                self._losses += 1

    def on_grad_norm(self, norm: Any) -> None:
        """Takes the gradient norm before clipping of the step under way: a tensor, which nothing waits for, or a number."""
        with self.contained():
            # A norm spread over ranks could only be joined by communication.
            if self._running and norm is not None and not hasattr(norm, "_local_tensor"):
                self._norm = norm.detach() if hasattr(norm, "detach") else norm

    def on_validation_end(self, loss: Any) -> None:
        """Takes a validation loss; it travels with the next step."""
        if self._running and loss is not None:
            self._val_loss = loss

    def on_step_end(self, loss: Any = None, *, step: int | None = None, **numbers: Any) -> int:
        """Ends an optimizer step: call it after `optimizer.step()`.

        Args:
            loss: Loss of the step; without it the mean of what `on_loss` took since the last step.
            step: The framework's step number. It stays the framework's after a rollback, which takes the state back and not the number.
            numbers: Further arguments of `argus.Watch.step`.

        Returns:
            The newest harm pressure, 0 to 3.
        """
        watch = self.watch
        if not self._running or watch is None:
            return 0
        with self.contained():
            if loss is None and self._losses:
                loss = self._loss if self._losses == 1 else self._loss / self._losses
            if self._val_loss is not None:
                numbers.setdefault("val_loss", self._val_loss)
            if self._norm is not None:
                numbers.setdefault("norm_before_clipping", self._norm)
            self._forget()
            rates = self._rates()
            watch.step(loss, step=step, **numbers)
            self._keep_rates(rates)
        return watch.pressure

    def on_train_end(self) -> None:
        """The training came to its end."""
        self._end("COMPLETED", "")

    def on_exception(self, error: BaseException) -> None:
        """The training was left by an exception: failed, or stopped where somebody interrupted or paused it."""
        status, text = _endings.status_of(error)
        self._end("STOPPED" if isinstance(error, TrainingPaused) else status, text)

    def __enter__(self) -> ArgusCallback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.on_train_end()
        else:
            self.on_exception(error)

    # What integrations use.

    @property
    def running(self) -> bool:
        """Whether a training is being watched."""
        return self._running

    @contextmanager
    def contained(self) -> Iterator[None]:
        """Lets nothing through but `TrainingPaused` and, where a training begins, `UsageError`."""
        try:
            yield
        except (TrainingPaused, UsageError):
            raise
        except Exception as error:
            self.errors += 1
            self.say_once(type(error).__name__, f"callback: {type(error).__name__}: {error}; training goes on")

    def say_once(self, key: str, text: str) -> None:
        """Writes a line, once for each key."""
        if key not in self._said:
            self._said.add(key)
            say(text)

    # Live objects belong to this process: a copy or a pickle starts without them.

    def __getstate__(self) -> dict[str, Any]:
        fresh = ArgusCallback(**self._options)
        return vars(fresh)

    def _forget(self) -> None:
        self._loss, self._losses, self._val_loss, self._norm = None, 0, None, None

    def _end(self, status: str, error: str) -> None:
        if not self._running:
            return
        self._running = False
        with self.contained():
            self._forget()
            self._optimizers = []
            if self.watch is not None:
                self.watch.complete(status, error)

    def _rates(self) -> list[list[Any]]:
        return [[group.get("lr") for group in optimizer.param_groups] for optimizer in self._optimizers]

    def _keep_rates(self, rates: list[list[Any]]) -> None:
        """After a rollback: the rate stays where the framework's schedule has brought it, as its step number does."""
        for optimizer, before in zip(self._optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, before, strict=True):
                if rate is not None and group.get("lr") is not rate:
                    group["lr"] = rate


def watches(is_first: bool) -> bool:
    """Whether this process of a distributed training watches.

    The first one does. So do the others of a `torch.distributed` group, where `argus.watch` has one rank speak for all.
    """
    torch = sys.modules.get("torch")
    if is_first or torch is None:
        return is_first
    return bool(torch.distributed.is_available() and torch.distributed.is_initialized())


def observed(owner: Any, name: str, see: Callable[..., None]) -> Callable[[], None]:
    """Lets `see` look at what one object's method returns: `see(result, *args, **kwargs)`.

    The object alone gets the method, its class stays as it is. `see` must not raise.

    Returns:
        A function that takes it off again, if nobody has put something else in its place.
    """
    attributes = vars(owner)
    had, before = name in attributes, attributes.get(name)
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        see(result, *args, **kwargs)
        return result

    attributes[name] = call

    def undo() -> None:
        if attributes.get(name) is not call:
            return
        if had:
            attributes[name] = before
        else:
            del attributes[name]

    return undo


def missing(framework: str, extra: str, error: ImportError) -> ImportError:
    """The error for a framework that is not installed, naming the extra that brings it."""
    return ImportError(
        f"argus.integrations needs {framework}, which cannot be imported ({error}): pip install 'argus[{extra}]'"
    )
