"""Where activations are read: the places of a model, found by watching one forward pass.

A place is a tensor that goes into or comes out of a module call. Each parametrised layer begins a group of calls (normalisation and
activation modules after it), and the group is read where it ends: after its activation module; else at the layer's own output, and
also where the next module takes in something that no module made (a functional activation, or one done in place).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import activation, batchnorm, conv, dropout, instancenorm, normalization, pooling, rnn

_CHANNELS_SECOND = (conv._ConvNd, batchnorm._NormBase, instancenorm._InstanceNorm, nn.GroupNorm)
_NORMS = (batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)
_NO_ACTIVATION = (
    nn.Softmax,
    nn.LogSoftmax,
    nn.Softmin,
    nn.Softmax2d,
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.Upsample,
    nn.PixelShuffle,
    dropout._DropoutNd,
    pooling._AvgPoolNd,
    pooling._MaxPoolNd,
    pooling._AdaptiveAvgPoolNd,
    pooling._AdaptiveMaxPoolNd,
    nn.LPPool1d,
    nn.LPPool2d,
)
_LOSSES = nn.modules.loss._Loss
#: Calls of one module in a pass that become sites; a cell unrolled over a hundred steps is read at a few of them.
CALLS_MAX = 4

LAYER, NORM, ACTIVATION, OTHER = "layer", "norm", "activation", "other"


def kind_of(module: nn.Module) -> str | None:
    """What a module is to a site: LAYER, NORM, ACTIVATION, OTHER, or None for a container, which is not watched."""
    if isinstance(module, activation.MultiheadAttention):
        return LAYER
    if isinstance(module, _LOSSES) or next(module.children(), None) is not None:
        return None
    if isinstance(module, _NORMS):
        return NORM
    if isinstance(module, nn.PReLU):
        return ACTIVATION
    parameters = list(module.parameters(recurse=False))
    if parameters:
        return LAYER if any(p.dim() != 1 for p in parameters) else NORM
    return OTHER if isinstance(module, _NO_ACTIVATION) else ACTIVATION


def watchable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Qualified name and module of what can be read; nothing inside a compiled part, whose hooks would make it compile again."""
    hidden: list[str] = []
    for name, module in model.named_modules():
        if any(name.startswith(prefix) for prefix in hidden):
            continue
        compiled = getattr(module, "_compiled_call_impl", None) is not None
        if compiled or type(module).__name__ == "OptimizedModule" or isinstance(module, torch.jit.ScriptModule):
            hidden.append(name + "." if name else "")
            continue
        if kind_of(module) is not None:
            yield name, module


def tensor_of(value: Any) -> Tensor | None:
    """The tensor that a call takes in or gives: itself, the first of a tuple (LSTM, attention), the data of a packed sequence."""
    if isinstance(value, rnn.PackedSequence):
        return value.data
    if isinstance(value, (tuple, list)):
        return tensor_of(value[0]) if value else None
    return value if isinstance(value, Tensor) else None


class Identity(NamedTuple):
    """What a tensor is recognised by within one pass, also through a reshape: its memory, how often it was written to, its size."""

    memory: int
    version: int
    elements: int
    shape: tuple[int, ...]

    @property
    def key(self) -> tuple[int, int, int]:
        return self[:3]


def identity_of(tensor: Tensor | None) -> Identity | None:
    """None for what is not a plain tensor of floats in memory."""
    if tensor is None or type(tensor) not in (Tensor, nn.Parameter) or not tensor.is_floating_point():
        return None
    try:
        version = 0 if tensor.is_inference() else tensor._version
        return Identity(tensor.data_ptr(), version, tensor.numel(), tuple(tensor.shape))
    except RuntimeError:  # functorch wrappers and the like have no memory of their own
        return None


@dataclass
class Call:
    """One call of a watchable module in the traced pass."""

    name: str
    module: nn.Module
    number: int  # of this module's calls in the pass
    kind: str
    taken: Identity | None
    given: Identity | None
    data: bool  # what it takes in depends on no parameter

    @property
    def activates(self) -> bool:
        """It is an activation function: as many values out as in, or a gate that halves them."""
        if self.kind != ACTIVATION or self.taken is None or self.given is None:
            return False
        return self.taken.shape == self.given.shape or isinstance(self.module, nn.GLU)


