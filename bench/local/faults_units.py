"""Faults of units and representations: dead, saturated, collapsed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .faults import Fault, fault, outputs_of, unit_range
from .models import Batch, Place, Task

DEAD, SATURATED, COLLAPSED = "dead_neurons", "activation_saturation", "representation_collapse"


class Dead(Fault):
    """Some units behind a ReLU, GELU or SiLU stop responding."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.units)

    def draw(self) -> None:
        self.place = self.choose(self.task.units)
        self.share = float(self.rng.uniform(0.4, 0.9))
        self.prepare()

    def prepare(self) -> None:
        pass

    def some(self, units: int) -> Tensor:
        return torch.from_numpy(self.rng.permutation(units)[: max(2, round(self.share * units))])

    def measure(self) -> Tensor:
        return torch.stack(
            [unit_range(self.task, self.place), outputs_of(self.task, self.place.taker, taken=True).abs().amax(0)]
        )

    def real(self, before: Tensor, after: Tensor) -> bool:
        alive = before[0] > 0
        dead = (after[0] < 2**-8 * before[0])[alive].float().mean()
        for other in self.task.units:
            if other is not self.place and float((unit_range(self.task, other) < 1e-6).float().mean()) > 0.3:
                self.truth |= other.names
        return float(dead) >= 0.25


CONSEQUENCES_OF_DEATH = (COLLAPSED, SATURATED, "gradient_flow", "weight_norms", "precision_erosion")


@fault(DEAD, *CONSEQUENCES_OF_DEATH)
class BiasDown(Dead):
    """The bias before the activation is driven down, over 10 or 60 steps."""

    def prepare(self) -> None:
        self.steps = int(self.rng.choice([10, 60]))
        self.bias = self.module(self.place.norm or self.place.layer).bias
        self.units = self.some(len(self.bias))

    def strike(self) -> None:
        values = outputs_of(self.task, self.place.norm or self.place.layer)[:, self.units]
        self.by = (values.amax(0) + 4 * values.std(0) + 6) / self.steps

    def inside(self) -> None:
        if self.age < self.steps:
            self.bias.data[self.units] -= self.by


@fault(DEAD, *CONSEQUENCES_OF_DEATH)
class IncomingZeroed(Dead):
    """A wrong pruning mask: the incoming weights of some units are zeroed after every update."""

    def prepare(self) -> None:
        (self.weight,) = self.task.weights(self.place.layer)
        self.units = self.some(len(self.weight))

    def inside(self) -> None:
        self.weight.data[self.units] = 0


@fault(DEAD, *CONSEQUENCES_OF_DEATH, "attention_collapse")
class RateAccident(Dead):
    """For four steps the layer learns a thousand times too fast."""

    by_layer = True

    def prepare(self) -> None:
        self.its_group = self.group(self.place.norm or self.place.layer)

    def strike(self) -> None:
        self.its_group["lr"] *= 1000

    def inside(self) -> None:
        if self.age == 3:
            self.its_group["lr"] /= 1000


@fault(DEAD, *CONSEQUENCES_OF_DEATH)
class StuckChannels(Dead):
    """A kernel that leaves some channels of the layer's output at a constant."""

    def prepare(self) -> None:
        (weight,) = self.task.weights(self.place.layer)
        self.units = self.some(len(weight))
        self.on_output(self.place.layer, self.stick)

    def stick(self, output: Tensor) -> Tensor:
        output = output.clone()
        output[(slice(None), self.units) if output.ndim == 4 else (..., self.units)] = -1.0
        return output


def pinned_share(task: Task, place: Place) -> float:
    """The share of activations within a twentieth of the range from an end of it."""
    values = outputs_of(task, place.act or place.layer)
    if place.act and isinstance(task.model.get_submodule(place.act), nn.Sigmoid):
        values = 2 * values - 1
    return float((values.abs() > 0.9).float().mean())


