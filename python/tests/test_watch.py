"""watch() on real torch trainings: what it measures, when, and that it changes nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

import argus

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402


def make(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3)
    )


def batch(step: int, size: int = 24) -> tuple[Any, Any]:
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(size, 6, generator=generator)
    return x, (x[:, :3] * 2).argmax(1)


def loss_of(model: nn.Module, step: int) -> Any:
    x, y = batch(step)
    return functional.cross_entropy(model(x), y)


def flat(tensors: Any) -> Any:
    return torch.cat([t.detach().reshape(-1).double() for t in tensors])


def last(watch: argus.Watch, name: str) -> float:
    return float(watch.history[name].tolist()[-1])


def test_everything_measured_agrees_with_a_plain_computation() -> None:
    model = make()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    watch = argus.watch(model, optimizer)
    previous = None
    for step in range(5):
        loss = loss_of(model, step)
        optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad.clone() for p in model.parameters()]
        before = flat(model.parameters())
        optimizer.step()
        watch.step(loss)
        gradient, after = flat(gradients), flat(model.parameters())
        assert last(watch, "loss") == pytest.approx(loss.item())
        assert last(watch, "grad_norm") == pytest.approx(float(gradient.norm()), rel=1e-5)
        for name, part in zip(("early", "mid", "late"), (gradients[:2], gradients[2:4], gradients[4:])):
            assert last(watch, f"grad_norm_{name}") == pytest.approx(float(flat(part).norm()), rel=1e-5)
        assert last(watch, "update_norm") == pytest.approx(float((after - before).norm()), rel=1e-4)
        assert last(watch, "weights_l1") == pytest.approx(float(after.abs().sum()), rel=1e-5)
        assert last(watch, "weights_l2") == pytest.approx(float(after.norm()), rel=1e-5)
        assert last(watch, "lr") == 3e-3
        if previous is not None:
            cosine = float(gradient @ previous / gradient.norm() / previous.norm())
            assert last(watch, "gradient_similarity") == pytest.approx(cosine, abs=1e-5)
        previous = gradient
    assert watch.norm_source == "measured"
    assert (watch.errors, watch.rejected, watch.decision.step) == (0, 0, 4)


def train(watched: bool, steps: int = 40) -> tuple[list[float], Any, Any, Any]:
    model = make(3, dropout=0.2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    watch = argus.watch(model, optimizer, quiet=True) if watched else None
    losses = []
    for step in range(steps):
        x, y = batch(step)
        logits = model(x)
        loss = functional.cross_entropy(logits, y)
        loss.backward()
        if watch is not None:
            watch.clip_grad_norm_(model.parameters(), 0.5)
        else:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if watch is not None:
            watch.step(loss, samples=argus.per_sample(logits, y))
        losses.append(loss.item())
    state = [v for s in optimizer.state.values() for v in s.values()]
    return losses, flat(model.parameters()), flat(state), torch.get_rng_state()


def test_watching_changes_no_bit() -> None:
    for plain, watched in zip(train(False), train(True)):
        if isinstance(plain, list):
            assert plain == watched
        else:
            assert torch.equal(plain, watched)


@pytest.mark.parametrize("zero", ["before backward", "after step", "after watch"])
def test_the_order_of_zero_grad_does_not_matter(zero: str) -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    watch = argus.watch(model, optimizer)
    for step in range(4):
        if zero == "before backward":
            optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        if zero == "after step":
            optimizer.zero_grad()
        watch.step(loss)
        if zero == "after watch":
            optimizer.zero_grad(set_to_none=False)
    norms = watch.history["grad_norm"].tolist()
    twin = make()
    twin_optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    for step in range(4):
        twin_optimizer.zero_grad()
        loss_of(twin, step).backward()
        assert norms[step] == pytest.approx(float(flat(p.grad for p in twin.parameters()).norm()), rel=1e-5)
        twin_optimizer.step()


def test_clip_helper_gives_the_norm_before_clipping_and_torchs_own_result() -> None:
    model, twin = make(), make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    loss = loss_of(model, 0) * 100
    loss.backward()
    (loss_of(twin, 0) * 100).backward()
    expected = torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
    norm = watch.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    watch.step(loss)
    assert torch.equal(norm, expected)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(model.parameters(), twin.parameters()))
    assert watch.norm_source == "before_clipping"
    assert last(watch, "grad_norm") == pytest.approx(float(norm))
    thirds = [last(watch, f"grad_norm_{part}") for part in ("early", "mid", "late")]
    assert math.hypot(*thirds) == pytest.approx(float(norm), rel=1e-4)


@pytest.mark.parametrize("kind", [float, lambda norm: norm])
def test_a_norm_before_clipping_may_be_given_by_whoever_clipped(kind: Callable[[Any], Any]) -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer, record=False, quiet=True)
    for step in range(3):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        before = [p.grad.clone() for p in model.parameters()]
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
        watch.step(1.0, norm_before_clipping=kind(norm))
        assert watch.norm_source == "before_clipping"
        assert last(watch, "grad_norm") == pytest.approx(float(flat(before).norm()), rel=1e-5)
        assert last(watch, "grad_norm_early") == pytest.approx(float(flat(before[:2]).norm()), rel=1e-3)
    for bad in (-1.0, "x", torch.tensor([]), torch.tensor(1.0, device="meta")):
        watch.step(1.0, norm_before_clipping=bad)
        assert watch.norm_source != "before_clipping"
    assert watch.rejected == 4
    assert watch.watching


def test_clip_helper_raises_what_torch_raises() -> None:
    model = make()
    watch = argus.watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    (loss_of(model, 0) * math.inf).backward()
    with pytest.raises(RuntimeError, match="non-finite"):
        watch.clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)


def test_a_given_norm_wins_over_the_measured_one() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    loss_of(model, 0).backward()
    optimizer.step()
    watch.step(1.0, grad_norm=torch.tensor(42.0), lr=7.0)
    assert watch.norm_source == "given"
    assert (last(watch, "grad_norm"), last(watch, "lr")) == (42.0, 7.0)


def test_the_rate_is_the_largest_and_the_one_in_force_not_the_next() -> None:
    model = make()
    groups = [{"params": model[0].parameters(), "lr": 0.01}, {"params": model[3].parameters(), "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    watch = argus.watch(model, optimizer)
    for step in range(3):
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        schedule.step()
        watch.step(loss)
    assert watch.history["lr"].tolist() == pytest.approx([0.2, 0.1, 0.05])


@pytest.mark.parametrize("kind", ["LBFGS", "SGD"])
def test_closure_optimizers_are_read_after_the_closure(kind: str) -> None:
    model = make()
    optimizer: Any = torch.optim.LBFGS(model.parameters(), max_iter=3) if kind == "LBFGS" else None
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    for step in range(4):

        def closure(step: int = step) -> Any:
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            return loss

        before = flat(model.parameters())
        loss = optimizer.step(closure)
        watch.step(loss)
        norm = float(flat(p.grad for p in model.parameters()).norm())
        assert last(watch, "grad_norm") == pytest.approx(norm, rel=1e-5)
        assert last(watch, "update_norm") == pytest.approx(float((flat(model.parameters()) - before).norm()), rel=1e-4)
    assert watch.errors == 0


def test_with_accumulation_a_step_is_an_optimizer_step() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    for step in range(3):
        total = 0.0
        for micro in range(4):
            loss = loss_of(model, 4 * step + micro) / 4
            loss.backward()
            total += loss.item()
        expected = float(flat(p.grad for p in model.parameters()).norm())
        optimizer.step()
        optimizer.zero_grad()
        watch.step(total, accumulation_steps=4)
        assert last(watch, "grad_norm") == pytest.approx(expected, rel=1e-5)
    assert len(watch.history) == 3


def test_frozen_parameters_are_left_out_and_thawed_ones_taken_in() -> None:
    model = make()
    for p in model[0].parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    for step in range(4):
        if step == 2:
            for p in model[0].parameters():
                p.requires_grad_(True)
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        watch.step(loss)
        trained = [p for p in model.parameters() if p.requires_grad]
        assert last(watch, "weights_l2") == pytest.approx(float(flat(trained).norm()), rel=1e-5)
    assert watch.errors == 0


def test_sparse_gradients_have_their_true_norm() -> None:
    torch.manual_seed(0)
    table = nn.Embedding(50, 4, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)
    watch = argus.watch(table, optimizer)
    rows = torch.tensor([3, 3, 7, 9])
    for _ in range(3):
        optimizer.zero_grad()
        loss = table(rows).pow(2).sum()
        loss.backward()
        expected = float(table.weight.grad.to_dense().norm())
        optimizer.step()
        watch.step(loss)
        assert last(watch, "grad_norm") == pytest.approx(expected, rel=1e-5)
    assert watch.errors == 0


def test_tied_parameters_count_once() -> None:
    torch.manual_seed(0)
    table, head = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
    head.weight = table.weight
    model = nn.Sequential(table, head)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    watch = argus.watch(model, optimizer)
    loss = functional.cross_entropy(model(torch.arange(20)), torch.arange(20))
    loss.backward()
    optimizer.step()
    watch.step(loss)
    assert last(watch, "weights_l2") == pytest.approx(float(table.weight.detach().norm()), rel=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_half_and_double_precision(dtype: str) -> None:
    model = make().to(getattr(torch, dtype))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    for step in range(3):
        x, y = batch(step)
        loss = functional.cross_entropy(model(x.to(getattr(torch, dtype))), y)
        optimizer.zero_grad()
        loss.backward()
        expected = float(flat(p.grad for p in model.parameters()).norm())
        optimizer.step()
        watch.step(loss)
        assert last(watch, "grad_norm") == pytest.approx(expected, rel=1e-4)
        assert last(watch, "loss") == pytest.approx(loss.item())
    assert watch.errors == 0


def test_several_optimizers_are_joined() -> None:
    model = make()
    first, second = list(model[0].parameters()), [*model[3].parameters(), *model[5].parameters()]
    optimizers = [torch.optim.SGD(first, lr=0.1), torch.optim.Adam(second, lr=0.01)]
    watch = argus.watch(model, optimizers)
    for step in range(3):
        loss = loss_of(model, step)
        loss.backward()
        expected = float(flat(p.grad for p in model.parameters()).norm())
        before = flat(model.parameters())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        watch.step(loss)
        assert last(watch, "grad_norm") == pytest.approx(expected, rel=1e-5)
        assert last(watch, "update_norm") == pytest.approx(float((flat(model.parameters()) - before).norm()), rel=1e-4)
    assert last(watch, "lr") == 0.1


def test_a_model_without_an_optimizer_is_read_at_the_step() -> None:
    model = make()
    watch = argus.watch(model)
    for step in range(3):
        for p in model.parameters():
            p.grad = None
        loss = loss_of(model, step)
        loss.backward()
        expected = float(flat(p.grad for p in model.parameters()).norm())
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad
        watch.step(loss)
        assert last(watch, "grad_norm") == pytest.approx(expected, rel=1e-5)
    assert last(watch, "update_norm") == pytest.approx(0.1 * last(watch, "grad_norm"), rel=1e-3)


def test_parameters_written_between_steps_do_not_count_as_an_update() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    saved = copy.deepcopy(model.state_dict())
    for step in range(6):
        if step == 5:
            model.load_state_dict({k: v + 3.0 for k, v in saved.items()})
        if step == 4:
            for p in model.parameters():
                p.data = p.data.clone()
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        before = flat(model.parameters())
        optimizer.step()
        watch.step(loss)
        assert last(watch, "update_norm") == pytest.approx(float((flat(model.parameters()) - before).norm()), rel=1e-3)


def test_above_a_million_parameters_norms_are_sampled_within_a_percent() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(900, 1100), nn.ReLU(), nn.Linear(1100, 700), nn.ReLU(), nn.Linear(700, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    watch = argus.watch(model, optimizer)
    for step in range(2):
        x = torch.randn(64, 900, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        before = flat(model.parameters())
        optimizer.step()
        watch.step(loss)
    after = flat(model.parameters())
    assert last(watch, "weights_l1") == pytest.approx(float(after.abs().sum()), rel=0.01)
    assert last(watch, "weights_l2") == pytest.approx(float(after.norm()), rel=0.01)
    assert last(watch, "update_norm") == pytest.approx(float((after - before).norm()), rel=0.05)


def test_an_update_of_exactly_zero_stays_exactly_zero() -> None:
    model = nn.Linear(1200, 1200)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    watch = argus.watch(model, optimizer)
    model(torch.ones(2, 1200)).sum().backward()
    optimizer.step()
    watch.step(1.0)
    assert last(watch, "update_norm") == 0.0
    assert last(watch, "grad_norm") > 0


def test_weights_that_barely_move_are_not_taken_for_frozen() -> None:
    torch.manual_seed(0)
    model = nn.Linear(300, 300)
    optimizer = torch.optim.SGD(model.parameters(), lr=3e-6)
    watch = argus.watch(model, optimizer)
    for step in range(8):
        x = torch.randn(8, 300, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
        watch.step(1.0)
    assert len(set(watch.history["weights_l2"].tolist())) == 8


def test_a_channels_last_model_is_read_without_a_failure() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    for step in range(3):
        optimizer.zero_grad()
        x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(step))
        loss = model(x.to(memory_format=torch.channels_last)).pow(2).mean()
        loss.backward()
        optimizer.step()
        watch.step(loss)
    assert watch.errors == 0
    assert last(watch, "weights_l2") == pytest.approx(float(flat(model.parameters()).norm()), rel=1e-5)
    assert -1.0 <= last(watch, "gradient_similarity") <= 1.0


@pytest.mark.parametrize(
    "make_loss",
    [
        lambda loss: loss,
        lambda loss: loss.item(),
        lambda loss: loss.detach().numpy(),
        lambda loss: loss.detach().numpy()[()],
        lambda loss: loss.to(torch.bfloat16),
        lambda loss: loss.reshape(1, 1),
        lambda loss: torch.stack([loss, loss]),
    ],
)
def test_a_loss_may_be_any_kind_of_number(make_loss: Callable[[Any], Any]) -> None:
    pytest.importorskip("numpy")
    watch = argus.watch(quiet=True)
    watch.step(make_loss(torch.tensor(1.5, requires_grad=True)))
    assert watch.rejected == 0
    assert last(watch, "loss") == 1.5


def test_non_finite_gradients_reach_the_engine() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer, quiet=True)
    for step in range(40):
        optimizer.zero_grad()
        loss = loss_of(model, step) * (math.nan if step >= 37 else 1.0)
        loss.backward()
        optimizer.step()
        watch.step(loss)
    assert watch.pressure == 3
    assert math.isnan(last(watch, "grad_norm"))


def test_a_failure_while_measuring_leaves_training_and_the_rest_of_the_watch_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from argus._unit import Unit

    def broken(self: Unit) -> None:
        raise RuntimeError("CUDA out of memory")

    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer)
    monkeypatch.setattr(Unit, "read_gradients", broken)
    for step in range(5):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        optimizer.step()
        watch.step(loss)
    assert watch.errors == 1
    assert watch.watching
    assert len(watch.history) == 5
    assert last(watch, "loss") == pytest.approx(loss.item())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "RuntimeError: CUDA out of memory" in lines[0]
    assert not optimizer._optimizer_step_pre_hooks


def test_step_called_before_the_optimizer_or_twice_is_survived() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer, quiet=True)
    for step in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()
        watch.step(loss)
        optimizer.step()
        watch.step(loss)
    assert watch.errors == 0
    assert len(watch.history) == 8


def test_closing_takes_the_hooks_off() -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with argus.watch(model, optimizer):
        assert optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_wrong_models_and_optimizers_are_refused_at_the_start() -> None:
    model = make()
    with pytest.raises(argus.UsageError, match="optimizer: a Sequential"):
        argus.watch(model, model)  # type: ignore[arg-type]
    with pytest.raises(argus.UsageError, match="model: a SGD"):
        argus.watch(torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_model_without_parameters_or_on_meta_is_survived(capsys: pytest.CaptureFixture[str]) -> None:
    assert argus.watch(nn.ReLU(), quiet=True).step(1.0) == 0
    meta = nn.Linear(4, 4, device="meta")
    optimizer = torch.optim.SGD(meta.parameters(), lr=0.1)
    watch = argus.watch(meta, optimizer)
    for _ in range(3):
        meta(torch.ones(2, 4, device="meta")).sum().backward()
        optimizer.step()
        watch.step(1.0)
    assert watch.watching
    assert len(capsys.readouterr().err.splitlines()) <= 1
    assert len(watch.history) == 3


@pytest.mark.slow
@pytest.mark.parametrize("what", ["model", "optimizer"])
def test_compiled_models_and_optimizers(what: str) -> None:
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    forward = torch.compile(model) if what == "model" else model
    watch = argus.watch(forward, optimizer, quiet=True)
    step_once = torch.compile(optimizer.step) if what == "optimizer" else optimizer.step
    for step in range(4):
        optimizer.zero_grad()
        x, y = batch(step)
        loss = functional.cross_entropy(forward(x), y)
        loss.backward()
        expected = float(flat(p.grad for p in model.parameters()).norm())
        step_once()
        watch.step(loss)
        assert last(watch, "grad_norm") == pytest.approx(expected, rel=1e-4)
    assert watch.errors == 0
    assert last(watch, "update_norm") > 0
    assert max(watch.history["step_skipped"]) == 0
