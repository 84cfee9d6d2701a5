"""Which checkpoints there are, which are healthy, which stay: through quiet and loud times, restarts and damage."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("numpy")

from checkpoint_training import Training, difference, observe, save  # noqa: E402

from argus._checkpoint_ring import MARKER  # noqa: E402
from argus._checkpoints import QUIET_WINDOW, Checkpoints  # noqa: E402

KEEP = 4


@pytest.fixture
def training() -> Training:
    return Training("sgd")


def steps(checkpoints: Checkpoints, *, promoted: bool | None = None) -> list[int]:
    return [info.step for info in checkpoints.list() if promoted is None or info.promoted == promoted]


def go(checkpoints: Checkpoints, training: Training, to_step: int, *, calm: bool = True) -> None:
    """Trains up to a step, all of it calm or none."""
    while training.step_number < to_step:
        training.step()
        checkpoints.observe(training.step_number, calm=calm)
    assert checkpoints.wait(60)


def test_a_quiet_window_promotes(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    training.train(3)
    save(checkpoints, training)
    checkpoints.observe(3, calm=True)
    observe(checkpoints, training, QUIET_WINDOW - 1)
    assert steps(checkpoints, promoted=True) == [] and checkpoints.anchor() is None
    checkpoints.observe(100, calm=True)
    assert checkpoints.wait(60)
    assert steps(checkpoints, promoted=True) == [3]
    anchor = checkpoints.anchor()
    assert anchor is not None and (anchor.step, anchor.signal, anchor.reason, anchor.loss) == (3, "SAVE", "calm", 0.5)
    assert anchor.parts == ("model", "optimizers", "schedulers", "rng", "loader", "extra")


def test_the_window_counts_from_the_step_of_the_save_in_either_order(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    training.train(3)
    checkpoints.observe(3, calm=True)
    save(checkpoints, training)
    observe(checkpoints, training, QUIET_WINDOW - 1)
    assert steps(checkpoints, promoted=True) == []
    observe(checkpoints, training, 1)
    assert steps(checkpoints, promoted=True) == [3]


def test_a_window_that_is_broken_promotes_nothing_until_it_is_whole(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    save(checkpoints, training)
    observe(checkpoints, training, QUIET_WINDOW - 1)
    observe(checkpoints, training, 1, calm=False)
    observe(checkpoints, training, QUIET_WINDOW - 1)
    assert steps(checkpoints, promoted=True) == []
    observe(checkpoints, training, 1)
    assert steps(checkpoints, promoted=True) == [0]


def test_save_now_is_never_promoted_and_keeps_to_one(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    for _ in range(3):
        training.train(2)
        save(checkpoints, training, signal="SAVE_NOW", slot=KEEP)
        observe(checkpoints, training, QUIET_WINDOW + 1)
    assert steps(checkpoints) == [6] and steps(checkpoints, promoted=True) == []
    assert checkpoints.restore(6) == 6


def test_the_anchor_lies_before_the_onset(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    for slot, step in enumerate((10, 40, 70)):
        go(checkpoints, training, step)
        save(checkpoints, training, slot=slot)
    go(checkpoints, training, 100)
    assert steps(checkpoints, promoted=True) == [10, 40, 70]
    assert [getattr(checkpoints.anchor(before), "step", None) for before in (None, 71, 70, 41, 40, 10, 0)] == [70, 70, 40, 40, 10, None, None]  # fmt: skip


def test_while_something_is_wrong_nothing_promoted_goes(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path, keep=2)
    for slot, step in enumerate((5, 35)):
        go(checkpoints, training, step)
        save(checkpoints, training, slot=slot)
    go(checkpoints, training, 70)
    observe(checkpoints, training, 1, calm=False)
    for slot in (0, 1, 0, 1):
        training.step()
        save(checkpoints, training, slot=slot)
    assert steps(checkpoints, promoted=True) == [5, 35]
    observe(checkpoints, training, 1)
    training.step()
    save(checkpoints, training, slot=0)
    assert steps(checkpoints) == [35, 74, 75], "calm again: the newest promoted and the newest two"


def test_the_newest_promoted_survives_restarts_whatever_is_saved(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    go(checkpoints, training, 5)
    save(checkpoints, training, slot=0)
    go(checkpoints, training, 40)
    for restart in range(3):
        checkpoints.close()
        checkpoints = training.checkpoints(tmp_path, run_id=f"again-{restart}")
        for slot in range(KEEP):
            training.step()
            save(checkpoints, training, slot=slot)
        assert steps(checkpoints, promoted=True) == [5]
        assert len(checkpoints.list()) <= KEEP + 1
    go(checkpoints, training, training.step_number + 30)
    training.step()
    last = save(checkpoints, training, slot=0)
    assert 5 not in steps(checkpoints) and checkpoints.anchor() is not None and last in steps(checkpoints)


def test_a_failed_save_leaves_the_ring_as_it_was(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argus import _checkpoint_writer as writer

    checkpoints = training.checkpoints(tmp_path, on_problem=lambda *_: None)
    go(checkpoints, training, 5)
    save(checkpoints, training, slot=0)
    go(checkpoints, training, 40)
    before = checkpoints.list()

    def torn(path: Path, chunks: Any) -> Any:
        path.write_bytes(b"half")
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_file", torn)
        save(checkpoints, training, slot=0)
    assert checkpoints.list() == before and checkpoints.failed == 1
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".partial")] == []
    save(checkpoints, training, slot=0)
    assert len(checkpoints.list()) == 2


def test_saves_of_a_course_that_was_left_are_not_certified_by_the_next(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    go(checkpoints, training, 5)
    save(checkpoints, training, slot=0)
    go(checkpoints, training, 40)
    save(checkpoints, training, slot=1)
    go(checkpoints, training, 45, calm=False)
    training.restore(checkpoints, 5)
    observe(checkpoints, training, 2 * QUIET_WINDOW)
    assert steps(checkpoints, promoted=True) == [5] and steps(checkpoints) == [5, 40]


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
def test_any_flipped_byte_is_refused_and_the_next_older_is_taken(name: str, training: Training, tmp_path: Path) -> None:
    problems: list[str] = []
    checkpoints = training.checkpoints(tmp_path, on_problem=lambda _, text: problems.append(text))
    go(checkpoints, training, 5)
    save(checkpoints, training, slot=0)
    older = training.state()
    go(checkpoints, training, 40)
    save(checkpoints, training, slot=1)
    go(checkpoints, training, 70)
    folder = checkpoints.list()[1].path
    whole = (folder / name).read_bytes()
    rng = random.Random(name)
    for at in [0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(6))]:
        (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        assert checkpoints.restore() == 5
        assert difference(training.state(), older) == "", f"byte {at}"
        assert any(folder.name in text for text in checkpoints.verify())
        anchor = checkpoints.anchor()
        assert anchor is not None and anchor.step == 5
    assert len(problems) == 1 and folder.name in problems[0], "said once"
    for content in (whole[:-1], whole + b"x", b""):
        (folder / name).write_bytes(content)
        assert checkpoints.restore() == 5
    (folder / name).unlink()
    assert checkpoints.restore() == 5
    (folder / name).write_bytes(whole)
    assert checkpoints.verify() == [] and checkpoints.restore() == 40


def test_leftovers_of_a_killed_process_go_and_what_is_not_ours_stays(training: Training, tmp_path: Path) -> None:
    (tmp_path / ".partial-step-00000009-0").mkdir()
    (tmp_path / ".partial-step-00000009-0" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".removed-step-00000001-0").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "my-own-checkpoints").mkdir()
    checkpoints = training.checkpoints(tmp_path)
    save(checkpoints, training)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"notes.txt", "my-own-checkpoints", MARKER, ".lock", "step-00000000-0"}


def test_one_process_uses_a_directory_at_a_time(training: Training, tmp_path: Path) -> None:
    checkpoints = training.checkpoints(tmp_path)
    code = (
        "import sys; from argus._checkpoint_ring import Ring; from argus import UsageError\n"
        "try: Ring(sys.argv[1], rank=0, world_size=1).open()\n"
        "except UsageError as error: print(error)\n"
    )

    def other() -> str:
        return subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout

    assert "in use by another process" in other()
    checkpoints.close()
    assert other() == ""


@dataclass
class EngineSave:
    """What the engine remembers of a slot (engine/life/checkpoints.cpp)."""

    step: int
    now: int
    promoted: bool = False


class EngineSlots:
    """The engine's table of saves: the oldest is forgotten, never the newest promoted one."""

    def __init__(self) -> None:
        self.table: dict[int, EngineSave] = {}
        self.now = self.calm = 0

    def observe(self, calm: bool) -> None:
        self.now += 1
        self.calm = self.calm + 1 if calm else 0
        for s in self.table.values():
            s.promoted |= self.now - s.now >= QUIET_WINDOW and self.calm >= QUIET_WINDOW

    def save(self, step: int) -> int:
        slot = len(self.table)
        if slot == KEEP:
            anchor = max((s for s in self.table.values() if s.promoted), key=lambda s: s.now, default=None)
            slot = min((i for i in self.table if self.table[i] is not anchor), key=lambda i: self.table[i].now)
        self.table[slot] = EngineSave(step, self.now)
        return slot

    def anchor(self, onset: int) -> EngineSave | None:
        before = [s for s in self.table.values() if s.step < onset]
        return max(before, key=lambda s: (s.promoted, s.now), default=None)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_anchor_the_engine_names_is_on_disk(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    training = Training("sgd")
    checkpoints = training.checkpoints(tmp_path)
    engine = EngineSlots()
    saves = 0
    for step in range(400):
        calm = rng.random() > (0.01 if step // 60 % 2 else 0.06)
        engine.observe(calm)
        if calm and engine.calm >= 12 and rng.random() < 0.08:
            slot = engine.save(step)
            assert checkpoints.stage(step, signal="SAVE", slot=slot, reason="calm", loss=None), f"seed {seed}"
            assert checkpoints.wait(60)
            saves += 1
        checkpoints.observe(step, calm=calm)
        if rng.random() < 0.1:
            assert checkpoints.wait(60)
            infos = {info.step: info for info in checkpoints.list()}
            for onset in (step + 1, step - 20, step - 80):
                named = engine.anchor(onset)
                if named is not None:
                    assert named.step in infos and infos[named.step].promoted == named.promoted, f"seed {seed} {step=}"
                ours = checkpoints.anchor(onset)
                assert (ours.step if ours else None) == (named.step if named and named.promoted else None)
            assert len(infos) <= KEEP + 1
    assert saves > 10 and checkpoints.failed == checkpoints.skipped == 0


def test_infos_are_those_of_a_ring_without_a_directory(training: Training, tmp_path: Path) -> None:
    problems: list[str] = []
    checkpoints = training.checkpoints(tmp_path / "ring", on_problem=lambda _, text: problems.append(text))
    for path in (tmp_path / "ring").iterdir():
        path.unlink()
    (tmp_path / "ring").rmdir()
    assert checkpoints.list() == [] and checkpoints.anchor() is None
    assert len(problems) == 1
