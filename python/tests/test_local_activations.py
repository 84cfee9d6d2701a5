"""Dead units, saturation and collapsing representations, found in small models that really train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch.optim import Optimizer  # noqa: E402

from argus._native import Check, Finding  # noqa: E402
from argus.local._activations import Activations  # noqa: E402
from argus.local._detector import LocalDetector  # noqa: E402

#: Steps before the fault, and those within which it must be found.
BEFORE, WITHIN = 110, 200
DEAD, SATURATED, COLLAPSED = Check.DEAD_NEURONS, Check.ACTIVATION_SATURATION, Check.REPRESENTATION_COLLAPSE


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp(activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (12, 48, 48):
        layers += [nn.Linear(inputs, 48), activation()]
    return nn.Sequential(*layers, nn.Linear(48, 6))


class FunctionalMlp(nn.Module):
    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(12, 48), nn.Linear(48, 48), nn.Linear(48, 6)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.second(self.activation(self.first(x)))))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 6),
    )  # fmt: skip


class Residual(nn.Module):
    """As torchvision's ResNet: one in-place ReLU called twice, and a sum between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 12, 3, padding=1)
        self.conv1, self.bn1 = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.conv2, self.bn2 = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.fc(self.relu(out).mean((2, 3)))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(32, 24)
        layer = nn.TransformerEncoderLayer(24, 4, 48, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(x)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(32, 16), nn.LSTM(16, 32, batch_first=True), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


def batches(model: nn.Module, rows: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(seed)
    if isinstance(model, (Encoder, Recurrent)):
        while True:
            start, stride = (torch.randint(0, n, (rows, 1), generator=random) for n in (32, 4))
            tokens = (start + stride * torch.arange(13)) % 32
            yield tokens[:, :-1], tokens[:, 1:]
    shape = (3, 8, 8) if any(isinstance(m, nn.Conv2d) for m in model.modules()) else (12,)
    centres = torch.randn(6, *shape, generator=random)
    while True:
        classes = torch.randint(0, 6, (rows,), generator=random)
        yield centres[classes] + torch.randn(rows, *shape, generator=random), classes


Fault = Callable[[nn.Module], None]


def pin_schedule(detector: LocalDetector, width: int) -> None:
    """The same visits whatever the machine is doing: the governor never looks at its clock."""
    detector._governor._next_look = 1 << 62
    detector._context.width = width


class Trained:
    """One run: what was found, when, and what the model is in the end."""

    def __init__(
        self,
        model: nn.Module,
        fault: Fault | None = None,
        *,
        steps: int = BEFORE + WITHIN,
        width: int = 6,
        path: str = "auto",
        rows: int = 32,
        wanted: tuple[Check, str] | None = None,
        optimizer: Callable[[Any], Optimizer] | None = None,
        amp: bool = False,
        attached: bool = True,
    ) -> None:
        made = (optimizer or (lambda parameters: torch.optim.Adam(parameters, 1e-3)))(model.parameters())
        self.model = model
        self.found: list[Finding] = []
        self.all_found: list[tuple[int, Finding]] = []
        parts: list[Activations] = []

        class Kept(Activations):
            def attach(self) -> None:
                parts.append(self)
                super().attach()

        detector = LocalDetector(model, made, quiet=True, path=path, parts=[Kept]) if attached else None
        if detector is not None:
            pin_schedule(detector, width)
        torch.manual_seed(1)
        for step, (x, y) in zip(range(1, steps + 1), batches(model, rows, 3), strict=False):
            if fault is not None and step >= BEFORE:
                fault(model)
            with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                out = model(x)
            self.loss = F.cross_entropy(out.float().flatten(0, -2), y.flatten())
            made.zero_grad()
            self.loss.backward()
            made.step()
            if detector is None:
                continue
            self.found = [each for found in parts[0].findings() for each in found.standing]
            self.all_found += [(step, each) for each in self.found]
            if wanted is not None and wanted[1] in self.named(wanted[0]):
                break
        self.step = step
        if detector is not None:
            assert detector.errors == 0, detector.summary()
            detector.detach()

    def named(self, check: Check) -> list[str]:
        return [name for each in self.found if each.check == check for name in (each.layer, *each.chain)]


def bias(name: str, share: float, value: float) -> Fault:
    def fault(model: nn.Module) -> None:
        layer = model.get_submodule(name)
        with torch.no_grad():
            layer.bias[: int(share * layer.bias.numel())] = value

    return fault


def scaled(name: str, factor: float) -> Fault:
    def fault(model: nn.Module) -> None:
        layer = model.get_submodule(name)
        if not hasattr(layer, "scaled"):  # once
            layer.scaled = True
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.mul_(factor)

    return fault


def one_direction(name: str) -> Fault:
    def fault(model: nn.Module) -> None:
        weight = model.get_submodule(name).weight
        with torch.no_grad():
            flat = weight.flatten(1)
            u, s, v = torch.linalg.svd(flat, full_matrices=False)
            weight.copy_((s.norm() * u[:, :1] @ v[:1]).view_as(weight))

    return fault


def relu_mlp() -> nn.Module:
    return mlp(nn.ReLU)


def gelu_mlp() -> nn.Module:
    return mlp(nn.GELU)


def tanh_mlp() -> nn.Module:
    return mlp(nn.Tanh)


def functional_mlp() -> nn.Module:
    return FunctionalMlp(F.relu)


def functional_mlp_in_place() -> nn.Module:
    return FunctionalMlp(F.relu_)


FAULTS: list[tuple[Callable[[], nn.Module], Fault, Check, str]] = [
    (relu_mlp, bias("2", 0.6, -30.0), DEAD, "2"),
    (gelu_mlp, bias("2", 0.6, -30.0), DEAD, "2"),
    (functional_mlp, bias("second", 0.6, -30.0), DEAD, "second"),
    (functional_mlp_in_place, bias("first", 0.6, -30.0), DEAD, "first"),
    (cnn, bias("4", 0.6, -30.0), DEAD, "4"),
    (cnn, bias("1", 0.6, -30.0), DEAD, "1"),
    (Residual, bias("bn1", 0.6, -30.0), DEAD, "bn1"),
    (Encoder, bias("encoder.layers.1.linear1", 0.6, -60.0), DEAD, "encoder.layers.1.linear1"),
    (tanh_mlp, scaled("2", 100.0), SATURATED, "2"),
    (tanh_mlp, bias("2", 0.6, 20.0), SATURATED, "2"),
    (relu_mlp, scaled("2", 1000.0), SATURATED, "2"),
    (Recurrent, scaled("rnn", 30.0), SATURATED, "rnn"),
    (relu_mlp, one_direction("2"), COLLAPSED, "2"),
    (cnn, bias("4", 1.0, 300.0), COLLAPSED, "4"),
    (tanh_mlp, one_direction("2"), COLLAPSED, "2"),
]


@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("case", FAULTS, ids=lambda case: f"{case[0].__name__}-{case[2].name}-{case[3]}")
def test_a_fault_is_found_within_200_steps_and_its_layer_named(
    case: tuple[Callable[[], nn.Module], Fault, Check, str], width: int
) -> None:
    make, fault, check, layer = case
    torch.manual_seed(0)
    run = Trained(make(), fault, wanted=(check, layer), width=width)
    assert layer in run.named(check), (run.step, [(f.check, f.layer, f.note) for f in run.found])
    since = min(f.since for f in run.found if f.check == check)
    assert BEFORE - 1 <= since <= run.step  # its steps count from 0


@pytest.mark.parametrize(
    "make", [relu_mlp, gelu_mlp, tanh_mlp, functional_mlp, functional_mlp_in_place, cnn, Residual, Encoder, Recurrent]
)
def test_the_healthy_twin_is_silent(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    run = Trained(make(), width=1)
    assert [(step, f.check, f.layer, f.note) for step, f in run.all_found] == []


@pytest.mark.parametrize(
    "options",
    [
        {"rows": 4},
        {"amp": True},
        {"optimizer": lambda parameters: torch.optim.SGD(parameters, 0.03, momentum=0.9)},
    ],
    ids=["tiny batches", "bfloat16", "momentum"],
)
def test_what_training_does_on_purpose_is_no_fault(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    assert Trained(relu_mlp(), **options).all_found == []


def test_a_layer_that_is_sparse_from_the_start_is_normal() -> None:
    torch.manual_seed(0)
    model = relu_mlp()
    bias("2", 0.6, -30.0)(model)
    assert Trained(model).all_found == []


@pytest.mark.parametrize("case", [FAULTS[0], FAULTS[5], FAULTS[7], FAULTS[8]], ids=lambda case: case[0].__name__)
def test_the_device_path_finds_what_the_cpu_path_finds(
    case: tuple[Callable[[], nn.Module], Fault, Check, str],
) -> None:
    make, fault, _, _ = case
    seen = []
    for path in ("auto", "device"):
        torch.manual_seed(0)
        run = Trained(make(), fault, path=path, steps=BEFORE + 40)
        seen.append({(f.check, f.layer, f.since, f.last_good, f.note) for _, f in run.all_found})
    assert seen[0]
    # Handed over a step later: what the last step of the run read is judged on one path only.
    assert {each[:4] for each in seen[0]} == {each[:4] for each in seen[1]}


def test_weights_are_the_same_to_the_bit_as_without_it() -> None:
    weights = []
    for attached in (True, False):
        torch.manual_seed(0)
        weights.append(Trained(Residual(), steps=60, attached=attached).model.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_no_hook_and_no_tensor_stays_behind() -> None:
    torch.manual_seed(0)
    model = Trained(cnn(), steps=30).model
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_a_rollback_forgets() -> None:
    torch.manual_seed(0)
    model = relu_mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with LocalDetector(model, optimizer, quiet=True, parts=[Activations]) as detector:
        pin_schedule(detector, 6)
        for step, (x, y) in zip(range(BEFORE + 80), batches(model, 32, 3), strict=False):
            if step >= BEFORE:
                bias("2", 0.6, -30.0)(model)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert detector.worst_level != "ok"
        detector.reset()
        assert detector.worst_level == "ok"
