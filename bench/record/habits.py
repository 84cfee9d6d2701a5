"""Things healthy runs do that look like trouble: curricula, schedules of knobs, bad batches, restarts, freezing, averaging."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .fault import Rng, near, pick
from .habit import Habit, drawn, habit
from .loop import World
from .task import Batch, Card


@habit("noise_curriculum")
class NoiseCurriculum(Habit):
    note = "noise curriculum: harder inputs in unannounced steps"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and drawn(card) and card.family != "gin"

    def draw(self, rng: Rng) -> None:
        self.stages, self.top = int(rng.integers(3, 6)), float(rng.uniform(0.4, 1.0))

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        size = self.top * int(self.stages * t / self.steps) / self.stages * float(b["x"].std())
        return {**b, "x": b["x"] + size * torch.from_numpy(self.rng.normal(size=tuple(b["x"].shape))).float()}


@habit("length_curriculum")
class LengthCurriculum(Habit):
    note = "sequence length grows in stages"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y == "token" and card.family not in ("seq2seq", "sums_tlm")

    def start(self, w: World, t: int) -> None:
        self.full = w.task.length

    def begin(self, w: World, t: int) -> None:
        w.task.length = max(6, int(self.full * min(1.0, (1 + int(4 * t / self.steps)) / 3)))  # type: ignore[assignment, operator, call-overload]


@habit("class_stages")
class ClassStages(Habit):
    note = "classes are added one after another (unannounced); the loss jumps up at each and comes back"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y == "class" and card.classes > 2 and drawn(card)

    def begin(self, w: World, t: int) -> None:
        c = w.task.card.classes
        known = min(c, 2 + int(c * t / self.steps))
        if t == 0 or known != self.known:
            self.known: int = known
            w.task.pool = np.flatnonzero(w.task.y.numpy() < known)  # type: ignore[assignment, union-attr, operator]
            w.task.order = np.zeros(0, dtype=np.int64)  # type: ignore[assignment]


@habit("bad_batches")
class BadBatches(Habit):
    note = "several isolated bad batches, one step each"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x in ("float", "token") and drawn(card)

    def draw(self, rng: Rng) -> None:
        n = int(rng.integers(2, 7))
        self.at = set(int(v) for v in rng.integers(int(0.2 * self.steps), self.steps, n))
        self.gain = near(rng, 3, 12)

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        if t not in self.at:
            return b
        if w.task.card.x == "float":
            return {**b, "x": b["x"] * self.gain}
        high = int(b["x"].max()) + 1
        return {**b, "x": torch.from_numpy(self.rng.integers(0, high, tuple(b["x"].shape)))}


class KnobSchedule(Habit):
    """Moves one knob of the task over the run, in a ramp or in stairs."""

    knob, tag, low, high, stairs = "reg", "", 0.0, 0.01, False

    @classmethod
    def fits(cls, card: Card) -> bool:
        return not cls.tag or cls.tag in card.tags

    def begin(self, w: World, t: int) -> None:
        s = min(1.0, max(0.0, (t / self.steps - 0.2) / 0.6))
        s = int(4 * s) / 4 if self.stairs else s
        w.task.knob[self.knob] = self.low + (self.high - self.low) * s


@habit("kl_annealing")
class KlAnnealing(KnobSchedule):
    note, knob, tag, low, high = "KL weight annealed 0 to 1: the loss rises by design", "beta", "vae", 0.0, 1.0


@habit("kl_cyclic")
class KlCyclic(KnobSchedule):
    note, tag = "cyclic KL annealing", "vae"

    def begin(self, w: World, t: int) -> None:
        period = max(40, self.steps // 5)
        w.task.knob["beta"] = min(1.0, 2 * (t % period) / period)


@habit("label_smoothing")
class Smoothing(KnobSchedule):
    note, knob, high, stairs = "label smoothing raised in stairs: the loss rises by design", "smooth", 0.25, True

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y in ("class", "token") and card.classes > 0 and card.family not in ("distill",)


@habit("regulariser_grows")
class RegGrows(KnobSchedule):
    note, knob, high = "a weight penalty added to the gradient grows during the run", "reg", 0.003


@habit("entropy_bonus")
class EntropyBonus(KnobSchedule):
    note, knob, tag, low, high = (
        "entropy bonus raised during the run: the loss falls below zero",
        "entropy",
        "actor",
        0.01,
        0.15,
    )


@habit("contrastive_cooling")
class Cooling(KnobSchedule):
    note, knob, tag, low, high, stairs = "contrastive temperature raised in stairs", "tau", "pairs", 0.15, 0.5, True


@habit("mixup_toggled")
class Mixup(Habit):
    note = "mixup switched on for the middle of the run, off at the end"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and drawn(card) and card.family != "gin"

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        if not 0.3 < t / self.steps < 0.8:
            return b
        lam = float(self.rng.uniform(0.5, 1.0))
        return {**b, "x": lam * b["x"] + (1 - lam) * b["x"].roll(1, 0)}


@habit("progressive_unfreezing")
class Unfreezing(Habit):
    note = "layers unfrozen from the last to the first, announced nowhere"

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        stage = int(4 * t / self.steps)
        if stage >= 2:
            return g
        g = g.clone()
        g[: w.cuts[2 - stage]] = 0
        return g


@habit("progressive_freezing")
class Freezing(Habit):
    note = "early layers frozen after they have converged, announced nowhere"

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        if t < 0.6 * self.steps:
            return g
        g = g.clone()
        g[: w.cuts[1]] = 0
        return g


@habit("fresh_optimizer")
class Fresh(Habit):
    note = "resumed from checkpoints with a fresh optimizer"

    def draw(self, rng: Rng) -> None:
        self.at = {int(v) for v in rng.integers(self.steps // 4, self.steps, int(rng.integers(1, 4)))}

    def begin(self, w: World, t: int) -> None:
        if t in self.at:
            w.opt.forget()


@habit("lookahead")
class Lookahead(Habit):
    note = "lookahead: every few steps the weights return half-way to a slow copy"

    def draw(self, rng: Rng) -> None:
        self.every = int(rng.integers(5, 12))
        self.slow: Tensor | None = None

    def end(self, w: World, t: int) -> None:
        if t % self.every == 0:
            now = w.flat()
            self.slow = now if self.slow is None else self.slow + 0.5 * (now - self.slow)
            w.write(self.slow)


@habit("weight_average")
class Average(Habit):
    note = "twice the weights are replaced by their running average (SWA)"

    def end(self, w: World, t: int) -> None:
        now = w.flat()
        self.mean: Tensor = now if t == 0 else self.mean.lerp(now, 0.05)
        if t in (self.steps // 2, self.steps * 4 // 5):
            w.write(self.mean)


@habit("batch_growth")
class BatchGrowth(Habit):
    note = "the batch grows in stages"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.model_type != "rl"

    def start(self, w: World, t: int) -> None:
        self.base = w.task.size

    def begin(self, w: World, t: int) -> None:
        w.task.size = self.base // 2 * 2 ** int(3.99 * t / self.steps)


@habit("tiny_batch")
class TinyBatch(Habit):
    note = "batch of 3: heavy-tailed losses"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.model_type not in ("rl", "gan") and not card.tags & {"bn", "pairs"}

    def start(self, w: World, t: int) -> None:
        w.task.size = 3


@habit("sorted_data")
class SortedData(Habit):
    note = "data are read in order of their target, never shuffled: the loss is periodic"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.y == "class" and drawn(card) and card.family not in ("gcn",)

    def start(self, w: World, t: int) -> None:
        order = w.task.y.argsort(stable=True)[::3]  # type: ignore[operator, union-attr]
        w.task.x, w.task.y, w.task.shuffle = w.task.x[order], w.task.y[order], False  # type: ignore[assignment, index]


@habit("hard_batches_repeat")
class HardRepeat(Habit):
    note = "a fixed order with the same few hard batches in every epoch"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and drawn(card) and card.y == "class" and card.family != "gin"

    def start(self, w: World, t: int) -> None:
        task = w.task
        n = min(len(task.x), task.size * 24)  # type: ignore[arg-type]
        task.x, task.y, task.shuffle = task.x[:n].clone(), task.y[:n], False  # type: ignore[assignment, index]
        task.x[n // 2 : n // 2 + 2 * task.size] *= 3.0  # type: ignore[index, operator]


@habit("few_records")
class FewRecords(Habit):
    note = "48 records only: over-fitting towards zero loss, then training on"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return drawn(card)

    def start(self, w: World, t: int) -> None:
        w.task.pool = np.arange(48)  # type: ignore[assignment]


@habit("loss_unit")
class LossUnit(Habit):
    def draw(self, rng: Rng) -> None:
        self.times = float(pick(rng, 1e6, 3e4, 1e-4, 1e-6))
        self.note = f"loss in another unit: times {self.times:g}"

    def start(self, w: World, t: int) -> None:
        real, times = w.task.out, self.times

        def scaled(b):  # type: ignore[no-untyped-def]
            o = real(b)
            o.loss, o.each = o.loss * times, None if o.each is None else o.each * times
            return o

        w.task.out = scaled  # type: ignore[method-assign]


@habit("augmentation_toggled")
class AugmentToggled(Habit):
    note = "strong augmentation from a third of the run on, off for the last sixth"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and drawn(card) and card.family != "gin"

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        if not 1 / 3 < t / self.steps < 5 / 6:
            return b
        return {**b, "x": b["x"] * torch.from_numpy((self.rng.random(tuple(b["x"].shape)) > 0.3).astype(np.float32))}


@habit("dropout_schedule")
class DropoutSchedule(Habit):
    note = "dropout raised from 0 to 0.4 in stairs"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return "drop" in card.tags

    def begin(self, w: World, t: int) -> None:
        for m in w.modules(nn.Dropout):
            m.p = 0.1 * int(5 * t / self.steps)  # type: ignore[assignment]


@habit("pruned_once")
class PrunedOnce(Habit):
    note = "pruned by a third in one go by design, then fine-tuned under the mask"

    def end(self, w: World, t: int) -> None:
        if t == int(0.55 * self.steps):
            theta = w.flat()
            self.mask: Tensor = (theta.abs() > theta.abs().kthvalue(len(theta) // 3).values).float()
        if t >= int(0.55 * self.steps):
            w.write(w.flat() * self.mask)


@habit("head_reset")
class HeadReset(Habit):
    note = "the last layer is started afresh once, by design: the loss jumps to its start and comes back"

    def end(self, w: World, t: int) -> None:
        if t == int(0.5 * self.steps):
            theta = w.flat()
            theta[w.span(len(w.counts) - 1)] = 0
            i = len(w.counts) - 2
            theta[w.span(i)] = torch.from_numpy(self.rng.normal(0, 0.05, w.counts[i])).float()
            w.write(theta)


@habit("gradient_noise_annealed")
class NoiseAnnealed(Habit):
    note = "annealed gradient noise by design"

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        size = 0.7 * float(g.norm()) / len(g) ** 0.5 / (1 + t / 100) ** 0.55
        return g + size * torch.from_numpy(self.rng.normal(size=len(g))).float()


@habit("two_domains")
class TwoDomains(Habit):
    note = "two halves of the data (by an input feature) in turn, in long blocks"

    @classmethod
    def fits(cls, card: Card) -> bool:
        return card.x == "float" and drawn(card) and card.family != "gin"

    def begin(self, w: World, t: int) -> None:
        block = max(30, self.steps // 8)
        if t % block == 0:
            key = w.task.x.flatten(1).mean(1).numpy()  # type: ignore[operator, union-attr]
            high = key > np.median(key)
            w.task.pool = np.flatnonzero(high if t // block % 2 else ~high)  # type: ignore[assignment]
            w.task.order = np.zeros(0, dtype=np.int64)  # type: ignore[assignment]
