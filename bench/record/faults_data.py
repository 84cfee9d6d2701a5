"""Faults of the data path: inputs, targets, order, loader."""

from __future__ import annotations

import numpy as np
import torch

from .fault import INPUTS, OUTPUTS, STILL, TARGETS, Fault, Rng, fault, near, pick
from .loop import World
from .task import Batch, Card


class InputFault(Fault):
    expected: tuple[str, ...] = INPUTS

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float"


class TargetFault(Fault):
    expected = TARGETS

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y == "class" or card.family in (
            "matfac",
            "quantile",
            "mdn",
            "siren",
            "forecast",
            "deepsets",
            "poisson",
        )


@fault("same_batch")
class SameBatch(Fault):
    """The loader hands out one batch again and again."""

    expected = (
        "distribution_shift",
        "entropy_drift",
        "confidence_collapse",
        "training_stagnation",
        "vanishing_gradients",
        "label_noise",
        "loss_divergence",
        "gradient_explosion",
    )

    def draw(self, rng: Rng) -> None:
        self.kept: Batch | None = None

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.model_type != "rl"

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        if self.kept is None:
            self.kept = b
        return self.kept


@fault("labels_shifted")
class LabelsShifted(TargetFault):
    """Targets are off by one class, or rolled by one record against the inputs."""

    def draw(self, rng: Rng) -> None:
        self.p = {"how": pick(rng, "roll", "next")}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        if self.p["how"] == "next" and w.task.card.y == "class":
            return {**b, "y": (b["y"] + 1) % w.task.card.classes}
        return {**b, "y": b["y"].roll(1, 0)}


@fault("tokens_off_by_one")
class OffByOne(Fault):
    """The target of a language model is the token after the next one, or the current one (a wrong slice)."""

    expected = TARGETS

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y == "token" and card.family not in ("mlm", "seq2seq")

    def draw(self, rng: Rng) -> None:
        self.p = {"how": pick(rng, "late", "leak")}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return {**b, "y": b["y"].roll(-1, 1) if self.p["how"] == "late" else b["x"]}


@fault("not_normalised")
class NotNormalised(InputFault):
    """The input arrives unnormalised: times 255 (or a smaller gain) and shifted."""

    def draw(self, rng: Rng) -> None:
        self.p = {"gain": pick(rng, 255.0, 255.0, 16.0), "offset": 1.0}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return {**b, "x": (b["x"] + self.p["offset"]) * self.p["gain"]}


@fault("targets_shuffled")
class TargetsShuffled(TargetFault):
    """Inputs and targets are shuffled independently."""

    @classmethod
    def fits(cls, card: Card) -> bool:
        return super().fits(card) or card.y == "token" and card.family != "mlm"

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return {**b, "y": b["y"][torch.from_numpy(self.rng.permutation(len(b["y"])))]}


@fault("zero_inputs")
class ZeroInputs(InputFault):
    """The decoder fails: inputs are all zeros."""

    expected = INPUTS + STILL[:2]

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and card.y != "none"

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return {**b, "x": torch.zeros_like(b["x"])}


@fault("nan_rows")
class NanRows(InputFault):
    """A shard holds records with missing values that are read as NaN."""

    expected = ("loss_divergence", "gradient_explosion")

    def draw(self, rng: Rng) -> None:
        self.p = {"share": near(rng, 0.02, 0.2)}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        if self.rng.random() < self.p["share"]:
            x = b["x"].clone()
            x[int(self.rng.integers(0, len(x)))] = float("nan")
            return {**b, "x": x}
        return b


@fault("vocabulary_permuted")
class Permuted(Fault):
    """Another tokenizer: all ids are permuted from now on, in inputs and targets."""

    expected = INPUTS

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "token"

    def start(self, w: World, t: int) -> None:
        super().start(w, t)
        n = 4 if w.task.card.y == "class" else w.task.card.classes
        self.map = torch.from_numpy(self.rng.permutation(n))

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return {**b, "x": self.map[b["x"]], **({"y": self.map[b["y"]]} if w.task.card.y == "token" else {})}


@fault("slow_label_rot")
class LabelRot(TargetFault):
    """The share of wrong labels grows from nothing over a few hundred steps."""

    def draw(self, rng: Rng) -> None:
        self.p = {"share": round(float(rng.uniform(0.6, 0.95)), 2), "ramp": int(rng.integers(150, 260))}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        share = self.p["share"] * min(1.0, self.age(t) / self.p["ramp"])
        hit = torch.from_numpy(self.rng.random(len(b["y"])) < share)
        wrong = b["y"][torch.from_numpy(self.rng.permutation(len(b["y"])))]
        return {**b, "y": torch.where(hit.view([-1] + [1] * (wrong.dim() - 1)), wrong, b["y"])}


