"""Faults only one family of models can have."""

from __future__ import annotations

from typing import Any

import torch

from .fault import ALARMING, OUTPUTS, SHAPE, STILL, Fault, Rng, fault, near, pick, tagged
from .loop import World


@fault("self_distillation_collapse")
class Collapse(Fault):
    """The stop-gradient and the predictor of a bootstrap method are lost: the constant answer becomes optimal."""

    expected, fits = (
        ("representational_collapse", "training_stagnation", "vanishing_gradients", "distribution_shift"),
        tagged("byol"),
    )

    def strike(self, w: World, t: int) -> None:
        w.task.knob.update(stop_gradient=0.0, use_predictor=0.0)


@fault("contrastive_temperature")
class Tau(Fault):
    """The contrastive temperature is far too high (or low): nothing is told apart."""

    expected, fits = (
        (
            "training_stagnation",
            "loss_divergence",
            "vanishing_gradients",
            "representational_collapse",
            "gradient_explosion",
        ),
        tagged("pairs"),
    )

    def draw(self, rng: Rng) -> None:
        self.p = {"tau": pick(rng, 50.0, 0.002)}

    def strike(self, w: World, t: int) -> None:
        w.task.knob["tau"] = self.p["tau"]


@fault("discriminator_wins")
class DiscriminatorWins(Fault):
    """The generator's share of the gradient is lost, or the discriminator's is far too large."""

    expected, fits = ALARMING + STILL[:2] + ("representational_collapse",), tagged("gan")

    def draw(self, rng: Rng) -> None:
        self.p = {"g_mul": pick(rng, 0.0, -1.0)}

    def strike(self, w: World, t: int) -> None:
        w.task.knob["g_mul"] = self.p["g_mul"]


@fault("mode_collapse")
class ModeCollapse(Fault):
    """The discriminator stops learning; the generator runs into its blind spot."""

    expected, fits = (
        ALARMING + ("training_stagnation", "vanishing_gradients", "representational_collapse", "distribution_shift"),
        tagged("gan"),
    )

    def strike(self, w: World, t: int) -> None:
        w.task.knob["d_mul"] = 0.0


@fault("policy_entropy_collapse")
class PolicyCollapse(Fault):
    """The entropy bonus has the wrong sign and size: the policy becomes deterministic before it is any good."""

    expected, fits = (
        ("loss_divergence", "vanishing_gradients", "training_stagnation", "entropy_drift", "oscillation"),
        tagged("actor"),
    )

    def strike(self, w: World, t: int) -> None:
        w.task.knob["entropy"] = -0.6


@fault("reward_bug")
class RewardBug(Fault):
    """Rewards arrive with the wrong sign and scale after an update of the environment."""

    expected, fits = ALARMING + ("distribution_shift",), tagged("rl")

    def draw(self, rng: Rng) -> None:
        self.p = {"reward": pick(rng, -1.0, -5.0, -30.0)}

    def strike(self, w: World, t: int) -> None:
        w.task.knob["reward"] = self.p["reward"]


@fault("values_run_away")
class Discount(Fault):
    """A discount above one and no target network: values feed on themselves."""

    expected, fits = ALARMING, tagged("q")

    def strike(self, w: World, t: int) -> None:
        w.task.knob.update(gamma=1.15, sync=1.0)


@fault("router_collapse")
class Router(Fault):
    """The router's logits are pushed to one expert, and that expert decays."""

    expected, fits = SHAPE + OUTPUTS, tagged("router")

    def end(self, w: World, t: int) -> None:
        with torch.no_grad():
            net: Any = w.task.net
            net.router.bias[0] += 0.3
            for p in net.experts[0].parameters():
                p.mul_(0.97)
            net.head.weight.mul_(0.985)


@fault("codebook_collapse")
class Codebook(Fault):
    """All codes drift to one point."""

    expected, fits = SHAPE, tagged("vq")

    def draw(self, rng: Rng) -> None:
        self.p = {"pull": near(rng, 0.01, 0.06)}

    def end(self, w: World, t: int) -> None:
        with torch.no_grad():
            book: Any = w.task.book
            book.lerp_(book.mean(0, keepdim=True).expand_as(book), self.p["pull"])


@fault("teacher_corrupted")
class Teacher(Fault):
    """The teacher of a distillation is reloaded with noise on its weights."""

    expected, fits = (
        (
            "label_noise",
            "loss_divergence",
            "distribution_shift",
            "entropy_drift",
            "confidence_collapse",
            "gradient_explosion",
        ),
        tagged("teacher"),
    )

    def draw(self, rng: Rng) -> None:
        self.p = {"noise": round(float(rng.uniform(1.0, 2.0)), 2)}

    def strike(self, w: World, t: int) -> None:
        with torch.no_grad():
            for p in w.task.teacher.parameters():  # type: ignore[union-attr]
                p.add_(torch.from_numpy(self.rng.normal(0, float(p.std()) * self.p["noise"], tuple(p.shape))).float())


@fault("kl_weight_runaway")
class Kl(Fault):
    """The KL weight keeps growing: the posterior collapses onto the prior."""

    expected, fits = (
        (
            "loss_divergence",
            "representational_collapse",
            "training_stagnation",
            "gradient_explosion",
            "distribution_shift",
        ),
        tagged("vae"),
    )

    def draw(self, rng: Rng) -> None:
        self.p = {"growth": round(float(rng.uniform(1.02, 1.06)), 3)}

    def begin(self, w: World, t: int) -> None:
        w.task.knob["beta"] = min(0.3 * self.p["growth"] ** self.age(t), 300.0)
