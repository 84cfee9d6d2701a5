"""Small models and one training loop for the tests of the local detector, and a part that notes what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from argus.local._context import Context, Part


class Residual(nn.Module):
    """A residual net as torchvision's: the sum's ReLU is in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        out += x
        return self.head(self.relu(out).mean((2, 3)))


class Attention(nn.Module):
    """A transformer layer on embedded tokens, with dropout and tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(x))).mean(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def mlp() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 3)
    )


#: Name: (model, one batch).
KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], torch.Tensor]]] = {
    "mlp": (mlp, lambda: torch.randn(8, 6)),
    "residual": (Residual, lambda: torch.randn(4, 3, 8, 8)),
    "transformer": (Attention, lambda: torch.randint(0, 20, (4, 7))),
    "lstm": (Recurrent, lambda: torch.randn(4, 5, 6)),
}


def update(model: nn.Module, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> float:
    """One optimizer step on a loss that depends on all of the model."""
    optimizer.zero_grad()
    loss = model(batch).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


class Notes(Part):
    """Notes each call with the step it came in; every parametrised layer is read in every armed pass."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.seen: list[tuple[Any, ...]] = []

    def attach(self) -> None:
        self._hook_from(0)

    def layers_changed(self) -> None:
        self._hook_from(self.hooked)

    def _hook_from(self, first: int) -> None:
        self.hooked = len(self.context.layers)
        for name, module in self.context.layers[first:]:
            self.context.hook(module, self._reads(name))

    def _reads(self, name: str) -> Callable[..., None]:
        def called(module: nn.Module, args: Any, output: Any) -> None:
            assert self.context.armed
            self._note("read", name)

        return called

    def _note(self, what: str, *more: Any) -> None:
        self.seen.append((self.context.step, what, *more))

    def begin_pass(self) -> None:
        self._note("begin")

    def end_pass(self, output: Any) -> None:
        self._note("end", None if output is None else tuple(output.shape))

    def before_update(self, which: int, optimizer: torch.optim.Optimizer, has_closure: bool) -> None:
        self._note("before", which, has_closure)

    def after_update(self, which: int, optimizer: torch.optim.Optimizer) -> None:
        self._note("after", which)

    def end_step(self) -> None:
        self._note("step")

    def reset(self) -> None:
        self._note("reset")

    def detach(self) -> None:
        self._note("detach")

    def of(self, what: str) -> list[tuple[Any, ...]]:
        return [(each[0], *each[2:]) for each in self.seen if each[1] == what]
