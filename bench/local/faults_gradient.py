"""Faults of the gradient's way through the net, and the first number that is none."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .faults import Fault, evaluating, fault
from .models import Batch, Task

FLOW, ORIGIN = "gradient_flow", "origin"
EVERYTHING = (
    "dead_neurons activation_saturation gradient_flow weight_norms optimizer_state attention_collapse hardware_integrity "
    "precision_erosion representation_collapse"
).split()


class Blocked(Fault):
    """Gradient stops arriving before a cut through the net."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.cuts)

    def draw(self) -> None:
        self.cut = self.task.cuts[int(self.rng.integers(len(self.task.cuts)))]
        self.struck = self.cut.module
        self.blocked = sorted(self.task.under(self.cut.before))
        self.truth = set(self.blocked) | self.task.under(self.cut.after)
        self.prepare()

    def prepare(self) -> None:
        pass

    def measure(self) -> Tensor:
        """Gradient norm of the blocked layers, over that of all."""
        names = [n for n in self.task.layers() if n in self.blocked] or self.blocked
        own = [p for n in names for p in self.module(n).parameters(recurse=False) if p.requires_grad]
        with evaluating(self.task) as (x, y):
            loss = self.task.loss(self.model(x), y)
        everything = list(self.model.parameters())
        grads = torch.autograd.grad(loss, everything, allow_unused=True)
        ids = {id(p) for p in own}
        norms = [(id(p) in ids, float(g.norm()) if g is not None else 0.0) for p, g in zip(everything, grads)]
        return torch.tensor([max(n for mine, n in norms if mine), math.fsum(n for _, n in norms)])

    def real(self, before: Tensor, after: Tensor) -> bool:
        return bool(after[0] / after[1] < 0.02 * before[0] / before[1])


CONSEQUENCES_OF_BLOCKAGE = ("weight_norms", "precision_erosion", "representation_collapse")


@fault(FLOW, *CONSEQUENCES_OF_BLOCKAGE)
class Detached(Blocked):
    """Somebody detached the output of a module."""

    def prepare(self) -> None:
        self.on_output(self.struck, lambda y: y.detach())


@fault(FLOW, *CONSEQUENCES_OF_BLOCKAGE)
class BackwardZero(Blocked):
    """A backward hook returns zeros."""

    factor = 0.0

    def prepare(self) -> None:
        self.on_output(self.struck, self.scaled)

    def scaled(self, y: Tensor) -> Tensor:
        y = y.clone()
        if y.requires_grad:
            y.register_hook(lambda g: g * self.factor)
        return y


@fault(FLOW, *CONSEQUENCES_OF_BLOCKAGE)
class BackwardTiny(BackwardZero):
    """A backward hook scales the gradient by a ten-thousandth."""

    factor = 1e-4


@fault(FLOW, *CONSEQUENCES_OF_BLOCKAGE)
class UnderNoGrad(Blocked):
    """A module's forward pass ends up under `torch.no_grad()`."""

    def strike(self) -> None:
        module = self.module(self.struck)
        module.forward = torch.no_grad()(module.forward)  # type: ignore[method-assign]

    def finish(self) -> None:
        super().finish()
        self.module(self.struck).__dict__.pop("forward", None)


@fault(FLOW, *CONSEQUENCES_OF_BLOCKAGE, "dead_neurons")
class SilentBranch(Blocked):
    """The last layer of a residual branch is zeroed at each update, so nothing inside the branch learns."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.branches)

    def draw(self) -> None:
        branch = self.task.branches[int(self.rng.integers(len(self.task.branches)))]
        self.struck = branch.last
        self.blocked = sorted(self.task.under(branch.inside) - {branch.last})
        self.truth = self.task.under(branch.inside)

    def inside(self) -> None:
        self.module(self.struck).weight.data.zero_()


@fault(FLOW, *CONSEQUENCES_OF_BLOCKAGE)
class GradientLost(Blocked):
    """A hook on the parameters of one layer zeroes their gradient."""

    def draw(self) -> None:
        self.choose_layer()
        self.blocked = [self.struck]
        for p in self.module(self.struck).parameters(recurse=False):
            self.handles.append(p.register_hook(lambda g: g * 0 if self.active else g))


class NonFinite(Fault):
    """A number that is none appears at one place; `direction` is where the report must say it came from."""

    direction = "output"

    def draw(self) -> None:
        self.choose_layer()
        self.prepare()

    def prepare(self) -> None:
        pass

    def choose_called(self) -> None:
        """A layer that is called as a module; for an attention module its output is that of its last projection."""
        called = [n for n in self.task.layers() if not n.endswith("out_proj") and n != "places"]
        self.choose_layer(called)
        self.truth |= self.task.under((self.struck,))

    def measure(self) -> Tensor:
        return torch.tensor(float(all(bool(p.isfinite().all()) for p in self.model.parameters())))

    def real(self, before: Tensor, after: Tensor) -> bool:
        return bool(before == 1.0)


@fault(ORIGIN, *EVERYTHING)
class ForwardNan(NonFinite):
    """One element of the layer's output is NaN."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return True

    def draw(self) -> None:
        self.choose_called()
        self.on_output(self.struck, self.spoil)

    def spoil(self, y: Tensor) -> Tensor:
        spoiled = torch.zeros(y.numel())
        spoiled[int(self.rng.integers(y.numel()))] = math.nan
        return y + spoiled.view(y.shape)


@fault(ORIGIN, *EVERYTHING)
class BackwardInf(NonFinite):
    """The gradient of the layer's output overflows."""

    direction = "gradient"

    def draw(self) -> None:
        self.choose_called()
        self.on_output(self.struck, self.spoil)

    def spoil(self, y: Tensor) -> Tensor:
        y = y.clone()
        if y.requires_grad:
            y.register_hook(lambda g: g * math.inf)
        return y


@fault(ORIGIN, *EVERYTHING)
class WeightInf(NonFinite):
    """One weight is infinite before the pass."""

    direction = "weight"

    def strike(self) -> None:
        p = self.task.weights(self.struck)[0].data.view(-1)
        p[int(self.rng.integers(len(p)))] = math.inf


@fault(ORIGIN, *EVERYTHING)
class InputNan(NonFinite):
    """One sample holds a NaN."""

    direction = "input"

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return task.float_input

    def draw(self) -> None:
        self.struck = self.task.layers()[0]
        self.truth = {self.struck, ""}

    def batch(self, batch: Batch) -> Batch:
        x = batch[0].clone()
        x[0].view(-1)[0] = math.nan
        return x, batch[1]
