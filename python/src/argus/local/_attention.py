"""Attention collapse: on deep steps a few query rows are read against all their keys, wherever attention is computed.

Attention is seen through a TorchFunctionMode entered around the root forward of a scanned step and left after it; nothing is
patched. It recognises `F.scaled_dot_product_attention`, `F.multi_head_attention_forward` (nn.MultiheadAttention) and explicit
attention (a softmax over the last axis of 4-D logits, or of square 3-D ones). The user's function runs first and its result is
handed on untouched; what is read beside it uses no random numbers, no autograd and no autocast.
"""

from __future__ import annotations

import inspect
import math
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
from argus.local._context import Context, Part

#: Query rows read a sequence; sequences read so that about _KEYS keys are looked at a head.
_ROWS = 8
_KEYS = 1024
_SEQUENCES = 4
#: Keys a query must be allowed to see for its entropy to say anything.
_LEAST_KEYS = 4
#: Logits this far below the greatest one, or additive masks below its negative, are masks: -inf, -1e9, -1e4, finfo.min.
_MASKED = 5000.0
#: Between deep scans, where the budget allows: steps from one scan to the next.
_EVERY = 25
#: What one torch function costs while the mode is on, seconds; for the governor.
_DISPATCH_S = 1e-6

_SOFTMAXES = (torch.softmax, F.softmax, Tensor.softmax, torch.special.softmax)
_MHA_SIGNATURE = inspect.signature(F.multi_head_attention_forward)


