"""What the demo trains: a small transformer language model on text that comes with Python."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


def reference_text() -> str:
    """The Python language reference as `pydoc` carries it (about 0.5 million characters, no download)."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


class Corpus:
    """Characters as integers, and batches drawn from them by a seed and a step number alone.

    The batch of a step depends on nothing else, so two runs of one seed see the same data whatever
    happened to them before.
    """

    def __init__(self, text: str, *, context: int, batch_size: int, seed: int) -> None:
        alphabet = sorted(set(text))
        index = {character: i for i, character in enumerate(alphabet)}
        self.vocabulary = len(alphabet)
        self.context = context
        self.batch_size = batch_size
        self.seed = seed
        self._tokens = torch.tensor([index[character] for character in text], dtype=torch.long)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and next-character targets of one step, both of shape (batch_size, context)."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        last = len(self._tokens) - self.context - 1
        starts = torch.randint(last, (self.batch_size,), generator=generator)
        rows = self._tokens[starts[:, None] + torch.arange(self.context + 1)]
        return rows[:, :-1], rows[:, 1:]


@dataclass(frozen=True)
class Shape:
    """Size of the model: `width` channels, `layers` blocks, `heads` attention heads."""

    width: int = 96
    layers: int = 3
    heads: int = 4


class Block(nn.Module):
    """Pre-norm attention and feed-forward block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.attention_norm = nn.LayerNorm(shape.width)
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.feed_norm = nn.LayerNorm(shape.width)
        self.up = nn.Linear(shape.width, 4 * shape.width)
        self.down = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            self.qkv(self.attention_norm(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        fed: Tensor = self.down(functional.gelu(self.up(self.feed_norm(x))))
        return x + fed


class CharTransformer(nn.Module):
    """Next-character model. Input (B, T) integers, output (B, T, vocabulary) logits."""

    def __init__(self, vocabulary: int, context: int, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, shape.width)
        self.positions = nn.Embedding(context, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
            if name.endswith(("out.weight", "down.weight")):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * shape.layers))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            hidden = block(hidden)
        logits: Tensor = self.head(self.norm(hidden))
        return logits
