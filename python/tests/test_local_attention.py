"""Attention seen from outside: what is read of it, where it is, what its collapse looks like, and that nothing changes by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from local_driver import Driver  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402
from torch.utils.checkpoint import (  # noqa: E402
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from argus._native import Check, Level  # noqa: E402
from argus.local import LocalDetector  # noqa: E402
from argus.local import _attention as attention_module  # noqa: E402
from argus.local._attention import Attention  # noqa: E402
from argus.local._attention_reading import mha_rows, sdpa_rows, softmax_rows  # noqa: E402

torch.set_num_threads(1)

VOCABULARY = 16
LENGTH = 16


# What is read.


def by_hand(weights: Tensor, allowed: Tensor) -> Tensor:
    """Entropy shares of (batch, heads, queries, keys) weights, of the rows that are sampled: all of them here."""
    count = allowed.sum(-1)
    entropy = -torch.special.xlogy(weights, weights).sum(-1) / count.clamp(min=2).log()
    used = count >= 4
    return (entropy * used).sum((0, 2)) / used.sum((0, 2))


def both(rows: Any) -> Tensor:
    native = torch.tensor(rows.statistics(in_place=True), dtype=torch.float64)
    device = rows.statistics(in_place=False)
    assert torch.allclose(native, device.double(), atol=1e-5, rtol=1e-4)
    return native


MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "boolean": lambda: torch.arange(12) < torch.tensor([12, 6]).view(2, 1, 1, 1),
    "boolean, all axes": lambda: torch.rand(2, 4, 8, 12, generator=torch.Generator().manual_seed(1)) > 0.4,
    "additive": lambda: torch.zeros(2, 1, 1, 12).masked_fill(torch.arange(12) > 7, torch.finfo(torch.float32).min),
    "bias": lambda: -0.3 * (torch.arange(12).float() - torch.arange(8).view(8, 1)).abs().expand(1, 1, 8, 12),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("mask", MASKS)
def test_sdpa_is_read_as_it_is_computed(mask: str, key_heads: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 8, 6).to(dtype), torch.randn(2, key_heads, 12, 6).to(dtype)
    attn_mask = MASKS[mask]()
    values = torch.eye(12).expand(2, key_heads, 12, 12)
    weights = F.scaled_dot_product_attention(
        query.float(), key.float(), values, attn_mask, scale=0.9, enable_gqa=key_heads != 4
    )
    allowed = torch.ones(2, 4, 8, 12, dtype=torch.bool)
    if attn_mask is not None:
        allowed &= attn_mask if attn_mask.dtype == torch.bool else attn_mask > -1e4
    read = both(sdpa_rows(query, key, key, attn_mask, scale=0.9, enable_gqa=key_heads != 4))
    assert torch.allclose(read[:4], by_hand(weights, allowed).double(), atol=1e-4)


def test_causal_attention_counts_the_keys_a_row_may_see() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 8, 6), torch.randn(2, 4, 8, 6)
    weights = F.scaled_dot_product_attention(query, key, torch.eye(8).expand(2, 4, 8, 8), is_causal=True)
    allowed = torch.ones(8, 8, dtype=torch.bool).tril().expand(2, 4, 8, 8)
    assert torch.allclose(
        both(sdpa_rows(query, key, key, is_causal=True))[:4], by_hand(weights, allowed).double(), atol=1e-5
    )


@pytest.mark.parametrize("forbidden", [-math.inf, -1e4, -1e9, torch.finfo(torch.float32).min])
def test_explicit_logits_show_their_mask(forbidden: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 8, 10)
    allowed = torch.ones(8, 10, dtype=torch.bool).tril(2).expand(2, 3, 8, 10)
    read = both(softmax_rows(logits.masked_fill(~allowed, forbidden)))
    assert torch.allclose(
        read[:3], by_hand(logits.masked_fill(~allowed, -math.inf).softmax(-1), allowed).double(), atol=1e-5
    )


@pytest.mark.parametrize(
    "options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 10, "vdim": 6}, {"bias": False}], ids=str
)
@pytest.mark.parametrize("masked", ["", "padding", "both"])
def test_multihead_attention_is_read_as_it_is_computed(masked: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(12, 4, batch_first=True, **options)
    query = torch.randn(2, 8, 12)
    key, value = torch.randn(2, 9, options.get("kdim", 12)), torch.randn(2, 9, options.get("vdim", 12))
    padding = (torch.arange(9) >= torch.tensor([[9], [6]])) if masked else None
    attn_mask = torch.ones(8, 9, dtype=torch.bool).triu(6) if masked == "both" else None
    caught: list[Any] = []

    class Catch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is F.multi_head_attention_forward:
                caught.append(mha_rows(*args, **(kwargs or {})))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Catch():
        _, weights = module(query, key, value, padding, attn_mask=attn_mask, average_attn_weights=False)
    extra = weights.shape[-1] - 9
    allowed = torch.ones(2, 4, 8, 9, dtype=torch.bool)
    if padding is not None:
        allowed = allowed & ~padding.view(2, 1, 1, 9)
    if attn_mask is not None:
        allowed = allowed & ~attn_mask
    read = both(caught[0])
    assert torch.allclose(read[:4], by_hand(weights, F.pad(allowed, (0, extra), value=True)).double(), atol=1e-4)


# Models that train.


class Block(nn.Module):
    def __init__(self, width: int, heads: int, explicit: bool, causal: bool) -> None:
        super().__init__()
        self.heads, self.explicit, self.causal = heads, explicit, causal
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(0.1)
        self.temperature = 1.0

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(self.before(x)).split(width, 2)
        )
        query = query * self.temperature
        if self.explicit:
            logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            if self.causal:
                logits = logits.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), -math.inf)
            mixed = torch.softmax(logits, dim=-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.drop(self.mix(mixed.transpose(1, 2).reshape(batch, length, width)))
        return x + self.down(F.gelu(self.up(self.between(x))))


class Gpt(nn.Module):
    def __init__(self, *, explicit: bool = False, causal: bool = True, width: int = 32, wrap: Any = None) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width, 4, explicit, causal) for _ in range(2))
        self.head = nn.Linear(width, VOCABULARY)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.tokens(x) + self.positions.weight[: x.shape[1]]
        for block in self.blocks:
            hidden = block(hidden) if self.wrap is None else self.wrap(block, hidden)
        return self.head(hidden)


class Encoder(nn.Module):
    """nn.TransformerEncoder, half of the batch padded."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, 32), nn.Embedding(LENGTH, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, VOCABULARY)

    def forward(self, x: Tensor) -> Tensor:
        padding = (torch.arange(x.shape[1]) >= 10).expand(x.shape).clone()
        padding[::2] = False
        hidden = self.tokens(x) + self.positions.weight[: x.shape[1]]
        return self.head(self.encoder(hidden, src_key_padding_mask=padding))


