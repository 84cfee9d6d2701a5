"""Data for the recorded runs: synthesised here, taken from scikit-learn's bundled sets, or read from Python's own sources.

Every function takes a `numpy.random.Generator` and returns plain arrays; nothing is downloaded.
"""

from __future__ import annotations

import ast
import functools
import os
import re

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
Rng = np.random.Generator


@functools.cache
def _docstrings() -> str:
    """All docstrings of the top-level standard library modules, in file order."""
    folder = os.path.dirname(os.__file__)
    parts: list[str] = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".py"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8", errors="ignore") as f:
            try:
                tree = ast.parse(f.read())
            except (SyntaxError, ValueError):
                continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                doc = ast.get_docstring(node)
                if doc:
                    parts.append(doc)
    return "\n".join(parts)


@functools.cache
def text_chars(part: int, parts: int = 4) -> tuple[Ints, int]:
    """Lower-case characters of one part of the docstrings as token ids, and the vocabulary size."""
    text = re.sub(r"\s+", " ", _docstrings().lower())
    text = re.sub(r"[^a-z0-9 .,()'_=-]", "", text)
    alphabet = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789 .,()'_=-"))
    index = {c: i for i, c in enumerate(alphabet)}
    n = len(text) // parts
    return np.array([index[c] for c in text[part * n : (part + 1) * n]], dtype=np.int64), len(alphabet)


@functools.cache
def text_words(vocab: int) -> tuple[Ints, int]:
    """Words of the docstrings; the `vocab - 1` most frequent ones keep an id, the rest share id 0."""
    words = re.findall(r"[a-z]+", _docstrings().lower())
    kinds, counts = np.unique(words, return_counts=True)
    top = kinds[np.argsort(-counts, kind="stable")[: vocab - 1]]
    index = {w: i + 1 for i, w in enumerate(top)}
    return np.array([index.get(w, 0) for w in words], dtype=np.int64), vocab


def markov_tokens(rng: Rng, vocab: int, length: int, sharp: float) -> Ints:
    """A sample of a random first-order Markov chain whose rows are softmax of `sharp` times normals."""
    rows = np.exp(sharp * rng.normal(size=(vocab, vocab)))
    cumulative = np.cumsum(rows / rows.sum(1, keepdims=True), axis=1)
    out, state, draws = np.empty(length, dtype=np.int64), 0, rng.random(length)
    for i in range(length):
        state = min(int(np.searchsorted(cumulative[state], draws[i])), vocab - 1)
        out[i] = state
    return out


def shapes(rng: Rng, n: int, side: int, noise: float) -> tuple[Array, Ints]:
    """Grey images of six shapes (bar, stripe, cross, ring, disc, corner) at random places; [n, 1, side, side]."""
    x = rng.normal(0, noise, size=(n, 1, side, side)).astype(np.float32)
    y = rng.integers(0, 6, n)
    rows, cols = np.mgrid[0:side, 0:side]
    for i in range(n):
        cy, cx, r = rng.integers(3, side - 3), rng.integers(3, side - 3), rng.uniform(1.6, 3.2)
        dist = np.hypot(rows - cy, cols - cx)
        near = dist < r + 1.2
        masks = (
            np.abs(rows - cy) < 0.6,
            np.abs(cols - cx) < 0.6,
            ((rows == cy) | (cols == cx)) & near,
            np.abs(dist - r) < 0.6,
            dist < r,
            ((rows == cy) & (cols >= cx) | (cols == cx) & (rows >= cy)) & near,
        )
        x[i, 0][masks[y[i]]] += rng.uniform(0.8, 1.4)
    return x, y.astype(np.int64)


def waves(rng: Rng, n: int, length: int, noise: float) -> tuple[Array, Ints]:
    """One-channel signals of five kinds: sine, square, saw, chirp, bursts; [n, length]."""
    y = rng.integers(0, 5, n)
    t = np.linspace(0, 1, length)[None, :]
    f, p = rng.uniform(2, 5, (n, 1)), rng.uniform(0, 1, (n, 1))
    phase = f * t + p
    kinds = np.stack(
        [
            np.sin(2 * np.pi * phase),
            np.sign(np.sin(2 * np.pi * phase)),
            2 * (phase % 1) - 1,
            np.sin(2 * np.pi * (f * t * t * 2 + p)),
            (np.sin(2 * np.pi * phase) > 0.9) * 2.0,
        ]
    )
    x = kinds[y, np.arange(n)] + rng.normal(0, noise, (n, length))
    return x.astype(np.float32), y.astype(np.int64)


def block_graph(rng: Rng, nodes: int, blocks: int, features: int) -> tuple[Array, Array, Ints]:
    """A stochastic block model: normalised adjacency with self loops, noisy features and block of each node."""
    y = rng.integers(0, blocks, nodes)
    same = y[:, None] == y[None, :]
    upper = np.triu(rng.random((nodes, nodes)) < np.where(same, 0.10, 0.02), 1)
    a = (upper | upper.T).astype(np.float32) + np.eye(nodes, dtype=np.float32)
    d = 1 / np.sqrt(a.sum(1))
    centres = rng.normal(0, 0.6, (blocks, features))
    x = centres[y] + rng.normal(0, 1.0, (nodes, features))
    return (a * d[:, None] * d[None, :]).astype(np.float32), x.astype(np.float32), y.astype(np.int64)


