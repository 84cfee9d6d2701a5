"""Which family a model belongs to, read off its structure.

A hint, no more: it seeds the engine's accumulators and washes out. So where two families are about as likely the answer is
"other", and a name alone decides only where the structure cannot be mistaken for another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn

#: Names a projection has in attention: a module that owns one of each, or the fused one, is attention.
_QUERY = {
    "q",
    "query",
    "q_proj",
    "wq",
    "to_q",
    "q_lin",
    "query_proj",
    "w_q",
    "linear_q",
    "project_q",
    "q_a_proj",
    "q_b_proj",
}
_KEY = {
    "k",
    "key",
    "k_proj",
    "wk",
    "to_k",
    "k_lin",
    "key_proj",
    "w_k",
    "linear_k",
    "project_k",
    "to_kv",
    "kv",
    "kv_proj",
    "wkv",
    "kv_a_proj_with_mqa",
}
_FUSED = {"qkv", "c_attn", "to_qkv", "wqkv", "qkv_proj", "query_key_value", "in_proj_qkv", "kqv", "attn_qkv"}

_MOE_CLASS = re.compile(r"MoE|Moe(?![a-z])|MOE|MixtureOfExperts|SparseMixer|SwitchFeedForward")
_ROUTERS = {"router", "gate", "gating", "gating_network", "wg", "w_gate", "gates", "gate_network"}
_SSM_CLASS = re.compile(
    r"^(Mamba\d?|S4D?|S5|S6|H3|SSM|SelectiveSSM|StateSpace)(Mixer|Block|Layer|Model|Module|Kernel)?$"
)
_GNN_CLASS = re.compile(r"^(GCN|GNN|GAT|GATv2|GIN|GINE|GraphSAGE|SAGE|Graph)(\w*Conv\w*|Layer|Convolution)?$")
#: Classes that mix positions or time in a way no module shows: not a plain MLP, whatever it is.
_HIDDEN_MIXING = re.compile(r"Attention|Attn|Retention|Recurren|Fourier|LSTM|Lstm|GRU")
_TIME = re.compile(r"^(t|time|timestep|timesteps|sigma|noise)_?(emb|embed|embedding|embedder|mlp|proj)$")
_DENOISER_CLASS = re.compile(r"UNet|Unet|U_Net|Diffusion|Denois|DDPM|DDIM|DiT(?![a-z])|ScoreNet|NoisePredict")
_DIFFUSERS_CONFIG = re.compile(r"^(UNet\w*Model|\w*Transformer\w*2DModel|\w*UNet)$")

#: transformers' model_type, where the structure would say something else or nothing.
_BY_CONFIG = {
    "moe": "mixtral qwen2_moe qwen3_moe switch_transformers deepseek_v2 deepseek_v3 olmoe jetmoe phimoe granitemoe dbrx nllb-moe gpt_oss",
    "ssm": "mamba mamba2 falcon_mamba",
    "cnn": "resnet convnext convnextv2 regnet mobilenet_v1 mobilenet_v2 efficientnet bit",
    "transformer": "bert roberta distilbert albert electra deberta deberta-v2 gpt2 gpt_neo gpt_neox gptj opt bloom llama mistral gemma gemma2 "
    "phi phi3 qwen2 qwen3 falcon mpt t5 mt5 bart mbart pegasus vit deit beit swin swinv2 whisper wav2vec2 hubert clip",
}
_CONFIG_FAMILY = {word: family for family, words in _BY_CONFIG.items() for word in words.split()}


@dataclass
class Structure:
    """What a walk over the modules found."""

    modules: list[nn.Module] = field(default_factory=list)
    attention: list[nn.Module] = field(default_factory=list)
    ssm: list[nn.Module] = field(default_factory=list)
    graph: list[nn.Module] = field(default_factory=list)
    moe: int = 0
    convolutions: list[nn.Module] = field(default_factory=list)
    recurrent: list[nn.Module] = field(default_factory=list)
    linears: list[nn.Module] = field(default_factory=list)
    embeddings: list[tuple[str, nn.Module]] = field(default_factory=list)
    resampling: int = 0
    time_embeddings: int = 0
    foreign: int = 0  # parameters owned by modules of none of the kinds above


_CONVOLUTIONS = (nn.modules.conv._ConvNd,)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.PReLU)


def class_name(module: nn.Module) -> str:
    """The name its author gave the class; `fully_shard` makes a class of its own of each that it shards."""
    bases = type(module).__mro__
    made = type(module).__name__.startswith("FSDP") and len(bases) > 2 and bases[1].__name__ == "FSDPModule"
    return bases[2 if made else 0].__name__


def own_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters that `module` itself holds, not those of its children."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter


def _numel(parameter: Any) -> int:
    return 0 if nn.parameter.is_lazy(parameter) else int(parameter.numel())


def _is_attention(module: nn.Module, children: set[str]) -> bool:
    if isinstance(module, nn.MultiheadAttention):
        return True
    return bool(children & _FUSED) or bool(children & _QUERY and children & _KEY)


def _is_ssm(module: nn.Module, children: set[str]) -> bool:
    names = {name for name, _ in own_parameters(module)}
    return "A_log" in names and "D" in names or bool(_SSM_CLASS.match(class_name(module))) and bool(names or children)


def walk(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module once, outer ones first, with the name its parent has for it. Several times faster than `named_modules`."""
    seen: set[int] = set()
    waiting: list[tuple[str, nn.Module]] = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield name, module
        waiting.extend((key, child) for key, child in reversed(module._modules.items()) if child is not None)


