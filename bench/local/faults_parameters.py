"""Faults of the parameters: norms that run away, silent corruption, updates that round to nothing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .faults import ADAM, Fault, Rng, fault, norm_of

NORMS, INTEGRITY, EROSION = "weight_norms", "hardware_integrity", "precision_erosion"
CONSEQUENCES = (
    "dead_neurons",
    "activation_saturation",
    "gradient_flow",
    "representation_collapse",
    "attention_collapse",
)


class Unbalanced(Fault):
    """The weight of one layer leaves the joint growth of the others."""

    def draw(self) -> None:
        self.choose_layer()
        self.prepare()

    def prepare(self) -> None:
        pass

    def measure(self) -> Tensor:
        names = self.task.layers()
        others = [math.log(norm_of(self.task, n) + 1e-30) for n in names if n != self.struck]
        return torch.tensor(math.log(norm_of(self.task, self.struck) + 1e-30) - float(torch.tensor(others).median()))

    def real(self, before: Tensor, after: Tensor) -> bool:
        return not bool((after - before).abs() < math.log(2))


@fault(NORMS, *CONSEQUENCES, EROSION)
class DecayBug(Unbalanced):
    """Weight decay of one layer shrinks it by three hundredths at each update."""

    def inside(self) -> None:
        for p in self.task.weights(self.struck):
            p.data *= 0.97


@fault(NORMS, *CONSEQUENCES, EROSION)
class RateHundredfold(Unbalanced):
    """One layer learns a hundred times too fast from now on."""

    by_layer = True

    def strike(self) -> None:
        self.group(self.struck)["lr"] *= 100


@fault(NORMS, *CONSEQUENCES, EROSION)
class Rescaled(Unbalanced):
    """One update leaves the layer six times too large or too small."""

    def prepare(self) -> None:
        self.factor = float(self.rng.choice([1 / 6, 6]))

    def inside(self) -> None:
        if self.age == 0:
            for p in self.task.weights(self.struck):
                p.data *= self.factor


@fault(NORMS, *CONSEQUENCES, EROSION)
class SlowGrowth(Unbalanced):
    """The layer grows by a fiftieth at each update."""

    def inside(self) -> None:
        for p in self.task.weights(self.struck):
            p.data *= 1.02


@fault(NORMS, *CONSEQUENCES, EROSION)
class NoisyUpdates(Unbalanced):
    """Each update of the layer carries noise of a fifth of the weights' size."""

    def prepare(self) -> None:
        self.noise = torch.Generator().manual_seed(int(self.rng.integers(2**31)))

    def strike(self) -> None:
        weight = self.task.weights(self.struck)[0]
        self.size = 0.2 * float(weight.data.square().mean().sqrt())

    def inside(self) -> None:
        for p in self.task.weights(self.struck):
            p.data += self.size * torch.randn(p.shape, generator=self.noise)


class Corrupted(Fault):
    """Weights change in memory: by nothing that the optimizer did."""

    def draw(self) -> None:
        self.choose_layer()
        self.weight = max(self.task.weights(self.struck), key=Tensor.numel)
        self.changed = 0
        self.prepare()

    def prepare(self) -> None:
        pass

    def measure(self) -> Tensor:
        return torch.tensor(self.changed)

    def real(self, before: Tensor, after: Tensor) -> bool:
        return int(after) > 0

    def write(self, flat_index: Tensor, values: Tensor) -> None:
        flat = self.weight.data.view(-1)
        self.changed += int((flat[flat_index] != values).sum())
        flat[flat_index] = values


@fault(INTEGRITY, *CONSEQUENCES, NORMS, "optimizer_state", EROSION)
class ExponentFlip(Corrupted):
    """One exponent bit of one weight flips, to a value at least eight times the layer's largest."""

    def strike(self) -> None:
        self.index, self.value = flip_upwards(self.weight.data.view(-1), self.rng)
        self.write(torch.tensor([self.index]), torch.tensor([self.value]))


@fault(INTEGRITY, *CONSEQUENCES, NORMS, "optimizer_state", EROSION)
class StuckBit(ExponentFlip):
    """An exponent bit of one weight is stuck: the same high value is there again after each update."""

    def between(self) -> None:
        self.write(torch.tensor([self.index]), torch.tensor([self.value]))


def flip_upwards(flat: Tensor, rng: Rng) -> tuple[int, float]:
    """An element and the value it has when the lowest exponent bit that takes it to eight times the largest one (2^24 at most) flips."""
    largest = float(flat.abs().max())
    for index in rng.permutation(len(flat))[:200].tolist():
        bits = int(flat[index : index + 1].view(torch.int32))
        for bit in range(23, 31):
            value = float(torch.tensor([bits ^ (1 << bit)], dtype=torch.int32).view(torch.float32))
            if not bits >> bit & 1 and 8 * largest <= abs(value) <= 2.0**24 * largest:
                return index, value
    bits = int(flat[index : index + 1].view(torch.int32)) | 1 << 30
    return index, float(torch.tensor([bits], dtype=torch.int32).view(torch.float32))


