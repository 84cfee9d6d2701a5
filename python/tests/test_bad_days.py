"""Whatever is given to a watch, and whatever fails inside or around it: training goes on, the rest is watched, the cause is said once."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import argus
from argus import _options

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

LOSSES = [1.0, 2.0, 3.0, 4.0]


class Awkward:
    """Neither a number nor to be shown, and with exceptions of its own."""

    def __float__(self) -> float:
        raise KeyError("no number")

    def __repr__(self) -> str:
        raise RuntimeError("cannot be shown")


def make() -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(model: nn.Module, optimizer: Any, watch: argus.Watch, steps: int = 3) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = (model(x) - x[:, :2]).square().mean()
        loss.backward()
        optimizer.step()
        watch.step(loss)


def hooks_of(optimizer: Any) -> dict[str, list[Any]]:
    return {name: list(value.values()) for name, value in vars(optimizer).items() if name.endswith("_hooks")}


# What is given to step().


@pytest.mark.parametrize(
    "given",
    [
        {"step": 2**54},
        {"step": 2**400},
        {"step": 3.7},
        {"step": Awkward()},
        {"loss": Awkward()},
        {"loss": 10**400},
        {"loss": torch.tensor([])},
        {"loss": torch.tensor(1.0, device="meta")},
        {"loss": torch.eye(2).to_sparse()},
        {"step_skipped": torch.tensor([1, 0])},
        {"lr_restarted": torch.tensor([1, 0])},
        {"is_anchor": torch.tensor([1, 0])},
        {"losses": torch.rand(4, 2), "confidences": LOSSES},
        {"losses": torch.rand(4, 2), "sample_ids": range(4)},
        {"losses": torch.rand(4, device="meta")},
        {"losses": [Awkward()] * 4},
        {"losses": b"12345678"},
        {"losses": {1: 2.0}},
        {"losses": LOSSES, "sample_ids": 5},
        {"samples": {"losses": LOSSES}},
        {"samples": 5},
        {"samples": argus.per_sample(torch.rand(4, 3), torch.tensor([0, 1, 2, 0])), "sample_ids": 5},
    ],
    ids=lambda given: ",".join(given),
)
def test_what_cannot_be_used_costs_itself_alone(given: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    watch = argus.watch(record=False, quiet=True)
    for _ in range(3):
        watch.step(**({"loss": 1.0} | given))
    assert watch.watching
    assert watch.rejected == 3
    assert watch.errors == 0
    assert len(watch.history) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not any(math.isnan(loss) for loss in watch.history["loss"].tolist() if "loss" not in given)
    assert watch.pressure == 0


@pytest.mark.parametrize(
    "ids",
    [
        torch.arange(4),
        [torch.tensor(i) for i in range(4)],
        [b"a", b"b", b"c", b"d"],
        [None] * 4,
        [1, "a", None, 2.5],
        [[1], [2], [3], [4]],
        [10**30] * 4,
        [10**6000] * 4,
        [2**64 - 1] * 4,
        [Awkward()] * 4,
        ["\ud800"] * 4,
        ["\0"] * 4,
        ["ä" * 500] * 4,
        [True, False, True, True],
        [math.nan] * 4,
    ],
    ids=range(15),
)
def test_any_ids_are_taken_and_given_back_as_they_were(ids: Any) -> None:
    watch = argus.watch(record=False, quiet=True)
    for step in range(40):
        watch.step(1.0, losses=[1.0, 1.0, 1.0, 1.0 + step % 3 * 0.01], sample_ids=ids)
    watch.step(math.nan, losses=[1.0, 1.0, 1.0, math.nan], sample_ids=ids)
    assert watch.watching
    assert watch.rejected == 0
    given = ids.tolist() if hasattr(ids, "tolist") else ids
    assert all(any(each is one or each == one for one in given) for each in watch.spike_samples)


def test_a_reset_to_no_step_begins_at_the_next_one() -> None:
    watch = argus.watch(record=False, quiet=True)
    watch.step(1.0)
    for bad in ("x", math.nan, 10**30, -5):
        watch.reset(bad)  # type: ignore[arg-type]
        watch.step(1.0)
    assert watch.watching
    assert watch.history["step"].tolist() == [0, 1, 2, 3, 4]


def test_the_highest_step_number_is_counted_no_further() -> None:
    watch = argus.watch(record=False, quiet=True)
    watch.step(1.0, step=2**53)
    watch.step(1.0)
    assert watch.watching
    assert len(watch.history) == 2


@pytest.mark.parametrize("ids", [[[1], [2]], [1, "a", [3]]])
def test_ids_that_cannot_be_compared_are_kept(ids: Any) -> None:
    watch = argus.watch(record=False)
    watch.left_out.add([5, 2**63 + 5, "b"])
    assert watch.filter(ids) == [True] * len(ids)


def test_ids_wider_than_a_tensor_can_hold_do_not_hinder_its_mask() -> None:
    watch = argus.watch(record=False)
    watch.left_out.add([5, 2**63 + 5, "b"])
    assert watch.filter(torch.tensor([4, 5])).tolist() == [True, False]


# Hooks.


@pytest.mark.parametrize("part", ["read_gradients", "read_weights"])
def test_a_failure_while_measuring_leaves_a_users_hook_behind_ours_alone(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argus._unit import Unit

    def broken(self: Unit) -> None:
        raise RuntimeError("out of memory")

    model, optimizer = make()
    watch = argus.watch(model, optimizer, record=False, quiet=True)
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("pre"))
    optimizer.register_step_post_hook(lambda *_: called.append("post"))
    theirs = hooks_of(optimizer)
    monkeypatch.setattr(Unit, part, broken)
    train(model, optimizer, watch)
    assert called == ["pre", "post"] * 3
    assert watch.errors == 1
    assert {name: each[-1:] for name, each in theirs.items()} == hooks_of(optimizer)


def test_a_run_completed_inside_a_users_hook_leaves_the_step_alone() -> None:
    model, optimizer = make()
    optimizer.register_step_post_hook(lambda *_: watch.complete())
    before = hooks_of(optimizer)
    watch = argus.watch(model, optimizer, record=False, mode="auto")
    train(model, optimizer, watch)
    assert hooks_of(optimizer) == before


@pytest.mark.parametrize("mode", ["manual", "auto"])
def test_after_the_end_every_hook_is_as_before(mode: str, tmp_path: Path) -> None:
    model, optimizer = make()
    optimizer.register_step_pre_hook(lambda *_: None)
    before = hooks_of(optimizer), {n: len(v) for n, v in vars(model).items() if n.endswith("_hooks")}
    watch = argus.watch(model, optimizer, record=False, mode=mode, checkpoint_dir=tmp_path)
    train(model, optimizer, watch)
    assert hooks_of(optimizer) != before[0]
    watch.complete()
    train(model, optimizer, watch)
    assert (hooks_of(optimizer), {n: len(v) for n, v in vars(model).items() if n.endswith("_hooks")}) == before
    assert len(watch.history) == 3
    watch.reset("x")  # type: ignore[arg-type]
    assert watch.complete("FAILED") == watch.complete()
    assert watch.errors == 0


def test_completing_from_another_thread_does_not_disturb_the_loop() -> None:
    model, optimizer = make()
    watch = argus.watch(model, optimizer, record=False, quiet=True, mode="auto")
    running = threading.Event()
    other = threading.Thread(target=lambda: (running.wait(), watch.complete()))
    other.start()
    for step in range(400):
        train(model, optimizer, watch, 1)
        if step == 100:
            running.set()
    other.join()
    train(model, optimizer, watch, 1)
    assert not any(hooks_of(optimizer).values())
    assert watch.errors == 0


def test_copies_of_what_is_watched_are_not() -> None:
    model, optimizer = make()
    watch = argus.watch(model, optimizer, record=False, mode="auto")
    train(model, optimizer, watch)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    for made in (twin_optimizer, pickle.loads(pickle.dumps(optimizer))):
        assert not any(hooks_of(made).values())
    assert [p.tolist() for p in pickle.loads(pickle.dumps(model)).parameters()] == [
        p.tolist() for p in model.parameters()
    ]
    train(twin, twin_optimizer, watch, 0)
    twin(torch.ones(1, 3)).sum().backward()
    twin_optimizer.step()
    assert watch.errors == 0


# The same optimizer twice.


def test_an_optimizer_named_twice_is_scaled_once() -> None:
    model, optimizer = make()
    watch = argus.watch(model, [optimizer, optimizer], record=False, mode="auto")
    assert watch._parts is not None and watch._parts.actions is not None and watch._parts.actions._lr_scale is not None
    watch._parts.actions._lr_scale.factor = 0.5
    train(model, optimizer, watch)
    assert watch.history["lr"].tolist() == [0.05] * 3


def test_a_second_watch_of_an_optimizer_takes_the_place_of_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    model, optimizer = make()
    first = argus.watch(model, optimizer, record=False, mode="auto")
    train(model, optimizer, first)
    second = argus.watch(model, optimizer, record=False, mode="auto")
    train(model, optimizer, second)
    assert not first.watching
    assert second.watching
    assert first.run_id in capsys.readouterr().err
    second.complete()
    assert not any(hooks_of(optimizer).values())


# Callbacks.


def test_a_run_may_be_completed_in_its_own_callback() -> None:
    model, optimizer = make()
    called: list[int] = []

    def stop(decision: argus.Decision) -> None:
        called.append(decision.step)
        watch.complete("STOPPED")

    watch = argus.watch(model, optimizer, record=False, quiet=True, on_change=stop)
    train(model, optimizer, watch)
    watch.step(math.nan)
    train(model, optimizer, watch)
    assert called == [3]
    assert watch.errors == 0


def test_an_interrupt_in_a_callback_is_the_users_and_leaves_the_watch_whole() -> None:
    def interrupted(_: argus.Decision) -> None:
        raise KeyboardInterrupt

    watch = argus.watch(record=False, quiet=True, on_change=interrupted)
    watch.step(1.0)
    with pytest.raises(KeyboardInterrupt):
        watch.step(math.nan)
    watch.step(1.0)
    assert watch.watching
    assert watch.history["step"].tolist() == [0, 1, 2]


# Ends.


def test_an_end_that_is_none_is_recorded_as_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for status in ("finished well", None, 5):
        watch = argus.watch(home=tmp_path)
        watch.step(1.0)
        assert '"argus.certificate"' in watch.complete(status, wait_s="soon")  # type: ignore[arg-type]
        assert watch.errors == 0
        assert watch.rejected == 2
    assert "accepted are COMPLETED, FAILED, STOPPED" in capsys.readouterr().err


# Memory.


def test_measuring_keeps_nothing_of_the_loop_alive() -> None:
    def loop() -> list[weakref.ref[Any]]:
        model, optimizer = make()
        watch = argus.watch(model, optimizer, record=False, quiet=True)
        seen = []
        for _ in range(6):
            optimizer.zero_grad()
            output = model(torch.ones(4, 3))
            loss = output.square().mean()
            loss.backward()
            optimizer.step()
            watch.step(loss)
            seen.append(weakref.ref(output))
        del output, loss
        gc.collect()
        return [each for each in seen if each() is not None]  # while the frame of the loop still lives

    assert loop() == []


class Held(torch.autograd.Function):
    """A part of a graph that can be told to be gone."""

    @staticmethod
    def forward(context: Any, value: Any, witness: Any) -> Any:
        context.witness = witness
        return value * 2

    @staticmethod
    def backward(context: Any, gradient: Any) -> tuple[Any, None]:
        return gradient * 2, None


def test_a_loss_that_requires_grad_does_not_keep_its_graph() -> None:
    model, optimizer = make()
    watch = argus.watch(model, optimizer, record=False, quiet=True)
    witness = threading.Event()
    graph = weakref.ref(witness)
    loss = Held.apply(model(torch.ones(4, 3)), witness)
    del witness
    watch.step(loss.mean(), losses=loss[:, 0], sample_ids=range(4))
    assert graph() is not None
    del loss
    gc.collect()
    assert graph() is None


# What is said, and where.


def test_without_stderr_nothing_is_written_to_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    watch = argus.watch(record=False)
    watch.step(math.nan)
    assert watch.pressure == 3
    assert capsys.readouterr().out == ""


def test_a_line_that_comes_amid_a_line_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy:
        def write(self, _: str) -> int:
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

        flush = write

    monkeypatch.setattr(sys, "stderr", Busy())
    watch = argus.watch(record=False)
    watch.step(math.nan)
    assert watch.pressure == 3
    assert watch.watching


# What cannot be meant is refused by name before the loop begins.


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARGUS_RUN_ID", "bad id!"),
        ("ARGUS_MODE", "automatic"),
        ("ARGUS_TOTAL_STEPS", "1e6"),
        ("ARGUS_TOTAL_STEPS", "9" * 40),
        ("ARGUS_RECORD", "maybe"),
        ("ARGUS_QUIET", "perhaps"),
        ("ARGUS_ON_PAUSE", "explode"),
        ("ARGUS_HISTORY_STEPS", "0"),
        ("ARGUS_HISTORY_STEPS", "-1"),
        ("ARGUS_ANALYTICS", "2"),
    ],
)
def test_nonsense_in_the_environment_is_named_by_its_variable(variable: str, value: str) -> None:
    with pytest.raises(argus.UsageError, match=f"^{variable}: .*accepted is"):
        _options.resolve({}, {variable: value})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ARGUS_URL", "ftp://somewhere"),
        ("ARGUS_URL", "http://[::"),
        ("ARGUS_API_KEY", "\x01\n"),
        ("ARGUS_HOME", "/dev/null"),
        ("ARGUS_CHECKPOINT_DIR", "/dev/null"),
        ("ARGUS_MODEL_TYPE", "no-such-family"),
        ("ARGUS_HISTORY_STEPS", "1000000000000"),
    ],
)
def test_a_place_that_is_none_costs_the_record_not_the_watch(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    model, optimizer = make()
    watch = argus.watch(model, optimizer, quiet=True)
    train(model, optimizer, watch)
    watch.complete(wait_s=0.0)
    assert len(watch.history) == 3
    assert watch.errors == 0


@pytest.mark.parametrize(
    "arguments", [{"record": torch.ones(2)}, {"checkpoint_dir": "a\0b"}, {"key": "secret\0"}, {"home": "a\0b"}]
)
def test_arguments_that_cannot_be_meant_are_usage_errors_and_show_no_key(arguments: dict[str, Any]) -> None:
    with pytest.raises(argus.UsageError, match=next(iter(arguments))) as refused:
        argus.watch(**arguments)
    assert "secret" not in str(refused.value)


# Models that have no values, or not yet.


@pytest.mark.parametrize("place", ["all", "part"])
def test_a_model_on_meta_with_checkpoints_trains_and_its_saves_are_refused_by_name(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Sequential(nn.Linear(4, 4, device="meta"), nn.Linear(4, 4, device="meta" if place == "all" else "cpu"))
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    watch = argus.watch(model, optimizer, record=False, quiet=True, mode="auto", checkpoint_dir=tmp_path)
    for _ in range(40):
        optimizer.zero_grad()
        model[1](torch.ones(2, 4, device=model[1].weight.device)).sum().backward()
        optimizer.step()
        watch.step(1.0)
    watch.complete()
    assert len(watch.history) == 40
    assert watch.checkpoints.failed > 0
    assert capsys.readouterr().err.count("0.weight is on the meta device") == 1


def test_a_lazy_module_is_measured_and_saved_once_it_has_values(tmp_path: Path) -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    watch = argus.watch(model, optimizer, record=False, quiet=True, checkpoint_dir=tmp_path)
    train(model, optimizer, watch, 60)
    watch.complete()
    assert watch.norm_source == "measured"
    assert watch.errors == 0
    assert watch.checkpoints.failed == 0
    assert watch.checkpoints.saved > 0


def test_auto_without_an_optimizer_does_nothing_and_hurts_nothing() -> None:
    model, optimizer = make()
    watch = argus.watch(model, record=False, quiet=True, mode="auto")
    train(model, optimizer, watch, 40)
    watch.step(math.nan)
    assert watch.pressure == 3
    assert watch.errors == 0


def test_schedulers_may_step_before_or_after_and_auto_is_a_factor_on_either() -> None:
    model, _ = make()
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    second = torch.optim.AdamW(model[2].parameters(), lr=0.01)
    scheduler: Callable[..., Any] = torch.optim.lr_scheduler.StepLR
    halving = scheduler(first, 2, 0.5)
    watch = argus.watch(model, [first, second], scheduler=halving, record=False, quiet=True, mode="auto")
    assert watch._parts is not None and watch._parts.actions is not None and watch._parts.actions._lr_scale is not None
    scheduled = []
    for step in range(8):
        model(torch.ones(4, 3)).square().mean().backward()
        if step % 2:
            halving.step()
        scheduled.append(first.param_groups[0]["lr"])
        first.step()
        second.step()
        if not step % 2:
            halving.step()
        watch.step(1.0)
        if step == 3:
            watch._parts.actions._lr_scale.factor = 0.5
    rates = [max(rate, 0.01) * (0.5 if step > 3 else 1.0) for step, rate in enumerate(scheduled)]
    assert watch.history["lr"].tolist() == pytest.approx(rates)
    assert first.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**4)