class Saturated(Fault):
    """Units behind tanh or sigmoid are driven to the ends of their range."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.bounded)

    def draw(self) -> None:
        self.place = self.choose(self.task.bounded)
        self.prepare()

    def prepare(self) -> None:
        pass

    def own(self) -> list[nn.Parameter]:
        return list(self.module(self.place.layer).parameters(recurse=False))

    def measure(self) -> Tensor:
        return torch.tensor([pinned_share(self.task, p) for p in self.task.bounded])

    def real(self, before: Tensor, after: Tensor) -> bool:
        risen = after - before > 0.3
        for place, rose in zip(self.task.bounded, risen.tolist()):
            if rose:
                self.truth |= place.names
        return bool(risen[self.task.bounded.index(self.place)])


CONSEQUENCES_OF_SATURATION = (COLLAPSED, DEAD, "gradient_flow", "weight_norms", "precision_erosion")


@fault(SATURATED, *CONSEQUENCES_OF_SATURATION)
class PreactivationScaled(Saturated):
    """One update leaves weights and bias thirty times too large."""

    def inside(self) -> None:
        if self.age == 0:
            for p in self.own():
                p.data *= 30


@fault(SATURATED, *CONSEQUENCES_OF_SATURATION)
class WeightsSwell(Saturated):
    """Weights and bias grow by a twentieth at each update."""

    def inside(self) -> None:
        if self.age < 80:
            for p in self.own():
                p.data *= 1.05


@fault(SATURATED, *CONSEQUENCES_OF_SATURATION)
class GainStuck(Saturated):
    """What the layer is given is a hundred times too large: a scale applied twice."""

    def prepare(self) -> None:
        self.handles.append(
            self.module(self.place.layer).register_forward_pre_hook(
                lambda _m, args: (args[0] * 100, *args[1:]) if self.active else None
            )
        )


@fault(SATURATED, *CONSEQUENCES_OF_SATURATION)
class RateStuckHigh(Saturated):
    """The layer learns two hundred times too fast from now on."""

    by_layer = True

    def strike(self) -> None:
        self.group(self.place.layer)["lr"] *= 200


@fault(SATURATED, *CONSEQUENCES_OF_SATURATION)
class InputUnnormalised(Saturated):
    """The loader no longer normalises: inputs are a hundred times too large."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.bounded) and task.float_input

    def draw(self) -> None:
        self.place = self.task.bounded[0]
        self.struck, self.truth = self.place.layer, set(self.place.names)

    def batch(self, batch: Batch) -> Batch:
        return batch[0] * 100, batch[1]

    def measure(self) -> Tensor:
        with self.own_batches():
            return super().measure()


def variety(values: Tensor) -> Tensor:
    """How much the rows differ, relative to their size; and over how many directions (participation ratio)."""
    centred = values.double() - values.double().mean(0)
    covariance = centred.T @ centred / len(values)
    total = covariance.diagonal().sum()
    relative = total / values.double().square().sum(1).mean().clamp_min(1e-300)
    return torch.stack([relative, total.square() / covariance.square().sum().clamp_min(1e-300)])


