"""The trainings: a network, its data, and where in it what can break.

All data follow from the seed and the step alone, so a run and its healthy twin see the same batches whatever happened to them before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from argus.demo.task import reference_text

from . import nets

SIDE, CLASSES = 12, 10
ADAM_RATES = {"adamw": 2e-3, "adam": 2e-3, "rmsprop": 5e-4, "adagrad": 1e-2}
ALL_RATES = ADAM_RATES | {"momentum": 0.03, "sgd": 0.1}


@dataclass(frozen=True)
class Place:
    """Units between two layers: the layer that makes them, its normalisation and activation module, and the module that takes them."""

    layer: str
    taker: str
    norm: str | None = None
    act: str | None = None

    @property
    def names(self) -> set[str]:
        return {name for name in (self.layer, self.norm, self.act) if name}


@dataclass(frozen=True)
class Cut:
    """A module through whose output all gradient of what lies before must pass; layers directly before and after it, by prefix."""

    module: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Branch:
    """A residual branch: its last layer (zeroing it silences the branch) and the prefix of the layers inside."""

    last: str
    inside: tuple[str, ...]


@dataclass(frozen=True)
class Attention:
    """A module that attends: itself, the module that owns query and key weights, and the rows of the projection that make them."""

    module: str
    heads: int
    query: str  # module owning the query weights
    key: str
    fused: bool  # query, key and value are thirds of one weight
    causal: bool = False


Batch = tuple[Tensor, Tensor]


class Task:
    """One training. Subclasses say what is trained on what, and where it can break."""

    batch_size = 64
    rates = ADAM_RATES
    units: tuple[Place, ...] = ()  # behind ReLU, GELU, SiLU
    bounded: tuple[Place, ...] = ()  # behind tanh and sigmoid
    cuts: tuple[Cut, ...] = ()
    branches: tuple[Branch, ...] = ()
    attentions: tuple[Attention, ...] = ()
    outlets: tuple[str, ...] = ()  # layers whose outputs represent the sample
    embeddings: tuple[str, ...] = ()
    float_input = True
    attended = 0  # length of the sequence that attentions see

    def __init__(
        self, seed: int, *, batch_size: int | None = None, dropout: float = 0.0, samples: int | None = None
    ) -> None:
        self.seed, self.dropout, self.samples = seed, dropout, samples
        self.batch_size = batch_size or self.batch_size
        torch.manual_seed(seed)
        self.model = self.make()

    def make(self) -> nn.Module:
        raise NotImplementedError

    def draw(self, g: torch.Generator, n: int) -> Batch:
        """`n` samples and their targets."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """With `samples` set, batches repeat: few samples that can be learned by heart."""
        if self.samples is not None:
            step = step % max(1, self.samples // self.batch_size)
        return self.draw(torch.Generator().manual_seed(self.seed * 1_000_003 + step), self.batch_size)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(output.flatten(0, -2), target.flatten())

    def layers(self) -> list[str]:
        """Modules that own a weight of at least two axes, in order of registration; tied ones once."""
        seen: set[int] = set()
        names = []
        for name, module in self.model.named_modules():
            own = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
            if name and own and id(own[0]) not in seen:
                names.append(name)
                seen.update(id(p) for p in own)
        return names

    def owners(self, name: str) -> set[str]:
        """Every module that has one of this module's parameters: more than one where weights are tied."""
        ids = {id(p) for p in self.model.get_submodule(name).parameters(recurse=False)}
        return {n for n, m in self.model.named_modules() if any(id(p) in ids for p in m.parameters(recurse=False))}

    def under(self, prefixes: tuple[str, ...]) -> set[str]:
        """The modules with parameters of their own at or below the prefixes."""
        return {
            name
            for name, module in self.model.named_modules()
            if any(name == p or name.startswith(p + ".") for p in prefixes)
            and any(True for _ in module.parameters(recurse=False))
        }

    def weights(self, name: str) -> list[nn.Parameter]:
        return [p for p in self.model.get_submodule(name).parameters(recurse=False) if p.ndim >= 2]


