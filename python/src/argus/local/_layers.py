"""The layers of a model as they are now, and what becomes of them when the model changes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from argus.local._context import Context


def unwrap(model: nn.Module) -> tuple[nn.Module, bool]:
    """The user's own module inside the wrappers of torch, and whether one of them compiles it."""
    compiled = False
    while True:
        compiled = compiled or is_compiled(model)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        else:
            inner = model._modules.get("_orig_mod")  # torch.compile's OptimizedModule
        if not isinstance(inner, nn.Module):
            return model, compiled
        model = inner


def is_compiled(module: nn.Module) -> bool:
    """Whether calls of this module run compiled code, so that hooks below it are never called."""
    return (
        getattr(module, "_compiled_call_impl", None) is not None
        or "_orig_mod" in module._modules
        or isinstance(module, torch.jit.ScriptModule)
    )


def compile_is_in_use() -> bool:
    """Whether torch.compile was called in this process, by whomever."""
    eval_frame: Any = sys.modules.get("torch._dynamo.eval_frame")
    return eval_frame is not None and any(map(callable, eval_frame.cached_backends.values()))


class Layers:
    """Keeps `context.layers`, `gone` and `order` true to the model.

    Args:
        warn: Called with a line for people.
    """

    def __init__(self, context: Context, warn: Callable[[str], None]) -> None:
        self._context = context
        self._warn = warn
        self._modules: list[int] = []
        self._waiting = False
        self._index: dict[int, int] = {}
        self.hidden: set[int] = set()  # ids of modules whose forward is inside compiled code
        self.present: set[int] = set()

    def __len__(self) -> int:
        return len(self._context.layers) - len(self._context.gone)

    def refresh(self) -> bool:
        """Looks at the model again; True when layers came or went, or were compiled."""
        model = self._context.model
        modules = list(map(id, model.modules()))
        hidden = self.hidden
        self._find_hidden(model)
        if modules == self._modules and not self._waiting:
            return self.hidden != hidden
        self._modules = modules
        self.present = set(modules)
        return self._compare(model) or self.hidden != hidden

    def say_missing(self) -> None:
        """Says what still cannot be watched for want of memory behind it."""
        if self._waiting:
            self._warn("layers whose parameters are on the meta device or not initialised yet are not watched")

    def _find_hidden(self, model: nn.Module) -> None:
        self.hidden = set()
        if is_compiled(model):
            return
        for name, module in model.named_modules():
            if id(module) not in self.hidden and is_compiled(module):
                self.hidden.update(map(id, module.modules()))
                self._warn(
                    f"{name}: compiled; of the layers in it only parameters, gradients and optimizer state are watched"
                )

    def _compare(self, model: nn.Module) -> bool:
        context, changed = self._context, False
        self._waiting = False
        for name, module in model.named_modules():
            parameters = [p for p in module._parameters.values() if p is not None]
            if not parameters or id(module) in self._index:
                continue
            if any(isinstance(p, UninitializedParameter) or p.is_meta for p in parameters):
                self._waiting = True
                continue
            self._index[id(module)] = len(context.layers)
            context.order.append(len(context.layers))
            context.layers.append((_plain(name) or type(model).__name__, module))
            changed = True
        for i, (_, module) in enumerate(context.layers):
            if i not in context.gone and id(module) not in self.present:
                context.gone.add(i)
                self._index.pop(id(module), None)
                context.layers[i] = (context.layers[i][0], _Gone())
                changed = True
        if changed:
            context.order = [i for i in context.order if i not in context.gone]
        return changed


class _Gone(nn.Module):
    """Stands where a layer was that left the model, so that its memory is free."""


def _plain(name: str) -> str:
    """A module's name without what torch.compile puts into it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