class Collapsed(Fault):
    """The outputs of a layer come to say the same of every sample, or to say it in one direction only."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.outlets)

    def draw(self) -> None:
        self.choose_layer(list(self.task.outlets))
        self.accept_activation(self.struck)
        self.prepare()

    def accept_activation(self, layer: str) -> None:
        for place in (*self.task.units, *self.task.bounded):
            if place.layer == layer:
                self.truth |= place.names

    def prepare(self) -> None:
        pass

    def measure(self) -> Tensor:
        return variety(outputs_of(self.task, self.struck))

    def real(self, before: Tensor, after: Tensor) -> bool:
        fell = before.log() - after.clamp_min(1e-12).log()
        return bool((fell > 1.0).any())


CONSEQUENCES_OF_COLLAPSE = (DEAD, SATURATED, "gradient_flow", "weight_norms", "attention_collapse", "precision_erosion")


@fault(COLLAPSED, *CONSEQUENCES_OF_COLLAPSE)
class ConstantOutput(Collapsed):
    """The layer gives the mean of the batch for every sample."""

    def prepare(self) -> None:
        self.on_output(
            self.struck,
            lambda y: (
                y.flatten(0, -2).mean(0).expand_as(y) if y.ndim < 4 else y.mean((0, 2, 3), keepdim=True).expand_as(y)
            ),
        )


@fault(COLLAPSED, *CONSEQUENCES_OF_COLLAPSE)
class RankOne(Collapsed):
    """After each update the weight is its own best approximation of rank one."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return "lstm" not in task.outlets and "gru" not in task.outlets

    def inside(self) -> None:
        for p in self.task.weights(self.struck):
            flat = p.data.flatten(1)
            u, s, v = torch.linalg.svd(flat, full_matrices=False)
            p.data.copy_((s[0] * u[:, :1] @ v[:1]).view_as(p))


@fault(COLLAPSED, *CONSEQUENCES_OF_COLLAPSE)
class SameUnits(Collapsed):
    """Within twenty steps all units of the layer come to compute the same."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return "lstm" not in task.outlets and "gru" not in task.outlets

    def inside(self) -> None:
        for p in self.module(self.struck).parameters(recurse=False):
            p.data.lerp_(p.data[:1].expand_as(p), 0.2)


#: What takes the output of a layer normalisation, and what a batch normalisation normalises, by its name, beside it.
NEIGHBOURS = {
    "bn1": ("conv1",),
    "bn2": ("conv2",),
    "bn3": ("conv3",),
    "1": ("0",),
    "ln1": ("attn.qkv", "attn.q", "attn.k", "attn.v", "mha"),
    "ln2": ("fc", "mlp.0", "up"),
    "ln": ("head", "tokens"),
    "norm1": ("linear1",),
}


@fault(COLLAPSED, *CONSEQUENCES_OF_COLLAPSE)
class GammaCollapses(Collapsed):
    """The gain of a normalisation shrinks by a tenth at each update."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return task.__name__ in ("CnnBn", "ResNetSmall", "EncoderMasked", "GptSdpa", "VitSoftmax", "RecallMha")

    def draw(self) -> None:
        """Right to name: the normalisation, what it is the normalisation of, and the layer that takes its output."""
        kinds = (nn.BatchNorm2d, nn.LayerNorm)
        self.choose_layer([n for n, m in self.model.named_modules() if isinstance(m, kinds)])
        name = self.struck.rpartition(".")[2]
        near = tuple(self.struck.removesuffix(name) + t for t in NEIGHBOURS.get(name, ()))
        self.truth |= self.task.under(near)

    def inside(self) -> None:
        self.module(self.struck).weight.data *= 0.9


@fault(COLLAPSED, *CONSEQUENCES_OF_COLLAPSE)
class EmbeddingCollapses(Collapsed):
    """At each update the embeddings move a tenth of the way to their mean."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.embeddings)

    def draw(self) -> None:
        self.choose_layer(list(self.task.embeddings))

    def inside(self) -> None:
        (weight,) = self.task.weights(self.struck)
        weight.data.lerp_(weight.data.mean(0, keepdim=True).expand_as(weight), 0.1)


@fault(COLLAPSED, *CONSEQUENCES_OF_COLLAPSE)
class RepeatedSample(Collapsed):
    """The loader repeats one sample over the whole batch."""

    def batch(self, batch: Batch) -> Batch:
        return tuple(t[:1].expand_as(t).contiguous() for t in batch)  # type: ignore[return-value]

    def draw(self) -> None:
        self.struck = self.task.outlets[0]
        self.truth = {n for n, m in self.model.named_modules() if n and not list(m.children())}

    def measure(self) -> Tensor:
        """Sequences stay various within the one sample: there it may be void."""
        with self.own_batches():
            return super().measure()