@fault(INTEGRITY, *CONSEQUENCES, NORMS, EROSION)
class NoiseBetween(Corrupted):
    """A hundredth of the layer's weights, other ones each time, change by a thousandth between the steps."""

    def between(self) -> None:
        n = self.weight.numel()
        index = torch.from_numpy(self.rng.permutation(n)[: max(4, n // 100)])
        self.write(index, self.weight.data.view(-1)[index] * 1.001)


@fault(INTEGRITY, *CONSEQUENCES, NORMS, EROSION)
class StuckPage(Corrupted):
    """A quarter of the layer, in one piece, keeps falling back to what it was."""

    def strike(self) -> None:
        n = self.weight.numel()
        start = int(self.rng.integers(n - n // 4))
        self.page = torch.arange(start, start + n // 4)
        self.old = self.weight.data.view(-1)[self.page].clone()

    def between(self) -> None:
        self.write(self.page, self.old)


@fault(INTEGRITY, *CONSEQUENCES, NORMS, EROSION)
class OldCopy(Corrupted):
    """The layer is overwritten with what it was forty steps before, once."""

    def prepare(self) -> None:
        self.copies: list[Tensor] = []

    def history(self) -> None:
        self.copies = [*self.copies[-39:], self.weight.data.view(-1).clone()]

    def strike(self) -> None:
        self.write(torch.arange(self.weight.numel()), self.copies[0])


@fault(INTEGRITY, *CONSEQUENCES, NORMS, EROSION)
class BurstOfNoise(Corrupted):
    """For thirty steps the whole layer changes by a ten-thousandth between the steps."""

    def between(self) -> None:
        if self.age < 30:
            flat = self.weight.data.view(-1)
            noise = torch.from_numpy(self.rng.standard_normal(len(flat))).float()
            self.write(torch.arange(len(flat)), flat * (1 + 1e-4 * noise))


class Eroded(Fault):
    """Updates round to nothing at the precision the parameters are kept in."""

    def draw(self) -> None:
        self.choose_layer()
        self.everywhere()
        self.prepare()
        self.kept: dict[int, Tensor] = {}
        self.lost = 0.0
        self.handles.append(self.optimizer.register_step_pre_hook(self.keep))

    def everywhere(self) -> None:
        """The truth of a fault that strikes all layers alike."""
        self.truth = {n for n, m in self.model.named_modules() if any(True for _ in m.parameters(recurse=False))}

    def prepare(self) -> None:
        pass

    def keep(self, *_: object) -> None:
        self.kept = {id(p): p.detach().clone() for p in self.task.weights(self.struck)}

    def history(self) -> None:
        self.look()

    def between(self) -> None:
        self.look()

    def look(self) -> None:
        """The share of weights with a gradient that the last step left as they were."""
        same = moved = 0
        for p in self.task.weights(self.struck):
            with_gradient = p.grad != 0 if p.grad is not None else torch.zeros_like(p, dtype=torch.bool)
            same += int(((p.detach() == self.kept[id(p)]) & with_gradient).sum())
            moved += int(with_gradient.sum())
        self.lost = same / max(1, moved)

    def measure(self) -> Tensor:
        return torch.tensor(self.lost)

    def real(self, before: Tensor, after: Tensor) -> bool:
        return bool(after - before > 0.3)


@fault(EROSION, *CONSEQUENCES, NORMS, rate=0.1)
class RoundedToBf16(Eroded):
    """All parameters are kept in bfloat16 from now on."""

    def inside(self) -> None:
        for p in self.model.parameters():
            p.data.copy_(p.data.bfloat16())


@fault(EROSION, *CONSEQUENCES, NORMS, rate=0.3)
class RoundedToFp8(Eroded):
    """One layer is kept in eight bits from now on."""

    def everywhere(self) -> None:
        pass

    def inside(self) -> None:
        for p in self.task.weights(self.struck):
            p.data.copy_(p.data.to(torch.float8_e4m3fn))


@fault(EROSION, *CONSEQUENCES, NORMS, "optimizer_state")
class LargeOffset(Eroded):
    """One layer is kept with a large offset that is taken off again before use."""

    def everywhere(self) -> None:
        pass

    def strike(self) -> None:
        self.offset = 2.0**17

    def inside(self) -> None:
        for p in self.task.weights(self.struck):
            p.data += self.offset
            p.data -= self.offset


@fault(EROSION, *CONSEQUENCES, NORMS, optimizers=ADAM)
class EpsilonBug(Eroded):
    """Somebody set epsilon to 1e8 instead of 1e-8."""

    def strike(self) -> None:
        for group in self.optimizer.param_groups:
            group["eps"], group["weight_decay"] = 1e8, 0.0


@fault(EROSION, *CONSEQUENCES, NORMS, "optimizer_state", optimizers=("momentum", "sgd"))
class UnscaledTwice(Eroded):
    """The loss scale is divided out twice: gradients are 2^-24 of what they were, for a rule that is not invariant to it."""

    def gradients(self) -> None:
        for p in self.model.parameters():
            if p.grad is not None:
                p.grad *= 2.0**-24

    def strike(self) -> None:
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.0
