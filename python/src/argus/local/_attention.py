"""Attention collapse: on deep steps a few query rows are read against all their keys, wherever attention is computed.

Attention is seen through a TorchFunctionMode entered around the root forward of a scanned step and left after it; nothing is
patched. It recognises `F.scaled_dot_product_attention`, `F.multi_head_attention_forward` (nn.MultiheadAttention) and explicit
attention (a softmax over the last axis of 4-D logits, or of square 3-D ones). The user's function runs first and its result is
handed on untouched; what is read beside it uses no random numbers, no autograd and no autocast.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from argus._native import AttentionJudge, Findings
from argus._transfer import Transfer
from argus.local._attention_reading import Rows, Statistics, mha_rows, sdpa_rows, softmax_rows
from argus.local._context import Context, Part

#: Between deep scans, where the budget allows: steps from one scan to the next.
_EVERY = 25
#: What one torch function costs while the mode is on, seconds; for the governor.
_DISPATCH_S = 1e-6

_SOFTMAXES = (torch.softmax, F.softmax, Tensor.softmax, torch.special.softmax)


def _softmax_logits(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The logits of a softmax that is attention by its form."""
    logits = args[0] if args else kwargs.get("input")
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    if type(logits) is not Tensor or logits.dim() not in (3, 4) or dim not in (-1, logits.dim() - 1):
        return None
    if logits.dim() == 3 and logits.shape[1] != logits.shape[2]:
        return None
    return logits


