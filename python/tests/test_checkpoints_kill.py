"""A process killed at any moment of a save leaves a ring that loads, its last promoted checkpoint intact.

Killed by SIGKILL before each system call that touches the folder, and at random moments. The trainings run as forks of one process
(this file as a program), so that torch is loaded once.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RANDOM_KILLS = 50
CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
PROMOTED, UNPROMOTED = 3, 5  # steps of the two checkpoints that are there before


def test_a_kill_at_any_moment_of_a_save_leaves_a_ring_that_loads(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("numpy")
    seed = random.Random().randrange(2**32)
    memory = Path(
        "/dev/shm"
    )  # a kill is a kill in any file system; here fsync, of which there are thousands, costs nothing
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as folder:
        command = [sys.executable, __file__, folder, str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
    boundaries, killed, saved = (int(word) for word in done.stdout.split())
    assert boundaries > 25 and killed == RANDOM_KILLS and 0 <= saved <= killed


def main(folder: Path, seed: int) -> None:
    from checkpoint_training import Training, difference, observe, save

    rng = random.Random(seed)
    base = folder / "base"
    training = Training("adamw")
    checkpoints = training.checkpoints(base, keep=2)
    states = {}
    for slot, step in enumerate((PROMOTED, UNPROMOTED)):
        training.train(step - training.step_number)
        states[step] = training.state()
        save(checkpoints, training, slot=slot)
        if step == PROMOTED:
            observe(checkpoints, training, 24)
    checkpoints.close()

    def save_and_promote(ring: Path) -> None:
        """A save, the removal of an older one that makes room for it, and its promotion."""
        mine = training.checkpoints(ring, keep=1)
        training.step()
        save(mine, training, slot=1)
        observe(mine, training, 25)
        mine.close()

    def look(ring: Path, moment: str) -> int:
        """What is there loads, and is what it says it is; the number of checkpoints."""
        fresh = Training("adamw", seed=1)
        mine = fresh.checkpoints(ring, keep=1, on_problem=lambda _, text: problems.append(text))
        problems: list[str] = []
        found = mine.list()
        assert mine.verify() == [] and not problems, (moment, mine.verify(), problems)
        assert all(info.step != PROMOTED or info.promoted for info in found), moment
        newest = mine.anchor()
        assert newest is not None and newest.step >= PROMOTED, (moment, [info.step for info in found])
        assert len(found) <= 3, moment
        assert fresh.restore(mine) == newest.step, moment
        if newest.step in states:
            assert difference(fresh.state(), states[newest.step]) == "", moment
        fresh.step()
        save(mine, fresh, slot=0)
        assert mine.verify() == [] and fresh.step_number in [info.step for info in mine.list()], moment
        names = {path.name.split("-")[0] for path in ring.iterdir()}
        assert names <= {"step", ".lock", "ring.json"}, (moment, names)
        mine.close()
        return len(found)

    def child(ring: Path, prepare: Callable[[], None]) -> int:
        shutil.rmtree(ring, ignore_errors=True)
        shutil.copytree(base, ring)
        pid = os.fork()
        if pid == 0:
            try:
                prepare()
                save_and_promote(ring)
                os._exit(0)
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(1)
        return pid

    boundary = 0
    while True:
        pid = child(folder / "ring", lambda: kill_before(boundary))  # noqa: B023
        status = os.waitpid(pid, 0)[1]
        look(folder / "ring", f"before call {boundary}")
        if status == 0:
            break
        assert os.WIFSIGNALED(status), f"call {boundary}: status {status}"
        boundary += 1

    began = time.monotonic()
    os.waitpid(child(folder / "ring", lambda: None), 0)
    took = time.monotonic() - began
    unharmed = look(folder / "ring", "not killed")
    saved = 0
    for kill in range(RANDOM_KILLS):
        pid = child(folder / "ring", lambda: None)
        delay = rng.uniform(0.0, took)
        until(time.monotonic() + delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        saved += look(folder / "ring", f"kill {kill} after {delay:.4f} s") >= unharmed
    print(boundary, RANDOM_KILLS, saved)


def until(moment: float) -> None:
    import select

    while (left := moment - time.monotonic()) > 0:
        select.select([], [], [], left)


def kill_before(boundary: int) -> None:
    """Has this process killed before that one of its calls into the folder."""
    count = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            nonlocal count
            if count == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            return call(*args, **options)

        return wrapped

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
