"""Per-sample quantities ("Layer 2") from logits and targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from argus._report import say

if TYPE_CHECKING:
    from torch import Tensor

#: Logits looked at in one call, at most: bounds the time and the temporary memory (four bytes each, a few copies).
ELEMENTS_MAX = 1 << 23

_warned: set[str] = set()


@dataclass(frozen=True)
class PerSample:
    """Per-sample arrays of one batch, all of shape (n,), float32, on the device of the logits.

    Attributes:
        indices: Position in the batch of each of the n samples.
        losses: Cross-entropy, nats.
        confidences: Probability of the likeliest class, 0 to 1.
        margins: That probability minus the second likeliest one, 0 to 1.
        entropies: Entropy of the predicted distribution, nats.
        correct: 1 where the likeliest class is the target, else 0; for sequences the share of such tokens.
    """

    indices: tuple[int, ...]
    losses: Tensor | None = None
    confidences: Tensor | None = None
    margins: Tensor | None = None
    entropies: Tensor | None = None
    correct: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)


def per_sample(logits: Tensor, targets: Tensor, *, max_samples: int = 32, ignore_index: int = -100) -> PerSample:
    """Makes the per-sample arrays that `watch.step(..., samples=...)` takes.

    Classification: logits (B, C) and targets (B,). Language models: logits (B, T, V) and targets (B, T), already shifted as
    for the loss; every quantity is averaged over a sequence's tokens whose target is not `ignore_index` (a sequence without
    any is NaN, and so is a class target of `ignore_index`).

    At most `max_samples` samples are looked at, evenly strided over the batch and always the same ones for one batch size;
    for language models also only as many evenly strided tokens of each as keep the work under `ELEMENTS_MAX` logits.
    Runs under `no_grad` and never synchronises a device. Like everything called inside the loop it does not raise: shapes
    that do not fit are said once on stderr and give an empty result, which `watch.step` ignores.

    Args:
        logits: Unnormalised scores, any floating type.
        targets: Class indices.
        max_samples: 1 or more.
        ignore_index: Target value that marks padding.

    Example:
        >>> import torch
        >>> batch = argus.per_sample(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        >>> batch.correct.tolist()
        [1.0, 0.0]
        >>> [round(x, 3) for x in batch.losses.tolist()]
        [0.127, 3.049]
    """
    try:
        return _per_sample(logits, targets, max(1, int(max_samples)), int(ignore_index))
    except Exception as error:  # nothing may reach the training loop
        cause = f"per_sample gave nothing: {error}"
        if cause not in _warned and len(_warned) < 16:
            _warned.add(cause)
            say(cause)
        return PerSample(())


def _per_sample(logits: Tensor, targets: Tensor, max_samples: int, ignore_index: int) -> PerSample:
    import torch

    if logits.dim() not in (2, 3) or targets.shape != logits.shape[:-1]:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} with targets of shape {tuple(targets.shape)}; "
            "accepted are (B, C) with (B,), and (B, T, V) with (B, T)"
        )
    with torch.no_grad():
        batch = logits.shape[0]
        stride = max(1, -(-batch // max_samples))
        indices = tuple(range(0, batch, stride))
        if not indices:
            return PerSample(())
        scores, wanted = logits.detach()[::stride], targets.detach()[::stride]
        if scores.dim() == 2:
            scores, wanted = scores.unsqueeze(1), wanted.unsqueeze(1)
        positions = max(1, ELEMENTS_MAX // max(1, len(indices) * scores.shape[2]))
        every = max(1, -(-scores.shape[1] // positions))
        scores, wanted = scores[:, ::every], wanted[:, ::every]

        counted = wanted != ignore_index
        wanted = wanted.clamp(0, scores.shape[2] - 1).to(scores.device)
        counted = counted.to(scores.device)
        log_p = torch.log_softmax(scores.float(), dim=-1)
        p = log_p.exp()
        # A class of probability 0 adds nothing to the entropy; its logarithm is -inf and 0 * -inf would be NaN.
        entropies = -(p * log_p.masked_fill(p == 0, 0.0)).sum(-1)
        top = p.topk(min(2, p.shape[-1]), dim=-1)
        confidences = top.values[..., 0]
        margins = confidences - top.values[..., 1] if top.values.shape[-1] > 1 else confidences
        losses = -log_p.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
        correct = (top.indices[..., 0] == wanted).float()

        tokens = counted.sum(1)

        def mean(values: Tensor) -> Tensor:
            return values.masked_fill(~counted, 0.0).sum(1) / tokens

        return PerSample(indices, mean(losses), mean(confidences), mean(margins), mean(entropies), mean(correct))
