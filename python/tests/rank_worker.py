"""One rank of the trainings in test_ranks_processes.py: `rank_worker.py SCENARIO RANK WORLD ADDRESS`. Prints what it saw as JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from argus import _shards
from argus._gather import Gather
from argus._ranks import Ranks
from argus._roll import Timing

DEADLINE_STEPS = 50_000
QUICK = Timing(interval_s=0.02, quick_s=0.005, heartbeat_s=0.1, gone_s=4.0, still_s=0.5, still_steps=16, first_s=60.0)


def connect(rank: int, world: int, address: str) -> Any:
    """Joins the group over the parent's TCP store (a port) or over a file (a path); returns that store."""
    store: Any = dist.FileStore(address, world)
    if address.isdigit():
        store = dist.TCPStore("localhost", int(address), is_master=False, wait_for_workers=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    return store


def make(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 1))


def batch(step: int, rank: int) -> torch.Tensor:
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(1000 * step + rank))


def digest(model: nn.Module) -> str:
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()


def ddp(rank: int, world: int, store: Any) -> dict[str, Any]:
    """Rank 1 alone meets a NaN and skips that batch; then one action is agreed, one refused, and an agreed one ends the loop."""
    model = nn.parallel.DistributedDataParallel(make())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    ranks = Ranks.discover(QUICK)
    assert ranks is not None
    agreement = ranks.agreement(lambda p: "no such checkpoint here" if p["kind"] == "ROLLBACK" and rank == 1 else None)
    todo = ["REDUCE_LR", "ROLLBACK", "STOP"]
    applied: dict[str, int] = {}
    refused: dict[str, str] = {}
    non_finite: list[Any] = []
    digests: list[str] = []
    rates: list[float] = []
    local_nans = 0
    step = 0
    for step in range(DEADLINE_STEPS):
        begun = time.perf_counter()
        loss = model(batch(step, rank)).square().mean()
        shown = loss.detach() * (math.nan if rank == 1 and step == 5 else 1.0)
        if not math.isfinite(shown):
            loss = loss * 0.0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        wild = not (math.isfinite(shown) and all(bool(p.grad.isfinite().all()) for p in model.parameters()))
        local_nans += wild
        ranks.publish(step, non_finite=wild, step_time_s=(time.perf_counter() - begun) * (1 + 4 * rank))
        non_finite += ranks.collected().fresh_non_finite
        if todo and rank == 0 and (non_finite or step > DEADLINE_STEPS // 2) and ranks._blocker() is None:
            kind = todo.pop(0)
            agreement.propose(kind, {"kind": kind, "factor": 0.5}, step)
        payload = agreement.due(step)
        if payload is not None:
            applied[payload["kind"]] = step
            if payload["kind"] == "REDUCE_LR":
                optimizer.param_groups[0]["lr"] *= payload["factor"]
        refused.update({r.id: r.reason for r in agreement.take_refused()})
        digests.append(digest(model))
        rates.append(optimizer.param_groups[0]["lr"])
        if "STOP" in applied:
            break
    news = ranks.collected()
    # Then rank 1 dies. What rank 0 gets is torch's own error, from its own collective.
    died = ""
    if rank == 1:
        print(json.dumps(dict(applied=applied, refused=refused, digests=digests, rates=rates, local_nans=local_nans)))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        for more in range(1, 100):
            model(batch(step + more, rank)).square().mean().backward()
    except RuntimeError as error:
        died = type(error).__name__
    ranks.publish(step + 1, non_finite=False, step_time_s=0.1)
    ranks.close()
    return dict(
        applied=applied, refused=refused, digests=digests, rates=rates, local_nans=local_nans, non_finite=non_finite,
        slowest=news.slowest_rank, died=died, alive=ranks._courier.alive(),
    )  # fmt: skip


def silent(rank: int, world: int, store: Any) -> dict[str, Any]:
    """Rank 1 stops calling step, rank 2 is killed, rank 0 goes on."""
    lines: list[str] = []
    ranks = Ranks(rank, world, timing=QUICK, say=lines.append)
    agreement = ranks.agreement()
    pause = threading.Event()
    for step in range(10):
        ranks.publish(step, non_finite=False, step_time_s=0.001)
    if rank == 2:
        store.wait(["heard"])
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1:
        store.wait(["done"])
        ranks.close()
        return {"lines": lines}
    step = 10
    while ranks.collected().heard < world and step < DEADLINE_STEPS:
        pause.wait(0.005)
        step += 1
    store.set("heard", "1")
    while len(ranks.collected().silent) < 2 and step < DEADLINE_STEPS:
        ranks.publish(step, non_finite=False, step_time_s=0.001)
        pause.wait(0.005)
        step += 1
    news = ranks.collected()
    agreement.propose("r1", {"kind": "REDUCE_LR"}, step)
    due = agreement.due(step + 1)
    refused = [r.id for r in agreement.take_refused()]
    # Twice the time after which a rank counts as still: nothing is said again.
    for _ in range(200):
        ranks.publish(step, non_finite=False, step_time_s=0.001)
        step += 1
        pause.wait(0.005)
    store.set("done", "1")
    ranks.close()
    return dict(silent=news.silent, lines=lines, due=due, refused=refused, errors=ranks.errors)


def plain_norms(steps: int, world: int) -> list[dict[str, float]]:
    """What one process would measure in the same training on all ranks' batches together."""
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    previous = None
    out = []
    for step in range(steps):
        optimizer.zero_grad()
        sum(model(batch(step, rank)).square().mean() / world for rank in range(world)).backward()
        gradients = [p.grad.detach().double().reshape(-1) for p in model.parameters()]
        flat = torch.cat(gradients)
        before = torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])
        optimizer.step()
        after = torch.cat([p.detach().double().reshape(-1) for p in model.parameters()])
        found = {"grad_norm": flat.norm(), "update_norm": (after - before).norm(), "weights_l2": after.norm()}
        found["weights_l1"] = after.abs().sum()
        for third in range(3):
            found[f"third {third}"] = torch.cat(gradients[third * 2 : third * 2 + 2]).norm()
        if previous is not None:
            found["similarity"] = torch.dot(flat, previous) / flat.norm() / previous.norm()
        previous = flat
        out.append({name: float(value) for name, value in found.items()})
    return out


