"""`argus spool list` and `send`: what a training process left behind reaches the server, once."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest
from serving import serving

from conftest import ROOT

DONE, NOT_SENT, USAGE, CANNOT = 0, 1, 2, 3
GOLDEN = ROOT / "client" / "testdata" / "spool-v1"  # three steps of run "golden", a reset between them, its completion
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def left_behind(home: Path):
    """left_behind(url): a run that ended offline, and was told to report to `url`."""

    def make(url: str, folder: str = "golden") -> Path:
        spool = home / "spool" / folder
        shutil.copytree(GOLDEN, spool)
        manifest = json.loads((spool / "manifest.json").read_text())
        (spool / "manifest.json").write_text(json.dumps(manifest | {"url": url}))
        return spool

    return make


@pytest.fixture
def spool(argus, home):
    def call(*arguments: object, **options: object):
        return argus("spool", *arguments, "--home", home, **options)

    return call


def listed(spool) -> list[dict]:
    done = spool("list", "--json")
    assert done.returncode == DONE, done.stderr
    return json.loads(done.stdout)


def test_list_shows_what_waits(spool, left_behind):
    assert listed(spool) == []
    folder = left_behind(NOBODY)
    (one,) = listed(spool)
    assert one["run_id"] == "golden" and one["url"] == NOBODY and one["folder"] == str(folder)
    assert (one["records"], one["steps"]) == (4, 3)
    assert one["bytes"] == sum(path.stat().st_size for path in folder.glob("*.seg"))
    assert one["has_complete"] and not one["in_use"] and one["problem"] == ""
    assert one["losses"] == {"steps_dropped": 0, "steps_without_samples": 0, "records_torn": 0, "reason": ""}
    table = spool("list").stdout.splitlines()
    assert table[1].split()[:3] == ["golden", "3", "4"] and "waits, complete" in table[1]


def test_an_empty_folder_that_a_kill_left_is_not_listed(spool, home, left_behind):
    folder = left_behind(NOBODY)
    for segment in folder.glob("*.seg"):
        segment.unlink()
    assert listed(spool) == []
    assert spool("list").stdout.startswith("nothing waits")
    assert spool("send", "golden").returncode == DONE


def test_damage_is_listed(spool, left_behind):
    folder = left_behind(NOBODY)
    segment = sorted(folder.glob("*.seg"))[-1]
    segment.write_bytes(segment.read_bytes()[:-3])
    (one,) = listed(spool)
    assert one["losses"]["records_torn"] == 1 and one["losses"]["reason"]
    assert not one["has_complete"]


def test_a_server_that_was_down_gets_all_of_it_once(spool, program, home, left_behind):
    folder = left_behind(NOBODY)
    before = {path.name: path.read_bytes() for path in folder.glob("*.seg")}
    failed = spool("send", "golden", "--patience", 0)
    assert failed.returncode == NOT_SENT
    assert "3 steps in 4 messages still wait" in failed.stderr
    assert {path.name: path.read_bytes() for path in folder.glob("*.seg")} == before

    with serving(program, home.parent / "server") as server:
        shutil.copytree(folder, home.parent / "copy")
        sent = spool("send", "golden", "--url", server.url + "/api/v2/")
        assert sent.returncode == DONE, sent.stderr
        assert "3 steps in 4 messages sent" in sent.stdout and "completed" in sent.stdout
        assert listed(spool) == []
        shutil.copytree(home.parent / "copy", folder)  # as if none of the acknowledgements had come back
        assert spool("send", "--all", "--url", server.url).returncode == DONE

        run = server.get("/v2/runs/golden").json
        assert run["observations"] == 3 and run["status"] == "COMPLETED"
        steps = server.get("/v2/runs/golden/steps").json["steps"]
        sent_steps = [entry["step"] for entry in steps]
        assert [(step["step"], step["training"]["loss"]) for step in sent_steps] == [(0, 2.5), (1, 2.25), (2, 2.0)]


def test_all_sends_to_where_each_run_was_told(spool, program, home, left_behind):
    with serving(program, home.parent / "server") as server:
        left_behind(server.url)
        assert spool("send", "--all").returncode == DONE
        assert server.get("/v2/runs/golden").json["observations"] == 3
    assert spool("send", "--all").stdout.startswith("nothing waits")


def test_a_wrong_key_loses_nothing(argus, spool, program, home, left_behind):
    left_behind(NOBODY)
    served = home.parent / "server"
    key = argus("keys", "create", "--owner", "ada", "--home", served).stdout.strip()
    with serving(program, served) as server:
        refused = spool("send", "golden", "--url", server.url, "--key", "wrong-key-0123456789")
        assert refused.returncode == NOT_SENT
        assert "wrong-key-0123456789" not in refused.stdout + refused.stderr
        assert listed(spool)[0]["steps"] == 3
        sent = spool("send", "golden", "--url", server.url, env={"ARGUS_API_KEY": key})
        assert sent.returncode == DONE, sent.stderr
        assert server.get("/v2/status/golden", key=key).json["observations"] == 3


def test_without_a_url_the_home_keeps_the_run(argus, spool, home, left_behind):
    left_behind("")
    assert spool("send", "golden").returncode == DONE
    shown = json.loads(argus("runs", "show", "golden", "--json", "--home", home).stdout)
    assert shown["run"]["observations"] == 3 and shown["run"]["status"] == "COMPLETED"


def test_a_spool_in_use_is_left_alone(spool, left_behind):
    folder = left_behind(NOBODY)
    with (folder / "lock").open("r+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        assert listed(spool)[0]["in_use"]
        refused = spool("send", "golden", "--patience", 0)
    assert refused.returncode == NOT_SENT and "living process" in refused.stderr
    assert not listed(spool)[0]["in_use"]


def test_a_spool_of_a_later_version_is_left_alone(spool, left_behind):
    folder = left_behind(NOBODY)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
    assert "later version" in listed(spool)[0]["problem"]
    refused = spool("send", "golden")
    assert refused.returncode == NOT_SENT and "later version" in refused.stderr
    assert len(list(folder.glob("*.seg"))) == 2


def test_usage(spool, home):
    assert spool("send").returncode == USAGE
    assert spool("send", "golden", "--all").returncode == USAGE
    for url in ["localhost:8088", "ftp://h", "http://ada:s3cret@h"]:
        wrong = spool("send", "golden", "--url", url)
        assert wrong.returncode == USAGE and "http[s]://HOST" in wrong.stderr and "s3cret" not in wrong.stderr
    missing = spool("send", "golden")
    assert missing.returncode == CANNOT and "argus spool list" in missing.stderr
    home.mkdir()
    (home / "spool").write_text("no folder")
    assert spool("list").returncode == CANNOT