def reversing(random: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randint(0, VOCABULARY, (8, LENGTH), generator=random)
    return x, x.flip(1)


def copying(random: torch.Generator) -> tuple[Tensor, Tensor]:
    half = torch.randint(0, VOCABULARY, (8, LENGTH // 2), generator=random)
    x = torch.cat([half, half], 1)
    return x, x.roll(-1, 1)


def train(
    model: nn.Module,
    task: Callable[[torch.Generator], tuple[Tensor, Tensor]],
    steps: int,
    *,
    fault: Callable[[nn.Module], None] | None = None,
    fault_step: int = 120,
    path: str = "auto",
    watched: bool = True,
    autocast: bool = False,
) -> Driver | None:
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    driver = Driver(model, optimizer, Attention, path=path) if watched else None
    random = torch.Generator().manual_seed(1)
    for step in range(1, steps + 1):
        if step == fault_step and fault is not None:
            with torch.no_grad():
                fault(model)
        x, target = task(random)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(x)
        loss = F.cross_entropy(logits.float().flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return driver


MODELS: dict[str, Callable[[], nn.Module]] = {
    "sdpa": Gpt,
    "explicit": lambda: Gpt(explicit=True),
    "bidirectional": lambda: Gpt(causal=False),
    "encoder": Encoder,
}


def second_attention(model: nn.Module) -> tuple[str, Tensor, Tensor]:
    """Name, joint projection weight and bias."""
    if isinstance(model, Encoder):
        module = model.encoder.layers[1].self_attn
        return "encoder.layers.1.self_attn", module.in_proj_weight, module.in_proj_bias
    qkv = model.blocks[1].qkv
    return "blocks.1", qkv.weight, qkv.bias


def sharpen(model: nn.Module) -> None:
    _, weight, _ = second_attention(model)
    weight[:64] *= 20


def sharpen_one_head(model: nn.Module) -> None:
    _, weight, _ = second_attention(model)
    weight[8:16] *= 20
    weight[40:48] *= 20


def flatten(model: nn.Module) -> None:
    _, weight, bias = second_attention(model)
    weight[:64] = 0
    bias[:64] = 0


FAULTS = {"collapsed": sharpen, "collapsed (1)": sharpen_one_head, "no longer": flatten}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("kind", "path"), [*((kind, "auto") for kind in MODELS), ("explicit", "device"), ("encoder", "device")]
)
def test_a_collapse_is_found_and_its_layer_named(kind: str, fault: str, path: str) -> None:
    torch.manual_seed(3)
    model = MODELS[kind]()
    driver = train(model, reversing if kind != "sdpa" else copying, 260, fault=FAULTS[fault], path=path)
    assert driver.warned == []
    (finding,) = driver.findings()
    name, _, _ = second_attention(model)
    assert finding.check == Check.ATTENTION_COLLAPSE
    assert finding.level in (Level.WARN, Level.CRITICAL)
    assert finding.layer == name
    assert finding.chain
    assert all(link.startswith(name + ".") for link in finding.chain)
    assert 120 <= finding.since <= 260
    assert finding.last_good < finding.since
    if fault == "collapsed (1)":
        assert "1 of 4 heads (1)" in finding.note
    assert fault.split(" (")[0] in finding.note


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", MODELS)
def test_heads_that_learn_are_healthy(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    driver = train(MODELS[kind](), reversing if kind in ("bidirectional", "encoder") else copying, 320)
    assert driver.warned == []
    assert driver.findings() == []
    assert driver.parts[0].findings()[0].judged[int(Check.ATTENTION_COLLAPSE)] == 2


def hugging_face(kind: str, implementation: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    small: dict[str, Any] = {"vocab_size": VOCABULARY, "attn_implementation": implementation}
    if kind == "gpt2":
        config = transformers.GPT2Config(
            n_positions=LENGTH, n_embd=32, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0, **small
        )
        return transformers.GPT2LMHeadModel(config)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    if kind == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(max_position_embeddings=LENGTH, **shape, **small))
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            num_key_value_heads=2, bos_token_id=0, eos_token_id=0, pad_token_id=0, **shape, **small
        )
    )


NAMES = {
    "gpt2": "transformer.h.{}.attn",
    "bert": "bert.encoder.layer.{}.attention.self",
    "llama": "model.layers.{}.self_attn",
}


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", NAMES)
def test_hugging_face_models_are_seen(kind: str, implementation: str) -> None:
    torch.manual_seed(0)
    model = hugging_face(kind, implementation).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    driver = Driver(model, optimizer, Attention)
    random = torch.Generator().manual_seed(0)
    padding = torch.ones(4, LENGTH, dtype=torch.long)
    padding[1, 12:] = 0
    for step in range(1, 231):
        if step == 120:
            module = model.get_submodule(NAMES[kind].format(1))
            with torch.no_grad():
                for name in ("q_proj", "k_proj", "query", "key", "c_attn"):
                    if hasattr(module, name):
                        getattr(module, name).weight *= 30
        x = torch.randint(1, VOCABULARY, (4, LENGTH), generator=random)
        model(input_ids=x, attention_mask=padding, labels=x).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert driver.warned == []
    judged = driver.parts[0].findings()[0]
    assert judged.known[int(Check.ATTENTION_COLLAPSE)] == 2
    assert [finding.layer for finding in driver.findings()] == [NAMES[kind].format(1)]


# What must not change.


def reentrant(block: nn.Module, hidden: Tensor) -> Tensor:
    return checkpoint(block, hidden, use_reentrant=True)


def plain_checkpoint(block: nn.Module, hidden: Tensor) -> Tensor:
    return checkpoint(block, hidden, use_reentrant=False)


def selective_checkpoint(block: nn.Module, hidden: Tensor) -> Tensor:
    def policy(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        saved = operation in (torch.ops.aten.bmm.default, torch.ops.aten.addmm.default)
        return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE

    def contexts() -> Any:
        return create_selective_checkpoint_contexts(policy)

    return checkpoint(block, hidden, use_reentrant=False, context_fn=contexts)


class Counting(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def under_another_mode(block: nn.Module, hidden: Tensor) -> Tensor:
    with Counting():
        return block(hidden)


@pytest.mark.parametrize(("path", "autocast"), [("auto", False), ("device", True)])
@pytest.mark.parametrize(
    "make",
    [
        Gpt,
        lambda: Gpt(explicit=True),
        Encoder,
        lambda: Gpt(wrap=reentrant),
        lambda: Gpt(wrap=plain_checkpoint),
        lambda: Gpt(explicit=True, wrap=selective_checkpoint),
        lambda: Gpt(wrap=under_another_mode),
    ],
    ids=["sdpa", "explicit", "encoder", "reentrant", "checkpoint", "selective checkpoint", "another mode"],
)
def test_weights_and_random_numbers_are_the_same_bit_for_bit(make: Any, path: str, autocast: bool) -> None:
    torch.manual_seed(5)
    watched = make()
    driver = train(watched, copying, 60, path=path, autocast=autocast)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    alone = make()
    train(alone, copying, 60, watched=False, autocast=autocast)
    assert torch.equal(state, torch.get_rng_state())
    for mine, theirs in zip(watched.state_dict().values(), alone.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    assert driver.findings() == []


def test_activation_checkpointing_hides_nothing_but_selective_kinds() -> None:
    known = int(Check.ATTENTION_COLLAPSE)
    plain = train(Gpt(wrap=plain_checkpoint), copying, 12)
    assert plain.parts[0].findings()[0].known[known] == 2
    selective = train(Gpt(wrap=selective_checkpoint), copying, 12)
    assert selective.parts[0].findings()[0].known[known] == 0
    assert len(selective.warned) == 1


def test_modes_of_others_see_only_what_is_theirs() -> None:
    counts = []
    for watched in (False, True):
        model = Gpt()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        driver = Driver(model, optimizer, Attention) if watched else None
        if driver is not None:
            driver.context.deep = True
        with Counting() as counting:
            model(reversing(torch.Generator().manual_seed(0))[0])
        counts.append(counting.calls)
    assert counts[0] == counts[1]


def test_a_forward_that_raises_leaves_no_mode_behind() -> None:
    class Torn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            self.layer(x)
            left = Counting()
            left.__enter__()
            raise RuntimeError("torn")

    model = Torn()
    driver = Driver(model, torch.optim.SGD(model.parameters(), 0.1), Attention)
    driver.context.deep = True
    with pytest.raises(RuntimeError, match="torn"):
        model(torch.ones(1, 4))
    assert torch._C._len_torch_function_stack() == 1
    assert isinstance(torch._C._pop_torch_function_stack(), Counting)


def test_a_probe_that_fails_is_said_and_the_forward_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ValueError("broken probe")

    monkeypatch.setattr(attention_module, "sdpa_rows", broken)
    driver = train(Gpt(), copying, 30)
    assert [text for text in driver.warned if "broken probe" in text and "blocks.0" in text]
    assert driver.findings() == []


def test_a_module_used_twice_is_two_places() -> None:
    class Twice(Gpt):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.tokens(x) + self.positions.weight
            return self.head(self.blocks[0](self.blocks[0](hidden)))

    driver = train(Twice(), copying, 60)
    assert driver.parts[0].findings()[0].known[int(Check.ATTENTION_COLLAPSE)] == 2


def test_detector_reports_it_with_its_layer() -> None:
    torch.manual_seed(3)
    model = Gpt()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    random = torch.Generator().manual_seed(1)
    with LocalDetector(model, optimizer, budget=1.0, quiet=True, parts=[Attention]) as detector:
        for step in range(1, 261):
            if step == 120:
                with torch.no_grad():
                    sharpen(model)
            x, target = copying(random)
            F.cross_entropy(model(x).flatten(0, 1), target.flatten()).backward()
            optimizer.step()
            optimizer.zero_grad()
        report = detector.report()
    assert report.checks["attention_collapse"].level in ("warn", "critical")
    assert detector.errors == 0