@fault("one_class_shard")
class OneClass(Fault):
    """After a resume only one shard is read, which holds a single class: the rest is forgotten."""

    expected = (
        "distribution_shift",
        "entropy_drift",
        "confidence_collapse",
        "label_noise",
        "training_stagnation",
        "vanishing_gradients",
        "loss_divergence",
        "gradient_explosion",
    )

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y == "class" and card.model_type != "rl"

    def strike(self, w: World, t: int) -> None:
        y = w.task.y.numpy()  # type: ignore[operator, union-attr]
        w.task.pool, w.task.order = np.flatnonzero(y == y[0]), np.zeros(0, dtype=np.int64)  # type: ignore[assignment]


@fault("padding_flood")
class Padding(Fault):
    """Sequences are cut: a growing part of each is replaced by one padding token."""

    expected = INPUTS

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "token" and card.family != "seq2seq"

    def draw(self, rng: Rng) -> None:
        self.p = {"share": round(float(rng.uniform(0.7, 0.95)), 2)}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        n = b["x"].shape[1]
        cut = n - int(n * self.p["share"])
        x = b["x"].clone()
        x[:, cut:] = 0
        if w.task.card.y != "token":
            return {**b, "x": x}
        y = b["y"].clone()
        y[:, cut:] = 0
        return {**b, "x": x, "y": y}


@fault("augmentation_runaway")
class Augment(InputFault):
    """Augmentation strength is multiplied instead of set each epoch: noise grows without bound."""

    expected = INPUTS

    def draw(self, rng: Rng) -> None:
        self.p = {"growth": round(float(rng.uniform(1.02, 1.05)), 3), "top": 12.0}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        size = min(self.p["top"], 0.05 * self.p["growth"] ** self.age(t)) * float(b["x"].std())
        return {**b, "x": b["x"] + size * torch.from_numpy(self.rng.normal(size=tuple(b["x"].shape))).float()}


@fault("target_leak")
class Leak(Fault):
    """The first input values are overwritten by the target: training gets easy, the model useless."""

    expected = (
        "distribution_shift",
        "entropy_drift",
        "confidence_collapse",
        "vanishing_gradients",
        "label_noise",
        "training_stagnation",
    )

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and card.y == "class" and card.family not in ("gin",)

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        x = b["x"].clone()
        flat = x.view(len(x), -1)
        flat[torch.arange(len(x)), b["y"] % flat.shape[1]] += 4.0
        return {**b, "x": x}


@fault("outlier_records")
class Outliers(InputFault):
    """A bad file: some records of each batch are huge; their ids are known."""

    expected = ("outlier_batch", "distribution_shift", "loss_divergence", "gradient_explosion")

    def draw(self, rng: Rng) -> None:
        self.p = {"share": round(float(rng.uniform(0.06, 0.2)), 2), "gain": near(rng, 15, 60)}
        self.bad: torch.Tensor | None = None

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and card.y == "class" and card.family != "gin"

    def strike(self, w: World, t: int) -> None:
        n = len(w.task.x)  # type: ignore[arg-type]
        self.bad = torch.from_numpy(self.rng.random(n) < self.p["share"])

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        assert self.bad is not None
        hit = self.bad[b["ids"]]
        x, y = b["x"].clone(), b["y"].clone()
        x[hit] *= self.p["gain"]
        y[hit] = (y[hit] + 1) % w.task.card.classes
        return {**b, "x": x, "y": y}


@fault("channel_inverted")
class InvertedInput(InputFault):
    """The source changes: inputs are negated and offset."""

    expected = INPUTS

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and card.y != "none" and card.family != "gin"

    def draw(self, rng: Rng) -> None:
        self.p = {"offset": round(float(rng.uniform(1, 4)), 1)}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return {**b, "x": self.p["offset"] - 2 * b["x"]}


@fault("random_tokens")
class RandomTokens(Fault):
    """A growing share of the tokens is random (an encoding error spreading over the shards)."""

    expected = OUTPUTS + ("distribution_shift",)

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "token" and card.y == "token" and card.family != "seq2seq"

    def draw(self, rng: Rng) -> None:
        self.p = {"share": round(float(rng.uniform(0.7, 1.0)), 2), "ramp": int(rng.integers(60, 200))}

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        share = self.p["share"] * min(1.0, self.age(t) / self.p["ramp"])
        out = dict(b)
        for k in ("x", "y"):
            hit = torch.from_numpy(self.rng.random(tuple(b[k].shape)) < share)
            out[k] = torch.where(
                hit, torch.from_numpy(self.rng.integers(0, w.task.card.classes, tuple(b[k].shape))), b[k]
            )
        return out
