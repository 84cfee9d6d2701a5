"""What a fault is: a hook that joins the loop at the onset, with the signals a careful expert would accept as evidence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .hook import Hook
from .loop import World
from .optim import ADAM_LIKE
from .task import Card

Rng = np.random.Generator

NORMED = ADAM_LIKE + ("rmsprop", "lion", "signum", "adagrad", "adafactor", "adadelta")
PLAIN = ("sgd", "momentum", "nesterov")

ALARMING = ("loss_divergence", "gradient_explosion", "oscillation")
STILL = ("training_stagnation", "vanishing_gradients", "loss_divergence")
TARGETS = (
    "label_noise",
    "loss_divergence",
    "confidence_collapse",
    "entropy_drift",
    "distribution_shift",
    "gradient_explosion",
    "outlier_batch",
)
INPUTS = (
    "distribution_shift",
    "loss_divergence",
    "label_noise",
    "confidence_collapse",
    "entropy_drift",
    "gradient_explosion",
    "outlier_batch",
)
OUTPUTS = ("confidence_collapse", "entropy_drift", "loss_divergence", "label_noise")
SHAPE = ("representational_collapse", "loss_divergence", "training_stagnation", "gradient_explosion")


class Fault(Hook):
    """Base of all faults.  `p` holds the drawn parameters (they go to the meta file); `t0` is the onset."""

    expected: tuple[str, ...] = ()
    opts: tuple[str, ...] | None = None  # optimizers it is meant for; None: any
    level = "loss"  # the poorest telemetry in which it leaves a trace: loss, norms or full
    clip = False  # wants a run whose clipping matters
    amp = False  # wants a run with a loss scaler

    def __init__(self, rng: Rng) -> None:
        self.rng, self.t0 = rng, 0
        self.p: dict[str, Any] = {}
        self.clear: int | None = None
        self.draw(rng)

    def draw(self, rng: Rng) -> None:
        """Choose the parameters."""

    @classmethod
    def fits(cls, card: Card) -> bool:
        return True

    def start(self, w: World, t: int) -> None:
        self.t0 = t
        self.strike(w, t)

    def strike(self, w: World, t: int) -> None:
        """What happens once, at the onset."""

    def age(self, t: int) -> int:
        return t - self.t0


FAULTS: dict[str, type[Fault]] = {}


def fault(name: str) -> Callable[[type[Fault]], type[Fault]]:
    """Enrol a fault under the name used in meta files."""

    def enrol(cls: type[Fault]) -> type[Fault]:
        FAULTS[name] = cls
        return cls

    return enrol


def pick(rng: Rng, *values: Any) -> Any:
    return values[int(rng.integers(0, len(values)))]


def near(rng: Rng, low: float, high: float) -> float:
    """A log-uniform draw with three digits."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def tagged(tag: str) -> classmethod:  # type: ignore[type-arg]
    """`fits` for faults that need a task with this tag."""
    return classmethod(lambda cls, card: tag in card.tags)