class Table(Task):
    """A table of 32 columns, ten classes drawn by a fixed random teacher."""

    rates = ALL_RATES
    batch_size = 128

    def draw(self, g: torch.Generator, n: int) -> Batch:
        teacher = torch.Generator().manual_seed(7)
        first, second = torch.randn(32, 24, generator=teacher), torch.randn(24, CLASSES, generator=teacher)
        x = torch.randn(n, 32, generator=g)
        y = (torch.sin(x @ first * 0.25) @ second + 0.3 * torch.randn(n, CLASSES, generator=g)).argmax(1)
        return x, y


class MlpRelu(Table):
    units = (Place("fc1", "fc2", act="act1"), Place("fc2", "fc3", act="act2"), Place("fc3", "head", act="act3"))
    cuts = (Cut("fc1", ("fc1",), ("fc2",)), Cut("fc2", ("fc2",), ("fc3",)), Cut("act3", ("fc3",), ("head",)))
    outlets = ("fc1", "fc2", "fc3")

    def make(self) -> nn.Module:
        return nets.Mlp(32, 128, CLASSES, [nn.ReLU(), nn.ReLU(), nn.ReLU()], self.dropout)


class MlpTanh(Table):
    bounded = (Place("fc1", "fc2", act="act1"), Place("fc2", "fc3", act="act2"), Place("fc3", "head", act="act3"))
    cuts = MlpRelu.cuts
    outlets = ("fc1", "fc2", "fc3")

    def make(self) -> nn.Module:
        return nets.Mlp(32, 128, CLASSES, [nn.Tanh(), nn.Sigmoid(), nn.Tanh()], self.dropout)


