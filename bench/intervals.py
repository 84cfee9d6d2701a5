"""Exact intervals for a share, with the standard library alone."""

import math


def _tail(k: int, n: int, p: float) -> float:
    """P(X >= k) for X binomial(n, p)."""
    if k <= 0:
        return 1.0
    if p <= 0.0:
        return 0.0
    if p >= 1.0:
        return 1.0
    log_p, log_q = math.log(p), math.log1p(-p)
    terms = (
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * log_p + (n - i) * log_q)
        for i in range(k, n + 1)
    )
    return min(1.0, math.fsum(terms))


def _solve(k: int, n: int, target: float) -> float:
    """The p at which P(X >= k) is `target`: the tail rises with p."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(k, n, middle) < target else (low, middle)
    return (low + high) / 2


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the share k of n (Clopper & Pearson 1934).

    >>> [round(x, 4) for x in clopper_pearson(0, 92)]
    [0.0, 0.0393]
    >>> [round(x, 4) for x in clopper_pearson(5, 10)]
    [0.1871, 0.8129]
    """
    alpha = 1.0 - level
    low = 0.0 if k == 0 else _solve(k, n, alpha / 2)
    high = 1.0 if k == n else _solve(k + 1, n, 1.0 - alpha / 2)
    return low, high
