"""Faults of the network itself: weights, activations, normalisation, heads, the loss."""

from __future__ import annotations

import torch
from torch import nn

from .fault import ALARMING, OUTPUTS, SHAPE, STILL, Fault, Rng, fault, near, pick, tagged
from .loop import World
from .task import Card

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@fault("bit_flip")
class BitFlip(Fault):
    """Silent hardware corruption: an exponent bit of one or a few weights flips, once."""

    expected = ALARMING + (
        "distribution_shift",
        "outlier_batch",
        "confidence_collapse",
        "entropy_drift",
        "representational_collapse",
        "label_noise",
    )

    def draw(self, rng: Rng) -> None:
        self.p = {"weights": int(pick(rng, 1, 1, 3)), "power": int(pick(rng, 8, 12, 20))}

    def strike(self, w: World, t: int) -> None:
        theta = w.flat()
        at = self.rng.choice(
            [*range(*w.span(max(w.matrices(), key=lambda i: w.counts[i])).indices(len(theta)))], self.p["weights"]
        )
        theta[torch.from_numpy(at)] *= 2.0 ** self.p["power"]
        w.write(theta)


@fault("memory_errors")
class Memory(Fault):
    """A failing memory chip: every few steps one random weight is multiplied by a power of two."""

    expected = ALARMING + ("distribution_shift", "outlier_batch", "confidence_collapse", "representational_collapse")

    def draw(self, rng: Rng) -> None:
        self.p = {"every": int(rng.integers(4, 12)), "power": int(pick(rng, 6, 8))}

    def end(self, w: World, t: int) -> None:
        if self.age(t) % self.p["every"] == 0:
            theta = w.flat()
            theta[int(self.rng.integers(0, len(theta)))] *= 2.0 ** self.p["power"]
            w.write(theta)


@fault("weights_grow")
class Grow(Fault):
    """All weights are multiplied by slightly more than one each step."""

    expected = ALARMING + ("representational_collapse", "confidence_collapse")

    def draw(self, rng: Rng) -> None:
        self.p = {"rate": round(float(rng.uniform(1.006, 1.02)), 4)}

    def end(self, w: World, t: int) -> None:
        w.write(w.flat() * self.p["rate"])


@fault("saturated")
class Saturated(Fault):
    """Early layers are scaled up step by step until their activations saturate, later ones down: no gradient arrives early."""

    expected = ("vanishing_gradients", "training_stagnation", "loss_divergence", "representational_collapse")

    def draw(self, rng: Rng) -> None:
        self.p = {"rate": round(float(rng.uniform(0.95, 0.98)), 3)}

    def end(self, w: World, t: int) -> None:
        theta = w.flat()
        theta[w.cuts[1] :] *= self.p["rate"]
        theta[: w.cuts[1]] *= min(1.0 / self.p["rate"], 1e3) if self.age(t) < 120 else 1.0
        w.write(theta)


@fault("pruned_away")
class Pruned(Fault):
    """The smallest weights are removed for good, a few more each step, far beyond what the network can spare."""

    expected = SHAPE

    def draw(self, rng: Rng) -> None:
        self.p = {"share": near(rng, 0.004, 0.012), "top": 0.98}

    def end(self, w: World, t: int) -> None:
        theta = w.flat()
        k = int(len(theta) * min(self.p["top"], self.p["share"] * (self.age(t) + 1)))
        if k:
            theta[theta.abs().argsort()[:k]] = 0
            w.write(theta)


@fault("checkpoint_mixed")
class Mixed(Fault):
    """A partial restore: some matrices come back with their rows in another order, or freshly initialised."""

    expected = ALARMING + OUTPUTS + ("distribution_shift",)

    def draw(self, rng: Rng) -> None:
        self.p = {"how": pick(rng, "rows", "fresh"), "again": int(pick(rng, 0, 25))}

    def mix(self, w: World) -> None:
        theta = w.flat()
        for i in w.matrices():
            part = theta[w.span(i)].view(w.params[i].shape)
            if self.p["how"] == "rows":
                part.copy_(part[torch.from_numpy(self.rng.permutation(len(part)))].clone())
            else:
                part.copy_(torch.from_numpy(self.rng.normal(0, float(part.std()) + 1e-6, tuple(part.shape))).float())
        w.write(theta)

    def strike(self, w: World, t: int) -> None:
        self.mix(w)

    def end(self, w: World, t: int) -> None:
        if self.p["again"] and self.age(t) % self.p["again"] == self.p["again"] - 1:
            self.mix(w)