def _plain(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether all tensors are ordinary ones, whose slices may be read."""
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    return all(
        type(t) in (Tensor, nn.Parameter) and t.layout == torch.strided and t.device.type != "meta" for t in tensors
    )


class _Mode(TorchFunctionMode):
    """Runs each function, then shows it to `see`, for as long as there is one."""

    def __init__(self, see: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> None:
        super().__init__()
        self.see: Callable[[Any, tuple[Any, ...], dict[str, Any]], None] | None = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.see is not None:
            self.see(func, args, kwargs)
        return result


def _leave(mode: _Mode) -> None:
    """Takes `mode` off this thread's stack, wherever in it it lies: others may have left theirs above it."""
    mode.see = None
    above: list[Any] = []
    while torch._C._len_torch_function_stack() > 0:
        top = torch._C._pop_torch_function_stack()
        if top is mode:
            break
        above.append(top)
    for other in reversed(above):
        torch._C._push_on_torch_function_stack(other)


def _compiled_graphs() -> bool:
    """Whether anything in this process runs compiled: it would be compiled anew under a mode."""
    utils = sys.modules.get("torch._dynamo.utils")
    return utils is not None and utils.counters["stats"]["unique_graphs"] > 0


def _unreadable_now() -> bool:
    """Whether operations beside the user's would be seen, transformed or captured by something else."""
    if torch._C._len_torch_dispatch_stack() > 0 or torch._C._functorch.maybe_current_level() is not None:
        return True
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


class Attention(Part):
    """Check 6. Costs nothing but in scanned steps: there about 0.1 ms an attention layer and 1 microsecond a torch function.

    Scans deep steps; between them every 25th step where the budget allows or heads are learning to look, and sooner to confirm.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._judge = AttentionJudge()
        self._sites: dict[tuple[str, int], int] = {}
        self._owners: dict[int, str] = {}
        self._modules: dict[str, nn.Module] = {}
        self._mode: _Mode | None = None
        self._executed: list[str] = []
        self._calls: dict[str, int] = {}
        self._read: list[tuple[int, Statistics]] = []
        self._pending: tuple[int, list[int], Transfer] | None = None
        self._seen_functions = 0
        self._probe_s = 0.0
        self._next = 0  # where the budget allows
        self._wanted: int | None = None

    def attach(self) -> None:
        self.layers_changed()

    def layers_changed(self) -> None:
        self._modules = dict(self.context.model.named_modules())
        self._owners = {
            id(parameter): name
            for name, module in self.context.layers
            for parameter in module._parameters.values()
            if parameter is not None
        }

    def detach(self) -> None:
        self._take_off()
        self._owners, self._modules, self._read = {}, {}, []

    def begin_pass(self) -> None:
        self._take_off()
        self._collect()
        context = self.context
        wanted = self._wanted is not None and context.step >= self._wanted
        if context.compiled or not (context.deep or wanted or (context.extras and context.step >= self._next)):
            return
        if _compiled_graphs():
            context.warn("attention is not watched: compiled code runs in this process and would be compiled anew")
            return
        self._next, self._wanted = context.step + _EVERY, None
        self._executed, self._calls, self._read = [], {}, []
        self._seen_functions, self._probe_s = 0, 0.0
        self._mode = _Mode(self._see)
        torch._C._push_on_torch_function_stack(self._mode)

    def end_pass(self, output: Any) -> None:
        if self._mode is None:
            return
        self._take_off()
        self.context.spent(self._probe_s + _DISPATCH_S * self._seen_functions)
        read, self._read = self._read, []
        here = [(site, statistics) for site, statistics in read if isinstance(statistics, list)]
        away = [(site, statistics) for site, statistics in read if isinstance(statistics, Tensor)]
        if here:
            self._judge_all(self.context.step, here)
        if away:
            with torch.no_grad(), torch._C.DisableTorchFunction():
                transfer = Transfer([statistics for _, statistics in away])
            self._pending = (self.context.step, [site for site, _ in away], transfer)

    def end_step(self) -> None:
        self._collect()

    def findings(self) -> list[Findings]:
        return [self._judge.findings()]

    def reset(self) -> None:
        self._pending = None
        self._judge.reset()

    def _take_off(self) -> None:
        if self._mode is not None:
            _leave(self._mode)
            self._mode = None

    def _see(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._seen_functions += 1
        for value in args:
            if isinstance(value, nn.Parameter):
                owner = self._owners.get(id(value))
                if owner is not None:
                    self._executed.append(owner)
        read = self._reader(func, args, kwargs)
        if read is None:
            return
        began = time.perf_counter()
        layer, chain = self._place()
        call = self._calls.get(layer, 0)
        self._calls[layer] = call + 1
        try:
            if not _unreadable_now():
                with (
                    torch.no_grad(),
                    torch._C.DisableTorchFunction(),
                    torch.autocast(args[0].device.type, enabled=False),
                ):
                    rows = read()
                    statistics = None if rows is None else rows.statistics(in_place=self.context.path != "device")
                if statistics is not None:
                    self._read.append((self._site(layer, chain, call), statistics))
            else:
                self.context.warn(
                    "attention is not watched where dispatch modes, function transforms or graph capture are on"
                )
        except Exception as error:  # the user's forward goes on whatever a probe meets
            self.context.warn(f"the attention of {layer} cannot be read: {type(error).__name__}: {error}")
        self._probe_s += time.perf_counter() - began

    def _reader(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Rows | None] | None:
        if func is F.scaled_dot_product_attention:
            return (lambda: sdpa_rows(*args, **kwargs)) if args and _plain(args, kwargs) else None
        if func is F.multi_head_attention_forward:
            # Its weights are among its arguments, so the layer is the module that owns them.
            return (lambda: mha_rows(*args, **kwargs)) if args and _plain(args, kwargs) else None
        if func in _SOFTMAXES:
            logits = _softmax_logits(args, kwargs)
            return None if logits is None or not args or not _plain(args, kwargs) else (lambda: softmax_rows(logits))
        return None

    def _place(self) -> tuple[str, list[str]]:
        """The attention now computed: the module around the layer executed last, and the layers executed in it since the last one."""
        executed, self._executed = self._executed, []
        if not executed:
            return f"attention {len(self._calls)}", []
        layer = executed[-1]
        if not isinstance(self._modules.get(layer), nn.MultiheadAttention):
            parent = layer.rpartition(".")[0]
            while parent and isinstance(self._modules.get(parent), (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
                parent = parent.rpartition(".")[0]
            layer = parent or layer
        within = [name for name in dict.fromkeys(executed) if name.startswith(layer + ".")]
        return layer, within

    def _site(self, layer: str, chain: list[str], call: int) -> int:
        site = self._sites.get((layer, call))
        if site is None:
            site = self._sites[(layer, call)] = self._judge.add(layer, chain)
        return site

    def _collect(self) -> None:
        """Hands what has arrived to the judge; never waits."""
        if self._pending is None or not self._pending[2].ready():
            return
        step, sites, transfer = self._pending
        self._pending = None
        self._judge_all(step, list(zip(sites, transfer.values(), strict=True)))

    def _judge_all(self, step: int, read: list[tuple[int, list[float]]]) -> None:
        wishes = []
        for site, values in read:
            heads = len(values) // 2
            wishes.append(self._judge.observe(site, step, values[:heads], values[heads:]))
        wanted = [wish for wish in wishes if wish > 0]
        self._wanted = step + min(wanted) if wanted else None
