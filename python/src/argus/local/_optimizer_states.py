"""What optimizers keep for each parameter, as laws that the native judge can check: by the names of the states and the class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

#: argus::probe::StateKind.
MEAN, SQUARE, MAXIMUM, DECAYING, NON_NEGATIVE, OPAQUE = range(6)

#: (keep, gain) of each state in the update at hand.
Coefficients = tuple[tuple[float, float], ...]
_NONE = (0.0, 0.0)
#: Steps that Adafactor's decay is taken from before now: it falls as the run goes on, and a bound must not overstate it.
_DECAY_LAG = 64


@dataclass(frozen=True, slots=True)
class Family:
    """One way of keeping state.

    Attributes:
        name: For people.
        states: (key in the state, kind) of up to three tensors, the mean of gradients first where there is one.
        coefficients: From a group's settings and the count of updates.
        adaptive: Updates do not shrink with the gradient.
    """

    name: str
    states: tuple[tuple[str, int], ...]
    coefficients: Callable[[Mapping[str, Any], float], Coefficients]
    adaptive: bool = True


def _adam(group: Mapping[str, Any], count: float) -> Coefficients:
    first, second = group["betas"]
    return ((float(first), 1.0 - float(first)), (float(second), 1.0 - float(second)), _NONE)


def _adamax(group: Mapping[str, Any], count: float) -> Coefficients:
    first, second = group["betas"]
    return ((float(first), 1.0 - float(first)), (float(second), 1.0))


def _momentum(group: Mapping[str, Any], count: float) -> Coefficients:
    return ((float(group["momentum"]), 1.0 - float(group.get("dampening", 0.0))),)


def _rmsprop(group: Mapping[str, Any], count: float) -> Coefficients:
    alpha = float(group["alpha"])
    return ((alpha, 1.0 - alpha), _NONE)


def _rmsprop_centred(group: Mapping[str, Any], count: float) -> Coefficients:
    alpha = float(group["alpha"])
    return ((alpha, 1.0 - alpha), (alpha, 1.0 - alpha), _NONE)


def _adadelta(group: Mapping[str, Any], count: float) -> Coefficients:
    rho = float(group["rho"])
    return ((rho, 1.0 - rho), _NONE)


def _adagrad(group: Mapping[str, Any], count: float) -> Coefficients:
    return ((1.0, 1.0),)


def _lion(group: Mapping[str, Any], count: float) -> Coefficients:
    second = float(group["betas"][1])
    return ((second, 1.0 - second),)


def _adafactor(states: int) -> Callable[[Mapping[str, Any], float], Coefficients]:
    def coefficients(group: Mapping[str, Any], count: float) -> Coefficients:
        power = float(group.get("beta2_decay", group.get("decay_rate", -0.8)))
        keep = 1.0 - max(1.0, count - _DECAY_LAG) ** power
        return ((max(0.0, keep), 0.0),) * states

    return coefficients


def _none(states: int) -> Callable[[Mapping[str, Any], float], Coefficients]:
    return lambda group, count: (_NONE,) * states


_ADAM = Family("Adam", (("exp_avg", MEAN), ("exp_avg_sq", SQUARE)), lambda g, n: _adam(g, n)[:2])
_AMSGRAD = Family(
    "Adam with amsgrad", (("exp_avg", MEAN), ("exp_avg_sq", SQUARE), ("max_exp_avg_sq", NON_NEGATIVE)), _adam
)
_ADAMAX = Family("Adamax", (("exp_avg", MEAN), ("exp_inf", MAXIMUM)), _adamax)
_SGD = Family("SGD with momentum", (("momentum_buffer", MEAN),), _momentum, adaptive=False)
_RMSPROP = Family("RMSprop", (("square_avg", SQUARE), ("momentum_buffer", OPAQUE)), _rmsprop)
_RMSPROP_CENTRED = Family(
    "RMSprop, centred", (("grad_avg", MEAN), ("square_avg", SQUARE), ("momentum_buffer", OPAQUE)), _rmsprop_centred
)
_ADADELTA = Family("Adadelta", (("square_avg", SQUARE), ("acc_delta", NON_NEGATIVE)), _adadelta)
_ADAGRAD = Family("Adagrad", (("sum", SQUARE),), _adagrad)
_LION = Family("Lion", (("exp_avg", MEAN),), _lion)
_ADAFACTOR = Family("Adafactor", (("row_var", DECAYING), ("col_var", DECAYING)), _adafactor(2))
_ADAFACTOR_FLAT = Family("Adafactor", (("variance", DECAYING),), _adafactor(1))
_ADAFACTOR_HF = Family(
    "Adafactor", (("exp_avg_sq_row", DECAYING), ("exp_avg_sq_col", DECAYING), ("exp_avg", OPAQUE)), _adafactor(3)
)
_ADAFACTOR_HF_FLAT = Family("Adafactor", (("exp_avg_sq", DECAYING), ("exp_avg", OPAQUE)), _adafactor(2))
#: Without a state at all: weights, gradients and precision are still watched.
STATELESS = Family("without state", (), _none(0), adaptive=False)


def family_of(optimizer: Optimizer, group: Mapping[str, Any], state: Mapping[str, Any]) -> Family | None:
    """The family of a parameter's state; None when it is none that is known.

    Args:
        state: `optimizer.state[parameter]`, after its first update.
    """
    keys = {key for key, value in state.items() if isinstance(value, Tensor) and value.dim() > 0 or key == "step"}
    keys |= {key for key in ("exp_avg", "exp_avg_sq", "momentum_buffer", "sum") if isinstance(state.get(key), Tensor)}
    name = type(optimizer).__name__.lower()
    if "row_var" in keys:
        return _ADAFACTOR
    if "variance" in keys:
        return _ADAFACTOR_FLAT
    if "exp_avg_sq_row" in keys:
        return _ADAFACTOR_HF
    if "exp_avg_sq" in keys and ("adafactor" in name or "betas" not in group):
        return _ADAFACTOR_HF_FLAT
    if "betas" in group:
        if {"exp_avg", "exp_avg_sq"} <= keys:
            return _AMSGRAD if "max_exp_avg_sq" in keys else _ADAM
        if {"exp_avg", "exp_inf"} <= keys:
            return _ADAMAX
        if "exp_avg" in keys and "lion" in name:
            return _LION
        return None
    if "square_avg" in keys:
        if "acc_delta" in keys:
            return _ADADELTA if "rho" in group else None
        if "alpha" in group:
            return _RMSPROP_CENTRED if "grad_avg" in keys else _RMSPROP
        return None
    if "momentum_buffer" in keys and "momentum" in group:
        return _SGD
    if "sum" in keys and "lr_decay" in group:
        return _ADAGRAD
    return STATELESS if not keys - {"step"} else None


def gradient_sign(group: Mapping[str, Any]) -> float:
    """-1 when the optimizer ascends."""
    return -1.0 if group.get("maximize") else 1.0


def l2_decay(optimizer: Optimizer, group: Mapping[str, Any]) -> float:
    """What is added to the gradient before the state sees it, times the weight. Optimizers of others are taken to decouple."""
    if not type(optimizer).__module__.startswith("torch.optim"):
        return 0.0
    name = type(optimizer).__name__
    if name in ("AdamW", "Adafactor", "SparseAdam") or group.get("decoupled_weight_decay"):
        return 0.0
    return float(group.get("weight_decay") or 0.0)


def learning_rate(group: Mapping[str, Any]) -> float:
    """Of a group; 0 when it cannot be read without waiting for a device."""
    rate = group.get("lr", 0.0)
    if rate is None or (isinstance(rate, Tensor) and rate.device.type != "cpu"):
        return 0.0
    return float(rate)
