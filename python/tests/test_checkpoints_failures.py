"""Bad days: training goes on, the cause is said once, and what was saved stays."""

from __future__ import annotations

import collections
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")

import torch  # noqa: E402
from checkpoint_training import Training, difference, observe, save  # noqa: E402
from torch import nn  # noqa: E402

from argus import UsageError  # noqa: E402
from argus import _checkpoint_writer as writer  # noqa: E402
from argus import _checkpoints as module  # noqa: E402
from argus._checkpoint_tree import CheckpointError  # noqa: E402
from argus._checkpoints import Checkpoints, CheckpointState  # noqa: E402


class Problems(list[tuple[str, str]]):
    """What was said."""

    def __call__(self, key: str, text: str) -> None:
        self.append((key, text))


def stage(checkpoints: Checkpoints, step: int, signal: str = "SAVE") -> bool:
    staged = checkpoints.stage(step, signal=signal, slot=4 if signal == "SAVE_NOW" else 0, reason="r", loss=1.0)
    assert checkpoints.wait(60)
    return staged


def test_an_emergency_checkpoint_exists_and_loads(tmp_path: Path) -> None:
    """Published failure: an emergency checkpoint that saves nothing."""
    training = Training("adamw")
    checkpoints = training.checkpoints(tmp_path)
    training.train(6)
    then = training.state()
    assert stage(checkpoints, 6, "SAVE_NOW")
    (info,) = checkpoints.list()
    assert (info.step, info.signal, info.slot, info.promoted) == (6, "SAVE_NOW", 4, False)
    assert info.bytes > 1000 and (info.path / "model.safetensors").stat().st_size > 500
    training.wreck()
    checkpoints.close()
    later = Training("adamw", seed=9)
    later.restore(later.checkpoints(tmp_path), 6)
    assert difference(later.state(), then) == ""


