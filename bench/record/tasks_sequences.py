"""Tasks on sequences: language models, translation-like rewriting, signals, masked tokens, low-rank fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from . import data
from .nets_sequences import Causal, Decoder, Forecaster, Gated, LowRank, Rewriter
from .task import Batch, Card, Out, Supervised, Task

Rng = np.random.Generator


class LanguageModel(Supervised):
    """Next-token prediction over windows of one token stream; `length` may change while training (a curriculum)."""

    def __init__(self, rng: Rng, net: nn.Module, tokens: np.ndarray, length: int, card: Card) -> None:
        rows = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[:: max(4, length // 2)][:3000]
        rows = rows[rng.permutation(len(rows))]
        super().__init__(rng, net, rows[:, :-1].copy(), rows[:, 1:].copy(), card, "ce", held=48)
        self.length = length

    def batch(self, t: int) -> Batch:
        b = super().batch(t)
        b["x"], b["y"] = b["x"][:, : self.length], b["y"][:, : self.length]
        return b


def _card(
    family: str, arch: str, task: str, kind: str, vocab: int, adam: float, sgd: float, batch: int, **more: Any
) -> Card:
    return Card(
        family, arch, task, kind, adam, sgd, x="token", y="token", classes=vocab, batch=batch, slow=True, **more
    )


def conv_lm(rng: Rng) -> Task:
    tokens, v = data.text_chars(int(rng.integers(0, 4)))
    w, d = int(rng.integers(20, 32)), 3
    return LanguageModel(
        rng,
        Causal(v, w, d),
        tokens,
        32,
        _card("tcn_lm", f"dilated conv w{w}", "characters of docstrings", "other", v, 4e-3, 0.5, 12),
    )


def word_lm(rng: Rng) -> Task:
    tokens, v = data.text_words(120)
    w = 2 * int(rng.integers(10, 16))
    return LanguageModel(
        rng,
        Decoder(v, v, w, 1, 20, drop=0.1),
        tokens,
        20,
        _card(
            "word_tlm",
            f"transformer w{w}",
            "words of docstrings",
            "llm",
            v,
            3e-3,
            0.4,
            16,
            tags=frozenset({"drop", "attn", "embed"}),
        ),
    )


def chain_lm(rng: Rng) -> Task:
    tokens = data.markov_tokens(rng, 24, 30000, 2.0)
    w = 2 * int(rng.integers(8, 14))
    return LanguageModel(
        rng,
        Decoder(24, 24, w, 2, 24),
        tokens,
        24,
        _card(
            "chain_tlm",
            f"transformer w{w} d2",
            "a random Markov chain",
            "transformer",
            24,
            3e-3,
            0.3,
            16,
            tags=frozenset({"attn", "embed"}),
        ),
    )


def gated_lm(rng: Rng) -> Task:
    tokens, v = data.text_chars(int(rng.integers(0, 4)))
    w = int(rng.integers(24, 36))
    return LanguageModel(
        rng,
        Gated(v, w, v, False),
        tokens,
        24,
        _card(
            "gated_ssm",
            f"gated recurrence w{w}",
            "characters of docstrings",
            "ssm",
            v,
            5e-3,
            0.6,
            12,
            tags=frozenset({"embed"}),
        ),
    )


def wave_ssm(rng: Rng) -> Task:
    x, y = data.waves(rng, 1200, 32, 0.3)
    w = int(rng.integers(16, 28))
    return Supervised(
        rng,
        Gated(0, w, 5, True),
        x,
        y,
        Card("gated_ssm", f"gated recurrence w{w}", "five kinds of signal", "ssm", 5e-3, 0.3, classes=5, slow=True),
    )


def forecast(rng: Rng) -> Task:
    x, _ = data.waves(rng, 1500, 40, 0.1)
    return Supervised(
        rng,
        Forecaster(int(rng.integers(16, 28))),
        x[:, :32],
        x[:, 32:],
        Card("forecast", "GRU forecaster", "next 8 values of a signal", "rnn", 4e-3, 0.1, y="float", slow=True),
        "mse",
    )


class Masked(LanguageModel):
    """Masked-token prediction: 20 % of the tokens are replaced by a mask and predicted."""

    def batch(self, t: int) -> Batch:
        b = super().batch(t)
        b["mask"] = torch.from_numpy(self.rng.random(tuple(b["x"].shape)) < 0.2)
        return b

    def out(self, b: Batch) -> Out:
        y = b["x"]
        mask = b["mask"] if "mask" in b else (torch.arange(y.numel()).view_as(y) % 5 == 2)
        z = self.net(torch.where(mask, torch.full_like(y, self.card.classes), y)) / self.knob["temp"]
        raw = (
            F.cross_entropy(
                z.flatten(0, 1), y.flatten(), reduction="none", label_smoothing=self.knob["smooth"]
            ).view_as(y)
            * mask
        )
        each = raw.sum(1) / mask.sum(1).clamp(min=1)
        return Out(raw.sum() / mask.sum().clamp(min=1), each.detach(), z.detach(), y)


def masked_lm(rng: Rng) -> Task:
    tokens, v = data.text_chars(int(rng.integers(0, 4)))
    w = 2 * int(rng.integers(10, 15))
    return Masked(
        rng,
        Decoder(v + 1, v, w, 2, 24, causal=False, drop=0.05),
        tokens,
        24,
        _card(
            "mlm",
            f"encoder w{w} d2",
            "masked characters of docstrings",
            "transformer",
            v,
            3e-3,
            0.4,
            16,
            tags=frozenset({"drop", "attn", "embed"}),
        ),
    )


def rewriter(rng: Rng) -> Task:
    kind = ("copy", "reverse", "sort")[int(rng.integers(0, 3))]
    x, y = data.rewrite(rng, 4000, 8, 12, kind)
    w = 2 * int(rng.integers(10, 15))
    return Supervised(
        rng,
        Rewriter(12, w, 8),
        np.concatenate([x, y], 1),
        y,
        _card(
            "seq2seq",
            f"encoder-decoder w{w}",
            f"{kind} a sequence",
            "transformer",
            12,
            4e-3,
            0.3,
            24,
            tags=frozenset({"attn", "embed"}),
        ),
    )


def bracket_encoder(rng: Rng) -> Task:
    x, y = data.brackets(rng, 1800, 8)
    w = 2 * int(rng.integers(8, 13))
    return Supervised(
        rng,
        Decoder(4, 2, w, 2, 8, causal=False, pooled=True),
        x,
        y,
        Card(
            "encoder",
            f"encoder w{w} d2",
            "balanced brackets",
            "transformer",
            3e-3,
            0.1,
            x="token",
            classes=2,
            slow=True,
            tags=frozenset({"attn", "embed"}),
        ),
    )


def sums_lm(rng: Rng) -> Task:
    rows, v = data.sums_text(rng, 4000, 2)
    w = 2 * int(rng.integers(12, 16))
    return Supervised(
        rng,
        Decoder(v, v, w, 2, 9),
        rows[:, :-1].copy(),
        rows[:, 1:].copy(),
        _card(
            "sums_tlm",
            f"transformer w{w} d2",
            "two-digit sums as text",
            "llm",
            v,
            4e-3,
            0.3,
            32,
            tags=frozenset({"attn", "embed"}),
        ),
    )


def low_rank(rng: Rng) -> Task:
    """A conv LM trained for a while on one part of the text, then adapted to words of another part by low-rank layers."""
    first, v = data.text_chars(0)
    second = data.markov_tokens(rng, v, 20000, 1.2)
    net = Decoder(v, v, 24, 2, 24)
    pre = LanguageModel(rng, net, first, 24, _card("x", "", "", "", v, 0, 0, 16))
    opt = torch.optim.Adam(net.parameters(), 3e-3)
    for t in range(120):
        opt.zero_grad()
        pre.backward(pre.batch(t))
        opt.step()
    net.requires_grad_(False)
    for block in net.blocks:
        for name in ("q", "v", "up", "down"):
            setattr(block, name, LowRank(getattr(block, name), 4))
    net.head.requires_grad_(True)
    return LanguageModel(
        rng,
        net,
        second,
        24,
        _card("lora", "transformer w24, rank 4", "adapt a text model to a Markov chain", "llm", v, 4e-3, 0.3, 12),
    )


TASKS = {
    f.__name__: f
    for f in (
        conv_lm,
        word_lm,
        chain_lm,
        gated_lm,
        wave_ssm,
        forecast,
        masked_lm,
        rewriter,
        bracket_encoder,
        sums_lm,
        low_rank,
    )
}
