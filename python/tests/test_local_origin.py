"""Where a NaN or an infinity was born: layer and direction, in real training loops."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from local_driver import Driver  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from argus._native import Level  # noqa: E402
from argus.local._origin import Origin  # noqa: E402

torch.set_num_threads(1)

FAULT_STEP = 20


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.spoil: Any = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.up(self.norm(x)))
        if self.spoil is not None:
            hidden = self.spoil(hidden)
        return x + self.down(hidden)


class Net(nn.Module):
    def __init__(self, width: int = 16, depth: int = 4, checkpointed: bool = False) -> None:
        super().__init__()
        self.stem = nn.Linear(8, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, 3)
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointed else block(x)
        return self.head(x)


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 8, 3, padding=1)
        self.head = nn.Linear(8, 3)
        self.spoil: Any = None

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu_(self.norm(self.first(x.view(-1, 1, 2, 4))))
        if self.spoil is not None:
            hidden = self.spoil(hidden)
        return self.head(torch.relu(self.second(hidden)).mean((2, 3)))


class NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * float("nan")


def train(
    model: nn.Module,
    at_fault: Any = None,
    *,
    steps: int = FAULT_STEP + 3,
    rows: int = 32,
    width: int = 24,
    path: str = "auto",
    spoil_input: Any = None,
    spoil_loss: Any = None,
    guarded: bool = False,
    watched: bool = True,
) -> tuple[Origin | None, Driver | None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    driver = Driver(model, optimizer, Origin, width=width, path=path) if watched else None
    random = torch.Generator().manual_seed(3)
    for step in range(1, steps + 1):
        if step == FAULT_STEP and at_fault is not None:
            at_fault(model)
        x = torch.randn(rows, 8, generator=random)
        target = (x[:, :3]).argmax(1)
        if spoil_input is not None and step >= FAULT_STEP:
            x = spoil_input(x)
        loss = nn.functional.cross_entropy(model(x), target)
        if spoil_loss is not None and step >= FAULT_STEP:
            loss = spoil_loss(loss)
        optimizer.zero_grad()
        loss.backward()
        if not guarded or torch.isfinite(loss):
            optimizer.step()
    if driver is None:
        return None, None
    part = driver.parts[0]
    assert isinstance(part, Origin)
    driver.detach()
    return part, driver


def one_log_of_zero(x: Tensor) -> Tensor:
    spoiled = x.clone()
    spoiled[5, 3] = torch.log(x[5, 3] * 0) * 0
    return spoiled


@pytest.mark.parametrize("width", [24, 6, 1])
@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_nan_born_in_the_forward_names_the_layer_it_followed(index: int, width: int) -> None:
    torch.manual_seed(index)
    part, driver = train(Net(), lambda net: setattr(net.blocks[index], "spoil", one_log_of_zero), width=width)
    origin = part.origin
    assert origin is not None
    assert (origin.direction, origin.what) == ("forward", "output")
    assert origin.layer == f"blocks.{index}.up"
    assert origin.chain == [f"blocks.{index}.down"]
    assert origin.step == FAULT_STEP
    (finding,) = driver.findings()
    assert finding.level == Level.CRITICAL
    assert finding.layer == origin.layer
    assert finding.last_good == FAULT_STEP - 1


def test_a_nan_between_convolutions_is_found_behind_an_inplace_activation() -> None:
    torch.manual_seed(0)
    part, _ = train(Conv(), lambda net: setattr(net, "spoil", lambda x: x / (x * 0)), width=1)
    assert part.origin is not None
    assert (part.origin.layer, part.origin.direction) == ("norm", "forward")


@pytest.mark.parametrize("width", [24, 1])
def test_a_weight_that_is_not_finite_is_told_from_what_it_makes(width: int) -> None:
    def poke(net: Net) -> None:
        with torch.no_grad():
            net.blocks[2].down.weight[1, 4] = float("inf")

    part, _ = train(Net(), poke, width=width)
    assert part.origin is not None
    assert (part.origin.layer, part.origin.direction, part.origin.what) == ("blocks.2.down", "forward", "weight")


@pytest.mark.parametrize("width", [24, 1])
def test_bad_input_data_are_told_from_the_first_layer(width: int) -> None:
    def spoil(x: Tensor) -> Tensor:
        x = x.clone()
        x[7, 2] = float("nan")
        return x

    part, _ = train(Net(), spoil_input=spoil, width=width)
    assert part.origin is not None
    assert (part.origin.layer, part.origin.direction, part.origin.what) == ("stem", "forward", "input")


@pytest.mark.parametrize(
    "spoil",
    [NanGradient.apply, lambda x: x + torch.sqrt((x * 0).sum(-1, keepdim=True))],
    ids=["custom function", "square root at zero"],
)
@pytest.mark.parametrize("width", [24, 1])
def test_a_nan_born_in_the_backward_alone_names_the_layer_before_it(spoil: Any, width: int) -> None:
    torch.manual_seed(1)
    part, driver = train(Net(), lambda net: setattr(net.blocks[2], "spoil", spoil), width=width)
    origin = part.origin
    assert origin is not None
    assert (origin.direction, origin.what) == ("backward", "gradient")
    assert origin.layer == "blocks.2.up"
    assert origin.chain == ["blocks.2.down"]
    assert driver.findings()[0].level == Level.CRITICAL


def test_a_loss_that_is_not_finite_is_not_put_on_a_layer_before_the_last() -> None:
    part, _ = train(Net(), spoil_loss=lambda loss: loss * float("inf"))
    assert part.origin is not None
    assert (part.origin.layer, part.origin.direction, part.origin.what) == ("head", "backward", "loss")


@pytest.mark.parametrize("width", [24, 6])
def test_activation_checkpointing_leaves_at_least_the_block(width: int) -> None:
    torch.manual_seed(2)
    part, _ = train(Net(checkpointed=True), lambda net: setattr(net.blocks[1], "spoil", one_log_of_zero), width=width)
    origin = part.origin
    assert origin is not None
    assert origin.direction == "forward"
    assert any(name.startswith("blocks.1") for name in [origin.layer, *origin.chain])


def test_a_loop_that_leaves_the_update_out_is_warned() -> None:
    part, driver = train(
        Net(), lambda net: setattr(net.blocks[0], "spoil", one_log_of_zero), guarded=True, steps=FAULT_STEP + 6
    )
    (finding,) = driver.findings()
    assert (finding.layer, finding.level) == ("blocks.0.up", Level.WARN)


def test_one_skipped_step_is_forgotten() -> None:
    net = Net()

    def once(x: Tensor) -> Tensor:
        net.blocks[0].spoil = None
        return one_log_of_zero(x)

    part, driver = train(net, lambda net: setattr(net.blocks[0], "spoil", once), guarded=True, steps=FAULT_STEP + 20)
    assert part.origin is None
    assert driver.findings() == []


class Masked(nn.Module):
    """Gives the logits of forbidden classes as -inf, as decoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        forbidden = torch.zeros(len(x), 3, dtype=torch.bool)
        forbidden[:, 2] = x[:, 0] > x[:, 2]
        return self.net(x).masked_fill(forbidden, float("-inf"))


