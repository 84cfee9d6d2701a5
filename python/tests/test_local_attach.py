"""The local detector comes and goes without a trace, and fails without harm."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from local_models import KINDS, Notes, Residual, mlp, update  # noqa: E402
from torch import nn  # noqa: E402

import argus  # noqa: E402
from argus import UsageError  # noqa: E402
from argus.local import LocalDetector  # noqa: E402
from argus.local._context import Part  # noqa: E402

BATCH = torch.ones(4, 6)
PHASES = (
    "attach",
    "begin_pass",
    "end_pass",
    "before_update",
    "after_update",
    "end_step",
    "findings",
    "reset",
    "detach",
)


def state_of(model: nn.Module, optimizer: Any) -> list[Any]:
    """All that hangs on the modules and the optimizer but parameters and buffers, as it is now."""
    found: list[Any] = []
    for module in model.modules():
        for key, value in module.__dict__.items():
            if key not in ("_parameters", "_buffers", "_modules"):
                found.append((key, type(value), copy.copy(value)))
        found.append(list(module._modules))
    return [*found, dict(optimizer._optimizer_step_pre_hooks), dict(optimizer._optimizer_step_post_hooks)]


@pytest.mark.parametrize("kind", KINDS)
def test_detach_leaves_model_and_optimizer_as_they_were(kind: str) -> None:
    make, batch = KINDS[kind]
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    model.register_forward_hook(lambda *args: None)
    before = state_of(model, optimizer)
    with LocalDetector(model, optimizer, quiet=True) as detector:
        for _ in range(12):
            update(model, optimizer, batch())
    assert state_of(model, optimizer) == before
    detector.detach()
    assert detector.report().step == 12
    update(model, optimizer, batch())
    assert detector.report().step == 12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["auto", "device"])
def test_a_watched_run_is_the_unwatched_one_bit_for_bit(kind: str, path: str) -> None:
    make, batch = KINDS[kind]

    def train(detected: bool) -> list[Any]:
        torch.manual_seed(1)
        model = make()
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
        detector = LocalDetector(model, optimizer, quiet=True, path=path) if detected else None
        losses = [update(model, optimizer, batch()) for _ in range(60)]
        if detector is not None:
            assert detector.errors == 0, detector.summary()
            detector.detach()
        state = [value for entry in optimizer.state.values() for value in entry.values()]
        return [*model.state_dict().values(), *state, torch.get_rng_state(), losses]

    for mine, plain in zip(train(True), train(False), strict=True):
        assert torch.equal(mine, plain) if isinstance(plain, torch.Tensor) else mine == plain


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_are_trained_bit_for_bit_too(dtype: Any) -> None:
    def train(detected: bool) -> list[Any]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)).to(dtype)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        detector = LocalDetector(model, optimizer, quiet=True) if detected else None
        for _ in range(30):
            update(model, optimizer, torch.randn(4, 6).to(dtype))
        assert detector is None or detector.errors == 0, detector.summary()
        return list(model.state_dict().values())

    assert all(map(torch.equal, train(True), train(False)))


def test_a_copy_and_a_pickle_of_a_watched_model_are_not_watched() -> None:
    model = Residual()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    batch = torch.randn(4, 3, 8, 8)
    detector = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    (notes,) = detector._crew.parts
    assert isinstance(notes, Notes)
    update(model, optimizer, batch)
    written = io.BytesIO()
    torch.save(model, written)
    written.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(written, weights_only=False)]
    assert set(copies[0].state_dict()) == set(model.state_dict())
    seen = len(notes.seen)
    for each in copies:
        torch.testing.assert_close(each.eval()(batch), model.eval()(batch))
        update(each.train(), torch.optim.SGD(each.parameters(), 0.01), batch)
    assert len(notes.seen) == seen
    assert detector.errors == 0


def test_a_pickled_watched_model_is_read_where_there_is_no_argus(tmp_path: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    LocalDetector(model, torch.optim.SGD(model.parameters(), 0.01), quiet=True)
    torch.save(model, tmp_path / "model.pt")
    code = f"""
