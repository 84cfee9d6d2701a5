"""How long a training stands still for a checkpoint, against the time to copy its state, in one process, interleaved.

    python bench/checkpoint_bench.py [--rounds N] [--large] [--device cpu]

Each round copies every tensor of model and optimizer into memory that is there already (the least a snapshot can cost), then stages a
checkpoint of the same state, the order swapped from round to round; the ratio is the median over the rounds. The first save is shown on its
own: its memory was reserved in the background. Each save is waited for before the next round and read back once at the end, so that
nothing is measured that saves nothing. docs/checkpoints.md says what the stall consists of.

Small models: what is not copying (state_dict(), the tree, the random numbers, a question to the writing thread about free space) is
some microseconds a tensor and shows in the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch
from torch import nn

from argus._checkpoints import Checkpoints


def transformer(width: int, layers: int, vocabulary: int) -> nn.Module:
    """A GPT-2-like model of the given width and depth, with a tied head."""
    block = nn.TransformerEncoderLayer(width, max(2, width // 64), 4 * width, 0.0, "gelu", batch_first=True)
    model = nn.ModuleDict(
        {
            "tokens": nn.Embedding(vocabulary, width),
            "blocks": nn.TransformerEncoder(block, layers, enable_nested_tensor=False),
            "head": nn.Linear(width, vocabulary, bias=False),
        }
    )
    model["head"].weight = model["tokens"].weight
    return model


def settle(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measure(width: int, layers: int, vocabulary: int, rounds: int, device: str) -> str:
    model = transformer(width, layers, vocabulary).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    optimizer.step()
    optimizer.zero_grad()
    states = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [*(p.detach() for p in model.parameters()), *states]
    pinned = device != "cpu"
    into = [torch.zeros(t.shape, dtype=t.dtype, pin_memory=pinned) for t in tensors]

    def copy() -> float:
        settle(device)
        began = time.perf_counter()
        for target, tensor in zip(into, tensors):
            target.copy_(tensor, non_blocking=True)
        settle(device)
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(folder, model=model, optimizers=[optimizer])
        for step in range(8):
            checkpoints.observe(step, calm=True)
        assert checkpoints.wait(600)

        def stage(step: int) -> float:
            settle(device)
            began = time.perf_counter()
            staged = checkpoints.stage(step, signal="SAVE", slot=step % 4, reason="bench", loss=None)
            took = time.perf_counter() - began
            assert staged and checkpoints.wait(600) and checkpoints.failed == 0
            return took

        copy()
        first = stage(0)
        copies, stalls = [], []
        for i in range(1, rounds + 1):
            if i % 2:
                copies.append(copy())
                stalls.append(stage(i))
            else:
                stalls.append(stage(i))
                copies.append(copy())
        assert checkpoints.restore(rounds) == rounds
        size = sum(t.numel() * t.element_size() for t in tensors)
        assert checkpoints.list()[-1].bytes >= size
        checkpoints.close()
    ratio = statistics.median(stall / plain for stall, plain in zip(stalls, copies))
    return (
        f"| {layers} x {width} | {size / 1e6:,.1f} | {len(tensors)} | {min(copies) * 1e3:.2f} | {min(stalls) * 1e3:.2f} "
        f"| {first * 1e3:.2f} | {ratio:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="also the GPT-2-small shape (1.5 GB of state)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.device}\n")
    print("| model | state, MB | tensors | copy alone, ms | stall, ms | first stall, ms | stall / copy (median) |")
    print("|--|--|--|--|--|--|--|")
    for width, layers, vocabulary in [
        (64, 2, 103),
        (256, 4, 2000),
        (512, 8, 8000),
        *([(768, 12, 50257)] if options.large else []),
    ]:
        print(measure(width, layers, vocabulary, options.rounds, options.device), flush=True)


if __name__ == "__main__":
    main()
