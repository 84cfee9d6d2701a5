"""What the local detector costs the training thread, on real training steps.

    python bench/local_overhead.py [--rounds N] [--case NAME ...] [--memory]

For each case two copies of one model are trained in turn, one watched and one not, a block of steps each, the order swapped from
block to block. Two figures: the processor time of every entry of the detector over that of the step (its own clock, set to thread
time, with what torch spends on calling hooks added as a constant); and the ratio of watched to plain blocks in processor time, as
mean of the logarithm with a 95 % interval. One thread, so that a busy machine does not inflate the times. The first 150 steps, in
which the governor settles, are not counted (`--settle`).

`--memory` runs each case in processes of its own, with and without, and prints the peak resident memory.

It would measure nothing if the detector had given up: errors, checks judged and the steps read are looked at before a figure is
printed.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import argus.local._detector
import argus.local._hooks
import argus.local._passes
from argus.local import LocalDetector
from argus.local._governor import FIXED_S, PASSED_S

Loss = Callable[[nn.Module], torch.Tensor]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.act = nn.GELU()
        self.heads = max(1, width // 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.attention(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(self.act(self.up(self.norm2(x))))


class Language(nn.Module):
    """A decoder shaped as GPT-2, with tied embeddings."""

    def __init__(self, width: int, layers: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.tokens(x) + self.places.weight[: x.shape[1]])))


def language(width: int, layers: int, vocabulary: int, batch: int, length: int) -> tuple[nn.Module, Loss]:
    x = torch.randint(vocabulary, (batch, length + 1))
    return Language(width, layers, vocabulary, length), lambda model: functional.cross_entropy(
        model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten()
    )


class Basic(nn.Module):
    def __init__(self, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.short = nn.Sequential()
        if stride != 1 or width != out:
            self.short = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out += self.short(x)
        return self.relu(out)


def residual(width: int, blocks: int, batch: int, size: int) -> tuple[nn.Module, Loss]:
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    ]  # fmt: skip
    before = width
    for stage in range(4):
        for i in range(blocks):
            layers.append(Basic(before, width << stage, 2 if i == 0 and stage > 0 else 1))
            before = width << stage
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10))
    x, y = torch.randn(batch, 3, size, size), torch.randint(10, (batch,))
    return model, lambda m: functional.cross_entropy(m(x), y)


def perceptron() -> tuple[nn.Module, Loss]:
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    x, y = torch.randn(64, 64), torch.randint(10, (64,))
    return model, lambda m: functional.cross_entropy(m(x), y)


#: Name: (what it is, how it is made, steps a block).
CASES: dict[str, tuple[str, Callable[[], tuple[nn.Module, Loss]], int]] = {
    "1ms": ("MLP 64-128-128-10, 64 samples", perceptron, 100),
    "20ms": ("transformer 2 x 64, 12 x 48 tokens", lambda: language(64, 2, 103, 12, 48), 25),
    "resnet18": ("ResNet-18 shape, 32 x 3 x 64 x 64", lambda: residual(64, 2, 32, 64), 2),
    "gpt2": ("GPT-2 small shape, 4 x 256 tokens", lambda: language(768, 12, 50257, 4, 256), 1),
}


class Trained:
    """One copy of a case's model, watched or not."""

    def __init__(self, name: str, watched: bool) -> None:
        torch.manual_seed(0)
        self.model, self.loss = CASES[name][1]()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.detector = LocalDetector(self.model, self.optimizer, quiet=True) if watched else None
        self.costs: list[tuple[float, int]] = []  # seconds of so many steps
        if self.detector is not None:
            governor = self.detector._governor
            step = governor.step

            def noting(cost_s: float, took_s: float, **how: Any) -> None:
                self.costs.append((cost_s + FIXED_S + (how["steps"] - 1) * PASSED_S, how["steps"]))
                step(cost_s, took_s, **how)

            governor.step = noting  # type: ignore[method-assign]

    def run(self, steps: int) -> float:
        """Seconds of processor time."""
        started = time.thread_time()
        for _ in range(steps):
            self.optimizer.zero_grad()
            self.loss(self.model).backward()
            self.optimizer.step()
        return time.thread_time() - started


def measure(name: str, rounds: int, settle: int) -> str:
    title, _, steps = CASES[name]
    plain, watched = Trained(name, False), Trained(name, True)
    detector = watched.detector
    assert detector is not None
    plain.run(min(settle, 3))
    watched.run(settle)
    watched.costs.clear()
    logs, plain_s = [], 0.0
    for i in range(rounds):
        first, second = (plain, watched) if i % 2 else (watched, plain)
        a, b = first.run(steps), second.run(steps)
        took, without = (b, a) if i % 2 else (a, b)
        logs.append(math.log(took / without))
        plain_s += without
    report = detector.report()
    assert report.errors == 0 and report.step == settle + rounds * steps, report.summary()
    assert any(check.judged > 0 for check in report.checks.values()) or report.step < 300, report.summary()
    own_s = sum(cost for cost, _ in watched.costs) / sum(steps for _, steps in watched.costs)
    step_s = plain_s / (rounds * steps)
    mean = statistics.fmean(logs)
    half = 1.96 * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan
    return (
        f"| {title} | {step_s * 1e3:.2f} | {own_s * 1e6:.0f} | {100 * own_s / step_s:.2f} | {100 * math.expm1(mean):+.2f} "
        f"({100 * math.expm1(mean - half):+.2f} to {100 * math.expm1(mean + half):+.2f}) | {report.visited_within} | "
        f"{report.memory_bytes / max(1, report.layers) / 1024:.1f} |"
    )


def peak_mib(name: str, watched: bool, steps: int) -> float:
    """Peak resident memory of a process that trains the case for some steps."""
    code = f"import local_overhead as b; b.Trained({name!r}, {watched}).run({steps}); print(b.peak())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sys.path[0] or None
    )
    return float(done.stdout)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def on_thread_time() -> None:
    """The detector's own clock becomes processor time of the thread."""
    for module in (argus.local._detector, argus.local._hooks, argus.local._passes):
        module.perf_counter = time.thread_time  # type: ignore[attr-defined]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--settle", type=int, default=150)
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES)[:3])
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print("| case | peak without, MiB | with, MiB |\n|--|--|--|")
        for name in options.case:
            without, within = peak_mib(name, False, 30), peak_mib(name, True, 30)
            print(f"| {CASES[name][0]} | {without:.0f} | {within:.0f} |", flush=True)
        return
    on_thread_time()
    print(f"torch {torch.__version__}, one thread\n")
    print(
        "| case | step, ms | detector, us a step | share, % | watched/plain, % (95 %) | visited within | KiB a layer |"
    )
    print("|--|--|--|--|--|--|--|")
    for name in options.case:
        print(measure(name, options.rounds, options.settle), flush=True)


if __name__ == "__main__":
    main()