import sys, torch
sys.modules["argus"] = None
model = torch.load({str(tmp_path / "model.pt")!r}, weights_only=False)
print(tuple(model(torch.ones(2, 6)).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["(2,", "4)"], done.stderr


def test_several_detectors_watch_one_model() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = state_of(model, optimizer)
    first = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    update(model, optimizer, BATCH)
    second = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    for _ in range(2):
        update(model, optimizer, BATCH)
    first.detach()
    update(model, optimizer, BATCH)
    assert (first.report().step, second.report().step) == (3, 3)
    second.detach()
    assert state_of(model, optimizer) == before


def failing(phase: str) -> type[Part]:
    class Failing(Notes):
        pass

    def fail(self: Any, *args: Any) -> Any:
        raise ZeroDivisionError(phase)

    setattr(Failing, phase, fail)
    return Failing


@pytest.mark.parametrize("phase", PHASES)
def test_a_part_that_fails_is_switched_off_and_the_rest_goes_on(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    before = state_of(model, optimizer)
    detector = LocalDetector(model, optimizer, parts=[failing(phase), Notes])
    for _ in range(4):
        update(model, optimizer, BATCH)
    detector.reset()
    detector.report()
    detector.detach()
    assert detector.errors == 1
    assert capsys.readouterr().err.count("ZeroDivisionError") == 1
    assert detector.report().step == 4
    assert state_of(model, optimizer) == before


def test_a_hook_that_fails_switches_its_part_off() -> None:
    class Failing(Part):
        def attach(self) -> None:
            for _, module in self.context.layers:
                self.context.hook(module, lambda module, args, output: 1 // 0)

    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector = LocalDetector(model, optimizer, parts=[Failing, Notes], quiet=True)
    for _ in range(3):
        update(model, optimizer, BATCH)
    assert detector.errors == 1
    (notes,) = detector._crew.parts
    assert isinstance(notes, Notes)
    assert len(notes.of("read")) == 9


def test_what_cannot_be_made_is_left_out() -> None:
    class Unmakeable(Part):
        def __init__(self, context: Any) -> None:
            raise OSError("no room")

    model = mlp()
    detector = LocalDetector(model, torch.optim.SGD(model.parameters(), 0.01), parts=[Unmakeable], quiet=True)
    assert any("no room" in line for line in detector.report().not_watched)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"model": 3}, "model"),
        ({"optimizer": 3}, "optimizer"),
        ({"optimizer": [None]}, "optimizer"),
        ({"budget": 0.0}, "budget"),
        ({"budget": 1.5}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"budget": "1"}, "budget"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(arguments: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError) as refused:
        LocalDetector(**{"model": nn.Linear(1, 1), **arguments})
    assert refused.value.field == field


def test_a_reset_reaches_the_parts() -> None:
    model = mlp()
    detector = LocalDetector(model, torch.optim.SGD(model.parameters(), 0.01), parts=[Notes], quiet=True)
    (notes,) = detector._crew.parts
    assert isinstance(notes, Notes)
    detector.reset()
    assert notes.of("reset") == [(0,)]


def test_it_is_found_in_the_package() -> None:
    assert argus.LocalDetector is LocalDetector
    with pytest.raises(AttributeError):
        _ = argus.NoSuchThing


NETWORK = (
    "socket",
    "_socket",
    "http",
    "http.client",
    "urllib.request",
    "ssl",
    "requests",
    "argus._ranks",
    "argus._courier",
)


def test_nothing_of_it_imports_a_network() -> None:
    code = f"""
import sys, builtins, torch
for name in {NETWORK!r}:
    sys.modules.pop(name, None)
asked = []
real = builtins.__import__
def watched(name, globals=None, locals=None, fromlist=(), level=0):
    if (globals or {{}}).get("__name__", "").startswith("argus"):
        asked.append(name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = watched
import argus.local
model = torch.nn.Linear(2, 2)
argus.LocalDetector(model, torch.optim.SGD(model.parameters(), 0.1)).report()
print(sorted({{n for n in asked if n in {NETWORK!r} or n.split(".")[0] in {NETWORK!r}}}), "argus._ranks" in sys.modules,
      "argus._courier" in sys.modules, len(asked) > 20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["[]", "False", "False", "True"], done.stderr


def test_it_works_where_sockets_are_forbidden() -> None:
    code = """
import socket, torch
def forbidden(*args, **kwargs):
    raise AssertionError("a socket was asked for")
socket.socket = socket.create_connection = socket.socketpair = forbidden
from argus.local import LocalDetector
model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters())
with LocalDetector(model, optimizer) as detector:
    for _ in range(120):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
print(detector.errors, detector.report().step)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0", "120"], done.stderr


def test_after_detach_the_model_is_held_no_more() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector = LocalDetector(model, optimizer, quiet=True)
    for _ in range(3):
        update(model, optimizer, BATCH)
    detector.detach()
    weight = weakref.ref(model[0].weight)
    del model, optimizer
    gc.collect()
    assert weight() is None
    assert detector.report().layers == 3
