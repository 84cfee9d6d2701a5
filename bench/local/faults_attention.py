"""Faults of attention: it falls on one key, or on all alike."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .faults import ADAM, Fault, evaluating, fault
from .models import Attention, Task
from .nets import causal_bias

ATTENTION = "attention_collapse"
CONSEQUENCES = (
    "weight_norms",
    "gradient_flow",
    "representation_collapse",
    "dead_neurons",
    "precision_erosion",
    "activation_saturation",
)


def entropy(task: Task, place: Attention) -> Tensor:
    """Entropy over keys of each head, over the logarithm of the number of keys a query may see; from the module's input, by hand."""
    caught: dict[str, Any] = {}
    module = task.model.get_submodule(place.module)
    handle = module.register_forward_pre_hook(
        lambda _m, args, kwargs: caught.update(args=args, kwargs=kwargs), with_kwargs=True
    )
    try:
        with evaluating(task) as (x, _):
            task.model(x)
    finally:
        handle.remove()
    asking, asked = caught["args"][0].detach(), caught["args"][min(1, len(caught["args"]) - 1)].detach()
    q, k = (project(task, place, which, x) for which, x in ((0, asking), (1, asked)))
    n, t, d = q.shape
    q, k = (h.view(n, t, place.heads, -1).transpose(1, 2) for h in (q, k))
    scores = q @ k.transpose(-1, -2) * getattr(module, "scale", (d // place.heads) ** -0.5)
    bias = caught["kwargs"].get("attn_mask")
    bias = getattr(module, "bias", None) if bias is None else bias
    if bias is None and place.causal:
        bias = causal_bias(t)
    if bias is not None:
        scores = scores + bias
    weights = scores.softmax(-1)
    allowed = torch.isfinite(scores).sum(-1).double()
    per_query = torch.special.entr(weights.double()).sum(-1) / allowed.log().clamp_min(1e-9)
    return (
        per_query[allowed > 1].view(n, place.heads, -1).mean((0, 2))
        if bool((allowed > 1).all())
        else masked_mean(per_query, allowed > 1)
    )


def masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    return (value * mask).sum((0, 2)) / mask.sum((0, 2))


def project(task: Task, place: Attention, which: int, x: Tensor) -> Tensor:
    """Queries (0) or keys (1)."""
    with torch.no_grad():
        owner = task.model.get_submodule(place.query if which == 0 else place.key)
        weight, bias = (
            (owner.in_proj_weight, owner.in_proj_bias)
            if isinstance(owner, nn.MultiheadAttention)
            else (owner.weight, owner.bias)
        )
        if place.fused:
            weight, bias = weight.chunk(3)[which], bias.chunk(3)[which]
        return nn.functional.linear(x, weight, bias)


class Collapse(Fault):
    """The entropy of an attention leaves what it was by a sixth of its range."""

    @classmethod
    def fits(cls, task: type[Task]) -> bool:
        return bool(task.attentions)

    def draw(self) -> None:
        self.place = self.task.attentions[int(self.rng.integers(len(self.task.attentions)))]
        self.struck = self.place.module
        self.truth = {self.place.module} | self.task.under((self.place.module,))
        self.prepare()

    def prepare(self) -> None:
        pass

    def measure(self) -> Tensor:
        return entropy(self.task, self.place)

    def real(self, before: Tensor, after: Tensor) -> bool:
        return bool((after - before).abs().max() > 1 / 6)

    def projections(self, *which: int) -> list[Tensor]:
        """Views of the weights and biases that make queries (0) and keys (1)."""
        views = []
        for i in which:
            owner = self.module(self.place.query if i == 0 else self.place.key)
            own = (
                (owner.in_proj_weight, owner.in_proj_bias)
                if isinstance(owner, nn.MultiheadAttention)
                else (owner.weight, owner.bias)
            )
            views += [p.data.chunk(3)[i] if self.place.fused else p.data for p in own]
        return views


@fault(ATTENTION, *CONSEQUENCES)
class ScoresScaled(Collapse):
    """One update leaves query and key weights eight times too large."""

    def inside(self) -> None:
        if self.age == 0:
            for p in self.projections(0, 1):
                p *= 8


@fault(ATTENTION, *CONSEQUENCES)
class KeysZeroed(Collapse):
    """The keys are zeroed at each update, so that all are attended alike."""

    def inside(self) -> None:
        for p in self.projections(1):
            p.zero_()


@fault(ATTENTION, *CONSEQUENCES)
class Temperature(Collapse):
    """The queries come out thirty times too large: a scale forgotten."""

    def strike(self) -> None:
        module = self.module(self.place.module)
        if hasattr(module, "scale"):
            module.scale *= 30
        else:
            hook = module.register_forward_pre_hook(lambda _m, args: (args[0] * 30, *args[1:]))
            self.handles.append(hook)


@fault(ATTENTION, *CONSEQUENCES)
class BiasBug(Collapse):
    """An additive mask that sends everything to the first key."""

    def strike(self) -> None:
        name = self.place.module
        holder = self.module(name)
        while name and not hasattr(holder, "bias"):
            name = name.rpartition(".")[0]
            holder = self.module(name)
        if holder is self.model:  # one mask for all layers
            self.truth = {n for a in self.task.attentions for n in {a.module} | self.task.under((a.module,))}
        length = self.task.attended
        bias = causal_bias(length) if self.place.causal else torch.zeros(length, length)
        bias[:, 0] += 30
        holder.bias = bias


@fault(ATTENTION, *CONSEQUENCES)
class ScoresSwell(Collapse):
    """Query and key weights grow by a thirtieth at each update."""

    def inside(self) -> None:
        if self.age < 100:
            for p in self.projections(0, 1):
                p *= 1.03


@fault(ATTENTION, *CONSEQUENCES, optimizers=ADAM)
class ProjectionRate(Collapse):
    """The layer that makes queries and keys learns sixty times too fast from now on."""

    by_layer = True

    def strike(self) -> None:
        for name in {self.place.query, self.place.key}:
            self.group(name)["lr"] *= 60
