"""Reinforcement learning on a small grid world."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from .task import Batch, Card, Out, Task, mlp

Rng = np.random.Generator


class Grid(Task):
    """16 copies of a 6x6 grid world with a goal, pits and a step cost; n-step actor-critic with an entropy bonus."""

    SIDE, COPIES, HORIZON = 6, 16, 6

    def __init__(self, rng: Rng, width: int, card: Card) -> None:
        super().__init__(rng)
        self.card, self.size = card, self.COPIES * self.HORIZON
        self.net = mlp([2 * self.SIDE, width, width, 5], nn.Tanh)
        self.goal, self.pits = (int(rng.integers(3, 6)), int(rng.integers(3, 6))), [(2, 2), (1, 4)]
        self.knob.update(entropy=0.02, reward=1.0, gamma=0.95)
        self.where = rng.integers(0, 2, (self.COPIES, 2))
        self.age = np.zeros(self.COPIES, dtype=np.int64)

    def features(self, where: np.ndarray) -> Tensor:
        return torch.from_numpy(
            np.concatenate([np.eye(self.SIDE)[where[:, 0]], np.eye(self.SIDE)[where[:, 1]]], 1).astype(np.float32)
        )

    def move(self, where: np.ndarray, act: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        new = np.clip(where + np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])[act], 0, self.SIDE - 1)
        won = (new == np.array(self.goal)).all(1)
        lost = np.any([(new == np.array(p)).all(1) for p in self.pits], 0)
        return new, np.where(won, 1.0, np.where(lost, -1.0, -0.03)), won | lost

    def batch(self, t: int) -> Batch:
        xs, acts, rewards, ends = [], [], [], []
        for _ in range(self.HORIZON):
            x = self.features(self.where)
            with torch.no_grad():
                p = self.net(x)[:, :4].softmax(1).numpy().astype(np.float64)
            draws = self.rng.random((self.COPIES, 1))
            act = (
                np.minimum((np.cumsum(p, 1) < draws).sum(1), 3)
                if np.isfinite(p).all()
                else np.zeros(self.COPIES, dtype=np.int64)
            )
            new, r, end = self.move(self.where, act)
            self.age += 1
            stop = end | (self.age >= 40)
            xs.append(x)
            acts.append(act)
            rewards.append(r)
            ends.append(stop)
            self.where = np.where(stop[:, None], self.rng.integers(0, 2, (self.COPIES, 2)), new)
            self.age = np.where(stop, 0, self.age)
        with torch.no_grad():
            value = self.net(self.features(self.where))[:, 4].numpy()
        targets = []
        for r, end in zip(rewards[::-1], ends[::-1]):
            value = r * self.knob["reward"] + self.knob["gamma"] * value * ~end
            targets.append(value)
        y = torch.from_numpy(np.stack(targets[::-1]).astype(np.float32)).flatten()
        return {"x": torch.cat(xs), "act": torch.from_numpy(np.concatenate(acts)), "y": y}

    def out(self, b: Batch) -> Out:
        z = self.net(b["x"])
        logp, v = z[:, :4].log_softmax(1), z[:, 4]
        gain = (b["y"] - v).detach()
        entropy = -(logp.exp() * logp).sum(1)
        policy = -logp.gather(1, b["act"][:, None])[:, 0] * gain
        each = policy + 0.5 * (b["y"] - v).square() - self.knob["entropy"] * entropy
        return Out(each.mean())

    def evaluate(self) -> float:
        """Minus the mean return of the sampled policy over 32 fixed starts with fixed random numbers."""
        rng, where = np.random.default_rng(7), np.stack([np.arange(32) % 2, np.arange(32) // 2 % 2], 1)
        total, alive = np.zeros(32), np.ones(32, dtype=bool)
        for _ in range(30):
            with torch.no_grad():
                p = self.net(self.features(where))[:, :4].softmax(1).numpy()
            act = np.minimum((np.cumsum(np.nan_to_num(p), 1) < rng.random((32, 1))).sum(1), 3)
            where, r, end = self.move(where, act)
            total += r * alive
            alive &= ~end
        return float(-total.mean())


class QLearner(Grid):
    """Deep Q-learning on the grid: replay memory, epsilon-greedy, target network, heavy-tailed squared errors."""

    def __init__(self, rng: Rng, width: int, card: Card) -> None:
        super().__init__(rng, width, card)
        self.target = copy.deepcopy(self.net).requires_grad_(False)
        self.memory: list[tuple[np.ndarray, ...]] = []
        self.knob.update(sync=25.0, gamma=0.95)

    def batch(self, t: int) -> Batch:
        for _ in range(2):
            with torch.no_grad():
                act = self.net(self.features(self.where))[:, :4].argmax(1).numpy()
            explore = self.rng.random(self.COPIES) < max(0.1, 1 - t / 150)
            act = np.where(explore, self.rng.integers(0, 4, self.COPIES), act)
            new, r, end = self.move(self.where, act)
            self.age += 1
            stop = end | (self.age >= 40)
            self.memory.append((self.where, act, r, new, end))
            self.where = np.where(stop[:, None], self.rng.integers(0, 2, (self.COPIES, 2)), new)
            self.age = np.where(stop, 0, self.age)
        self.memory = self.memory[-200:]
        pick = [self.memory[i] for i in self.rng.integers(0, len(self.memory), 6)]
        x, act, r, new, end = (np.concatenate(c) for c in zip(*pick))
        with torch.no_grad():
            best = self.target(self.features(new))[:, :4].amax(1).numpy()
        y = torch.from_numpy((self.knob["reward"] * r + self.knob["gamma"] * best * ~end).astype(np.float32))
        return {"x": self.features(x), "act": torch.from_numpy(act), "y": y}

    def out(self, b: Batch) -> Out:
        q = self.net(b["x"])[:, :4].gather(1, b["act"][:, None])[:, 0]
        each = (q - b["y"]).square()
        return Out(each.mean(), None)

    def after_update(self, t: int) -> None:
        if self.knob["sync"] and t % int(self.knob["sync"]) == 0:
            self.target.load_state_dict(self.net.state_dict())

    def evaluate(self) -> float:
        """Minus the mean greedy return over the four starts."""
        where = np.stack([np.arange(4) % 2, np.arange(4) // 2], 1)
        total, alive = np.zeros(4), np.ones(4, dtype=bool)
        for _ in range(30):
            with torch.no_grad():
                act = self.net(self.features(where))[:, :4].argmax(1).numpy()
            where, r, end = self.move(where, act)
            total += r * alive
            alive &= ~end
        return float(-total.mean())


def grid_actor(rng: Rng) -> Task:
    return Grid(
        rng,
        int(rng.integers(24, 40)),
        Card(
            "grid_a2c",
            "actor-critic",
            "grid world with pits",
            "rl",
            3e-3,
            0.03,
            x="none",
            y="float",
            slow=True,
            tags=frozenset({"rl", "actor"}),
        ),
    )


def grid_q(rng: Rng) -> Task:
    return QLearner(
        rng,
        int(rng.integers(24, 40)),
        Card(
            "grid_dqn",
            "deep Q network",
            "grid world with pits",
            "rl",
            4e-3,
            0.03,
            x="none",
            y="float",
            slow=True,
            tags=frozenset({"rl", "q"}),
        ),
    )


TASKS = {f.__name__: f for f in (grid_actor, grid_q)}