@dataclass
class Site:
    """One place that is read.

    Attributes:
        layer: Qualified name of the parametrised layer whose values they are.
        chain: Names of the normalisation and activation modules between that layer and the place.
        module, number: The call at which it is read.
        reads_input: What the call takes in, not what it gives.
        axis: Axis of the units, negative from the end.
        memory: Address it had in the traced pass.
        is_output: Nothing parametrised follows, or the model returns it.
    """

    layer: str
    chain: list[str]
    module: nn.Module
    number: int
    reads_input: bool
    axis: int
    memory: int
    is_output: bool = False


@dataclass
class _Group:
    layer: str
    axis: int
    newest: Identity | None  # what its last call gave
    chain: list[str] = field(default_factory=list)
    main: Site | None = None
    has_activation: bool = False
    more: list[Site] = field(default_factory=list)

    def sites(self) -> list[Site]:
        return ([self.main] if self.main is not None else []) + self.more


def _axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    if isinstance(module, conv._ConvNd):
        return len(shape) - len(module.kernel_size) - 1
    if isinstance(module, _CHANNELS_SECOND) and len(shape) > 1:
        return 1
    if isinstance(module, (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RNNBase)):
        return -1
    return 1 if len(shape) >= 4 else -1


def _inherited(group: _Group, shape: tuple[int, ...]) -> int:
    before = group.newest.shape if group.newest is not None else ()
    if len(before) == len(shape) and before[group.axis] == shape[group.axis]:
        return group.axis
    return 1 if len(shape) >= 4 else -1


def plan(calls: list[Call], returned: set[int]) -> list[Site]:
    """The sites of a pass, in order of execution. `returned` holds the memory addresses of what the model returned."""
    groups: list[_Group] = []
    group: _Group | None = None
    seen: set[tuple[int, int, int]] = set()
    written: set[int] = set()
    for call in calls:
        taken, given = call.taken, call.given
        # In place: what it took is seen as it left it.
        known = taken is None or taken.key in seen or (taken == given and taken.memory in written)
        if group is not None and taken is not None and not (known or call.data or call.activates):
            _foreign_input(group, call, taken)
        if call.kind == LAYER or (call.kind == NORM and group is None):
            group = _Group(call.name, _axis(call.module, given.shape) if given is not None else -1, given)
            groups.append(group)
            if given is not None:
                group.main = Site(call.name, [], call.module, call.number, False, group.axis, given.memory)
        elif group is not None and given is not None:
            _follow(group, call, given)
        for identity in (taken, given):
            if identity is not None:
                seen.add(identity.key)
                written.add(identity.memory)
    for g in groups:
        for site in g.sites():
            site.is_output = g is groups[-1] or site.memory in returned
    return [site for g in groups for site in g.sites() if site.number < CALLS_MAX]


def _foreign_input(group: _Group, call: Call, taken: Identity) -> None:
    """What `call` takes in was made by no module: by a function after the group, or in place."""
    if call.kind == NORM and not isinstance(call.module, batchnorm._NormBase):
        return  # a sum of the residual stream: no units of its own to watch
    axis = _inherited(group, taken.shape)
    group.more.append(Site(group.layer, group.chain[:], call.module, call.number, True, axis, taken.memory))
    group.axis, group.newest = axis, taken


def _follow(group: _Group, call: Call, given: Identity) -> None:
    """A normalisation, activation or other module after the group's layer."""
    follows = call.taken is not None and group.newest is not None and call.taken.key == group.newest.key
    if call.activates:
        axis = _inherited(group, given.shape)
    elif call.kind == NORM and follows:
        axis = _axis(call.module, given.shape)
    else:
        if follows or call.taken == given:
            group.axis, group.newest = _inherited(group, given.shape), given
        return
    group.chain.append(call.name)
    site = Site(group.layer, group.chain[:], call.module, call.number, False, axis, given.memory)
    if not group.has_activation:
        group.main = site
    elif call.activates:
        group.more.append(site)
    group.has_activation = group.has_activation or call.activates
    group.axis, group.newest = axis, given