def survey(model: nn.Module) -> Structure:
    """Walks the modules once. Runs nothing, reads no value of any parameter."""
    found = Structure()
    for own_name, module in walk(model):
        found.modules.append(module)
        children = {name.lower() for name in module._modules}
        name = class_name(module)
        if _is_attention(module, children):
            found.attention.append(module)
        if _is_ssm(module, children):
            found.ssm.append(module)
        if any(base.__name__ == "MessagePassing" for base in type(module).__mro__) or (
            type(module).__module__ or ""
        ).startswith("dgl.nn"):
            found.graph.append(module)
        elif _GNN_CLASS.match(name) and name != "Graph":
            found.graph.append(module)
        if ("experts" in children and children & _ROUTERS) or _MOE_CLASS.search(name):
            found.moe += 1
        if _TIME.match(own_name.lower()) or name in ("TimestepEmbedding", "TimestepEmbedder"):
            found.time_embeddings += 1
        _sort(found, own_name, module)
    found.ssm, found.graph = _innermost(found.ssm), _innermost(found.graph)
    return found


def _innermost(parts: list[nn.Module]) -> list[nn.Module]:
    """Those that hold none of the others: a layer, where the model around it is named alike."""
    known = {id(part) for part in parts}
    return [part for part in parts if not any(id(inner) in known for _, inner in walk(part) if inner is not part)]


def _sort(found: Structure, own_name: str, module: nn.Module) -> None:
    if isinstance(module, _CONVOLUTIONS):
        found.convolutions.append(module)
        found.resampling += isinstance(module, _TRANSPOSED)
    elif isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        found.recurrent.append(module)
    elif (
        isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    ):  # transformers' name for a transposed Linear
        found.linears.append(module)
    elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        found.embeddings.append((own_name, module))
    elif isinstance(module, nn.Upsample):
        found.resampling += 1
    elif not isinstance(module, (*_NORMS, nn.MultiheadAttention)):
        found.foreign += sum(_numel(p) for _, p in own_parameters(module))


def _by_roles(model: nn.Module) -> str | None:
    """Models made of parts that play against or for each other: names of the parts at the top."""
    names = {name.lower() for name in model._modules}
    if isinstance(model, nn.ModuleDict) or names:
        if "generator" in names and names & {"discriminator", "critic"} or {"netg", "netd"} <= names:
            return "gan"
        if {"actor", "critic"} <= names or (
            names & {"policy", "policy_net", "policy_head"} and names & {"value", "value_net", "value_head"}
        ):
            return "rl"
    return None


def _by_config(model: nn.Module) -> str | None:
    config: Any = getattr(model, "config", None)
    word = getattr(config, "model_type", None)
    if isinstance(word, str) and word in _CONFIG_FAMILY:
        return _CONFIG_FAMILY[word]
    made_by = config.get("_class_name") if hasattr(config, "get") else None
    if isinstance(made_by, str) and _DIFFUSERS_CONFIG.match(made_by):
        return "diffusion"
    return None


def _is_denoiser(model: nn.Module, found: Structure) -> bool:
    if not found.time_embeddings:
        return False
    return bool(
        _DENOISER_CLASS.search(class_name(model))
        or (found.convolutions and found.resampling)
        or any("adaln_modulation" in (name.lower() for name in module._modules) for module in found.modules)
    )


def family_of(model: nn.Module, found: Structure) -> str:
    """transformer, cnn, rnn, mlp, diffusion, rl, gan, moe, ssm, gnn; "other" when unsure."""
    known = _by_config(model) or _by_roles(model)
    if known is not None:
        return known
    if _is_denoiser(model, found):
        return "diffusion"
    if found.graph:
        return "gnn"
    if found.moe:
        return "moe"
    attention, convolutions, recurrent = len(found.attention), len(found.convolutions), len(found.recurrent)
    if found.ssm:
        if attention == 0:
            return "ssm"
        return "ssm" if len(found.ssm) >= 4 * attention else "other"
    if recurrent:
        return "rnn" if attention == 0 and convolutions <= 2 * recurrent else "other"
    if attention:
        if convolutions <= 2 * attention:
            return "transformer"
        return "cnn" if convolutions >= 8 * attention else "other"
    return _plain(found)


def _plain(found: Structure) -> str:
    """Without attention or recurrence: convolutions, or nothing but linear layers."""
    in_embeddings = sum(_numel(p) for _, module in found.embeddings for _, p in own_parameters(module))
    in_layers = sum(_numel(p) for module in (*found.convolutions, *found.linears) for _, p in own_parameters(module))
    if 10 * found.foreign > in_layers + in_embeddings and found.foreign:
        return "other"  # own layers hold a good part of it: nobody knows what they do
    if found.convolutions:
        return "cnn"
    if any(_HIDDEN_MIXING.search(class_name(module)) for module in found.modules):
        return "other"
    if found.linears and in_embeddings <= in_layers:
        return "mlp"
    return "other"