@cache
def _waves() -> Tensor:
    """Ten gratings of 12 x 12: five directions, two frequencies."""
    axis = torch.arange(SIDE, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack(
        [f * (math.cos(a) * x + math.sin(a) * y) for f in (0.6, 1.1) for a in (math.pi * k / 5 for k in range(5))]
    )


class Picture(Task):
    """Gratings at random phase under a window at a random place, in noise; the class is direction and frequency."""

    rates = ALL_RATES
    batch_size = 16

    def draw(self, g: torch.Generator, n: int) -> Batch:
        y = torch.randint(CLASSES, (n,), generator=g)
        phase, centre = 6.2832 * torch.rand(n, 1, 1, generator=g), 3 + 6 * torch.rand(n, 2, generator=g)
        axis = torch.arange(SIDE, dtype=torch.float32)
        window = torch.exp(
            -((axis - centre[:, :1]) ** 2)[:, :, None] / 30 - ((axis - centre[:, 1:]) ** 2)[:, None, :] / 30
        )
        x = torch.sin(_waves()[y] + phase) * window + 0.3 * torch.randn(n, SIDE, SIDE, generator=g)
        return x[:, None], y


class CnnBn(Picture):
    units = (
        Place("conv1", "conv2", "bn1", "relu1"),
        Place("conv2", "conv3", "bn2", "relu2"),
        Place("conv3", "head", "bn3", "relu3"),
    )
    cuts = (
        Cut("relu1", ("conv1", "bn1"), ("conv2", "bn2")),
        Cut("relu2", ("conv2", "bn2"), ("conv3", "bn3")),
        Cut("relu3", ("conv3", "bn3"), ("head",)),
    )
    outlets = ("conv1", "conv2", "conv3")

    def make(self) -> nn.Module:
        return nets.Cnn(8, CLASSES, self.dropout)


class LeNetTanh(Picture):
    bounded = (
        Place("conv1", "conv2", act="tanh1"),
        Place("conv2", "fc1", act="tanh2"),
        Place("fc1", "head", act="tanh3"),
    )
    cuts = (Cut("tanh1", ("conv1",), ("conv2",)), Cut("tanh2", ("conv2",), ("fc1",)), Cut("tanh3", ("fc1",), ("head",)))
    outlets = ("conv1", "conv2", "fc1")

    def make(self) -> nn.Module:
        return nets.LeNet(8, SIDE, CLASSES, self.dropout)


class ResNetSmall(Picture):
    units = (
        Place("layer1.0.conv1", "layer1.0.conv2", "layer1.0.bn1", "layer1.0.relu"),
        Place("layer2.0.conv1", "layer2.0.conv2", "layer2.0.bn1", "layer2.0.relu"),
        Place("layer3.0.conv1", "layer3.0.conv2", "layer3.0.bn1", "layer3.0.relu"),
    )
    cuts = (
        Cut("layer1.0", ("layer1.0",), ("layer2.0",)),
        Cut("layer2.0", ("layer2.0",), ("layer3.0",)),
        Cut("layer3.0", ("layer3.0",), ("fc",)),
    )
    branches = tuple(
        Branch(f"layer{i}.0.bn2", (f"layer{i}.0.conv1", f"layer{i}.0.bn1", f"layer{i}.0.conv2", f"layer{i}.0.bn2"))
        for i in (1, 2, 3)
    )
    outlets = ("conv1", "layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1")

    def make(self) -> nn.Module:
        return nets.ResNet(6, CLASSES, self.dropout)


@cache
def _characters() -> tuple[Tensor, int]:
    text = reference_text()
    alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([alphabet[c] for c in text]), len(alphabet)


class Text(Task):
    """Characters of Python's own language reference, the next one to be told."""

    batch_size, length = 8, 24
    attended = length
    float_input = False

    def draw(self, g: torch.Generator, n: int) -> Batch:
        text, _ = _characters()
        starts = torch.randint(len(text) - self.length - 1, (n, 1), generator=g)
        window = text[starts + torch.arange(self.length + 1)]
        return window[:, :-1], window[:, 1:]


class EncoderMasked(Text):
    """A sixth of the characters is masked and to be told."""

    units = (
        Place("encoder.layers.0.linear1", "encoder.layers.0.linear2"),
        Place("encoder.layers.1.linear1", "encoder.layers.1.linear2"),
    )
    cuts = (
        Cut("encoder.layers.0", ("encoder.layers.0",), ("encoder.layers.1",)),
        Cut("encoder.layers.1", ("encoder.layers.1",), ("head",)),
    )
    branches = tuple(
        Branch(f"encoder.layers.{i}.linear2", (f"encoder.layers.{i}.linear1", f"encoder.layers.{i}.linear2"))
        for i in (0, 1)
    )
    attentions = tuple(
        Attention(
            f"encoder.layers.{i}.self_attn", 4, f"encoder.layers.{i}.self_attn", f"encoder.layers.{i}.self_attn", True
        )
        for i in (0, 1)
    )
    outlets = (
        "encoder.layers.0.linear1",
        "encoder.layers.1.linear1",
        "encoder.layers.0.linear2",
        "encoder.layers.1.linear2",
    )
    embeddings = ("tokens",)

    def make(self) -> nn.Module:
        return nets.Encoder(_characters()[1], self.length, 32, self.dropout)

    def draw(self, g: torch.Generator, n: int) -> Batch:
        x, _ = super().draw(g, n)
        hidden = torch.rand(x.shape, generator=g) < 1 / 6
        return x.masked_fill(hidden, _characters()[1]), x.masked_fill(~hidden, -100)


class GptSdpa(Text):
    units = (Place("blocks.0.fc", "blocks.0.proj"), Place("blocks.1.fc", "blocks.1.proj"))
    cuts = (Cut("blocks.0", ("blocks.0",), ("blocks.1",)), Cut("blocks.1", ("blocks.1",), ("ln", "head", "tokens")))
    branches = tuple(
        Branch(f"blocks.{i}.proj", (f"blocks.{i}.fc", f"blocks.{i}.proj", f"blocks.{i}.ln2")) for i in (0, 1)
    )
    attentions = tuple(
        Attention(f"blocks.{i}.attn", 4, f"blocks.{i}.attn.qkv", f"blocks.{i}.attn.qkv", True, True) for i in (0, 1)
    )
    outlets = ("blocks.0.fc", "blocks.1.fc", "blocks.0.proj", "blocks.1.proj")
    embeddings = ("tokens",)

    def make(self) -> nn.Module:
        return nets.Gpt(_characters()[1], self.length, 32, self.dropout)


class VitSoftmax(Picture):
    attended = (SIDE // 4) ** 2
    rates = ADAM_RATES
    units = (
        Place("blocks.0.mlp.0", "blocks.0.mlp.2", act="blocks.0.mlp.1"),
        Place("blocks.1.mlp.0", "blocks.1.mlp.2", act="blocks.1.mlp.1"),
    )
    cuts = (Cut("blocks.0", ("blocks.0",), ("blocks.1",)), Cut("blocks.1", ("blocks.1",), ("ln", "head")))
    branches = tuple(
        Branch(f"blocks.{i}.mlp.2", (f"blocks.{i}.mlp.0", f"blocks.{i}.mlp.2", f"blocks.{i}.ln2")) for i in (0, 1)
    )
    attentions = tuple(
        Attention(f"blocks.{i}.attn", 4, f"blocks.{i}.attn.q", f"blocks.{i}.attn.k", False) for i in (0, 1)
    )
    outlets = ("patch", "blocks.0.mlp.0", "blocks.1.mlp.0", "blocks.0.mlp.2", "blocks.1.mlp.2")

    def make(self) -> nn.Module:
        return nets.Vit(SIDE, 32, CLASSES, self.dropout)


class RecallMha(Task):
    """Seven pairs of key and value, then a key: its value is the answer."""

    keys, values, pairs = 12, 8, 7
    attended = pairs + 1
    batch_size = 16
    units = (Place("blocks.0.up", "blocks.0.down"), Place("blocks.1.up", "blocks.1.down"))
    cuts = (Cut("blocks.0", ("blocks.0",), ("blocks.1",)), Cut("blocks.1", ("blocks.1",), ("ln", "head")))
    branches = tuple(
        Branch(f"blocks.{i}.down", (f"blocks.{i}.up", f"blocks.{i}.down", f"blocks.{i}.ln2")) for i in (0, 1)
    )
    attentions = tuple(Attention(f"blocks.{i}.mha", 4, f"blocks.{i}.mha", f"blocks.{i}.mha", True) for i in (0, 1))
    outlets = ("blocks.0.up", "blocks.1.up", "blocks.0.down", "blocks.1.down")
    embeddings = ("keys", "values")
    float_input = False

    def make(self) -> nn.Module:
        return nets.Recall(self.keys, self.values, 32, self.dropout)

    def draw(self, g: torch.Generator, n: int) -> Batch:
        keys = torch.rand(n, self.keys, generator=g).argsort(1)[:, : self.pairs]
        values = torch.randint(self.values, (n, self.pairs), generator=g)
        asked = torch.randint(self.pairs, (n, 1), generator=g)
        x = torch.stack(
            [torch.cat([keys, keys.gather(1, asked)], 1), functional.pad(values, (0, 1), value=self.values)], -1
        )
        return x, values.gather(1, asked).squeeze(1)


class LstmText(Text):
    bounded = (Place("lstm", "head"),)
    cuts = (Cut("tokens", ("tokens",), ("lstm",)), Cut("lstm", ("lstm",), ("head",)))
    outlets = ("lstm",)
    embeddings = ("tokens",)

    def make(self) -> nn.Module:
        return nets.CharLstm(_characters()[1], 64, self.dropout)


class GruWave(Task):
    """Signals of 16 points in two channels; the class is the frequency, under noise and a drift."""

    batch_size = 16
    bounded = (Place("inlet", "gru", act="inlet_act"), Place("fc", "head", act="act"))
    cuts = (Cut("inlet", ("inlet",), ("gru",)), Cut("gru", ("gru",), ("fc",)), Cut("fc", ("fc",), ("head",)))
    outlets = ("inlet", "gru", "fc")

    def make(self) -> nn.Module:
        return nets.WaveGru(2, 40, CLASSES, self.dropout)

    def draw(self, g: torch.Generator, n: int) -> Batch:
        y = torch.randint(CLASSES, (n,), generator=g)
        phase, drift = 6.2832 * torch.rand(n, 1, generator=g), torch.randn(n, 1, generator=g)
        angle = (0.25 + 0.12 * y[:, None]) * torch.arange(16) + phase
        x = torch.stack([torch.sin(angle) + 0.02 * drift * torch.arange(16), torch.cos(angle)], -1)
        return x + 0.4 * torch.randn(x.shape, generator=g), y


TASKS: dict[str, Callable[..., Task]] = {
    "mlp_relu": MlpRelu,
    "mlp_tanh": MlpTanh,
    "cnn_bn": CnnBn,
    "lenet_tanh": LeNetTanh,
    "resnet": ResNetSmall,
    "encoder": EncoderMasked,
    "gpt": GptSdpa,
    "vit": VitSoftmax,
    "recall": RecallMha,
    "lstm": LstmText,
    "gru": GruWave,
}
