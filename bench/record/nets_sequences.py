"""Small sequence networks: transformer, dilated convolutions, gated recurrence, GRU, encoder-decoder, low-rank layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Pre-norm self-attention block, causal or not."""

    def __init__(self, width: int, heads: int, causal: bool, drop: float = 0.0) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.down, self.drop = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), nn.Dropout(drop)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        src = h if memory is None else memory
        q, k, v = (
            m(z).unflatten(-1, (self.heads, -1)).transpose(1, 2) for m, z in ((self.q, h), (self.k, src), (self.v, src))
        )
        a = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal and memory is None)
        x = x + self.o(a.transpose(1, 2).flatten(-2))
        return x + self.down(self.drop(F.gelu(self.up(self.norm2(x)))))


class Decoder(nn.Module):
    """Token and position embeddings, attention blocks, a head."""

    def __init__(
        self,
        vocab: int,
        outs: int,
        width: int,
        depth: int,
        length: int,
        causal: bool = True,
        drop: float = 0.0,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab, width), nn.Parameter(0.1 * torch.randn(length, width))
        self.blocks = nn.ModuleList(Attention(width, 2, causal, drop) for _ in range(depth))
        self.norm, self.head, self.pooled = nn.LayerNorm(width), nn.Linear(width, outs), pooled

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x) + self.place[: x.shape[1]]
        for b in self.blocks:
            h = b(h)
        h = self.norm(h)
        return self.head(h.mean(1) if self.pooled else h)


class Causal(nn.Module):
    """Dilated causal convolutions over embeddings."""

    def __init__(self, vocab: int, width: int, depth: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab, width)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=2**i) for i in range(depth))
        self.head = nn.Linear(width, vocab)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x).transpose(1, 2)
        for i, c in enumerate(self.convs):
            h = h + F.silu(c(F.pad(h, (2 * 2**i, 0))))
        return self.head(h.transpose(1, 2))


class Gated(nn.Module):
    """Input-dependent gated linear recurrence (a small selective state space); tokens or one real channel."""

    def __init__(self, vocab: int, width: int, outs: int, pooled: bool) -> None:
        super().__init__()
        self.embed: nn.Module = nn.Embedding(vocab, width) if vocab else nn.Linear(1, width)
        self.real, self.pooled = not vocab, pooled
        self.gate, self.value, self.out = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x[..., None] if self.real else x)
        a, v = torch.sigmoid(self.gate(h) + 1.0), torch.tanh(self.value(h))
        state, states = torch.zeros_like(v[:, 0]), []
        for i in range(h.shape[1]):
            state = a[:, i] * state + (1 - a[:, i]) * v[:, i]
            states.append(state)
        h = self.norm(h + self.out(torch.stack(states, 1)))
        return self.head(h.mean(1) if self.pooled else h)


class Forecaster(nn.Module):
    """GRU that predicts the next values of a signal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(1, width, batch_first=True), nn.Linear(width, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x[..., None])[0][:, -1])


class Rewriter(nn.Module):
    """Encoder-decoder: an encoder block, a decoder block with cross attention, teacher forcing."""

    def __init__(self, vocab: int, width: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab, width), nn.Parameter(0.3 * torch.randn(length, width))
        self.enc, self.own, self.cross = (
            Attention(width, 2, False),
            Attention(width, 2, True),
            Attention(width, 2, False),
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab)

    def forward(self, pair: Tensor) -> Tensor:
        src, tgt = pair.chunk(2, 1)
        memory = self.enc(self.embed(src) + self.place)
        prev = F.pad(tgt[:, :-1], (1, 0))
        h = self.own(self.embed(prev) + self.place)
        return self.head(self.norm(self.cross(h, memory)))


class LowRank(nn.Module):
    """A frozen linear layer with a trainable low-rank addition."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T * 2
