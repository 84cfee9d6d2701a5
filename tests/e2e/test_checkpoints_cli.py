"""`argus checkpoints` on folders as the Python package writes them, whole and damaged."""

import hashlib
import json
from pathlib import Path

import pytest

INTACT, DAMAGED, USAGE, NOT_A_RING = 0, 1, 2, 3


def write_checkpoint(ring: Path, name: str, **fields: object) -> Path:
    """A checkpoint as docs/formats/checkpoint.md has it; python/tests hold the package to the same."""
    folder = ring / name
    (folder / "custom").mkdir(parents=True)
    files = []
    for file, content in (("model.safetensors", b"weights" * 1000), ("state.json", b"{}"), ("custom/part.bin", b"")):
        (folder / file).write_bytes(content)
        files.append({"name": file, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    manifest = {
        "format": "argus-checkpoint", "version": 1, "serial": 1, "run_id": "run-1", "step": 100, "segment": 0, "slot": 0,
        "signal": "SAVE", "reason": "calm", "loss": 0.25, "promoted": False, "created_ms": 1_700_000_000_000, "world_size": 1,
        "parts": ["model"], "files": files, **fields,
    }  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def write_manifest(folder: Path, manifest: dict[str, object]) -> None:
    body = ("{" + ",\n".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in manifest.items())).encode()
    check = hashlib.sha256(body).hexdigest()
    (folder / "manifest.json").write_bytes(body + f',\n"check":"{check}"}}\n'.encode())


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    ring = tmp_path / "ring"
    ring.mkdir()
    (ring / "ring.json").write_text('{"format":"argus-checkpoint-ring","version":1}\n')
    write_checkpoint(ring, "step-00000300-0-now", serial=3, step=300, signal="SAVE_NOW", slot=4, loss="NaN")
    write_checkpoint(ring, "step-00000100-0", serial=1, step=100, promoted=True)
    write_checkpoint(ring, "step-00000200-0", serial=2, step=200, run_id="", loss=None)
    (ring / ".partial-step-00000400-0").mkdir()
    (ring / "notes.txt").write_text("mine")
    return ring


def test_list_shows_what_is_there_oldest_first(argus, ring):
    done = argus("checkpoints", "list", ring, "--json")
    assert done.returncode == INTACT, done.stderr
    listed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(c["step"], c["signal"], c["promoted"], c["loss"]) for c in listed] == [
        (100, "SAVE", True, 0.25), (200, "SAVE", False, None), (300, "SAVE_NOW", False, "NaN")]  # fmt: skip
    assert listed[0] == {
        "name": "step-00000100-0", "step": 100, "segment": 0, "signal": "SAVE", "reason": "calm", "slot": 0, "loss": 0.25,
        "promoted": True, "serial": 1, "run_id": "run-1", "created_ms": 1_700_000_000_000, "world_size": 1, "bytes": 7002,
    }  # fmt: skip
    rows = argus("checkpoints", "list", ring).stdout.splitlines()
    assert len(rows) == 4 and rows[1].split()[:3] == ["100", "SAVE", "yes"] and "2023-11-14 22:13:20" in rows[1]


def test_verify_reads_everything(argus, ring):
    done = argus("checkpoints", "verify", ring)
    assert done.returncode == INTACT and len(done.stdout.splitlines()) == 3


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["model.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_is_named(argus, ring, file):
    size = (ring / "step-00000200-0" / file).stat().st_size
    for at in {0, size // 2, size - 1}:
        flip(ring / "step-00000200-0" / file, at)
        done = argus("checkpoints", "verify", ring)
        assert done.returncode == DAMAGED, f"byte {at} of {file}"
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("DAMAGED")]
        assert f"step-00000200-0: {file}" in line
        flip(ring / "step-00000200-0" / file, at)
    assert argus("checkpoints", "verify", ring).returncode == INTACT


def test_missing_short_and_long_files_are_named(argus, ring):
    folder = ring / "step-00000100-0"
    (folder / "custom" / "part.bin").unlink()
    (folder / "state.json").write_bytes(b"{} ")
    done = argus("checkpoints", "verify", ring)
    assert done.returncode == DAMAGED
    assert (
        "custom/part.bin cannot be read" in done.stdout and "state.json has 3 bytes, was written with 2" in done.stdout
    )
    (folder / "manifest.json").unlink()
    listed = argus("checkpoints", "list", ring, "--json")
    assert listed.returncode == DAMAGED and "manifest.json" in json.loads(listed.stdout.splitlines()[-1])["damage"]


@pytest.mark.parametrize(
    "fields",
    [
        {"files": [{"name": "../../secret", "bytes": 0, "sha256": "0" * 64}]},
        {"files": [{"name": "/etc/passwd", "bytes": 0, "sha256": "0" * 64}]},
        {"files": [{"name": "a", "bytes": -1, "sha256": "0" * 64}]},
        {"files": [{"name": "a", "bytes": 1, "sha256": "xyz"}]},
        {"files": 3},
        {"version": 2},
        {"format": "other"},
        {"step": "many"},
        {"step": -1},
        {"promoted": 1},
    ],
)
def test_a_manifest_that_is_none_is_damage_not_a_crash(argus, ring, fields):
    write_checkpoint(ring, "step-00000500-0", **fields)
    done = argus("checkpoints", "verify", ring)
    assert done.returncode == DAMAGED and "DAMAGED  step-00000500-0: manifest.json" in done.stdout, done.stdout


def test_what_is_no_ring_and_wrong_usage_have_their_own_status(argus, ring, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "nowhere", tmp_path / "empty", ring / "ring.json"):
        done = argus("checkpoints", "list", folder)
        assert done.returncode == NOT_A_RING and str(folder) in done.stderr
    for arguments in ((), ("list",), ("verify", ring, "--json"), ("mend", ring)):
        assert argus("checkpoints", *arguments).returncode == USAGE
    (tmp_path / "empty" / "ring.json").write_text("{}")
    assert argus("checkpoints", "verify", tmp_path / "empty").returncode == INTACT