def _strided(length: int, most: int) -> tuple[int, int]:
    """First and step of at most `most` of `length` positions, evenly spread, the last among them."""
    step = max(1, length // most)
    return (length - 1) % step, step


def _sequences(batch: int, keys: int) -> tuple[int, int]:
    """How many sequences of the batch are read, and the step between them."""
    most = max(1, min(_SEQUENCES, batch, _KEYS // max(1, keys)))
    return most, max(1, batch // most)


def _statistics(logits: Tensor, allowed: Tensor | None) -> Tensor | None:
    """(2, heads): share of the greatest entropy, and spread of the logits, of (sequences, heads, rows, keys)."""
    keys = logits.shape[-1]
    if keys < _LEAST_KEYS:
        return None
    logits = logits - (logits if allowed is None else logits.masked_fill(~allowed, -math.inf)).amax(-1, keepdim=True)
    if allowed is None:
        weights = torch.softmax(logits, -1)
        entropy = (torch.logsumexp(logits, -1) - (weights * logits).sum(-1)) / math.log(keys)
        spread = logits.std(-1, correction=0)
        return torch.stack([entropy.mean((0, 2)), spread.mean((0, 2))])
    count = allowed.sum(-1)
    seen = logits.masked_fill(~allowed, 0.0)
    masked = logits.masked_fill(~allowed, -math.inf)
    entropy = torch.logsumexp(masked, -1) - (torch.softmax(masked, -1) * seen).sum(-1)
    entropy = entropy / count.clamp(min=2).log()
    mean = seen.sum(-1, keepdim=True) / count.clamp(min=1).unsqueeze(-1)
    spread = ((seen - mean).square().masked_fill(~allowed, 0.0).sum(-1) / count.clamp(min=1)).sqrt()
    # A row that may see hardly any key says nothing; without any other row the mean is 0/0, which is not judged.
    used = count >= _LEAST_KEYS
    rows = used.sum((0, 2))
    both = torch.stack([entropy, spread]).masked_fill(~used, 0.0)
    return both.sum((1, 3)) / rows


def _masked_logits(logits: Tensor, mask: Tensor | None, causal_rows: Tensor | None) -> Tensor | None:
    """Adds additive masks in and reads all of them together."""
    allowed: Tensor | None = None
    if causal_rows is not None:
        allowed = (torch.arange(logits.shape[-1], device=logits.device) <= causal_rows.unsqueeze(-1)).expand(logits.shape)
    if mask is not None:
        if mask.dtype == torch.bool:
            seen = mask
        else:
            seen = mask > -_MASKED
            logits = logits + mask.float().masked_fill(~seen, 0.0)
        seen = seen.expand(logits.shape)
        allowed = seen if allowed is None else allowed & seen
    return _statistics(logits, allowed)


def read_sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor | None:
    """Statistics of one call of `F.scaled_dot_product_attention`, in its own arguments; None where there is nothing to read."""
    if query.dim() < 3 or query.dim() > 4 or query.shape[-1] == 0 or key.dim() != query.dim():
        return None
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    if query.dim() == 3:
        query, key = query.unsqueeze(1), key.unsqueeze(1)
        attn_mask = None if attn_mask is None else attn_mask.unsqueeze(1)
    batch, heads, length, width = query.shape
    most, step = _sequences(batch, key.shape[-2])
    first, row_step = _strided(length, _ROWS)
    sampled = query[::step][:most][:, :, first::row_step].float()
    keys = key[::step][:most].float()
    if keys.shape[1] != heads:
        keys = keys.repeat_interleave(heads // keys.shape[1], 1)
    logits = sampled @ keys.transpose(-1, -2) * (1.0 / math.sqrt(width) if scale is None else scale)
    mask = None if attn_mask is None else attn_mask[::step][:most][:, :, first::row_step]
    causal_rows = torch.arange(first, length, row_step, device=query.device) if is_causal else None
    return _masked_logits(logits, mask, causal_rows)


def read_softmax(logits: Tensor) -> Tensor | None:
    """Statistics of one softmax over the last axis of explicit attention logits."""
    if logits.dim() == 3:
        logits = logits.unsqueeze(1)
    most, step = _sequences(logits.shape[0], logits.shape[-1])
    first, row_step = _strided(logits.shape[2], _ROWS)
    sampled = logits[::step][:most][:, :, first::row_step].float()
    return _statistics(sampled, sampled > sampled.amax(-1, keepdim=True) - _MASKED)


def _mha_projections(call: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    width = call["query"].shape[-1]
    joint, bias = call["in_proj_weight"], call["in_proj_bias"]
    if call["use_separate_proj_weight"]:
        query_weight, key_weight = call["q_proj_weight"], call["k_proj_weight"]
    else:
        query_weight, key_weight = joint[:width], joint[width : 2 * width]
    if bias is None:
        return query_weight, key_weight, None, None
    return query_weight, key_weight, bias[:width], bias[width : 2 * width]


def _mha_mask(call: dict[str, Any], batch: int, heads: int, length: int, keys: int) -> Tensor | None:
    """Both masks of a call as one additive or boolean one (True: may be seen) of (batch, heads, length, keys)."""
    masks: list[Tensor] = []
    attention, padding = call["attn_mask"], call["key_padding_mask"]
    if attention is not None:
        if attention.dim() == 3:
            attention = attention.view(batch, heads, length, keys)
        masks.append(attention)
    if padding is not None:
        masks.append(padding.view(batch, 1, 1, keys))
    merged: Tensor | None = None
    for mask in masks:
        additive = torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf) if mask.dtype == torch.bool else mask
        merged = additive.float() if merged is None else merged + additive
    return merged


def read_mha(*args: Any, **kwargs: Any) -> Tensor | None:
    """Statistics of one call of `F.multi_head_attention_forward`, in its own arguments."""
    bound = _MHA_SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    call = bound.arguments
    if call["static_k"] is not None:
        return None
    query, key = call["query"], call["key"]
    if query.dim() == 2:
        query, key = query.unsqueeze(1), key.unsqueeze(1)
    length, batch, _ = query.shape
    keys, heads = key.shape[0], call["num_heads"]
    mask = _mha_mask(call, batch, heads, length, keys)
    most, step = _sequences(batch, keys)
    first, row_step = _strided(length, _ROWS)
    query_weight, key_weight, query_bias, key_bias = _mha_projections(call)
    projected_query = F.linear(query[first::row_step, ::step][:, :most].to(query_weight.dtype), query_weight, query_bias).float()
    projected_key = F.linear(key[:, ::step][:, :most].to(key_weight.dtype), key_weight, key_bias).float()
    if call["bias_k"] is not None:
        projected_key = torch.cat([projected_key, call["bias_k"].float().expand(1, most, -1)])
    if call["add_zero_attn"]:
        projected_key = torch.cat([projected_key, torch.zeros_like(projected_key[:1])])
    split_query = projected_query.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
    split_key = projected_key.unflatten(-1, (heads, -1)).permute(1, 2, 3, 0)
    logits = split_query @ split_key / math.sqrt(split_query.shape[-1])
    if mask is not None:
        mask = mask.expand(batch, heads, length, keys)[::step][:most][:, :, first::row_step]
        if logits.shape[-1] > keys:
            mask = F.pad(mask, (0, logits.shape[-1] - keys))
    causal = call["is_causal"] and call["attn_mask"] is None
    causal_rows = torch.arange(first, length, row_step, device=query.device) if causal else None
    return _masked_logits(logits, mask, causal_rows)


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
    return all(type(t) in (Tensor, nn.Parameter) and t.layout == torch.strided and t.device.type != "meta" for t in tensors)


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
    return torch.cuda.is_available() and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


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
        self._read: list[tuple[int, Tensor]] = []
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
        if self._read:
            read, self._read = self._read, []
            with torch.no_grad(), torch._C.DisableTorchFunction():
                transfer = Transfer([statistics.flatten() for _, statistics in read])
            self._pending = (self.context.step, [site for site, _ in read], transfer)
            self._collect()

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
                with torch.no_grad(), torch._C.DisableTorchFunction(), torch.autocast(args[0].device.type, enabled=False):
                    statistics = read()
                if statistics is not None:
                    self._read.append((self._site(layer, chain, call), statistics))
            else:
                self.context.warn("attention is not watched where dispatch modes, function transforms or graph capture are on")
        except Exception as error:  # the user's forward goes on whatever a probe meets
            self.context.warn(f"the attention of {layer} cannot be read: {type(error).__name__}: {error}")
        self._probe_s += time.perf_counter() - began

    def _reader(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Tensor | None] | None:
        if func is F.scaled_dot_product_attention:
            return (lambda: read_sdpa(*args, **kwargs)) if args and _plain(args, kwargs) else None
        if func is F.multi_head_attention_forward:
            # Its weights are among its arguments, so the layer is the module that owns them.
            return (lambda: read_mha(*args, **kwargs)) if args and _plain(args, kwargs) else None
        if func in _SOFTMAXES:
            logits = _softmax_logits(args, kwargs)
            return None if logits is None or not args or not _plain(args, kwargs) else (lambda: read_softmax(logits))
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
        wishes = []
        for site, values in zip(sites, transfer.values(), strict=True):
            heads = len(values) // 2
            wishes.append(self._judge.observe(site, step, values[:heads], values[heads:]))
        wishes = [wish for wish in wishes if wish > 0]
        self._wanted = step + min(wishes) if wishes else None
