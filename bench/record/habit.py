"""What a healthy habit is: a hook that is there from the first step, and the register of all habits."""

from __future__ import annotations

from collections.abc import Callable

from .fault import Rng
from .hook import Hook
from .task import Card


class Habit(Hook):
    """`steps` is the length of the run; `note` says in the meta file what was done."""

    note = ""

    def __init__(self, rng: Rng, steps: int) -> None:
        self.rng, self.steps = rng, steps
        self.draw(rng)

    def draw(self, rng: Rng) -> None:
        pass

    @classmethod
    def fits(cls, card: Card) -> bool:
        return True


HABITS: dict[str, type[Habit]] = {}


def habit(name: str) -> Callable[[type[Habit]], type[Habit]]:
    def enrol(cls: type[Habit]) -> type[Habit]:
        HABITS[name] = cls
        return cls

    return enrol


def drawn(card: Card) -> bool:
    """Tasks whose records come from a stored set."""
    return card.model_type != "rl" and card.family != "pinn"
