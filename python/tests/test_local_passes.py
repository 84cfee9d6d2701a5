"""Which passes the local detector reads, and what it calls a step."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from local_models import Notes, Residual, mlp, update  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from argus.local import LocalDetector  # noqa: E402


def watched(model: Any, optimizer: Any = None) -> tuple[LocalDetector, Notes]:
    detector = LocalDetector(model, optimizer, parts=[Notes], quiet=True)
    (notes,) = detector._crew.parts
    assert isinstance(notes, Notes)
    return detector, notes


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return mlp()


@pytest.fixture
def optimizer(model: nn.Sequential) -> Any:
    return torch.optim.SGD(model.parameters(), 0.01)


BATCH = torch.ones(4, 6)


def test_a_step_is_told_in_order(model: nn.Sequential, optimizer: Any) -> None:
    _, notes = watched(model, optimizer)
    update(model, optimizer, BATCH)
    assert notes.seen == [
        (0, "begin"),
        (0, "read", "0"),
        (0, "read", "3"),
        (0, "read", "5"),
        (0, "end", (4, 3)),
        (0, "before", 0, False),
        (0, "after", 0),
        (0, "step"),
    ]


def test_evaluation_is_not_read(model: nn.Sequential, optimizer: Any) -> None:
    _, notes = watched(model, optimizer)
    model.eval()
    model(BATCH)
    model.train()
    with torch.no_grad():
        model(BATCH)
    with torch.inference_mode():
        model(BATCH)
    assert notes.seen == []
    update(model, optimizer, BATCH)
    assert notes.of("begin") == [(0,)]


def test_of_accumulated_micro_batches_the_first_is_read(model: nn.Sequential, optimizer: Any) -> None:
    _, notes = watched(model, optimizer)
    for _ in range(2):
        for _ in range(3):
            model(BATCH).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert notes.of("begin") == [(0,), (1,)]
    assert len(notes.of("read")) == 6


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_checkpointing_computes_again_is_not_read(reentrant: bool) -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True))

        def forward(self, x: Any) -> Any:
            return checkpoint(self.inner, self.first(x), use_reentrant=reentrant)

    model = Checkpointed()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    _, notes = watched(model, optimizer)
    for _ in range(2):
        update(model, optimizer, BATCH)
    assert notes.of("read") == [(0, "first"), (0, "inner.0"), (1, "first"), (1, "inner.0")]


def test_a_whole_model_computed_again_in_backward_is_not_read(model: nn.Sequential, optimizer: Any) -> None:
    _, notes = watched(model, optimizer)
    for _ in range(2):
        checkpoint(model, BATCH, use_reentrant=False).sum().backward()
        optimizer.step()
    assert notes.of("begin") == [(0,), (1,)]


def test_a_shared_module_is_read_at_each_call() -> None:
    layer = nn.Linear(6, 6)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    _, notes = watched(model, optimizer)
    update(model, optimizer, BATCH)
    assert notes.of("read") == [(0, "0"), (0, "0")]


def test_layers_have_names_and_the_order_of_their_calls() -> None:
    class Reversed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(6, 3)
            self.unused = nn.Linear(2, 2)
            self.first = nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            return self.last(self.first(x))

    model = Reversed()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector, _ = watched(model, optimizer)
    context = detector._context
    assert [name for name, _ in context.layers] == ["last", "unused", "first"]
    assert context.order == [0, 1, 2]
    update(model, optimizer, BATCH)
    assert context.order == [2, 0, 1]


def test_a_model_that_is_one_layer_is_read() -> None:
    model = nn.Linear(6, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    _, notes = watched(model, optimizer)
    update(model, optimizer, BATCH)
    assert notes.of("read") == [(0, "Linear")]


def test_a_forward_that_raises_leaves_no_hook_behind(model: nn.Sequential, optimizer: Any) -> None:
    _, notes = watched(model, optimizer)
    with pytest.raises(RuntimeError):
        model(torch.ones(4, 7))
    assert all(not module._forward_hooks for module in model)
    update(model, optimizer, BATCH)
    assert notes.of("end") == [(0, None)]  # the one pass of this step was that one
    update(model, optimizer, BATCH)
    assert notes.of("end") == [(0, None), (1, (4, 3))]


def test_a_closure_is_told_and_its_first_pass_read(model: nn.Sequential) -> None:
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    _, notes = watched(model, optimizer)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = model(BATCH).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.step(closure=closure)
    assert notes.of("before") == [(0, 0, True), (1, 0, True)]
    assert notes.of("begin") == [(0,), (1,)]


def test_several_optimizers_end_a_step_together(model: nn.Sequential) -> None:
    first = torch.optim.SGD(model[0].parameters(), 0.01)
    second = torch.optim.Adam(model[3].parameters(), 0.01)
    _, notes = watched(model, [first, second])
    for _ in range(3):
        model(BATCH).sum().backward()
        first.step()
        second.step()
    assert notes.of("before") == [
        (0, 0, False),
        (0, 1, False),
        (1, 0, False),
        (1, 1, False),
        (2, 0, False),
        (2, 1, False),
    ]
    assert notes.of("step") == [(0,), (1,), (2,)]


def test_an_optimizer_that_steps_now_and_then_does_not_hold_the_others_up(model: nn.Sequential) -> None:
    often = torch.optim.SGD(model[0].parameters(), 0.01)
    rarely = torch.optim.SGD(model[3].parameters(), 0.01)
    _, notes = watched(model, [often, rarely])
    for i in range(12):
        model(BATCH).sum().backward()
        often.step()
        if i % 4 == 3:
            rarely.step()
    assert len(notes.of("step")) == 12
    assert len(notes.of("begin")) >= 11


def test_a_step_that_the_scaler_skips_is_not_counted(model: nn.Sequential, optimizer: Any) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    _, notes = watched(model, optimizer)
    for i in range(4):
        optimizer.zero_grad()
        loss = model(BATCH).sum() * (float("inf") if i == 1 else 1.0)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert notes.of("step") == [(0,), (1,), (2,)]


def test_without_an_optimizer_each_training_pass_is_a_step(model: nn.Sequential) -> None:
    detector, notes = watched(model)
    for _ in range(3):
        model(BATCH).sum().backward()
    assert notes.of("begin") == [(0,), (1,), (2,)]
    assert any("no optimizer" in line for line in detector.report().not_watched)


def test_submodules_called_one_by_one_are_read(optimizer: Any, model: nn.Sequential) -> None:
    detector, notes = watched(model, optimizer)
    for _ in range(6):
        x = BATCH
        for module in model:
            x = module(x)
        x.sum().backward()
        optimizer.step()
        model[0].eval()(BATCH)
        model.train()
    steps = {step for step, _ in notes.of("read")}
    assert steps == {3, 4, 5}
    assert len(notes.of("read")) == 9
    detector.detach()
    assert all(not module._forward_hooks for module in model)


def test_the_model_inside_a_distributed_wrapper_is_watched(tmp_path: Any) -> None:
    distributed = torch.distributed
    if not distributed.is_available():
        pytest.skip("torch without torch.distributed")
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(Residual())
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        detector, notes = watched(model, optimizer)
        for _ in range(2):
            update(model, optimizer, torch.randn(4, 3, 8, 8))
        assert notes.of("begin") == [(0,), (1,)]
        assert (0, "conv1") in notes.of("read")
        assert detector.errors == 0
    finally:
        distributed.destroy_process_group()


def test_layers_that_come_and_go_are_picked_up_and_dropped() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return x

    model = Growing()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector, notes = watched(model, optimizer)
    for _ in range(5):
        update(model, optimizer, BATCH)
    model.blocks.append(nn.Linear(6, 6))
    del model.blocks[0]
    optimizer.add_param_group({"params": list(model.blocks[1].parameters())})
    for _ in range(40):
        update(model, optimizer, BATCH)
    last = max(step for step, _ in notes.of("read"))
    assert [name for step, name in notes.of("read") if step == last] == ["blocks.1", "blocks.1"]
    assert detector._context.gone == {0}
    assert detector.report().layers == 2
    assert detector.errors == 0


def test_lazy_layers_are_watched_once_they_have_parameters() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LazyLinear(3))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    detector, notes = watched(model, optimizer)
    for _ in range(4):
        update(model, optimizer, BATCH)
    assert (3, "2") in notes.of("read")
    assert detector.report().layers == 2
    assert detector.report().not_watched == []


def test_layers_on_the_meta_device_are_left_out_and_said() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.real = nn.Linear(6, 3)
            self.shape_only = nn.Linear(6, 3, device="meta")

        def forward(self, x: Any) -> Any:
            return self.real(x)

    model = Half()
    optimizer = torch.optim.SGD(model.real.parameters(), 0.01)
    detector, _ = watched(model, optimizer)
    for _ in range(60):
        update(model, optimizer, BATCH)
    report = detector.report()
    assert report.layers == 1
    assert any("meta device" in line for line in report.not_watched)


def test_functional_transforms_are_not_read(model: nn.Sequential, optimizer: Any) -> None:
    model[2] = nn.Identity()
    _, notes = watched(model, optimizer)
    parameters = dict(model.named_parameters())

    def loss(values: Any, x: Any) -> Any:
        return torch.func.functional_call(model, values, (x,)).sum()

    torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, BATCH)
    assert notes.seen == []
