"""Faults of the optimizer, the schedule and the gradient path."""

from __future__ import annotations

import torch
from torch import Tensor

from .fault import ALARMING, PLAIN, SHAPE, STILL, Fault, Rng, fault, near, pick
from .loop import World
from .optim import ADAM_LIKE


@fault("gradient_sign_flip")
class SignFlip(Fault):
    """The gradient of the largest weight matrices comes with the wrong sign."""

    expected = ALARMING + ("representational_collapse",)

    def draw(self, rng: Rng) -> None:
        self.p = {"layers": int(pick(rng, 1, 1, 2))}

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        g = g.clone()
        for i in sorted(w.matrices(), key=lambda k: -w.counts[k])[: self.p["layers"]]:
            g[w.span(i)] *= -1
        return g


@fault("adam_constants")
class AdamConstants(Fault):
    """Wrong betas: hardly any second moment, or a first moment far slower than the second."""

    expected, opts = ALARMING, ADAM_LIKE

    def draw(self, rng: Rng) -> None:
        self.p = pick(
            rng,
            {"betas": [0.995, 0.3], "eps": 1e-12},
            {"betas": [0.99, 0.5], "eps": 1e-12},
            {"betas": [0.9, 0.0], "eps": 1e-15},
        )

    def strike(self, w: World, t: int) -> None:
        w.opt.betas, w.opt.eps = tuple(self.p["betas"]), self.p["eps"]  # type: ignore[assignment]


@fault("moment_lost_on_resume")
class MomentLost(Fault):
    """A resume restores the first moments and the step count, but the second moments start from zero, uncorrected."""

    expected, opts = ALARMING, ("adam", "adamw", "nadam", "amsgrad")

    def draw(self, rng: Rng) -> None:
        self.p = {"kept": near(rng, 1e-7, 1e-5)}

    def strike(self, w: World, t: int) -> None:
        w.opt.v, w.opt.top = w.opt.v * self.p["kept"], w.opt.top * self.p["kept"]
        w.opt.bias_correction = False
        w.opt.betas = (w.opt.betas[0], 0.9999)


@fault("decay_per_step")
class DecayPerStep(Fault):
    """A per-epoch decay is applied at every step: the rate dies within a few dozen steps."""

    expected, level = STILL, "norms"

    def draw(self, rng: Rng) -> None:
        self.p = {"gamma": round(float(rng.uniform(0.8, 0.95)), 3)}

    def rate(self, w: World, t: int, lr: float) -> float:
        return lr * self.p["gamma"] ** self.age(t)


@fault("wrong_warmup_peak")
class WrongPeak(Fault):
    """The warm-up starts again and rises to a multiple of the intended peak."""

    expected = ALARMING

    def draw(self, rng: Rng) -> None:
        self.p = {"peak": near(rng, 20, 90), "ramp": int(rng.integers(15, 50))}

    def rate(self, w: World, t: int, lr: float) -> float:
        return w.lr * self.p["peak"] * min(1.0, (self.age(t) + 1) / self.p["ramp"])


@fault("rate_jump")
class RateJump(Fault):
    """The learning rate is ten to thirty times too large from one step to the next (a missing zero)."""

    expected = ALARMING

    def draw(self, rng: Rng) -> None:
        self.p = {"times": near(rng, 10, 40)}

    def rate(self, w: World, t: int, lr: float) -> float:
        return lr * self.p["times"]


@fault("rate_creep")
class RateCreep(Fault):
    """The learning rate grows by a small factor each step."""

    expected = ALARMING + ("representational_collapse",)

    def draw(self, rng: Rng) -> None:
        self.p = {"growth": round(float(rng.uniform(1.012, 1.025)), 4)}

    def rate(self, w: World, t: int, lr: float) -> float:
        return lr * self.p["growth"] ** self.age(t)


@fault("decay_times_1000")
class DecayHeavy(Fault):
    """Weight decay a thousand times too strong, decoupled from the gradient."""

    expected, opts = SHAPE + ("vanishing_gradients",), None

    def draw(self, rng: Rng) -> None:
        self.p = {"shrink": near(rng, 0.008, 0.04)}

    def update(self, w: World, t: int, u: Tensor) -> Tensor:
        return u - self.p["shrink"] * w.flat()


@fault("accumulation_unscaled")
class Unscaled(Fault):
    """Gradients are summed over micro-batches and never divided."""

    expected, opts = ALARMING, PLAIN

    def draw(self, rng: Rng) -> None:
        self.p = {"times": near(rng, 12, 64)}

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        return g * self.p["times"]


@fault("scale_underflow")
class Underflow(Fault):
    """The loss scale falls to a value where gradients vanish in half precision, and stays there."""

    expected, level, amp = STILL, "norms", True

    def draw(self, rng: Rng) -> None:
        self.p = {"scale": near(rng, 1e-8, 1e-5)}

    def begin(self, w: World, t: int) -> None:
        assert w.scaler is not None
        w.scaler.scale, w.scaler.stuck = max(self.p["scale"], w.scaler.scale * 0.25), True


@fault("scale_overflow")
class Overflow(Fault):
    """The loss scale never backs off: every step overflows and is skipped."""

    expected, level, amp = STILL + ("gradient_explosion",), "norms", True

    def begin(self, w: World, t: int) -> None:
        assert w.scaler is not None
        w.scaler.stuck = True
        w.scaler.scale = min(w.scaler.scale * 4, 2.0**60)


