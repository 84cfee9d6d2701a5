"""What watching costs the training thread, measured in one process, interleaved.

    python bench/python_watch_bench.py [--rounds N] [--threads N]

Two figures. The call alone: `watch.step` with loss and gradient norm given, and with per-sample arrays beside them. And the
share of a real training step when the watch measures everything itself: the same model is trained by three loops in turn (plain,
watched, plain again), a few steps each, many rounds; the ratio is the median over rounds of watched to the mean of the two plain
ones around it. The second plain loop against the first shows how noisy the machine is.

With one thread all times are processor time of that thread, so that a busy machine does not inflate them; with more, wall time.
Of the plain step and of the watch's own work (the two hooks and the call, timed where they run) the least of all repeats stands
in the table, for the same reason.

It would measure nothing if the watch had given up: `errors` and the recorded steps are checked before a figure is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

import argus


def clock() -> float:
    """Seconds: of this thread's processor time while torch has one thread, else of wall time."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def call_cost(samples: int, calls: int = 20_000) -> float:
    """Microseconds a call of `watch.step` takes with the numbers given: the median over 20 blocks."""
    watch = argus.watch(record=False, quiet=True)
    values = [1.0 + 0.01 * i for i in range(samples)]
    extra = {"losses": values, "confidences": values, "correct": [1.0] * samples} if samples else {}
    blocks = []
    for _ in range(20):
        started = clock()
        for i in range(calls // 20):
            watch.step(2.0 + 0.001 * (i * 7919 % 97), grad_norm=1.0 + 0.001 * (i * 31 % 89), **extra)
        blocks.append((clock() - started) / (calls // 20) * 1e6)
    assert watch.errors == watch.rejected == 0 and len(watch.history) == calls
    return statistics.median(blocks)


class Language(nn.Module):
    """A GPT-2-like language model of the given width and depth."""

    def __init__(self, width: int, layers: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        block = nn.TransformerEncoderLayer(width, max(2, width // 64), 4 * width, 0.0, "gelu", batch_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return self.head(self.blocks(self.tokens(x), mask=mask, is_causal=True))


def language(width: int, layers: int, vocabulary: int, batch: int, length: int) -> Callable[[], Callable[[], None]]:
    def build() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
        torch.manual_seed(0)
        x = torch.randint(vocabulary, (batch, length + 1))

        def loss(model: nn.Module) -> torch.Tensor:
            return functional.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())

        return Language(width, layers, vocabulary), loss

    return build


def images() -> tuple[nn.Module, Callable[[nn.Module], torch.Tensor]]:
    """A ResNet-18-shaped convolutional network on 32 images of 64 by 64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU()]
    width = 64
    for out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for i in range(4):
            layers += [nn.Conv2d(width, out, 3, stride if i == 0 else 1, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            width = out
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    x, y = torch.randn(32, 3, 64, 64), torch.randint(10, (32,))
    return model, lambda m: functional.cross_entropy(m(x), y)


def share(build: Callable[[], tuple], rounds: int, steps: int) -> tuple[float, float, float, float]:
    """(plain step ms, watch's own ms a step, ratio watched/plain, ratio plain/plain)."""
    model, loss_of = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def loop(watch: argus.Watch | None) -> float:
        started = clock()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            if watch is not None:
                watch.step(loss)
        return (clock() - started) / steps * 1e3

    loop(None)
    plain, ratios, noise = [], [], []
    for _ in range(rounds):
        first = loop(None)
        with argus.watch(model, optimizer, record=False, quiet=True) as watch:
            watched = loop(watch)
            assert watch.errors == 0 and len(watch.history) == steps
        second = loop(None)
        plain += [first, second]
        ratios.append(watched / ((first + second) / 2))
        noise.append(second / first)
    step_ms = min(plain)
    return step_ms, own_cost(model, optimizer, loss_of), statistics.median(ratios), statistics.median(noise)


def own_cost(model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: Callable, repeats: int = 12) -> float:
    """Milliseconds a step spent in the two hooks and in `watch.step`: each timed where it runs, the least of the repeats."""
    spent = []
    with argus.watch(model, optimizer, record=False, quiet=True) as watch:
        gather = watch.gather
        assert gather is not None
        timed = [0.0]

        def timing(function: Callable) -> Callable:
            def wrapped(*args: object) -> object:
                started = clock()
                try:
                    return function(*args)
                finally:
                    timed[0] += clock() - started

            return wrapped

        gather._before = timing(gather._before)  # type: ignore[method-assign]
        gather._after = timing(gather._after)  # type: ignore[method-assign]
        step = timing(watch.step)
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        for _ in range(repeats):
            timed[0] = 0.0
            optimizer.step()
            step(loss)
            spent.append(timed[0] * 1e3)
        assert watch.errors == 0
    return min(spent[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="also the GPT-2-small-shaped model (4 x 256 tokens)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), engine {argus.ENGINE_VERSION}\n")
    print("| the call, numbers given | us a call |\n|--|--|")
    print(f"| loss, grad_norm | {call_cost(0):.1f} |")
    print(f"| and 32 samples x 3 arrays | {call_cost(32):.1f} |\n")
    print(
        "| everything measured | parameters | plain step, ms | hooks and call, ms | share, % | watched/plain | plain/plain |"
    )
    print("|--|--|--|--|--|--|--|")
    cases: list[tuple[str, Callable, int]] = [
        ("transformer 2 x 64, 12 x 48 tokens", language(64, 2, 103, 12, 48), 20),
        ("transformer 4 x 256, 4 x 128 tokens", language(256, 4, 2000, 4, 128), 5),
        ("ResNet-18 shape, 32 x 3 x 64 x 64", images, 2),
    ]
    if options.large:
        cases.append(("GPT-2 small shape, 4 x 256 tokens", language(768, 12, 50257, 4, 256), 1))
    for name, build, steps in cases:
        size = sum(p.numel() for p in build()[0].parameters())
        plain, own, ratio, noise = share(build, options.rounds, steps)
        print(
            f"| {name} | {size:,} | {plain:.1f} | {own:.2f} | {100 * own / plain:.2f} | {ratio:.3f} | {noise:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
