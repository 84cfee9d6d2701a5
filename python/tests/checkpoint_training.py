"""A small training in which everything that a checkpoint must hold matters to the next step, and a comparison bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from argus._checkpoints import Checkpoints

ROWS = 48

torch.set_num_threads(1)  # also where this is no part of pytest: a forked child has no other threads


class Shuffled(torch.utils.data.Sampler[int]):
    """A sampler that knows its position: an order of its own each epoch."""

    def __init__(self) -> None:
        self.epoch, self.at = 0, 0

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        while self.at < ROWS:
            self.at += 1
            yield order[self.at - 1]
        self.epoch, self.at = self.epoch + 1, 0

    def __len__(self) -> int:
        return ROWS

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.at = state["epoch"], state["at"]


class Average:
    """An exponential average of weights, kept by the user."""

    def __init__(self, model: nn.Module) -> None:
        self.kept = [p.detach().clone() for p in model.parameters()]

    def update(self, model: nn.Module) -> None:
        for kept, p in zip(self.kept, model.parameters()):
            kept.lerp_(p.detach(), 0.1)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]


class Net(nn.Module):
    """Dropout, batch statistics, a frozen layer, tied weights, a buffer that is not in the state dict, an embedding."""

    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ROWS, 8, sparse=sparse)
        self.first = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.3)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.tied = nn.Linear(8, 8)
        self.tied.weight = self.first.weight
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.dropout(self.norm(self.first(self.embedding(rows))))
        return self.tied(torch.tanh(self.frozen(x))) * (1 + 0.01 * (self.calls % 7))


class Training:
    """`kind`: sgd, adamw, two (optimizers), scaler, lbfgs, sparse."""

    def __init__(self, kind: str = "adamw", seed: int = 0) -> None:
        import numpy

        torch.manual_seed(seed)
        random.seed(seed)
        numpy.random.seed(seed)
        self.kind = kind
        self.model = Net(sparse=kind == "sparse")
        self.optimizers = self._make_optimizers()
        self.schedulers = [torch.optim.lr_scheduler.CosineAnnealingLR(o, 30, 1e-4) for o in self.optimizers]
        self.schedulers += [torch.optim.lr_scheduler.MultiStepLR(self.optimizers[0], [7, 23], 0.5)]
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=6) if kind == "scaler" else None
        self.sampler = Shuffled()
        # A generator of its own: a DataLoader draws from it whenever an iteration begins, else from torch's.
        self.loader = torch.utils.data.DataLoader(
            range(ROWS), batch_size=8, sampler=self.sampler, generator=torch.Generator().manual_seed(seed)
        )
        self.average = Average(self.model)
        self.rows = self.endless()
        self.step_number = 0

    def _make_optimizers(self) -> list[Any]:
        weights = [p for p in self.model.parameters()]  # the frozen ones too
        if self.kind == "sgd":
            return [torch.optim.SGD(weights, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)]
        if self.kind == "two":
            return [
                torch.optim.Adam(
                    [{"params": weights[:2], "lr": 2e-3}, {"params": weights[2:4]}], lr=1e-3, amsgrad=True
                ),
                torch.optim.RMSprop(weights[4:], lr=1e-3, momentum=0.5, centered=True),
            ]
        if self.kind == "lbfgs":
            return [torch.optim.LBFGS([p for p in weights if p.requires_grad], lr=0.1, max_iter=3, history_size=4)]
        if self.kind == "sparse":
            return [torch.optim.SparseAdam([weights[0]], lr=1e-2), torch.optim.AdamW(weights[1:], lr=1e-2)]
        return [torch.optim.AdamW(weights, lr=1e-2, weight_decay=0.1)]

    def endless(self) -> Iterator[torch.Tensor]:
        while True:
            yield from self.loader

    def loss(self, rows: torch.Tensor) -> torch.Tensor:
        return (self.model(rows) - 0.1 * rows[:, None]).square().mean()

    def step(self) -> float:
        """One optimizer step, with augmentation from Python's and NumPy's random numbers."""
        import numpy

        self.step_number += 1
        rows = next(self.rows)
        rows = (rows + random.randrange(3) + int(numpy.random.randint(2))) % ROWS
        value = 0.0
        if self.kind == "lbfgs":

            def closure() -> torch.Tensor:
                self.optimizers[0].zero_grad()
                loss = self.loss(rows)
                loss.backward()
                return loss

            value = float(self.optimizers[0].step(closure).detach())
        else:
            for optimizer in self.optimizers:
                optimizer.zero_grad()
            loss = self.loss(rows)
            (loss if self.scaler is None else self.scaler.scale(loss)).backward()
            for optimizer in self.optimizers:
                optimizer.step() if self.scaler is None else self.scaler.step(optimizer)
            if self.scaler is not None:
                self.scaler.update()
            value = float(loss.detach())
        for scheduler in self.schedulers:
            scheduler.step()
        self.average.update(self.model)
        return value

    def train(self, steps: int) -> list[float]:
        return [self.step() for _ in range(steps)]

    def wreck(self) -> None:
        """What a diverged run leaves: nothing of it may survive a rollback."""
        self.train(3)
        with torch.no_grad():
            for p in self.model.parameters():
                p.mul_(float("nan"))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 17.0
            for state in optimizer.state.values():
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        value.fill_(1e9)

    def checkpoints(self, directory: Path, **options: Any) -> Checkpoints:
        return Checkpoints(
            directory, model=self.model, optimizers=self.optimizers, schedulers=self.schedulers, scaler=self.scaler,
            loader=self.loader, extra={"average": self.average}, **options,
        )  # fmt: skip

    def restore(self, checkpoints: Checkpoints, anchor: Any = None) -> int:
        step = checkpoints.restore(anchor)
        self.rows = self.endless()  # a loop begins a new iteration: the sampler says where
        self.step_number = step
        return step

    def state(self) -> dict[str, Any]:
        """All that decides the steps to come, copied."""
        import copy

        import numpy

        return copy.deepcopy(
            {
                "model": dict(self.model.state_dict()),
                "calls": self.model.calls,
                "optimizers": [o.state_dict() for o in self.optimizers],
                "schedulers": [s.state_dict() for s in self.schedulers],
                "scaler": self.scaler.state_dict() if self.scaler is not None else None,
                "loader": self.sampler.state_dict(),
                "average": self.average.kept,
                "rng": [random.getstate(), torch.get_rng_state(), numpy.random.get_state(legacy=False)],
            }
        )


def difference(a: Any, b: Any, at: str = "") -> str:
    """Where two states differ in type, structure or any bit; empty when nowhere."""
    if type(a) is not type(b):
        return f"{at}: {type(a).__name__} and {type(b).__name__}"
    if isinstance(a, torch.Tensor):
        return "" if bits(a) == bits(b) else f"{at}: {a} and {b}"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{at}: keys {list(a)} and {list(b)}"
        return next((d for key in a if (d := difference(a[key], b[key], f"{at}.{key}"))), "")
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{at}: lengths {len(a)} and {len(b)}"
        return next((d for i, (x, y) in enumerate(zip(a, b)) if (d := difference(x, y, f"{at}.{i}"))), "")
    if hasattr(a, "tobytes"):
        same = (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        return "" if same else f"{at}: {a} and {b}"
    return "" if a == b or (a != a and b != b) else f"{at}: {a!r} and {b!r}"


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    """A tensor's dtype, shape, layout and bytes."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        return ("coo", tuple(tensor.shape), tensor.is_coalesced(), bits(tensor._indices()), bits(tensor._values()))
    if tensor.layout is torch.sparse_csr:
        parts = (tensor.crow_indices(), tensor.col_indices(), tensor.values())
        return ("csr", tuple(tensor.shape), *(bits(part) for part in parts))
    raw = tensor.resolve_conj().resolve_neg().contiguous().reshape(-1)
    return (tensor.dtype, tuple(tensor.shape), bytes(raw.view(torch.uint8).tolist()) if raw.numel() else b"")


def save(checkpoints: Checkpoints, training: Training, *, slot: int = 0, signal: str = "SAVE", segment: int = 0) -> int:
    """Has the training saved where it is, and waits until it is written."""
    step = training.step_number
    assert checkpoints.stage(step, signal=signal, slot=slot, reason="calm", loss=0.5, segment=segment)
    assert checkpoints.wait(60)
    return step


def observe(checkpoints: Checkpoints, training: Training, steps: int, *, calm: bool = True) -> None:
    """Steps that are judged and not trained, and what follows from them written."""
    for i in range(steps):
        checkpoints.observe(training.step_number + 1 + i, calm=calm)
    assert checkpoints.wait(60)