@fault("stale_gradients")
class Stale(Fault):
    """Asynchronous workers deliver gradients many steps old."""

    expected = ALARMING + ("training_stagnation",)

    def draw(self, rng: Rng) -> None:
        self.p = {"lag": int(rng.integers(12, 40)), "rate": 3.0}
        self.queue: list[Tensor] = []

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        self.queue.append(g)
        return self.queue.pop(0) if len(self.queue) > self.p["lag"] else self.queue[0]

    def rate(self, w: World, t: int, lr: float) -> float:
        return lr * self.p["rate"]


@fault("clip_tiny")
class ClipTiny(Fault):
    """The clip value is read in the wrong unit: every gradient is cut to almost nothing."""

    expected, opts, level = STILL, PLAIN, "full"

    def draw(self, rng: Rng) -> None:
        self.p = {"clip": near(rng, 1e-6, 1e-4)}

    def strike(self, w: World, t: int) -> None:
        w.clip = self.p["clip"]


@fault("clip_lost")
class ClipLost(Fault):
    """Clipping is switched off in a run that relies on it, while heavy gradients arrive."""

    expected, clip, opts = ALARMING, True, PLAIN

    def strike(self, w: World, t: int) -> None:
        w.clip = None


@fault("step_not_called")
class NotStepping(Fault):
    """The optimizer is no longer called."""

    expected, level = STILL, "full"

    def update(self, w: World, t: int, u: Tensor) -> Tensor:
        return torch.zeros_like(u)


@fault("gradient_noise")
class GradientNoise(Fault):
    """Noise of growing size is added to the gradient (a failing all-reduce)."""

    expected = ALARMING

    def draw(self, rng: Rng) -> None:
        self.p = {"growth": round(float(rng.uniform(1.02, 1.06)), 3), "start": 0.1}

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        size = min(self.p["start"] * self.p["growth"] ** self.age(t), 1e3) * float(g.norm()) / len(g) ** 0.5
        return g + size * torch.from_numpy(self.rng.normal(size=len(g))).float()


@fault("gradient_shrinks")
class Shrinks(Fault):
    """A backward bug scales the gradient down a little more each step."""

    expected, opts, level = STILL, PLAIN, "norms"

    def draw(self, rng: Rng) -> None:
        self.p = {"decay": round(float(rng.uniform(0.86, 0.95)), 3)}

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        return g * self.p["decay"] ** self.age(t)


@fault("layers_frozen")
class Frozen(Fault):
    """Most of the network silently loses its gradient (detached, requires_grad lost)."""

    expected, level = (
        ("vanishing_gradients", "training_stagnation", "loss_divergence", "representational_collapse"),
        "full",
    )

    def draw(self, rng: Rng) -> None:
        self.p = {"upto": pick(rng, "mid", "late")}

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        g = g.clone()
        g[: w.cuts[2 if self.p["upto"] == "mid" else 3] - (0 if self.p["upto"] == "mid" else w.counts[-1])] = 0
        return g


@fault("edge_of_stability")
class Edge(Fault):
    """The rate is raised slowly until the sharpest direction is no longer stable, then held there."""

    expected, opts = ALARMING, PLAIN

    def draw(self, rng: Rng) -> None:
        self.p = {"times": near(rng, 8, 30), "ramp": int(rng.integers(80, 200))}

    def rate(self, w: World, t: int, lr: float) -> float:
        return lr * self.p["times"] ** min(1.0, self.age(t) / self.p["ramp"])


@fault("worker_inverted")
class Inverted(Fault):
    """After a restart one of a few workers sends its gradient with the wrong sign and a large gain; the mean turns uphill."""

    expected = ALARMING

    def draw(self, rng: Rng) -> None:
        self.p = {"gain": round(float(rng.uniform(-0.6, -0.1)), 2)}

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        return g * self.p["gain"] if w.opt.kind in PLAIN else -g


@fault("momentum_above_one")
class MomentumAboveOne(Fault):
    """The momentum constant is set above one: velocity feeds itself."""

    expected, opts = ALARMING, ("momentum", "nesterov")

    def draw(self, rng: Rng) -> None:
        self.p = {"beta": round(float(rng.uniform(1.005, 1.05)), 3)}

    def strike(self, w: World, t: int) -> None:
        w.opt.betas = (self.p["beta"], w.opt.betas[1])


@fault("update_sharded_twice")
class Twice(Fault):
    """Two ranks apply the update to every other parameter block several times over."""

    expected = ALARMING

    def draw(self, rng: Rng) -> None:
        self.p = {"times": int(rng.integers(8, 30))}

    def update(self, w: World, t: int, u: Tensor) -> Tensor:
        u = u.clone()
        for i in range(0, len(w.counts), 2):
            u[w.span(i)] *= self.p["times"]
        return u


@fault("poisoned_moments")
class Poisoned(Fault):
    """A short rate accident with zeroed gradients; second moments decay meanwhile, and a later rate ramp meets small ones."""

    expected, opts = ALARMING, ("adam", "adamw", "nadam")

    def draw(self, rng: Rng) -> None:
        self.p = {
            "spike": near(rng, 10, 30),
            "dur": int(rng.integers(4, 9)),
            "quiet": int(rng.integers(40, 90)),
            "shrink": 0.86,
        }

    def strike(self, w: World, t: int) -> None:
        self.clear = t + self.p["dur"]

    def rate(self, w: World, t: int, lr: float) -> float:
        return lr * (self.p["spike"] if self.age(t) < self.p["dur"] else 1.0)

    def end(self, w: World, t: int) -> None:
        if self.age(t) >= self.p["dur"] + self.p["quiet"]:
            w.opt.v *= self.p["shrink"]
