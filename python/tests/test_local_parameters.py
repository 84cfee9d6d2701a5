"""What is seen of parameters around updates: each fault in a model that really trains, and its healthy twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from argus.local._detector import LocalDetector  # noqa: E402
from argus.local._parameters import Parameters  # noqa: E402

FAULT_AT = 120
WITHIN = 200


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(32, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 4)
    )


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 8, 4)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm(self.stem(x.view(-1, 1, 4, 8))))
        return self.head(F.max_pool2d(F.relu(self.middle(x)), 2).flatten(1))


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        return self.head(self.encoder(self.embed(x.view(-1, 4, 8))).mean(1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 24, 2, batch_first=True)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Any) -> Any:
        return self.head(self.lstm(x.view(-1, 4, 8))[0][:, -1])


class Lion(torch.optim.Optimizer):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99)})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.add_(torch.sign(mean * first + p.grad * (1 - first)), alpha=-group["lr"])
                mean.mul_(second).add_(p.grad, alpha=1 - second)


MODELS = {"mlp": mlp, "cnn": Convolutional, "transformer": Attentive, "lstm": Recurrent}
#: The layer that is tampered with, and its weight.
VICTIMS = {"mlp": "2", "cnn": "middle", "transformer": "encoder.layers.1.linear1", "lstm": "lstm"}
OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "Adam": lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-4),
    "AdamW": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.05),
    "AdamW foreach": lambda p: torch.optim.AdamW(p, 1e-3, foreach=True),
    "AdamW fused": lambda p: torch.optim.AdamW(p, 1e-3, fused=True),
    "amsgrad": lambda p: torch.optim.Adam(p, 1e-3, amsgrad=True),
    "NAdam": lambda p: torch.optim.NAdam(p, 1e-3),
    "RAdam": lambda p: torch.optim.RAdam(p, 1e-3),
    "Adamax": lambda p: torch.optim.Adamax(p, 1e-3),
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-4),
    "RMSprop": lambda p: torch.optim.RMSprop(p, 5e-4),
    "Adagrad": lambda p: torch.optim.Adagrad(p, 0.02),
    "Adadelta": lambda p: torch.optim.Adadelta(p),
    "Lion": lambda p: Lion(p, 3e-4),
    "Adafactor": lambda p: torch.optim.Adafactor(p, 5e-3),
}
SECOND_MOMENTS = ("exp_avg_sq", "exp_inf", "square_avg", "sum", "row_var", "exp_avg", "momentum_buffer")


@dataclass
class Training:
    """A model that trains, with the detector on it."""

    kind: str = "mlp"
    optimizer_of: Callable[[Any], Any] = OPTIMIZERS["AdamW"]
    seed: int = 0
    width: int = 24
    path: str = "auto"

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model: Any = MODELS[self.kind]()
        self.optimizer = self.optimizer_of(self.model.parameters())
        self.detector = LocalDetector(
            self.model, self.optimizer, parts=[Parameters], budget=1.0, quiet=True, path=self.path
        )
        centres = torch.randn(4, 32)
        self.labels = torch.randint(0, 4, (512,))
        self.inputs = centres[self.labels] * 0.4 + torch.randn(512, 32)
        self.after_step: Callable[[], object] = lambda: None
        self.before_step: Callable[[], object] = lambda: None

    @property
    def victim(self) -> Any:
        return self.model.get_submodule(VICTIMS[self.kind])

    @property
    def weight(self) -> Any:
        return next(self.victim.parameters())

    def state(self, *keys: str) -> Any:
        state = self.optimizer.state[self.weight]
        return next(state[key] for key in keys if isinstance(state.get(key), torch.Tensor))

    def train(self, steps: int) -> Training:
        for _ in range(steps):
            # What a governor would decide by the clock is decided here: tests must not depend on it.
            self.detector._governor._next_look = 1 << 62
            context = self.detector._context
            context.width, context.extras_allowed, context.extras = self.width, True, True
            batch = torch.randint(0, 512, (32,))
            loss = F.cross_entropy(self.model(self.inputs[batch]), self.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.before_step()
            self.optimizer.step()
            with torch.no_grad():
                self.after_step()
        return self

    def found(self, check: str) -> list[str]:
        return list(self.detector.report().checks[check].layers)

    def assert_quiet(self) -> None:
        report = self.detector.report()
        assert report.worst_level == "ok", report.summary()
        assert self.detector.errors == 0


def train_until_found(training: Training, check: str, steps: int = WITHIN) -> str:
    """The first layer named by a check, within so many steps; empty when none is."""
    for _ in range(steps // 10):
        found = training.train(10).found(check)
        if found:
            return found[0]
    return ""


# Healthy runs.


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_healthy_run_is_quiet_with_every_optimizer(name: str) -> None:
    training = Training(optimizer_of=OPTIMIZERS[name]).train(260)
    training.assert_quiet()
    assert "not watched" not in training.detector.summary()


@pytest.mark.parametrize("kind", MODELS)
def test_a_healthy_run_is_quiet_with_every_model(kind: str) -> None:
    Training(kind, width=4).train(260).assert_quiet()


def test_what_training_does_on_purpose_is_no_fault() -> None:
    training = Training()
    training.train(80)
    saved = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    state = training.optimizer.state_dict()
    training.train(40)
    training.model.load_state_dict(saved)
    training.train(40)
    training.optimizer.load_state_dict(state)
    training.train(40)
    training.optimizer.state.clear()
    training.train(40)
    training.assert_quiet()
    training.victim.requires_grad_(False)
    training.train(60)
    training.victim.requires_grad_(True)
    training.train(60)
    training.assert_quiet()


def test_weights_clipped_after_every_update_are_no_fault() -> None:
    training = Training(optimizer_of=OPTIMIZERS["RMSprop"])
    training.after_step = lambda: [p.clamp_(-0.1, 0.1) for p in training.model.parameters()]
    training.train(300).assert_quiet()


def test_a_rate_that_falls_to_nothing_is_no_fault() -> None:
    training = Training()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(training.optimizer, 300)
    training.after_step = schedule.step
    training.train(300).assert_quiet()


def test_averaged_weights_swapped_in_and_out_between_steps_are_no_fault() -> None:
    training = Training()

    def swap() -> None:
        own = [p.clone() for p in training.model.parameters()]
        for p in training.model.parameters():
            p.mul_(0.99)
        for p, kept in zip(training.model.parameters(), own, strict=True):
            p.copy_(kept)

    training.after_step = swap
    training.train(200).assert_quiet()


def test_a_layer_that_is_not_always_used_is_no_fault() -> None:
    training = Training()
    training.before_step = lambda: (
        setattr(training.weight, "grad", None) if torch.rand(()) < 0.4 else None  # drawn from the run's own generator
    )
    training.train(300)
    assert training.found("gradient_flow") == []
    assert training.found("optimizer_state") == []


def test_two_optimizers_that_take_turns_are_told_apart() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"one": nn.Linear(16, 16), "two": nn.Linear(16, 16)})
    optimizers = [torch.optim.Adam(part.parameters(), 1e-3, betas=(0.5, 0.999)) for part in model.values()]
    with LocalDetector(model, optimizers, parts=[Parameters], budget=1.0, quiet=True) as detector:
        for _ in range(200):
            for part, optimizer in zip(model.values(), optimizers, strict=True):
                optimizer.zero_grad()
                F.mse_loss(part(torch.randn(16, 16)), torch.zeros(16, 16)).backward()
                optimizer.step()
    assert detector.worst_level == "ok", detector.summary()


def test_an_optimizer_of_unknown_states_is_said() -> None:
    class Odd(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            super().step()
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["trace"] = torch.ones_like(p)

    training = Training(optimizer_of=lambda p: Odd(p, 0.05)).train(40)
    assert "Odd" in training.detector.summary()
    training.assert_quiet()


def test_lbfgs_is_said_not_to_be_watched() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), 0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = model(torch.ones(3, 4)).square().mean()
        loss.backward()
        return loss

    with LocalDetector(model, optimizer, parts=[Parameters], quiet=True) as detector:
        for _ in range(5):
            optimizer.step(closure)
    assert "LBFGS" in detector.summary()
    assert detector.errors == 0


def test_gradients_that_a_closure_makes_are_read() -> None:
    training = Training()

    def closure() -> Any:
        training.optimizer.zero_grad()
        loss = F.cross_entropy(training.model(training.inputs[:64]), training.labels[:64])
        loss.backward()
        return loss

    for _ in range(FAULT_AT):
        training.optimizer.step(closure)
    training.assert_quiet()
    training.victim.register_forward_hook(lambda module, args, output: output.detach())
    for _ in range(60):
        training.optimizer.step(closure)
    assert training.found("gradient_flow")[0] == training_name("mlp")


def training_name(kind: str) -> str:
    return VICTIMS[kind]


@pytest.mark.parametrize("name", ["Adam", "SGD", "Adafactor"])
def test_weights_are_the_same_bits_as_without_the_detector(name: str) -> None:
    def train(detected: bool) -> list[Any]:
        training = Training(optimizer_of=OPTIMIZERS[name])
        if not detected:
            training.detector.detach()
        return [p.detach().clone() for p in training.train(120).model.parameters()]

    for a, b in zip(train(True), train(False), strict=True):
        assert torch.equal(a, b)


# Faults.


def detach_output(training: Training) -> None:
    training.victim.register_forward_hook(
        lambda module, args, output: (output[0].detach(), output[1]) if isinstance(output, tuple) else output.detach()
    )


def zero_gradients(training: Training) -> None:
    for p in training.victim.parameters():
        p.register_hook(lambda gradient: gradient * 0)


def shrink_gradients(training: Training) -> None:
    for p in training.victim.parameters():
        p.register_hook(lambda gradient: gradient * 1e-4)


def grow(training: Training) -> None:
    training.after_step = lambda: training.weight.mul_(1.01)


def multiply(training: Training) -> None:
    training.weight.data.mul_(5.0)


def round_weights(training: Training) -> None:
    training.after_step = lambda: training.weight.copy_(training.weight.bfloat16().float())


def add_noise(training: Training) -> None:
    training.weight.data.add_(torch.randn_like(training.weight) * 0.3 * training.weight.detach().std())


def flip_exponent_bit(training: Training) -> None:
    bits = training.weight.data.view(torch.int32).view(-1)
    bits[bits.numel() * 2 // 3] ^= 1 << 30


FAULTS = [
    ("gradient_flow", detach_output),
    ("gradient_flow", zero_gradients),
    ("gradient_flow", shrink_gradients),
    ("weight_norms", grow),
    ("weight_norms", multiply),
    ("hardware_integrity", add_noise),
    ("hardware_integrity", flip_exponent_bit),
    ("precision_erosion", round_weights),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("check", "fault"), FAULTS, ids=[fault.__name__ for _, fault in FAULTS])
def test_a_fault_is_found_with_its_layer(kind: str, check: str, fault: Callable[[Training], None]) -> None:
    training = Training(kind).train(FAULT_AT)
    training.assert_quiet()
    fault(training)
    named = train_until_found(training, check)
    assert named == training_name(kind), training.detector.summary()


@pytest.mark.parametrize(("check", "fault"), FAULTS, ids=[fault.__name__ for _, fault in FAULTS])
def test_a_fault_is_found_where_layers_are_seen_every_24_steps(check: str, fault: Callable[[Training], None]) -> None:
    training = Training(width=1).train(FAULT_AT)
    fault(training)
    assert train_until_found(training, check) == training_name("mlp"), training.detector.summary()


def test_updates_that_round_to_nothing_are_found() -> None:
    training = Training().train(FAULT_AT)
    for group in training.optimizer.param_groups:
        group["lr"] = 1e-12
    assert train_until_found(training, "precision_erosion") != ""


STATE_FAULTS: dict[str, Callable[[Any], Any]] = {
    "zeroed": lambda state: state.zero_(),
    "a hundred times as large": lambda state: state.mul_(100.0),
    "not finite": lambda state: state.view(-1)[::5].fill_(float("nan")),
    "shuffled": lambda state: state.copy_(state.view(-1).flip(0).view_as(state)),
}


@pytest.mark.parametrize("fault", STATE_FAULTS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_state_that_was_tampered_with_is_found(name: str, fault: str) -> None:
    training = Training(optimizer_of=OPTIMIZERS[name]).train(FAULT_AT)
    training.assert_quiet()
    with torch.no_grad():
        STATE_FAULTS[fault](training.state(*SECOND_MOMENTS))
    assert train_until_found(training, "optimizer_state", 20) == training_name("mlp"), training.detector.summary()


@pytest.mark.parametrize("factor", [0.1, 100.0])
def test_a_second_moment_is_found_out_many_updates_later(factor: float) -> None:
    training = Training().train(FAULT_AT)
    part = training.detector._crew.parts[0]
    part._due = lambda updates: ([], [])  # type: ignore[attr-defined]
    training.train(5)
    with torch.no_grad():
        training.state("exp_avg_sq").mul_(factor)
    training.train(15)
    del part._due  # type: ignore[attr-defined]
    assert train_until_found(training, "optimizer_state", 20) == training_name("mlp"), training.detector.summary()


def test_moments_swapped_between_layers_are_found_at_both() -> None:
    training = Training()
    training.model[2] = nn.Linear(48, 48)
    training.model[4] = nn.Linear(48, 48)
    training.model[6] = nn.Linear(48, 4)
    training.detector.detach()
    training.optimizer = OPTIMIZERS["AdamW"](training.model.parameters())
    training.detector = LocalDetector(training.model, training.optimizer, parts=[Parameters], budget=1.0, quiet=True)
    training.train(FAULT_AT)
    one, other = (training.optimizer.state[training.model[i].weight] for i in (2, 4))
    one["exp_avg_sq"], other["exp_avg_sq"] = other["exp_avg_sq"], one["exp_avg_sq"]
    training.train(10)
    assert set(training.found("optimizer_state")) == {"2", "4"}


def test_a_counter_that_stopped_counting_is_found() -> None:
    training = Training().train(FAULT_AT)
    training.after_step = lambda: training.state("step").fill_(1.0)
    assert train_until_found(training, "optimizer_state", 20) == training_name("mlp")


# The path of accelerators, forced on tensors of the CPU.


@pytest.mark.parametrize("fault", [None, detach_output, shrink_gradients, multiply, add_noise, round_weights])
def test_the_device_path_sees_what_the_host_path_sees(fault: Callable[[Training], None] | None) -> None:
    reports = []
    for path in ("auto", "device"):
        training = Training(path=path).train(FAULT_AT)
        if fault is not None:
            fault(training)
        training.train(61)
        assert training.detector.errors == 0
        report = training.detector.report()
        reports.append({name: (check.level, list(check.layers)) for name, check in report.checks.items()})
    assert reports[0] == reports[1]


@pytest.mark.parametrize("name", ["AdamW", "SGD", "RMSprop", "Adagrad", "Lion"])
def test_the_device_path_finds_a_state_that_was_tampered_with(name: str) -> None:
    training = Training("cnn", optimizer_of=OPTIMIZERS[name], path="device").train(FAULT_AT)
    training.assert_quiet()
    with torch.no_grad():
        training.state(*SECOND_MOMENTS).mul_(100.0)
    assert train_until_found(training, "optimizer_state", 20) == training_name("cnn")
