"""The networks that are trained: ordinary PyTorch, written in the various ways people write them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Mlp(nn.Module):
    """Three hidden layers, each with an activation module of its own."""

    def __init__(self, inputs: int, width: int, classes: int, activations: list[nn.Module], dropout: float) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(inputs, width), nn.Linear(width, width), nn.Linear(width, width // 2)
        self.act1, self.act2, self.act3 = activations
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width // 2, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act1(self.fc1(x)))
        x = self.drop(self.act2(self.fc2(x)))
        return self.head(self.act3(self.fc3(x)))


class Cnn(nn.Module):
    """Convolution, batch normalisation, ReLU, three times; mean over the picture."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu1 = nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = (
            nn.Conv2d(channels, 2 * channels, 3, 2, 1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
        )
        self.conv3, self.bn3, self.relu3 = (
            nn.Conv2d(2 * channels, 2 * channels, 3, 2, 1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        x = self.relu3(self.bn3(self.conv3(x)))
        return self.head(self.drop(x.mean((2, 3))))


class LeNet(nn.Module):
    """The old kind of convolutional net: tanh, pooling, no normalisation."""

    def __init__(self, channels: int, side: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.tanh1 = nn.Conv2d(1, channels, 3, padding=1), nn.Tanh()
        self.conv2, self.tanh2 = nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.Tanh()
        self.pool, self.drop = nn.AvgPool2d(2), nn.Dropout(dropout)
        self.fc1, self.tanh3 = nn.Linear(2 * channels * (side // 4) ** 2, 64), nn.Tanh()
        self.head = nn.Linear(64, classes)
        for layer in (self.conv1, self.conv2, self.fc1):
            nn.init.xavier_uniform_(layer.weight, gain=5 / 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.tanh1(self.conv1(x)))
        x = self.pool(self.tanh2(self.conv2(x)))
        return self.head(self.drop(self.tanh3(self.fc1(x.flatten(1)))))


class BasicBlock(nn.Module):
    """A residual block with one in-place ReLU called twice, as torchvision has it."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        x += identity
        return self.relu(x)


class ResNet(nn.Module):
    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(BasicBlock(channels, channels, 1))
        self.layer2 = nn.Sequential(BasicBlock(channels, 2 * channels, 2))
        self.layer3 = nn.Sequential(BasicBlock(2 * channels, 4 * channels, 2))
        self.drop = nn.Dropout(dropout)
        self.fc = nn.Linear(4 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.drop(x.mean((2, 3))))


class Encoder(nn.Module):
    """`nn.TransformerEncoder` (normalisation after the branch) that fills masked characters in."""

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary + 1, width), nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout, "relu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary)
        self.bias: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.tokens(x) + self.places.weight[: x.shape[1]], self.bias))


class SdpaAttention(nn.Module):
    """Causal self-attention by `scaled_dot_product_attention`."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.scale = (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        causal = self.bias is None
        y = functional.scaled_dot_product_attention(q, k, v, self.bias, dropout, is_causal=causal, scale=self.scale)
        return self.proj(y.transpose(1, 2).reshape(n, t, d))


class GptBlock(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(width), SdpaAttention(width, heads, dropout)
        self.ln2, self.fc, self.proj = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.ln1(x)))
        return x + self.drop(self.proj(functional.gelu(self.fc(self.ln2(x)))))


class Gpt(nn.Module):
    """A GPT-2 in small: normalisation before the branch, functional GELU, the head tied to the embedding."""

    def __init__(self, vocabulary: int, length: int, width: int, dropout: float, tied: bool = True) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([GptBlock(width, 4, dropout) for _ in range(2)])
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.tokens(x) + self.places.weight[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return self.head(self.ln(h))


class SoftmaxAttention(nn.Module):
    """Self-attention spelt out, with three projections and a softmax."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.drop = nn.Dropout(dropout)
        self.bias: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = (f(x).view(n, t, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) * self.scale
        if self.bias is not None:
            scores = scores + self.bias
        weights = self.drop(scores.softmax(-1))
        return self.out((weights @ v).transpose(1, 2).reshape(n, t, d))


class VitBlock(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(width), SoftmaxAttention(width, heads, dropout)
        self.ln2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Vit(nn.Module):
    """A vision transformer over patches of 4 x 4."""

    def __init__(self, side: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, width, 4, 4)
        self.place = nn.Parameter(0.02 * torch.randn((side // 4) ** 2, width))
        self.blocks = nn.Sequential(*(VitBlock(width, 4, dropout) for _ in range(2)))
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.ln(self.blocks(x)).mean(1))


class RecallBlock(nn.Module):
    """Normalisation before the branch around `nn.MultiheadAttention` used by hand."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.ln1, self.mha = nn.LayerNorm(width), nn.MultiheadAttention(width, 4, dropout, batch_first=True)
        self.ln2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.bias: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = self.ln1(x)
        x = x + self.mha(h, h, h, attn_mask=self.bias, need_weights=True)[0]
        return x + self.down(functional.silu(self.up(self.ln2(x))))


class Recall(nn.Module):
    """Answers which value stood beside the asked key."""

    def __init__(self, keys: int, values: int, width: int, dropout: float) -> None:
        super().__init__()
        self.keys, self.values = nn.Embedding(keys, width), nn.Embedding(values + 1, width)
        self.blocks = nn.ModuleList([RecallBlock(width, dropout) for _ in range(2)])
        self.ln, self.head = nn.LayerNorm(width), nn.Linear(width, values)

    def forward(self, x: Tensor) -> Tensor:
        h = self.keys(x[..., 0]) + self.values(x[..., 1])
        for block in self.blocks:
            h = block(h)
        return self.head(self.ln(h[:, -1]))


class CharLstm(nn.Module):
    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens, self.drop = nn.Embedding(vocabulary, width // 2), nn.Dropout(dropout)
        self.lstm, self.head = nn.LSTM(width // 2, width, batch_first=True), nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.lstm(self.tokens(x))[0]))


class WaveGru(nn.Module):
    """Reads a signal and tells its frequency: a GRU, a tanh layer, a head."""

    def __init__(self, inputs: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.inlet, self.inlet_act = nn.Linear(inputs, width), nn.Tanh()
        self.gru = nn.GRU(width, width, batch_first=True)
        self.drop, self.fc, self.act = nn.Dropout(dropout), nn.Linear(width, width), nn.Tanh()
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.gru(self.inlet_act(self.inlet(x)))[0]
        return self.head(self.act(self.fc(self.drop(h.mean(1)))))


def causal_bias(length: int) -> Tensor:
    return torch.full((length, length), -math.inf).triu(1)
