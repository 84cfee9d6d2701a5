"""`argus runs` on a home, beside a server that uses it."""

import json
import subprocess

import pytest
from serving import Served, serving

from conftest import diverging_run, healthy_run

DONE, NO_SUCH_RUN, USAGE, CANNOT = 0, 1, 2, 3


def send(server: Served, run_id: str, steps: list[dict], pack: int = 50) -> None:
    for i in range(0, len(steps), pack):
        body = [{"run_id": run_id, **step} for step in steps[i : i + pack]]
        assert server.post("/v2/detect", body).status == 200


@pytest.fixture(scope="module")
def server(program, tmp_path_factory):
    with serving(program, tmp_path_factory.mktemp("runs") / "home") as served:
        send(served, "calm", healthy_run(200))
        send(served, "broken", diverging_run(600))
        assert served.post("/v2/complete", {"run_id": "broken", "status": "FAILED"}).status == 200
        yield served


@pytest.fixture
def runs(argus, server):
    def call(*arguments: object, home=server.home, **options: object):
        return argus("runs", *arguments, "--home", home, **options)

    return call


def lines(done: subprocess.CompletedProcess[str]) -> list[dict]:
    assert done.returncode == DONE, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_list_shows_what_the_server_shows(runs, server):
    listed = lines(runs("list", "--json"))
    assert {run["run_id"] for run in listed} >= {"calm", "broken"}
    assert [run for run in listed if run["run_id"] == "broken"] == [server.get("/v2/runs/broken").json]
    assert [run["run_id"] for run in lines(runs("list", "--json", "--status", "FAILED"))] == ["broken"]
    table = runs("list").stdout.splitlines()
    assert table[0].split()[:3] == ["run", "status", "pressure"]
    assert any(row.startswith("broken ") and "FAILED" in row for row in table[1:])


def test_another_owner_has_no_runs(runs):
    assert lines(runs("list", "--json", "--owner", "ada")) == []
    assert runs("show", "calm", "--owner", "ada").returncode == NO_SUCH_RUN


def test_show_tells_episodes_and_advice(runs, server):
    told = runs("show", "broken")
    assert told.returncode == DONE
    assert "FAILED" in told.stdout and "episode 1" in told.stdout and "recommendation 1" in told.stdout
    (shown,) = lines(runs("show", "broken", "--json"))
    assert shown["run"] == server.get("/v2/runs/broken").json
    assert shown["events"] == server.get("/v2/runs/broken/timeline?limit=10000").json["events"]


def test_show_names_what_an_episode_rests_on_and_that_it_lasted_to_the_end(runs):
    told = runs("show", "broken").stdout
    episode = [line for line in told.splitlines() if "  episode " in line][-1]
    assert "to the end of the run" in episode
    assert "loss_divergence" in episode
    assert " 1 checkpoints" not in told


def test_an_episode_that_a_rollback_ended_is_told_as_that(program, argus, tmp_path):
    steps = diverging_run(600)
    with serving(program, tmp_path / "home") as served:
        send(served, "back", steps[:480])
        assert served.post("/v2/reset", {"run_id": "back", "step": 300}).status == 200
        send(served, "back", healthy_run(600)[300:400])
    told = argus("runs", "show", "back", "--home", tmp_path / "home").stdout
    assert "after going back" in told


def test_a_run_that_nobody_ends_is_told_as_silent(runs, argus, tmp_path):
    exported = runs("export", "calm").stdout.splitlines()
    long_ago = json.loads(exported[0]) | {"updated_ms": 1_700_000_000_000}
    file = tmp_path / "silent.jsonl"
    file.write_text("\n".join([json.dumps(long_ago, separators=(",", ":")), *exported[1:]]) + "\n")
    other = tmp_path / "other"
    assert runs("import", file, home=other).returncode == DONE
    (row,) = runs("list", home=other).stdout.splitlines()[1:]
    assert "RUNNING" in row and row.endswith(", silent")
    assert "RUNNING but silent" in runs("show", "calm", home=other).stdout
    assert "silent" not in runs("show", "broken").stdout