def sharded_norms(model: nn.Module, steps: int, rank: int, ranks: Ranks, data_rank: int) -> list[dict[str, Any]]:
    """What rank 0 joins of what the ranks measured on the batches of `data_rank`; on the others nothing."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    failures: list[Exception] = []
    gather = Gather(model, [optimizer], None, measure=True, on_error=failures.append)
    joiner: _shards.Joiner[Any] = _shards.Joiner(ranks.interval_s)
    out: list[dict[str, Any]] = []

    def release(now: float) -> None:
        for (measured, local), kind, sums in joiner.release(ranks.collected(), now):
            assert kind == "whole" and sums is not None, kind
            _shards.put_whole(measured, sums)
            found = {
                n: getattr(measured, n) for n in ("grad_norm", "update_norm", "weights_l1", "weights_l2", "similarity")
            }
            out.append(found | {f"third {i}": t for i, t in enumerate(measured.thirds)} | {"local": local})

    for step in range(steps):
        optimizer.zero_grad()
        model(batch(step, data_rank)).square().mean().backward()
        optimizer.step()
        leaves, decode, _ = gather.hand_over()
        measured = decode([leaf.tolist() for leaf in leaves])
        assert measured.local and measured.part is not None
        key = ranks.publish(step, non_finite=False, step_time_s=0.01, shard_squares=measured.part)
        joiner.hold(key, measured.part, (measured, measured.grad_norm), 0.0)
    pause = threading.Event()
    for _ in range(10_000):
        if rank != 0 or len(out) == steps:
            break
        release(0.0)
        pause.wait(0.005)
    gather.close()
    assert not failures, failures
    return out


def fsdp(rank: int, world: int, store: Any) -> dict[str, Any]:
    """The same small training under each kind of sharding that runs on the CPU."""
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    steps = 3
    results: dict[str, Any] = {"plain": plain_norms(steps, world), "world": world}
    sessions: list[Ranks] = []

    def run(name: str, model: nn.Module, data_rank: int = rank) -> None:
        ranks = Ranks.discover(QUICK)
        assert ranks is not None
        sessions.append(ranks)
        results[name] = sharded_norms(model, steps, rank, ranks, data_rank)

    for name, shape in (("fully_shard", (world,)), ("hybrid", (world, 1))):
        mesh = dist.init_device_mesh("cpu", shape, mesh_dim_names=("replicate", "shard")[-len(shape) :])
        model = make()
        for layer in model:
            if isinstance(layer, nn.Linear):
                fully_shard(layer, mesh=mesh)
        run(name, fully_shard(model, mesh=mesh))
    # One layer is sharded, the others are whole on every rank, which all see the same batches.
    model = make()
    fully_shard(model[2], mesh=dist.init_device_mesh("cpu", (world,)))
    run("partly", model, data_rank=0)
    results["plain of rank 0"] = plain_norms(steps, 1)
    for name, originals in (("fsdp1 flat", False), ("fsdp1 original", True)):
        run(name, FullyShardedDataParallel(make(), use_orig_params=originals, device_id=torch.device("cpu")))
    dist.barrier()
    for ranks in sessions:
        ranks.close()
    return results


def auto(rank: int, world: int, store: Any) -> dict[str, Any]:
    """`argus.watch(mode="auto")` on every rank: the learning rate is far too high for a while."""
    import argus

    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 4))
    inner = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 4))
    model = nn.parallel.DistributedDataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    watch = argus.watch(model, optimizer, mode="auto", quiet=True, model_type="mlp")
    ballast = torch.randn(700, 700)  # a step of some length: an agreement takes a few tenths of a second
    factors: list[float] = []
    digests: list[str] = []
    for i in range(480):
        g = torch.Generator().manual_seed(1000 * i + rank)
        x = torch.randn(64, 16, generator=g)
        with torch.no_grad():
            y = teacher(x) + 0.3 * torch.randn(64, 4, generator=g)
            torch.tanh(ballast @ ballast)
        for group in optimizer.param_groups:
            group["lr"] = 1.2 if 200 <= i < 420 else 0.1
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(loss)
        assert watch._parts is not None and watch._parts.actions is not None
        factors.append(watch._parts.actions.lr_factor)
        digests.append(digest(model))
    run_id = watch.run_id
    certificate = watch.complete(wait_s=30.0)
    return {
        "factors": factors, "digests": digests, "run_id": run_id, "certificate": bool(certificate),
        "errors": watch.errors, "scheduled": optimizer.param_groups[0]["lr"],
    }  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    scenario, rank, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    store = connect(rank, world, sys.argv[4])
    result = {"ddp": ddp, "silent": silent, "fsdp": fsdp, "auto": auto}[scenario](rank, world, store)
    print(json.dumps(result), flush=True)
    if scenario in ("fsdp", "auto"):
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
