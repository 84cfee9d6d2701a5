"""The places of the training loop a fault or a healthy habit may take hold of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .task import Batch

if TYPE_CHECKING:
    from .loop import World


class Hook:
    """Every method gets the world and the step; the defaults change nothing.  State lives in the hook and is forked with it."""

    def start(self, w: World, t: int) -> None:
        """Once, before the first step the hook takes part in."""

    def begin(self, w: World, t: int) -> None:
        """Before the batch is drawn."""

    def batch(self, w: World, t: int, b: Batch) -> Batch:
        return b

    def rate(self, w: World, t: int, lr: float) -> float:
        """The learning rate in force."""
        return lr

    def grad(self, w: World, t: int, g: Tensor) -> Tensor:
        """The flat gradient as backward left it; what is returned is measured, clipped and used."""
        return g

    def update(self, w: World, t: int, u: Tensor) -> Tensor:
        """The flat change of the parameters about to be applied."""
        return u

    def end(self, w: World, t: int) -> None:
        """After the update."""