class Gate:
    """Holds every write up until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened, self.entered = threading.Event(), threading.Event()
        write = writer.write_save

        def waiting(*args: Any, **options: Any) -> Any:
            self.entered.set()
            assert self.opened.wait(60)
            return write(*args, **options)

        monkeypatch.setattr(module, "write_save", waiting)


def test_a_save_that_is_due_while_one_is_written_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path)
    assert checkpoints.stage(1, signal="SAVE", slot=0, reason="", loss=None)
    assert gate.entered.wait(60)
    assert not checkpoints.stage(2, signal="SAVE", slot=1, reason="", loss=None)
    assert checkpoints.stage(3, signal="SAVE_NOW", slot=4, reason="", loss=None), "an emergency has its own staging"
    assert not checkpoints.stage(4, signal="SAVE_NOW", slot=4, reason="", loss=None)
    assert not checkpoints.wait(0.01)
    gate.opened.set()
    assert checkpoints.wait(60)
    assert [info.step for info in checkpoints.list()] == [1, 3]
    assert (checkpoints.saved, checkpoints.skipped, checkpoints.failed) == (2, 2, 0)


def test_closing_waits_for_what_is_staged_and_no_longer_than_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path)
    assert checkpoints.stage(1, signal="SAVE", slot=0, reason="", loss=None)
    assert not checkpoints.close(0.01)
    assert not checkpoints.stage(2, signal="SAVE", slot=0, reason="", loss=None)
    gate.opened.set()
    assert checkpoints.wait(60) and [info.step for info in checkpoints.list()] == [1]
    assert checkpoints.close()


def test_a_directory_removed_while_training_is_said_once_and_used_again_when_it_is_back(tmp_path: Path) -> None:
    ring, problems = tmp_path / "ring", Problems()
    training = Training("sgd")
    checkpoints = training.checkpoints(ring, on_problem=problems)
    assert stage(checkpoints, 1)
    shutil.rmtree(ring)
    for step in (2, 3):
        stage(checkpoints, step)
        stage(checkpoints, step, "SAVE_NOW")
    observe(checkpoints, training, 60)
    assert checkpoints.failed == 4 and len(problems) == 1
    assert "No such file or directory" in problems[0][1] and str(ring) in problems[0][1]
    assert not ring.exists(), "whoever removed it meant it"
    ring.mkdir()
    assert stage(checkpoints, 4)
    assert [info.step for info in checkpoints.list()] == [4] and checkpoints.verify() == []


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_a_directory_that_cannot_be_made_is_said_once(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    problems = Problems()
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path / below, on_problem=problems)
    assert len(problems) == 1 and str(tmp_path / below) in problems[0][1]
    for step in range(3):
        stage(checkpoints, step)
        checkpoints.observe(step, calm=True)
    assert checkpoints.failed == 3 and checkpoints.list() == [] and checkpoints.anchor() is None
    with pytest.raises(CheckpointError):
        checkpoints.restore()
    assert len({key for key, _ in problems}) == len(problems)


def test_too_little_room_is_seen_before_anything_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems = Problems()
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path, on_problem=problems)
    assert stage(checkpoints, 1)
    usage = collections.namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12, 1 << 20))
        for step in (2, 3):
            stage(checkpoints, step)
    assert checkpoints.failed == 2 and [info.step for info in checkpoints.list()] == [1]
    assert [key for key, _ in problems] == ["checkpoint space"] and "1048576 bytes are free" in problems[0][1]
    assert stage(checkpoints, 4), "room again"


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from checkpoint_training import Training, save
training, problems = Training("adamw"), []
checkpoints = training.checkpoints(sys.argv[1], on_problem=lambda key, text: problems.append((key, text)))
training.train(3)
save(checkpoints, training)
resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))
for slot in (0, 1):
    training.step()
    save(checkpoints, training, slot=slot)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert checkpoints.failed == 2 and [info.step for info in checkpoints.list()] == [3] and checkpoints.verify() == []
assert [key for key, _ in problems] == ["checkpoint space"], problems
assert not [path for path in checkpoints._ring.directory.iterdir() if path.name.startswith(".partial")]
training.step()
save(checkpoints, training)
assert checkpoints.restore(6) == 6 and checkpoints.restore(3) == 3
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY, reason="a limit is set already"
)
def test_a_disk_that_fills_while_writing_keeps_what_was_there(tmp_path: Path) -> None:
    code = FULL.replace("(900, 900)", "(900, resource.RLIM_INFINITY)")
    command = [sys.executable, "-c", code, tmp_path, Path(__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_one_who_is_told_may_fail_too(tmp_path: Path) -> None:
    def grumpy(key: str, text: str) -> None:
        raise RuntimeError("no")

    (tmp_path / "file").write_text("")
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path / "file", on_problem=grumpy)
    stage(checkpoints, 1)
    assert checkpoints.failed == 1


def test_an_object_whose_state_cannot_be_had_is_said_once(tmp_path: Path) -> None:
    class Broken:
        def state_dict(self) -> Any:
            raise RuntimeError("my state is gone")

        def load_state_dict(self, state: Any) -> None: ...

    problems = Problems()
    model = nn.Linear(2, 2)
    checkpoints = Checkpoints(tmp_path, model=model, optimizers=[], extra={"b": Broken()}, on_problem=problems)
    assert not stage(checkpoints, 1) and not stage(checkpoints, 2, "SAVE_NOW")
    for step in range(20):
        checkpoints.observe(step, calm=True)
    assert checkpoints.failed == 2 and len(problems) == 1 and "my state is gone" in problems[0][1]


# A saver of the user's own.


def own_saver(model: nn.Module, calls: list[CheckpointState]) -> dict[str, Any]:
    def save_it(state: CheckpointState, directory: Path) -> None:
        calls.append(state)
        (directory / "sub").mkdir()
        torch.save(state.model.state_dict(), directory / "sub" / f"model-{state.rank}.pt")
        torch.save([o.state_dict() for o in state.optimizers], directory / "optimizers.pt")

    def load_it(directory: Path) -> None:
        model.load_state_dict(torch.load(directory / "sub" / "model-0.pt"))
        loaded.append(directory)

    loaded: list[Path] = []
    return {"save": save_it, "load": load_it, "loaded": loaded}


def test_a_saver_of_the_users_own_is_hashed_verified_and_loaded(tmp_path: Path) -> None:
    training, calls, problems = Training("sgd"), [], Problems()
    own = own_saver(training.model, calls)
    loaded = own.pop("loaded")
    checkpoints = training.checkpoints(tmp_path, run_id="r7", on_problem=problems, **own)
    training.train(4)
    then = training.state()
    assert stage(checkpoints, 4)
    observe(checkpoints, training, 24)
    training.train(3)
    assert stage(checkpoints, 7, "SAVE_NOW")
    assert [(c.step, c.signal, c.reason, c.loss, c.run_id, c.world_size) for c in calls] == [
        (4, "SAVE", "r", 1.0, "r7", 1), (7, "SAVE_NOW", "r", 1.0, "r7", 1)]  # fmt: skip
    first, second = checkpoints.list()
    assert {e.name for e in first.files} == {
        "custom/sub/model-0.pt", "custom/optimizers.pt", "state.safetensors", "state.json"}  # fmt: skip
    assert first.parts[:2] == ("custom", "schedulers") and "model" not in first.parts
    assert training.restore(checkpoints) == 4 and loaded == [first.path / "custom"]
    now = training.state()
    for part in ("model", "schedulers", "loader", "rng", "average"):
        assert difference(now[part], then[part]) == "", part
    file = second.path / "custom" / "optimizers.pt"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert checkpoints.restore(7) == 4 and len(loaded) == 2 and len(problems) == 1


def test_a_saver_that_raises_or_writes_nothing_is_no_save(tmp_path: Path) -> None:
    problems = Problems()
    training = Training("sgd")

    def raises(state: CheckpointState, directory: Path) -> None:
        (directory / "half").write_text("x")
        raise ValueError("no quota")

    for name, saver, told in (
        ("raises", raises, "the save callback raised ValueError: no quota"),
        ("nothing", lambda state, directory: None, "the save callback wrote no file into its directory"),
    ):
        problems.clear()
        ring = tmp_path / name
        checkpoints = training.checkpoints(ring, save=saver, load=lambda directory: None, on_problem=problems)
        stage(checkpoints, 1)
        stage(checkpoints, 2, "SAVE_NOW")
        assert checkpoints.failed == 2 and checkpoints.saved == 0 and checkpoints.list() == []
        assert len(problems) == 1 and told in problems[0][1]
        assert {path.name for path in ring.iterdir()} == {".lock", "ring.json"}


async def asynchronous(state: Any, directory: Any) -> None: ...


@pytest.mark.parametrize(
    ("save", "load", "named"),
    [
        (lambda directory: None, lambda directory: None, r"save cannot be called as save\(state, directory\)"),
        (
            lambda state, directory, more: None,
            lambda directory: None,
            r"save cannot be called as save\(state, directory\)",
        ),
        (lambda: None, lambda directory: None, r"accepted is a function save\(state, directory\)"),
        (lambda state, directory: None, lambda: None, r"load cannot be called as load\(directory\)"),
        (lambda state, directory: None, lambda a, b: None, r"load cannot be called as load\(directory\)"),
        (lambda state, directory, *, key: None, lambda directory: None, "save cannot be called"),
        (3, lambda directory: None, "save is 3; accepted is a function"),
        (asynchronous, lambda directory: None, "accepted is a function"),
        (lambda state, directory: None, None, "save and load are given together"),
        (None, lambda directory: None, "save and load are given together"),
    ],
)
def test_a_callback_of_the_wrong_arity_is_refused_at_once(save: Any, load: Any, named: str, tmp_path: Path) -> None:
    """Published failure: a save callback of the wrong arity failing silently."""
    with pytest.raises(UsageError, match=named):
        Checkpoints(tmp_path, model=nn.Linear(1, 1), optimizers=[], save=save, load=load)


@pytest.mark.parametrize("saver", [print, lambda state, directory, more=1: None, lambda *args: None])
def test_whatever_can_be_called_is_accepted(saver: Any, tmp_path: Path) -> None:
    Checkpoints(tmp_path, model=nn.Linear(1, 1), optimizers=[], save=saver, load=print).close()


def test_a_checkpoint_of_a_saver_is_not_read_without_its_loader(tmp_path: Path) -> None:
    training = Training("sgd")
    own = own_saver(training.model, [])
    del own["loaded"]
    assert stage(training.checkpoints(tmp_path, **own), 1)
    with pytest.raises(CheckpointError, match="was written with a save callback"):
        training.checkpoints(tmp_path).restore(1)


def test_a_forked_child_leaves_the_ring_alone(tmp_path: Path) -> None:
    code = """
import os, sys
sys.path.insert(0, sys.argv[2])
from checkpoint_training import Training, save
training = Training("sgd")
checkpoints = training.checkpoints(sys.argv[1])
save(checkpoints, training)
if os.fork() == 0:
    assert not checkpoints.stage(9, signal="SAVE", slot=0, reason="", loss=None)
    assert checkpoints.close()
    os._exit(0)
assert os.wait()[1] == 0
training.step()
save(checkpoints, training, slot=1)
assert [info.step for info in checkpoints.list()] == [0, 1]
"""
    command = [sys.executable, "-c", code, tmp_path, Path(__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_saved_states_are_counted_once_each(tmp_path: Path) -> None:
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path)
    for slot in range(3):
        training.step()
        save(checkpoints, training, slot=slot)
    assert (checkpoints.saved, checkpoints.skipped, checkpoints.failed) == (3, 0, 0)
