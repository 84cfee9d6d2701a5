"""What a fault is: a hook into a training that breaks one thing, in one layer, at one step, and the names a report may give it.

A fault that writes weights does so inside the optimizer's step unless its claim is that something else wrote them: its hook is registered
before the detector's, so that the detector sees the result as the optimizer's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from .models import Batch, Place, Task

Rng = np.random.Generator
ADAM = ("adamw", "adam")


class Fault:
    """Base of all faults: a dormant part of the training until `active`."""

    name: str
    check: str
    also: frozenset[str] = frozenset()  # checks that may rightly speak up as well
    optimizers: tuple[str, ...] | None = None  # those it is meant for; None: any
    rate = 1.0  # factor on the learning rate of the run and its twin
    by_layer = False  # wants a parameter group for each layer

    def __init__(self, task: Task, optimizer: torch.optim.Optimizer, rng: Rng) -> None:
        self.task, self.model, self.optimizer, self.rng = task, task.model, optimizer, rng
        self.active = False
        self.truth: set[str] = set()  # layers that it is right to name
        self.struck = ""
        self.handles: list[torch.utils.hooks.RemovableHandle] = [optimizer.register_step_post_hook(self._inside)]
        self.age = -1
        self.draw()

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return True

    def draw(self) -> None:
        """Chooses the layer, registers dormant hooks."""
        raise NotImplementedError

    def strike(self) -> None:
        """Once, before the first pass of the faulty step."""

    def batch(self, batch: Batch) -> Batch:
        return batch

    def gradients(self) -> None:
        """After each backward pass, before the optimizer's step."""

    def inside(self) -> None:
        """At the end of each optimizer step, as a part of it."""

    def between(self) -> None:
        """After each optimizer step."""

    def measure(self) -> Tensor:
        """What the fault claims to change, by means of its own; in eval mode, outside training."""
        raise NotImplementedError

    def real(self, before: Tensor, after: Tensor) -> bool:
        """Whether the claim came true. A fault that did not is void: it is counted as such and scored nowhere."""
        raise NotImplementedError

    def history(self) -> None:
        """After every step before the onset: a chance to keep what the fault will bring back."""

    def begin(self) -> None:
        self.active = True
        self.strike()

    def _inside(self, *_: object) -> None:
        if self.active:
            self.age += 1
            self.inside()

    @contextmanager
    def own_batches(self) -> Iterator[None]:
        """Held-out batches are drawn as the faulty loader would give them."""
        draw = self.task.draw
        if self.active:
            self.task.draw = lambda g, n: self.batch(draw(g, n))  # type: ignore[method-assign]
        try:
            yield
        finally:
            self.task.draw = draw  # type: ignore[method-assign]

    def finish(self) -> None:
        for handle in self.handles:
            handle.remove()

    def module(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)

    def choose(self, among: tuple[Place, ...]) -> Place:
        place = among[int(self.rng.integers(len(among)))]
        self.struck, self.truth = place.layer, set(place.names)
        return place

    def choose_layer(self, among: list[str] | None = None) -> str:
        names = among or self.task.layers()
        self.struck = names[int(self.rng.integers(len(names)))]
        self.truth = self.task.owners(self.struck)
        return self.struck

    def group(self, name: str) -> dict:
        """The parameter group of one layer."""
        return next(g for g in self.optimizer.param_groups if name in g["layers"])

    def on_output(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        """From the onset on, `change` is applied to the output of the module (the first of several)."""

        def hook(_module: nn.Module, _args: object, output: Tensor | tuple) -> Tensor | tuple | None:
            if not self.active:
                return None
            return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

        self.handles.append(self.module(name).register_forward_hook(hook))


FAULTS: dict[str, type[Fault]] = {}


def fault(
    check: str, *also: str, optimizers: tuple[str, ...] | None = None, rate: float = 1.0
) -> Callable[[type[Fault]], type[Fault]]:
    """Enrols a class, under its name in snake case, with the check that is to find it."""

    def enrol(cls: type[Fault]) -> type[Fault]:
        cls.name = "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).strip("_")
        cls.check, cls.also, cls.optimizers, cls.rate = check, frozenset(also), optimizers, rate
        FAULTS[cls.name] = cls
        return cls

    return enrol


@contextmanager
def evaluating(task: Task) -> Iterator[Batch]:
    """A held-out batch with the model in eval mode: passes in here are none of the detector's business."""
    task.model.eval()
    try:
        yield task.draw(torch.Generator().manual_seed(task.seed + 99), task.batch_size * 4)
    finally:
        task.model.train()


def outputs_of(task: Task, name: str, *, taken: bool = False, output: bool = True) -> Tensor:
    """What the module gives (or, `taken`, what it is given) for a held-out batch: rows by units."""
    caught: list[Tensor] = []

    def catch(value: object) -> None:
        tensor = value[0] if isinstance(value, tuple) else value
        assert isinstance(tensor, Tensor)
        caught.append(tensor.detach().clone())

    module = task.model.get_submodule(name)
    handle = (
        module.register_forward_pre_hook(lambda _m, args: catch(args))
        if taken
        else module.register_forward_hook(lambda _m, _args, out: catch(out))
    )
    try:
        with evaluating(task) as (x, _):
            task.model(x)
    finally:
        handle.remove()
    value = caught[0]
    axis = 1 if value.ndim == 4 else -1
    return value.movedim(axis, -1).flatten(0, -2)


def unit_range(task: Task, place: Place) -> Tensor:
    """Highest minus lowest value of each unit."""
    values = outputs_of(task, place.taker, taken=True)
    return values.amax(0) - values.amin(0)


def norm_of(task: Task, name: str) -> float:
    return float(torch.stack([p.detach().norm() for p in task.weights(name)]).norm())
