"""From what happened to what is told: wire-format step objects, with as little as a run's reporting habits give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .loop import Step


@dataclass(frozen=True)
class Reporting:
    """Habits of one run's logging.  `level`: full, norms (loss, norm, rate) or loss.  `every`: log each n-th step."""

    level: str = "full"
    every: int = 1
    mean: bool = False  # the logged loss is the mean since the last log
    postclip: bool = False
    digits: int = 6
    rate: str = "force"  # force, planned or none
    layer2: int = 0
    lacks: tuple[str, ...] = ()  # of similarity, update, weights, thirds, batch
    length: bool = True  # sequence length told in batch_meta
    times: bool = False


class Writer:
    """Turns steps into objects; keeps what deltas and means need."""

    def __init__(self, how: Reporting) -> None:
        self.how, self.sum, self.n = how, 0.0, 0
        self.last: float | None = None

    def num(self, v: float) -> Any:
        if math.isnan(v):
            return "NaN"
        if math.isinf(v):
            return "Infinity" if v > 0 else "-Infinity"
        return float(f"{v:.{self.how.digits}g}")

    def row(self, s: Step) -> dict[str, Any] | None:
        """The object of this step, or None where the run does not log it."""
        how = self.how
        self.sum, self.n = self.sum + s.loss, self.n + 1
        if s.t % how.every:
            return None
        loss = self.sum / self.n if how.mean else s.loss
        self.sum, self.n = 0.0, 0
        training: dict[str, Any] = {"loss": self.num(loss)}
        if self.last is not None and how.level == "full":
            training["loss_delta"] = self.num(loss - self.last)
        self.last = loss
        row: dict[str, Any] = {"step": s.t}
        if how.level == "full":
            row["epoch"] = s.epoch
        if not math.isfinite(loss):
            row["nan_detected"] = True
        row["training"] = training
        if how.level == "loss":
            return row
        training["grad_norm"] = self.num(s.norm_clipped if how.postclip else s.norm)
        if how.level == "full" and "similarity" not in how.lacks and s.similarity is not None:
            training["gradient_similarity"] = self.num(s.similarity)
        if how.level == "full" and "update" not in how.lacks:
            training["update_norm"] = self.num(s.update)
        if how.rate != "none":
            training["current_lr"] = self.num(s.lr if how.rate == "force" else s.lr_planned)
        if s.restarted:
            training["lr_restarted"] = True
        if s.scale is not None:
            training["loss_scale"] = self.num(s.scale)
            if s.skipped:
                training["step_skipped"] = True
        if how.level == "norms":
            return row
        if "weights" not in how.lacks:
            row["weights"] = {"l1_norm": self.num(s.weight_l1), "l2_norm": self.num(s.weight_l2)}
        if "thirds" not in how.lacks:
            row["distribution"] = {
                "l1_norm": self.num(s.grad_l1),
                "l2_norm": self.num(s.norm),
                "grad_norm_early": self.num(s.thirds[0]),
                "grad_norm_mid": self.num(s.thirds[1]),
                "grad_norm_late": self.num(s.thirds[2]),
            }
        if "batch" not in how.lacks:
            row["batch_meta"] = {"batch_size": s.batch_size}
            if s.length is not None and how.length:
                row["batch_meta"]["seq_len"] = s.length
        if how.layer2:
            row.update(self.samples(s))
        if how.times:
            row["forward_ms"], row["backward_ms"] = self.num(s.forward_ms), self.num(s.backward_ms)
        return row

    def samples(self, s: Step) -> dict[str, Any]:
        """Layer 2: per-sample arrays of the first records of the batch; nothing on a non-finite step."""
        o = s.out
        if o is None or o.each is None or s.ids is None or not math.isfinite(s.loss):
            return {}
        n = min(self.how.layer2, len(o.each), len(s.ids))
        found: dict[str, Any] = {
            "sample_ids": s.ids[:n].tolist(),
            "sample_losses": [self.num(v) for v in o.each[:n].tolist()],
        }
        if o.logits is not None and o.y is not None:
            p = o.logits[:n].softmax(-1)
            top, entropy = p.topk(2, -1).values, -(p * p.clamp(min=1e-12).log()).sum(-1)
            right = (p.argmax(-1) == o.y[:n]).float()
            if p.dim() == 3:
                top, entropy, right = top.mean(1), entropy.mean(1), right.mean(1)
            found["sample_confidences"] = [self.num(v) for v in top[:, 0].tolist()]
            found["sample_margins"] = [self.num(v) for v in (top[:, 0] - top[:, 1]).tolist()]
            found["sample_entropies"] = [self.num(v) for v in entropy.tolist()]
            found["sample_correct"] = [bool(v >= 0.5) for v in right.tolist()]
        if not all(
            isinstance(v, (bool, int)) or (isinstance(v, float) and math.isfinite(v)) for a in found.values() for v in a
        ):
            return {}
        return found
