"""Numbers that arrive late, as from a device: nothing waits, order is kept, nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

import argus

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class Late:
    """A transfer whose numbers are there after it has been asked for `delay` times."""

    delay = 1
    waits = 0

    def __init__(self, leaves: list[Any]) -> None:
        self._values = [leaf.detach().tolist() for leaf in leaves]
        self._asked = 0

    def ready(self) -> bool:
        self._asked += 1
        return self._asked > self.delay

    def wait(self) -> None:
        type(self).waits += 1
        self._asked = self.delay + 1

    def values(self) -> list[Any]:
        return self._values


def run(delay: int, steps: int = 12) -> tuple[argus.Watch, list[int]]:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = argus.watch(model, optimizer, quiet=True)
    Late.delay, Late.waits = delay, 0
    watch._fetch = Late  # type: ignore[assignment]
    spoken_of = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(torch.ones(3, 4) * step).pow(2).mean()
        loss.backward()
        optimizer.step()
        watch.step(loss)
        spoken_of.append(watch.decision.step)
    return watch, spoken_of


def test_numbers_that_arrive_a_step_later_leave_the_decision_one_step_behind() -> None:
    watch, spoken_of = run(delay=1)
    assert spoken_of[1:] == list(range(11))
    assert Late.waits == 0
    watch.close()
    assert watch.history["step"].tolist() == list(range(12))
    assert Late.waits == 1


def test_late_and_prompt_numbers_are_the_same_numbers() -> None:
    prompt, late = run(delay=0)[0], run(delay=1)[0]
    late.close()
    for name in ("loss", "grad_norm", "update_norm", "weights_l1", "lr"):
        assert prompt.history[name].tolist() == late.history[name].tolist()


def test_a_device_that_never_answers_costs_the_measured_numbers_not_the_steps() -> None:
    watch, _ = run(delay=10**9, steps=100)
    assert watch.unread == 100 - 64
    assert watch.watching
    assert watch.history["step"].tolist() == list(range(36))


def test_leaves_come_back_in_order_and_shape() -> None:
    from argus._transfer import Transfer

    transfer = Transfer([torch.tensor(1.5), torch.arange(3), torch.tensor([2.0], dtype=torch.bfloat16)])
    assert transfer.ready()
    assert transfer.values() == [1.5, [0, 1, 2], [2.0]]
