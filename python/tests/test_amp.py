"""Mixed precision with a real GradScaler."""

from __future__ import annotations

import math
from typing import Any

import pytest

import argus

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def train(overflow_at: set[int], *, pass_scaler: bool, unscale: bool, fused: bool, steps: int = 160) -> argus.Watch:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    scaler: Any = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    watch = argus.watch(model, optimizer, scaler=scaler if pass_scaler else None, quiet=True)
    for step in range(steps):
        x = torch.randn(32, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss = (model(x) - x[:, :1] * 0.7).pow(2).mean()
        scaler.scale(loss).backward()
        if step in overflow_at:
            model[0].weight.grad[0, 0] = math.inf
        if unscale:
            scaler.unscale_(optimizer)
            watch.clip_grad_norm_(model.parameters(), 10.0)
        scaler.step(optimizer)
        scaler.update()
        watch.step(loss)
    return watch


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("pass_scaler", [False, True])
def test_an_isolated_overflow_is_marked_skipped_and_is_pressure_zero(
    pass_scaler: bool, unscale: bool, fused: bool
) -> None:
    watch = train({100}, pass_scaler=pass_scaler, unscale=unscale, fused=fused)
    history = watch.history
    assert watch.errors == 0
    assert [i for i, skipped in enumerate(history["step_skipped"]) if skipped] == [100]
    assert max(history["harm_pressure"]) == 0
    norms = history["grad_norm"].tolist()
    assert not math.isfinite(norms[100])
    assert all(math.isfinite(norm) for i, norm in enumerate(norms) if i != 100)


def test_the_scale_is_reported_and_falls_at_the_overflow() -> None:
    scales = train({100}, pass_scaler=True, unscale=False, fused=False).history["loss_scale"].tolist()
    assert scales[99] == 1024.0
    assert scales[101] == 512.0


@pytest.mark.parametrize("fused", [False, True])
def test_norms_are_those_of_the_unscaled_gradients(fused: bool) -> None:
    plain = train(set(), pass_scaler=True, unscale=True, fused=False, steps=3).history["grad_norm"].tolist()
    scaled = train(set(), pass_scaler=True, unscale=False, fused=fused, steps=3).history["grad_norm"].tolist()
    assert scaled == pytest.approx(plain, rel=1e-4)


def test_an_overflow_in_the_very_first_step_is_survived() -> None:
    watch = train({0}, pass_scaler=False, unscale=False, fused=False, steps=30)
    assert watch.errors == 0
    assert max(watch.history["harm_pressure"]) == 0
