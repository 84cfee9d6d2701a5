"""Faults of the optimizer's state: moments that no longer are what the gradients made."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .faults import ADAM, Fault, fault

STATE = "optimizer_state"
STATEFUL = (*ADAM, "rmsprop", "momentum", "adagrad")
SECOND = {"adamw": "exp_avg_sq", "adam": "exp_avg_sq", "rmsprop": "square_avg", "adagrad": "sum"}
CONSEQUENCES = (
    "weight_norms dead_neurons activation_saturation gradient_flow representation_collapse attention_collapse precision_erosion"
).split()


class Wrong(Fault):
    """The state of one layer's parameters is changed by something that is not the optimizer's rule."""

    def draw(self) -> None:
        self.choose_layer()
        self.changed = False
        self.prepare()

    def prepare(self) -> None:
        pass

    def states(self, name: str | None = None) -> list[dict[str, Tensor]]:
        return [self.optimizer.state[p] for p in self.task.weights(name or self.struck)]

    def moments(self, state: dict[str, Tensor]) -> list[str]:
        return [k for k, v in state.items() if isinstance(v, Tensor) and v.ndim >= 1]

    def second(self, state: dict[str, Tensor]) -> str:
        """The state that holds squared gradients; of momentum, which has none, the buffer."""
        return next((k for k in state if k in SECOND.values()), "momentum_buffer")

    def put(self, state: dict[str, Tensor], key: str, value: Tensor) -> None:
        self.changed |= not torch.equal(state[key], value)
        state[key].copy_(value)

    def measure(self) -> Tensor:
        return torch.tensor(self.changed)

    def real(self, before: Tensor, after: Tensor) -> bool:
        return bool(after)


@fault(STATE, *CONSEQUENCES, optimizers=STATEFUL)
class MomentsZeroed(Wrong):
    """All moments of the layer are zero all at once; the step count stays."""

    def strike(self) -> None:
        for state in self.states():
            for key in self.moments(state):
                self.put(state, key, torch.zeros_like(state[key]))


@fault(STATE, *CONSEQUENCES, optimizers=STATEFUL)
class SecondScaled(Wrong):
    """The second moment (of momentum: the buffer) of the layer is a thousand times too large or too small, once."""

    def prepare(self) -> None:
        self.factor = float(self.rng.choice([1e-3, 1e3]))

    def strike(self) -> None:
        for state in self.states():
            key = self.second(state)
            self.put(state, key, state[key] * self.factor)


@fault(STATE, *CONSEQUENCES, optimizers=(*ADAM, "rmsprop", "adagrad"))
class SecondDrifts(Wrong):
    """A wrong kernel: the second moment comes out a twentieth too small at every update."""

    def inside(self) -> None:
        for state in self.states():
            key = self.second(state)
            self.put(state, key, state[key] * 0.95)


@fault(STATE, *CONSEQUENCES, optimizers=STATEFUL)
class MomentsSwapped(Wrong):
    """The states of two layers of one shape are exchanged; where there is no second, the layer's own state is mirrored."""

    def prepare(self) -> None:
        shape = [p.shape for p in self.task.weights(self.struck)]
        same = [n for n in self.task.layers() if n != self.struck and [p.shape for p in self.task.weights(n)] == shape]
        self.other = same[int(self.rng.integers(len(same)))] if same else None
        if self.other:
            self.truth = self.truth | self.task.owners(self.other)

    def strike(self) -> None:
        for i, state in enumerate(self.states()):
            for key in self.moments(state):
                mine = state[key].clone()
                if self.other is None:
                    self.put(state, key, mine.flip(tuple(range(mine.ndim))))
                else:
                    theirs = self.states(self.other)[i]
                    self.put(state, key, theirs[key].clone())
                    self.put(theirs, key, mine)


@fault(STATE, *CONSEQUENCES, optimizers=ADAM)
class CountStale(Wrong):
    """The step count of the layer is put back to where it was, again and again: the bias correction runs wild or stands still."""

    def prepare(self) -> None:
        self.count = float(self.rng.choice([1, 50]))

    def between(self) -> None:
        for state in self.states():
            self.changed = True
            state["step"].fill_(self.count)


@fault(STATE, *CONSEQUENCES, "hardware_integrity", optimizers=STATEFUL)
class MomentNan(Wrong):
    """One element of a moment is NaN."""

    def strike(self) -> None:
        state = self.states()[0]
        key = self.moments(state)[0]
        self.changed = True
        state[key].view(-1)[int(self.rng.integers(state[key].numel()))] = math.nan


@fault(STATE, *CONSEQUENCES, optimizers=STATEFUL)
class OldMoments(Wrong):
    """The moments of the layer are those of sixty steps before, the weights are not: a stale reload."""

    def prepare(self) -> None:
        self.copies: list[list[dict[str, Tensor]]] = []

    def history(self) -> None:
        copy = [{k: s[k].clone() for k in self.moments(s)} for s in self.states()]
        self.copies = [*self.copies[-59:], copy]

    def strike(self) -> None:
        for state, old in zip(self.states(), self.copies[0], strict=True):
            for key, value in old.items():
                self.put(state, key, value)
