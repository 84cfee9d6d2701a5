"""Small models of each family, as people write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Head(nn.Module):
    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(width, size, bias=False)
        self.query = nn.Linear(width, size, bias=False)
        self.value = nn.Linear(width, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).transpose(-1, -2)
        return torch.softmax(scores, -1) @ self.value(x)


class Heads(nn.Module):
    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([Head(width, width // count) for _ in range(count)])
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(torch.cat([head(x) for head in self.heads], -1))


class Router(nn.Module):
    """Two experts behind a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 2)
        self.experts = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        shares = torch.softmax(self.gate(x), -1)
        return sum(shares[..., i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


class Block(nn.Module):
    def __init__(self, width: int, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention = Heads(width, 2)
        self.feed_forward = feed_forward
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.feed_forward(self.norm(x + self.attention(x)))


class LanguageModel(nn.Module):
    """A character model: more positions than characters."""

    def __init__(self, mixture: bool = False) -> None:
        super().__init__()
        self.tokens = nn.Embedding(65, 16)
        self.position_embedding = nn.Embedding(256, 16)
        make = (lambda: Router(16)) if mixture else (lambda: nn.Linear(16, 16))
        self.blocks = nn.Sequential(*[Block(16, make()) for _ in range(3)])
        self.head = nn.Linear(16, 65)

    def forward(self, ids: Tensor) -> Tensor:
        positions = torch.arange(ids.shape[1], device=ids.device)
        return self.head(self.blocks(self.tokens(ids) + self.position_embedding(positions)))


class Vgg(nn.Module):
    """Most weights in linear layers, and still a CNN."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.AdaptiveAvgPool2d(4))
        self.classifier = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 10))


class SqueezeExcite(nn.Module):
    """Called attention in papers; no query meets a key here."""

    def __init__(self) -> None:
        super().__init__()
        self.channel_attention = nn.Sequential(nn.Linear(8, 2), nn.ReLU(), nn.Linear(2, 8), nn.Sigmoid())
        self.conv = nn.Conv2d(8, 8, 3)


class RecurrentLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 12)
        self.lstm = nn.LSTM(12, 24, num_layers=2)
        self.out = nn.Linear(24, 100)


class Seq2SeqWithAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(8, 8)
        self.attention = nn.MultiheadAttention(8, 2)


class TinyUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16))
        self.down = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 1, 4, stride=2, padding=1)


class DitBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(16, 2)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(16, 96))


class DenoisingTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.t_embedder = nn.Linear(8, 16)
        self.blocks = nn.ModuleList([DitBlock() for _ in range(3)])


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))


class SelectiveMixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.in_proj = nn.Linear(16, 32)
        self.conv1d = nn.Conv1d(16, 16, 4, groups=16)
        self.x_proj = nn.Linear(16, 9)
        self.A_log = nn.Parameter(torch.zeros(16, 4))
        self.D = nn.Parameter(torch.ones(16))


class SelectiveBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.mixer = SelectiveMixer()


class StateSpaceLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layers = nn.ModuleList([SelectiveBlock() for _ in range(4)])


class GCNLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)


class GCN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = GCNLayer(8, 16)
        self.second = GCNLayer(16, 3)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class OwnWeights(nn.Module):
    """Nobody can tell from outside what it does with them."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(32, 32))
        self.out = nn.Linear(32, 2)


class LinearRetention(nn.Module):
    """Mixes positions in its forward, where no module shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.receptance = nn.Linear(16, 16)
        self.out = nn.Linear(16, 16)


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(1000, 8)
        self.items = nn.Embedding(2000, 8)
        self.out = nn.Linear(16, 1)


class Bandit(nn.Module):
    """A generator alone is a network like any other."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(4, 4)


def gan() -> nn.Module:
    return nn.ModuleDict({"generator": nn.Linear(4, 8), "discriminator": nn.Linear(8, 1)})
