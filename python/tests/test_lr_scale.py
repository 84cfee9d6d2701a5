"""The factor on the learning rate: in force inside optimizer.step() alone, whatever the optimizer, the scheduler and the day."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.optim import lr_scheduler  # noqa: E402

from argus._gather import Gather  # noqa: E402
from argus._lr_scale import FLOOR, LearningRateScale  # noqa: E402

SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "step": lambda o: lr_scheduler.StepLR(o, 3, 0.5),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 5),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=5), lr_scheduler.CosineAnnealingLR(o, 10)], [5]
    ),
}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam foreach": lambda p: torch.optim.Adam(p, lr=0.01, foreach=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adam fused, rate a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), fused=True),
    "sgd, rate a tensor": lambda p: torch.optim.SGD(p, lr=torch.tensor(0.1)),
}


@pytest.fixture
def errors() -> Iterator[list[Exception]]:
    seen: list[Exception] = []
    yield seen
    assert seen == []


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Linear(6, 2)


def gradients(net: nn.Module, step: int) -> None:
    g = torch.Generator().manual_seed(step)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=g)


def weights(net: nn.Module) -> list[Any]:
    return [p.detach().clone() for p in net.parameters()]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_keeps_its_own_arithmetic(name: str, errors: list[Exception]) -> None:
    def rates(factor: float | None) -> list[float]:
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        scheduler = SCHEDULERS[name](optimizer)
        if factor is not None:
            LearningRateScale([optimizer], errors.append).factor = factor
        seen = []
        for step in range(20):
            gradients(net, step)
            optimizer.step()
            scheduler.step()
            seen.append(optimizer.param_groups[0]["lr"])
        return seen

    assert rates(0.25) == rates(None)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_that_of_an_optimizer_with_the_scaled_rate(name: str, errors: list[Exception]) -> None:
    scaled, plain = model(), model()
    a, b = OPTIMIZERS[name](scaled.parameters()), OPTIMIZERS[name](plain.parameters())
    LearningRateScale([a], errors.append).factor = 0.5
    rate = a.param_groups[0]["lr"]
    kept = copy.deepcopy(rate)
    b.param_groups[0]["lr"] = b.param_groups[0]["lr"] * 0.5
    for step in range(4):
        for net, optimizer in ((scaled, a), (plain, b)):
            gradients(net, step)
            optimizer.step()
        assert a.param_groups[0]["lr"] is rate, "the scheduler's own object"
        assert float(rate) == float(kept)
    assert same(weights(scaled), weights(plain))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_factor_of_one_changes_nothing(name: str, errors: list[Exception]) -> None:
    hooked, plain = model(), model()
    a, b = OPTIMIZERS[name](hooked.parameters()), OPTIMIZERS[name](plain.parameters())
    LearningRateScale([a], errors.append)
    for step in range(4):
        for net, optimizer in ((hooked, a), (plain, b)):
            gradients(net, step)
            optimizer.step()
    assert same(weights(hooked), weights(plain))


def test_the_rate_in_force_is_what_argus_reads(errors: list[Exception]) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scale = LearningRateScale([optimizer], errors.append)
    gather = Gather(net, [optimizer], None, measure=True, on_error=errors.append)
    scale.factor = 0.5
    gradients(net, 0)
    optimizer.step()
    assert gather.learning_rate() == pytest.approx(0.05)
    assert scale.effective_lr() == pytest.approx(0.05)


def test_one_tensor_that_is_the_rate_of_two_groups_is_scaled_once(errors: list[Exception]) -> None:
    net = model()
    rate = torch.tensor(0.5)
    first, second = net.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": rate}, {"params": [second], "lr": rate}], lr=0.5)
    before = weights(net)
    LearningRateScale([optimizer], errors.append).factor = 0.5
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.allclose(now, was - 0.25) for now, was in zip(weights(net), before, strict=True))
    assert float(rate) == 0.5


def test_groups_added_later_are_scaled_too(errors: list[Exception]) -> None:
    net, late = model(), nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    LearningRateScale([optimizer], errors.append).factor = 0.5
    optimizer.add_param_group({"params": [late], "lr": 2.0})
    late.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(late.detach(), torch.full((3,), -1.0))


def test_an_exception_in_a_step_leaves_no_scaled_rate_behind(errors: list[Exception]) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    LearningRateScale([optimizer], errors.append).factor = 0.5

    def fails() -> float:
        raise MemoryError("as a device may")

    try:
        optimizer.step(fails)
    except MemoryError:
        assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.1, "what is saved while it is handled"
    assert optimizer.param_groups[0]["lr"] == 0.1
    gradients(net, 0)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_an_exception_that_is_kept_leaves_no_scaled_rate_in_the_next_step(errors: list[Exception]) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=torch.tensor(0.1))
    LearningRateScale([optimizer], errors.append).factor = 0.5
    kept: list[BaseException] = []

    def fails() -> float:
        raise MemoryError("as a device may")

    try:
        optimizer.step(fails)
    except MemoryError as error:
        kept.append(error)
    before = weights(net)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.allclose(now, was - 0.05) for now, was in zip(weights(net), before, strict=True))
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_a_closure_optimizer_is_scaled(errors: list[Exception]) -> None:
    def train(factor: float, rate: float) -> list[Any]:
        net = model()
        optimizer = torch.optim.LBFGS(net.parameters(), lr=rate, max_iter=4)
        LearningRateScale([optimizer], errors.append).factor = factor
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))

        def closure() -> Any:
            optimizer.zero_grad()
            loss = net(x).pow(2).mean()
            loss.backward()
            return loss

        for _ in range(3):
            optimizer.step(closure)
        return weights(net)

    assert same(train(0.5, 0.4), train(1.0, 0.2))


def test_a_step_the_scaler_skips_moves_nothing(errors: list[Exception]) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    LearningRateScale([optimizer], errors.append).factor = 0.5
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for overflow in (True, False):
        optimizer.zero_grad()
        loss = net(torch.ones(1, 6)).sum() * (math.inf if overflow else 1.0)
        scaler.scale(loss).backward()
        before = weights(net)
        scaler.step(optimizer)
        scaler.update()
        assert same(weights(net), before) == overflow
        assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("tensor_rate", [False, True])
def test_a_compiled_step_is_scaled(tensor_rate: bool, errors: list[Exception]) -> None:
    def train(compiled: bool) -> tuple[list[Any], float]:
        torch._dynamo.reset()
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=torch.tensor(0.1) if tensor_rate else 0.1, momentum=0.9)
        scale = LearningRateScale([optimizer], errors.append)
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        for i in range(6):
            scale.factor = 0.5 if 2 <= i < 4 else 1.0
            gradients(net, i)
            step()
        return weights(net), float(optimizer.param_groups[0]["lr"])

    eager, compiled = train(False), train(True)
    assert all(torch.allclose(a, b) for a, b in zip(eager[0], compiled[0], strict=True))
    assert eager[1] == compiled[1] == pytest.approx(0.1)


def test_every_optimizer_of_a_run_is_scaled(errors: list[Exception]) -> None:
    nets = [model(), model()]
    optimizers = [torch.optim.SGD(net.parameters(), lr=1.0) for net in nets]
    LearningRateScale(optimizers, errors.append).factor = 0.5
    for net, optimizer in zip(nets, optimizers, strict=True):
        before = weights(net)
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
        assert all(torch.allclose(now, was - 0.5) for now, was in zip(weights(net), before, strict=True))


def test_it_never_raises_the_rate_nor_stops_it(errors: list[Exception]) -> None:
    scale = LearningRateScale([torch.optim.SGD(model().parameters(), lr=1.0)], errors.append)
    scale.factor = 3.0
    assert scale.factor == 1.0
    scale.factor = 0.0
    assert scale.factor == FLOOR
    with pytest.raises(ValueError):
        scale.factor = math.nan


def test_closed_it_leaves_the_optimizer_as_it_was(errors: list[Exception]) -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    scale = LearningRateScale([optimizer], errors.append)
    scale.factor = 0.5
    scale.close()
    before = weights(net)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.allclose(now, was - 1.0) for now, was in zip(weights(net), before, strict=True))
