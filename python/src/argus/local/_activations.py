"""Checks 1, 2 and 9: dead units, saturation and collapsing representations, from samples of activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from argus._native import ActivationJudge, Findings
from argus.local._context import Context, Part
from argus.local._dtypes import CODES
from argus.local._sites import Call, Identity, Site, identity_of, kind_of, plan, tensor_of, watchable
from argus.local._units_device import DeviceSamples

#: Steps between two visits of a site that is calibrating or under suspicion.
EAGER_STEPS = 6
#: Passes traced for sites: the first one and that of the first deep scan, for what the first one did not run.
TRACES = 2


class Activations(Part):
    """Reads due sites while the forward pass makes them and judges them at once; on a device, a step later."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._judge = ActivationJudge()
        self._device = DeviceSamples(self._judge)
        self._sites: list[Site] = []
        self._numbers: dict[tuple[nn.Module, int, bool], int] = {}
        self._eager: set[int] = set()
        self._due: dict[nn.Module, list[int]] = {}
        self._calls: dict[nn.Module, int] = {}
        self._trace: list[Call] | None = None
        self._names: dict[nn.Module, str] = {}
        self._traces_left = TRACES

    def attach(self) -> None:
        if self.context.compiled:
            self.context.warn("activations are not watched: the model is compiled")

    def detach(self) -> None:
        self._due, self._trace = {}, None
        self._device.forget()

    def layers_changed(self) -> None:
        self._traces_left = max(self._traces_left, 1)

    def begin_pass(self) -> None:
        context = self.context
        self._due, self._trace = {}, None
        if context.compiled:
            return
        if self._traces_left == TRACES or (self._traces_left > 0 and context.deep):
            self._traces_left -= 1
            self._begin_trace()
            return
        count = len(self._sites)
        due = range(count) if context.deep else context.due_indices(count)
        step = context.step
        chosen = set(due).union(site for site in self._eager if (site + step) % EAGER_STEPS == 0)
        for number in chosen:
            module = self._sites[number].module
            there = self._due.get(module)
            if there is None:
                self._due[module] = [number]
                self._calls[module] = 0
                context.hook_once(module, self._after, self)
            else:
                there.append(number)

    def end_pass(self, output: Any) -> None:
        self._due = {}
        if self._trace is not None:
            calls, self._trace = self._trace, None
            self._add_sites(plan(calls, _addresses(output)))
            return
        self._device.launch(self.context.step)

    def end_step(self) -> None:
        for site, answer in self._device.judge(self.context.step):
            self._heed(site, answer)

    def findings(self) -> list[Findings]:
        return [self._judge.findings()]

    def reset(self) -> None:
        self._device.forget()
        self._judge.reset()
        self._eager = set(range(len(self._sites)))

    # Tracing.

    def _begin_trace(self) -> None:
        self._trace = []
        self._calls = {}
        self._names = {}
        for name, module in watchable(self.context.model):
            self._names[module] = name
            self._calls[module] = 0
            self.context.hook_once(module, self._note, self)

    def _note(self, module: nn.Module, args: Any, output: Any) -> None:
        kind = kind_of(module)
        if self._trace is None or kind is None:
            return
        number = self._calls[module]
        self._calls[module] = number + 1
        taken = _taken(args)
        is_data = taken is not None and torch.is_grad_enabled() and not taken.requires_grad
        given = identity_of(tensor_of(output))
        self._trace.append(Call(self._names[module], module, number, kind, identity_of(taken), given, is_data))

    def _add_sites(self, sites: list[Site]) -> None:
        for site in sites:
            key = (site.module, site.number, site.reads_input)
            if key in self._numbers:
                continue
            number = self._judge.add_site(site.layer, site.chain, site.is_output)
            self._numbers[key] = number
            self._sites.append(site)
            self._eager.add(number)

    # Reading.

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self._calls[module]
        self._calls[module] = call + 1
        for number in self._due[module]:
            site = self._sites[number]
            if site.number == call:
                self._read(number, site, _taken(args) if site.reads_input else tensor_of(output))

    def _read(self, number: int, site: Site, tensor: Tensor | None) -> None:
        if tensor is None or type(tensor) is not Tensor or tensor.layout is not torch.strided:
            return
        code = CODES.get(tensor.dtype)
        if code is None:
            return
        if tensor.is_cpu and self.context.path != "device":
            try:
                pointer = tensor.data_ptr()
            except RuntimeError:  # wrapped by a function transform
                return
            step = self.context.step
            self._heed(number, self._judge.visit(number, step, pointer, code, tensor.shape, tensor.stride(), site.axis))
        elif not tensor.is_meta:
            self._device.gather(number, tensor, site.axis)

    def _heed(self, number: int, answer: int) -> None:
        if answer == 0:
            self._eager.discard(number)
        else:
            self._eager.add(number)


def _taken(args: Any) -> Tensor | None:
    return tensor_of(args[0]) if args else None


def _addresses(output: Any, depth: int = 3) -> set[int]:
    """Memory of the tensors in what a model returned: nested tuples, lists and mappings."""
    if isinstance(output, Tensor):
        identity: Identity | None = identity_of(output)
        return set() if identity is None else {identity.memory}
    if depth == 0:
        return set()
    values = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return {address for value in values for address in _addresses(value, depth - 1)}