@pytest.mark.parametrize("path", ["auto", "device"])
@pytest.mark.parametrize(
    "make", [Net, Conv, Masked, lambda: Net(checkpointed=True)], ids=["net", "conv", "masked", "checkpointed"]
)
def test_healthy_runs_are_silent_and_the_same_bit_for_bit(make: Any, path: str) -> None:
    torch.manual_seed(5)
    watched = make()
    torch.manual_seed(5)
    alone = make()
    _, driver = train(watched, steps=60, path=path, width=6)
    train(alone, steps=60, watched=False)
    assert driver.findings() == []
    for mine, theirs in zip(watched.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("fault", ["forward", "backward"])
def test_the_device_path_names_the_same_place_a_step_later(fault: str) -> None:
    torch.manual_seed(3)
    spoil = (lambda x: x / (x * 0)) if fault == "forward" else NanGradient.apply
    part, driver = train(Net(), lambda net: setattr(net.blocks[2], "spoil", spoil), path="device", width=24)
    assert part.origin is not None
    assert part.origin.direction == fault
    assert "blocks.2.up" in [part.origin.layer, *part.origin.chain]
    assert part.origin.step == FAULT_STEP
    assert driver.findings()[0].level == Level.CRITICAL


def test_reset_forgets_the_origin() -> None:
    part, driver = train(Net(), spoil_loss=lambda loss: loss * float("nan"))
    assert part.describe()["origin"]["what"] == "loss"
    part.reset()
    assert driver.findings() == []
    assert part.describe() == {}