def small_graphs(rng: Rng, n: int, nodes: int) -> tuple[Array, Ints]:
    """Adjacency matrices of four kinds: ring with chords, random tree, star-like, random; [n, nodes, nodes]."""
    a, y = np.zeros((n, nodes, nodes), dtype=np.float32), rng.integers(0, 4, n)
    for i in range(n):
        if y[i] == 0:
            pairs = [(j, (j + 1) % nodes) for j in range(nodes)]
            pairs += [tuple(rng.integers(0, nodes, 2)) for _ in range(2)]
        elif y[i] == 1:
            pairs = [(j, int(rng.integers(0, j))) for j in range(1, nodes)]
        elif y[i] == 2:
            pairs = [(j, int(rng.integers(0, 2))) for j in range(2, nodes)]
        else:
            pairs = [tuple(rng.integers(0, nodes, 2)) for _ in range(nodes)]
        for p, q in pairs:
            if p != q:
                a[i, p, q] = a[i, q, p] = 1
        order = rng.permutation(nodes)
        a[i] = a[i][order][:, order]
    return a, y.astype(np.int64)


def rewrite(rng: Rng, n: int, length: int, vocab: int, kind: str) -> tuple[Ints, Ints]:
    """Sequence to sequence pairs: the target is the source copied, reversed or sorted; [n, length] each."""
    x = rng.integers(1, vocab, (n, length))
    y = {"copy": x, "reverse": x[:, ::-1], "sort": np.sort(x, axis=1)}[kind]
    return x.astype(np.int64), np.ascontiguousarray(y).astype(np.int64)


def brackets(rng: Rng, n: int, length: int) -> tuple[Ints, Ints]:
    """Bracket strings of two kinds of bracket and whether they are balanced; [n, length]."""
    x, y = np.zeros((n, length), dtype=np.int64), np.zeros(n, dtype=np.int64)
    for i in range(n):
        stack: list[int] = []
        for j in range(length):
            room = length - j > len(stack)
            if room and (not stack or rng.random() < 0.5):
                stack.append(int(rng.integers(0, 2)))
                x[i, j] = stack[-1]
            else:
                x[i, j] = 2 + stack.pop()
        y[i] = 1
        if rng.random() < 0.5:
            for j in rng.integers(0, length, 2):
                x[i, j] = (x[i, j] + rng.integers(1, 4)) % 4
            y[i] = int(_balanced(x[i]))
    return x, y


def _balanced(row: Ints) -> bool:
    stack: list[int] = []
    for c in row:
        if c < 2:
            stack.append(int(c))
        elif not stack or stack.pop() != c - 2:
            return False
    return not stack


def sums_text(rng: Rng, n: int, digits: int) -> tuple[Ints, int]:
    """Lines such as `27+85=112` with the answer written backwards, padded; ids of [n, length], vocabulary 13."""
    high, length = 10**digits, 3 * digits + 3
    rows = np.full((n, length + 1), 12, dtype=np.int64)
    for i in range(n):
        a, b = rng.integers(0, high, 2)
        line = [int(c) for c in str(a).zfill(digits)] + [10] + [int(c) for c in str(b).zfill(digits)] + [11]
        line += [int(c) for c in str(a + b)[::-1]]
        rows[i, : len(line)] = line
    return rows, 13


def tabular(rng: Rng, name: str) -> tuple[Array, Ints]:
    """A bundled scikit-learn classification set, standardised and shuffled."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    order = rng.permutation(len(x))
    return x[order].astype(np.float32), y[order].astype(np.int64)


def clusters(rng: Rng, n: int, dim: int, classes: int, spread: float) -> tuple[Array, Ints]:
    """Gaussian clusters, three per class, so that classes are not linearly separable."""
    centres = rng.normal(0, 1.5, (classes * 3, dim))
    c = rng.integers(0, classes * 3, n)
    return (centres[c] + rng.normal(0, spread, (n, dim))).astype(np.float32), (c % classes).astype(np.int64)


def planar(rng: Rng, n: int, kind: str) -> Array:
    """Points in the plane: `moons`, `ring8` (eight Gaussians) or `spiral`, roughly unit scale."""
    if kind == "ring8":
        a = rng.integers(0, 8, n) * np.pi / 4
        p = 2 * np.stack([np.cos(a), np.sin(a)], 1) + rng.normal(0, 0.08, (n, 2))
    elif kind == "moons":
        t, up = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
        p = np.stack([np.where(up, np.cos(t), 1 - np.cos(t)), np.where(up, np.sin(t), 0.5 - np.sin(t))], 1)
        p = (p - [0.5, 0.25]) * 1.5 + rng.normal(0, 0.08, (n, 2))
    else:
        t = np.sqrt(rng.uniform(0, 1, n)) * 3 * np.pi
        p = np.stack([t * np.cos(t), t * np.sin(t)], 1) / 5 + rng.normal(0, 0.05, (n, 2))
    return p.astype(np.float32)