def test_tail_of_an_ended_run_shows_its_end(runs):
    tailed = lines(runs("tail", "broken", "--json"))
    assert [line["index"] for line in tailed if "loss" in line] == list(range(580, 600))
    assert tailed[-1]["index"] == 599 or tailed[-1].get("kind") == "completed"
    told = runs("tail", "broken").stdout
    assert "index 599  step 599" in told and "kind completed" in told


def test_tail_follows_a_run_while_it_runs(program, server):
    send(server, "live", healthy_run(50))
    command = [program, "runs", "tail", "live", "--json", "--home", server.home]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        seen = [json.loads(tail.stdout.readline())]
        send(server, "live", healthy_run(120)[50:])
        assert server.post("/v2/complete", {"run_id": "live"}).status == 200
        seen += [json.loads(line) for line in tail.stdout]
        assert tail.wait(timeout=30) == DONE
    indexes = [line["index"] for line in seen if "loss" in line]
    assert indexes == list(range(30, 120))
    assert [line for line in seen if line.get("kind") == "completed"]


def test_export_import_export_keeps_every_row(runs, tmp_path):
    file = tmp_path / "broken.jsonl"
    assert runs("export", "broken", "-o", file).returncode == DONE
    other = tmp_path / "other"
    assert runs("import", file, home=other).returncode == DONE
    again = runs("export", "broken", home=other).stdout
    assert sorted(again.splitlines()) == sorted(file.read_text().splitlines())
    assert runs("import", file, home=other).returncode == CANNOT  # it is there


def test_an_imported_run_goes_on(runs, program, argus, server, tmp_path):
    steps = diverging_run(600)
    send(server, "travels", steps[:300])
    file = tmp_path / "travels.jsonl"
    assert runs("export", "travels", "-o", file).returncode == DONE
    other = tmp_path / "other"
    assert runs("import", file, home=other).returncode == DONE
    send(server, "travels", steps[300:])
    with serving(program, other) as elsewhere:
        send(elsewhere, "travels", steps[300:])
        for path in ("/v2/runs/travels/episodes", "/v2/runs/travels/interventions"):
            assert elsewhere.get(path).json == server.get(path).json
        here, there = (s.get("/v2/runs/travels").json for s in (server, elsewhere))
        assert here["chain"] == there["chain"]


@pytest.mark.parametrize("damage", ["cut", "swapped", "changed", "not JSON"])
def test_a_damaged_export_is_refused_whole(runs, tmp_path, damage):
    text = runs("export", "calm").stdout.splitlines()
    if damage == "cut":
        text = text[:-1]
    elif damage == "swapped":
        text[5], text[6] = text[6], text[5]
    elif damage == "changed":
        text[7] = text[7].replace('"harm_pressure":0', '"harm_pressure":1', 1)
    else:
        text[3] = text[3][:-2]
    file = tmp_path / "calm.jsonl"
    file.write_text("\n".join(text) + "\n")
    other = tmp_path / "other"
    done = runs("import", file, home=other)
    assert done.returncode == CANNOT and "line" in done.stderr
    assert lines(runs("list", "--json", home=other)) == []


def test_delete_removes_beside_the_server(runs, server):
    send(server, "doomed", healthy_run(20))
    assert runs("delete", "doomed").returncode == DONE
    assert server.get("/v2/runs/doomed").status == 404
    assert runs("delete", "doomed").returncode == NO_SUCH_RUN


def test_prune_says_what_it_would_do(runs):
    before = lines(runs("list", "--json"))
    done = runs("prune", "--max-bytes", "1", "--dry-run")
    assert done.returncode == DONE and "would delete local/broken (size)" in done.stdout
    assert "calm" not in done.stdout  # it still runs
    assert lines(runs("list", "--json")) == before
    assert runs("prune").returncode != DONE


@pytest.mark.parametrize("command", [["show"], ["nothing"], ["list", "--limit", "0"], []])
def test_wrong_usage_is_told_apart(runs, command):
    assert runs(*command).returncode == USAGE


@pytest.mark.parametrize("command", ["show", "tail", "export", "delete"])
def test_an_absent_run_is_told_apart(runs, command):
    done = runs(command, "no-such-run")
    assert done.returncode == NO_SUCH_RUN
    assert "no-such-run" in done.stderr or "such run" in done.stderr
