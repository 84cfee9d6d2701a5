"""Drives parts of the local detector around a real training loop, as the detector's shell does, with every layer due in each step."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from argus._native import Finding
from argus.local._context import MAX_PERIOD, Context, Part


class Driver:
    """Calls parts at their places. Nothing is contained: an exception of a part fails the test.

    Args:
        part_types: Classes of the parts to drive.
        width: Slots of the rotation due in each step, 1 to 24.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *part_types: type[Part],
        width: int = MAX_PERIOD,
        path: str = "auto",
    ) -> None:
        self.warned: list[str] = []
        self._wanted: list[tuple[nn.Module, Any, int | None]] = []
        self._handles: list[Any] = []
        self.context = Context(model, [optimizer], path=path, register=self._register, warn=self._warn)
        self.context.width = width
        self.context.layers = [(name, m) for name, m in model.named_modules() if list(m.parameters(recurse=False))]
        self.parts = [part_type(self.context) for part_type in part_types]
        self._passes_of_step = 0
        self._order: list[int] = []
        self._handles.append(model.register_forward_pre_hook(self._begin))
        self._handles.append(model.register_forward_hook(self._end, always_call=True))
        for index, (_, module) in enumerate(self.context.layers):
            self._handles.append(module.register_forward_hook(lambda *_, index=index: self._ran(index)))
        self._handles.append(optimizer.register_step_pre_hook(self._before))
        self._handles.append(optimizer.register_step_post_hook(self._after))
        for part in self.parts:
            part.attach()
        self.context.next_step(1)

    def detach(self) -> None:
        for part in self.parts:
            part.detach()
        for handle in self._handles:
            handle.remove()

    def findings(self) -> list[Finding]:
        return [finding for part in self.parts for found in part.findings() for finding in found.standing]

    def _register(self, module: nn.Module, fn: Any, index: int | None, extra: bool) -> None:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self.context.armed and (index is None or self.context.due(index)):
                fn(module, args, output)

        self._handles.append(module.register_forward_hook(hook))

    def _warn(self, text: str) -> None:
        if text not in self.warned:
            self.warned.append(text)

    def _ran(self, index: int) -> None:
        if self.context.armed and not self.context.order and index not in self._order:
            self._order.append(index)

    def _begin(self, model: nn.Module, args: tuple[Any, ...]) -> None:
        self._passes_of_step += 1
        self.context.armed = model.training and torch.is_grad_enabled() and self._passes_of_step == 1
        if self.context.armed:
            for part in self.parts:
                part.begin_pass()

    def _end(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.context.armed:
            for part in self.parts:
                part.end_pass(output)
            if not self.context.order:
                rest = [index for index in range(len(self.context.layers)) if index not in self._order]
                self.context.order = self._order + rest
        self.context.armed = False

    def _before(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for part in self.parts:
            part.before_update(0, optimizer, len(args) > 1 or kwargs.get("closure") is not None)

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for part in self.parts:
            part.after_update(0, optimizer)
        for part in self.parts:
            part.end_step()
        self._passes_of_step = 0
        self.context.next_step(self.context.step + 1)
