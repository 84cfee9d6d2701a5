"""RESET_OPTIMIZER: the state of an optimizer that has just been made, or a refusal; never a step that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.optim import Optimizer  # noqa: E402

from argus._optimizer_state import CannotReset, fresh_state, innermost, put_in_place  # noqa: E402

MAKERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adam foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adam, rate a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), fused=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.2),
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "asgd": torch.optim.ASGD,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": lambda p: torch.optim.RMSprop(p, momentum=0.5, centered=True),
    "rprop": torch.optim.Rprop,
    "adafactor": torch.optim.Adafactor,
}


def train(net: nn.Module, optimizer: Optimizer, steps: range) -> None:
    for step in steps:
        g = torch.Generator().manual_seed(step)
        for p in net.parameters():
            p.grad = torch.randn(p.shape, generator=g)
        optimizer.step()


def net_of(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(5, 3)


@pytest.mark.parametrize("name", MAKERS)
def test_after_a_reset_it_steps_as_one_that_was_just_made(name: str) -> None:
    net = net_of()
    optimizer = MAKERS[name](net.parameters())
    train(net, optimizer, range(5))
    twin = net_of(1)
    twin.load_state_dict(net.state_dict())
    new = MAKERS[name](twin.parameters())
    put_in_place(optimizer, fresh_state(optimizer))
    train(net, optimizer, range(5, 9))
    train(twin, new, range(5, 9))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_settings_groups_and_schedulers_stay() -> None:
    net = net_of()
    optimizer = torch.optim.AdamW([{"params": [net.weight], "lr": 0.3}, {"params": [net.bias]}], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    train(net, optimizer, range(3))
    scheduler.step()
    put_in_place(optimizer, fresh_state(optimizer))
    train(net, optimizer, range(3))
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.075, 0.025]


def test_a_closure_optimizer_is_reset() -> None:
    net = net_of()
    optimizer = torch.optim.LBFGS(net.parameters(), lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = net(torch.ones(2, 5)).pow(2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    put_in_place(optimizer, fresh_state(optimizer))
    optimizer.step(closure)
    assert next(iter(optimizer.state.values()))["n_iter"] <= 20


class Lion(Optimizer):
    """As third parties write them: its state is made as it steps."""

    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "beta": beta})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.mul_(group["beta"]).add_(p.grad, alpha=1 - group["beta"])
                p.data.add_(mean.sign(), alpha=-group["lr"])


class CountsInGroup(Lion):
    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, lr, beta)
        for group in self.param_groups:
            group["count"] = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        for group in self.param_groups:
            group["count"] += 1


class CountsBeside(Lion):
    def __init__(self, params: Any, lr: float = 1e-3, beta: float = 0.9) -> None:
        super().__init__(params, lr, beta)
        self.count = 0

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        self.count += 1


class CannotBeMade(Lion):
    def __init__(self, params: Any, secret: object) -> None:
        super().__init__(params)


def test_an_optimizer_of_a_third_party_is_reset() -> None:
    net = net_of()
    optimizer = Lion(net.parameters())
    train(net, optimizer, range(3))
    put_in_place(optimizer, fresh_state(optimizer))
    assert len(optimizer.state) == 0
    train(net, optimizer, range(3))


@pytest.mark.parametrize("make", [CountsInGroup, CountsBeside, lambda p: CannotBeMade(p, object())])
def test_one_whose_state_lies_elsewhere_or_that_cannot_be_made_anew_is_refused(
    make: Callable[[Any], Optimizer],
) -> None:
    net = net_of()
    optimizer = make(net.parameters())
    train(net, optimizer, range(3))
    held = len(optimizer.state)
    with pytest.raises(CannotReset):
        fresh_state(optimizer)
    assert len(optimizer.state) == held


def test_hooks_on_a_third_partys_optimizer_are_no_state_of_its_own() -> None:
    net = net_of()
    optimizer = Lion(net.parameters())
    optimizer.register_step_pre_hook(lambda *_: None)
    train(net, optimizer, range(3))
    put_in_place(optimizer, fresh_state(optimizer))
    train(net, optimizer, range(3, 5))


def test_one_without_state_is_refused() -> None:
    with pytest.raises(CannotReset):
        fresh_state(torch.optim.SGD(net_of().parameters(), lr=0.1))


def test_the_optimizer_inside_a_wrapper_is_the_one_that_is_reset() -> None:
    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer = optimizer

    inner = torch.optim.Adam(net_of().parameters())
    assert innermost(Wrapper(Wrapper(inner))) is inner
