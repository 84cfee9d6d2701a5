"""MANUAL changes nothing, ever: weights, learning rate, random numbers and losses are those of a run nobody watched, bit for bit."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import argus  # noqa: E402
from argus._actions import Actions  # noqa: E402

STEPS, ONSET = 420, 300


def train(watched: bool) -> dict[str, Any]:
    """Dropout, a scheduler, clipping, and an accident of the learning rate that brings recommendations."""
    torch.manual_seed(5)
    random.seed(5)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 60.0 if ONSET <= step < ONSET + 10 else 0.999**step
    )
    watch = argus.watch(model, optimizer, quiet=True) if watched else None
    actions = Actions("manual", optimizers=[optimizer], on_pause="raise", audit=lambda text: None)
    kinds, losses, rates = set(), [], []
    for step in range(STEPS):
        x = torch.randn(32, 8)
        loss = (model(x) - x.sum(1, keepdim=True).sin()).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimizer.step()
        scheduler.step()
        if watch is not None:
            watch.step(loss)
            result = actions.act(watch.decision, step)
            assert (result.reports, result.restored_step, result.paused) == ([], None, None)
            kinds.add(watch.decision.intervention)
        losses.append(loss.item())
        rates.append(scheduler.get_last_lr()[0])
    if watch is not None:
        assert watch.errors == 0
        watch.close()
    return {
        "weights": [p.detach().clone() for p in model.parameters()],
        "moments": [s[k].clone() for s in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq", "step")],
        "rng": [torch.get_rng_state(), torch.tensor(random.random())],
        "losses": losses,
        "rates": rates,
        "kinds": kinds,
    }


def test_manual_is_bit_for_bit_an_unwatched_run_also_through_an_accident() -> None:
    alone, watched = train(False), train(True)
    assert watched["kinds"] - {"NONE"}, "the accident was not noticed: this test compares nothing"
    for key in ("weights", "moments", "rng"):
        assert all(torch.equal(a, b) for a, b in zip(alone[key], watched[key], strict=True)), key
    assert alone["losses"] == watched["losses"]
    assert alone["rates"] == watched["rates"]
