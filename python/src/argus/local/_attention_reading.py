"""What is read of one call of attention: a few query rows against all their keys, by the arguments of the call itself."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from argus._native import read_attention
from argus.local._dtypes import CODES

#: Query rows read a sequence (what the native side takes at most); sequences read so that about _KEYS keys are looked at a head.
_ROWS = 8
_KEYS = 1024
_SEQUENCES = 4
#: Keys a query must be allowed to see for its entropy to say anything; logits and masks this far down are masks. As in probe/.
_LEAST_KEYS = 4
_MASKED = 5000.0

_MHA_SIGNATURE = inspect.signature(F.multi_head_attention_forward)

#: (2 * heads) numbers: entropy over keys as a share of its maximum, then spread of the logits; a tensor where they are on a device.
Statistics = list[float] | Tensor


@dataclass
class Rows:
    """A few query rows of one attention call and all their keys, as views of the user's tensors.

    Attributes:
        query: (sequences, heads, rows, width); the logits (sequences, heads, rows, keys) where `key` is None.
        key: (sequences, key heads, keys, width), or None.
        mask: Broadcast to (sequences, heads, rows, keys): boolean (True: may be seen) or additive, or None.
        causal: Last key the first row may see and how many more each further row may, or None.
        scale: Of the products.
    """

    query: Tensor
    key: Tensor | None = None
    mask: Tensor | None = None
    causal: tuple[int, int] | None = None
    scale: float = 1.0

    def statistics(self, *, in_place: bool) -> Statistics | None:
        """None where there is nothing to read. `in_place`: tensors on the CPU are read by the native side."""
        keys = self.query.shape[-1] if self.key is None else self.key.shape[2]
        if keys < _LEAST_KEYS or self.query.numel() == 0:
            return None
        tensors = [tensor for tensor in (self.query, self.key, self.mask) if tensor is not None]
        if in_place and all(t.device.type == "cpu" and (t.dtype in CODES or t is self.mask) for t in tensors):
            return self._native(keys)
        return self._with_torch()

    def _native(self, keys: int) -> list[float]:
        sequences, heads, rows, width = self.query.shape
        sizes = [sequences, heads, rows, keys, width, heads if self.key is None else self.key.shape[1]]
        causal_first, causal_step = (-1, 0) if self.causal is None else self.causal
        return read_attention(
            sizes,
            _grid(self.query),
            None if self.key is None else _grid(self.key),
            None if self.mask is None else _grid(self.mask),
            causal_first,
            causal_step,
            self.scale,
        )

    def _with_torch(self) -> Tensor:
        query = self.query.float()
        if self.key is None:
            return _reduce(query, query > query.amax(-1, keepdim=True) - _MASKED)
        key = self.key.float()
        if key.shape[1] != query.shape[1]:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        logits = query @ key.transpose(-1, -2) * self.scale
        allowed: Tensor | None = None
        if self.causal is not None:
            first, step = self.causal
            last = torch.arange(logits.shape[2], device=logits.device).mul_(step).add_(first)
            allowed = (torch.arange(logits.shape[3], device=logits.device) <= last.unsqueeze(-1)).expand(logits.shape)
        if self.mask is not None:
            seen = self.mask
            if self.mask.dtype != torch.bool:
                seen = self.mask > -_MASKED
                logits = logits + self.mask.float().masked_fill(~seen, 0.0)
            allowed = seen if allowed is None else allowed & seen
        return _reduce(logits, allowed)


def _grid(tensor: Tensor) -> tuple[int, int, tuple[int, ...]]:
    return tensor.data_ptr(), CODES.get(tensor.dtype, -1), tensor.stride()


def _reduce(logits: Tensor, allowed: Tensor | None) -> Tensor:
    """What probe/attention_probe.h says, in torch: for devices."""
    if allowed is None:
        weights = torch.softmax(logits, -1)
        below = logits - logits.amax(-1, keepdim=True)
        entropy = (torch.logsumexp(below, -1) - (weights * below).sum(-1)) / math.log(logits.shape[-1])
        return torch.cat([entropy.mean((0, 2)), logits.std(-1, correction=0).mean((0, 2))])
    count = allowed.sum(-1)
    masked = logits.masked_fill(~allowed, -math.inf)
    masked = masked - masked.amax(-1, keepdim=True)
    seen = masked.masked_fill(~allowed, 0.0)
    entropy = (torch.logsumexp(masked, -1) - (torch.softmax(masked, -1) * seen).sum(-1)) / count.clamp(min=2).log()
    mean = seen.sum(-1, keepdim=True) / count.clamp(min=1).unsqueeze(-1)
    spread = ((seen - mean).square().masked_fill(~allowed, 0.0).sum(-1) / count.clamp(min=1)).sqrt()
    # Rows that may see hardly a key say nothing; without any other row the mean is 0/0, which is not judged.
    used = count >= _LEAST_KEYS
    both = torch.stack([entropy, spread]).masked_fill(~used, 0.0)
    return (both.sum((1, 3)) / used.sum((0, 2))).flatten()


def _strided(length: int) -> tuple[int, int]:
    """First and step of at most _ROWS of `length` positions, evenly spread, the last among them."""
    step = max(1, -(-length // _ROWS))
    return (length - 1) % step, step


def _sequences(batch: int, keys: int) -> tuple[int, int]:
    """How many sequences of the batch are read, and the step between them."""
    most = max(1, min(_SEQUENCES, batch, _KEYS // max(1, keys)))
    return most, max(1, batch // most)


def sdpa_rows(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Rows | None:
    """Of one call of `F.scaled_dot_product_attention`, in its own arguments; None where it cannot be read."""
    if query.dim() not in (3, 4) or key.dim() != query.dim() or query.shape[-1] == 0:
        return None
    if attn_mask is not None:
        attn_mask = attn_mask.expand(*query.shape[:-1], key.shape[-2])
    if query.dim() == 3:
        query, key = query.unsqueeze(1), key.unsqueeze(1)
        attn_mask = None if attn_mask is None else attn_mask.unsqueeze(1)
    batch, _, length, width = query.shape
    most, step = _sequences(batch, key.shape[2])
    first, row_step = _strided(length)
    return Rows(
        query[::step][:most][:, :, first::row_step],
        key[::step][:most],
        None if attn_mask is None else attn_mask[::step][:most][:, :, first::row_step],
        (first, row_step) if is_causal else None,
        1.0 / math.sqrt(width) if scale is None else scale,
    )


def softmax_rows(logits: Tensor) -> Rows:
    """Of one softmax over the last axis of 4-D attention logits, or of square 3-D ones."""
    if logits.dim() == 3:
        logits = logits.unsqueeze(1)
    most, step = _sequences(logits.shape[0], logits.shape[3])
    first, row_step = _strided(logits.shape[2])
    return Rows(logits[::step][:most][:, :, first::row_step])


def mha_rows(*args: Any, **kwargs: Any) -> Rows | None:
    """Of one call of `F.multi_head_attention_forward`, in its own arguments; None where it cannot be read."""
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
    most, step = _sequences(batch, keys)
    first, row_step = _strided(length)
    query_weight, key_weight, query_bias, key_bias = _mha_projections(call)
    queries = F.linear(query[first::row_step, ::step][:, :most].to(query_weight.dtype), query_weight, query_bias)
    projected = F.linear(key[:, ::step][:, :most].to(key_weight.dtype), key_weight, key_bias)
    if call["bias_k"] is not None:
        projected = torch.cat([projected, call["bias_k"].expand(1, most, -1)])
    if call["add_zero_attn"]:
        projected = torch.cat([projected, torch.zeros_like(projected[:1])])
    mask = _mha_mask(call, batch, heads, length, keys)
    if mask is not None:
        mask = mask.expand(batch, heads, length, keys)[::step][:most][:, :, first::row_step]
        if projected.shape[0] > keys:
            mask = F.pad(mask, (0, projected.shape[0] - keys))
    split_queries = queries.view(*queries.shape[:2], heads, -1).permute(1, 2, 0, 3)
    split_keys = projected.view(*projected.shape[:2], heads, -1).permute(1, 2, 0, 3)
    causal = (first, row_step) if call["is_causal"] and call["attn_mask"] is None else None
    return Rows(split_queries, split_keys, mask, causal, 1.0 / math.sqrt(split_queries.shape[-1]))


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
    """Both masks of a call as one additive one that broadcasts to (batch, heads, length, keys). Boolean there: True is hidden."""
    attention, padding = call["attn_mask"], call["key_padding_mask"]
    merged: Tensor | None = None
    if attention is not None:
        merged = _additive(attention.view(batch, heads, length, keys) if attention.dim() == 3 else attention)
    if padding is not None:
        hidden = _additive(padding.view(batch, 1, 1, keys))
        merged = hidden if merged is None else merged + hidden
    return merged


def _additive(mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, device=mask.device).masked_fill(mask, -math.inf)
    return mask.float()
