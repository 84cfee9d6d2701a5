"""Under torch.compile the local detector sees parameters only, says so, and causes no compilation."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from local_models import Notes, mlp, update  # noqa: E402
from torch import nn  # noqa: E402

from argus.local import LocalDetector  # noqa: E402

BATCH = torch.ones(4, 6)
STEPS = 30


class Backend:
    """Counts the graphs it is asked to compile, and runs them as they are."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, example: Any) -> Any:
        self.graphs += 1
        return graph.forward


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.second = nn.Linear(16, 16)
        self.third = nn.Linear(16, 3)

    def middle(self, x: Any) -> Any:
        return torch.relu(self.second(x))

    def forward(self, x: Any) -> Any:
        return self.third(self.middle(torch.relu(self.first(x))))


def compiled_whole(model: nn.Module, backend: Backend) -> nn.Module:
    return torch.compile(model, backend=backend)


def compiled_in_place(model: nn.Module, backend: Backend) -> nn.Module:
    model.compile(backend=backend)
    return model


def compiled_in_part(model: Any, backend: Backend) -> nn.Module:
    model.second = torch.compile(model.second, backend=backend)
    return model


def compiled_method(model: Any, backend: Backend) -> nn.Module:
    model.middle = torch.compile(model.middle, backend=backend)
    return model


WAYS = {
    "torch.compile": compiled_whole,
    "model.compile": compiled_in_place,
    "a layer": compiled_in_part,
    "a method": compiled_method,
}


@pytest.fixture(autouse=True)
def nothing_compiled_yet() -> Any:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def train(way: str, when: str) -> tuple[tuple[int, int], list[Any], Any]:
    """Graphs and frames compiled, weights afterwards, and the detector; attached before or after compiling, or never."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    torch.manual_seed(0)
    backend = Backend()
    plain = Model()
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    detector = LocalDetector(plain, optimizer, parts=[Notes], quiet=True) if when == "before" else None
    model = WAYS[way](plain, backend)
    if when == "after":
        detector = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    for _ in range(STEPS):
        update(model, optimizer, BATCH)
    graphs = backend.graphs
    weights = [parameter.detach().clone() for parameter in plain.parameters()]
    frames = torch._dynamo.utils.counters["frames"]["total"]
    if detector is not None:
        detector.detach()
        update(model, optimizer, BATCH)
    return (graphs, frames), weights, detector


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_more_is_compiled_and_the_weights_are_the_same(way: str, when: str) -> None:
    compiled, weights, detector = train(way, when)
    plain_compiled, plain_weights, _ = train(way, "never")
    assert compiled == plain_compiled
    assert compiled[0] > 0
    assert all(map(torch.equal, weights, plain_weights))
    report = detector.report()
    assert report.errors == 0
    assert report.step == STEPS
    said = [line for line in report.not_watched if "compile" in line]
    assert len(said) == (way != "a method"), report.not_watched


def test_updates_are_seen_where_passes_are_not() -> None:
    plain = Model()
    optimizer = torch.optim.Adam(plain.parameters(), 0.01)
    detector = LocalDetector(torch.compile(plain, backend=Backend()), optimizer, parts=[Notes], quiet=True)
    (notes,) = detector._crew.parts
    assert isinstance(notes, Notes)
    for _ in range(3):
        update(torch.compile(plain, backend=Backend()), optimizer, BATCH)
    assert notes.of("before") == [(0, 0, False), (1, 0, False), (2, 0, False)]
    assert notes.of("begin") == []
    assert detector._context.compiled


def test_layers_around_a_compiled_one_are_read() -> None:
    model = compiled_in_part(Model(), Backend())
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    detector = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    (notes,) = detector._crew.parts
    assert isinstance(notes, Notes)
    update(model, optimizer, BATCH)
    assert notes.of("read") == [(0, "first"), (0, "third")]
    assert [name for name, _ in detector._context.layers] == ["first", "second", "third"]


def test_a_compiled_optimizer_step_is_left_alone() -> None:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    backend = Backend()
    detector = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    step = torch.compile(lambda: optimizer.step(), backend=backend)
    for _ in range(3):
        optimizer.zero_grad()
        model(BATCH).square().mean().backward()
        step()
    assert detector.errors == 0