@fault("weights_rounded")
class Rounded(Fault):
    """Weights are stored in a coarse grid after each step: small updates are lost."""

    expected = STILL + ("representational_collapse",)

    def draw(self, rng: Rng) -> None:
        self.p = {"grid": pick(rng, 0.125, 0.25, 0.5)}

    def end(self, w: World, t: int) -> None:
        w.write((w.flat() / self.p["grid"]).round() * self.p["grid"])


@fault("embedding_collapse")
class EmbeddingCollapse(Fault):
    """All embedding rows are drawn to their mean."""

    expected, fits = SHAPE + OUTPUTS, tagged("embed")

    def draw(self, rng: Rng) -> None:
        self.p = {"pull": near(rng, 0.04, 0.25)}

    def end(self, w: World, t: int) -> None:
        with torch.no_grad():
            for m in w.modules(nn.Embedding):
                assert isinstance(m, nn.Embedding)
                m.weight.lerp_(m.weight.mean(0, keepdim=True).expand_as(m.weight), self.p["pull"])


@fault("attention_logits_grow")
class AttentionGrow(Fault):
    """Query and key weights grow until attention is one-hot."""

    expected, fits = ALARMING + OUTPUTS + ("training_stagnation", "representational_collapse"), tagged("attn")

    def draw(self, rng: Rng) -> None:
        self.p = {"rate": round(float(rng.uniform(1.02, 1.06)), 3)}

    def end(self, w: World, t: int) -> None:
        with torch.no_grad():
            for n, p in w.task.named_parameters():
                if n.endswith(("q.weight", "k.weight")) and float(p.norm()) < 1e4:
                    p.mul_(self.p["rate"])


@fault("norm_statistics")
class NormStatistics(Fault):
    """BatchNorm is switched to stored statistics that are wrong (variance too large or too small)."""

    expected = OUTPUTS + ("distribution_shift", "training_stagnation", "vanishing_gradients", "gradient_explosion")
    fits = tagged("bn")
    level = "full"

    def draw(self, rng: Rng) -> None:
        self.p = {"variance": pick(rng, 1e-3, 300.0, 2000.0)}

    def strike(self, w: World, t: int) -> None:
        for m in w.modules(NORMS):
            m.running_var *= self.p["variance"]  # type: ignore[operator]
            m.train = lambda mode=True, m=m: m  # type: ignore[method-assign, assignment, misc]
            m.training = False

    def begin(self, w: World, t: int) -> None:
        for m in w.modules(NORMS):
            m.momentum = 0.0  # type: ignore[assignment]


@fault("dropout_095")
class DropoutHigh(Fault):
    """A typing error in the dropout rate."""

    expected, fits = OUTPUTS + ("gradient_explosion", "distribution_shift"), tagged("drop")

    def draw(self, rng: Rng) -> None:
        self.p = {"rate": pick(rng, 0.95, 0.98)}

    def strike(self, w: World, t: int) -> None:
        for m in w.modules(nn.Dropout):
            m.p = self.p["rate"]  # type: ignore[assignment]


@fault("temperature")
class Temperature(Fault):
    """Logits are divided by a growing temperature."""

    expected = OUTPUTS + ("training_stagnation", "vanishing_gradients")

    def draw(self, rng: Rng) -> None:
        self.p = {"top": near(rng, 30, 200), "ramp": int(rng.integers(1, 60))}

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y in ("class", "token") and card.classes > 0

    def begin(self, w: World, t: int) -> None:
        w.task.knob["temp"] = self.p["top"] ** min(1.0, (self.age(t) + 1) / self.p["ramp"])


@fault("zero_loss")
class ZeroLoss(Fault):
    """The loss mask is all zeros: the loss is exactly 0 and no gradient flows."""

    expected = STILL[:2]

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.model_type not in ("gan",)

    def strike(self, w: World, t: int) -> None:
        real = w.task.out

        def masked(b):  # type: ignore[no-untyped-def]
            o = real(b)
            if w.task.training:
                o.loss, o.each = o.loss * 0.0, None if o.each is None else o.each * 0.0
            return o

        w.task.out = masked  # type: ignore[method-assign]


@fault("loss_summed")
class Summed(Fault):
    """The reduction changes from mean to sum: loss and gradient grow by the size of the batch."""

    expected = ALARMING

    def strike(self, w: World, t: int) -> None:
        real, self.p = w.task.out, {"times": w.task.size}

        def summed(b):  # type: ignore[no-untyped-def]
            o = real(b)
            if w.task.training:
                o.loss = o.loss * self.p["times"]
            return o

        w.task.out = summed  # type: ignore[method-assign]
