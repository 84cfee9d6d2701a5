"""Live streams: everything once and in order, resumed by id, whoever takes the packs; ended cleanly."""

import pytest
from events import EventSource
from serving import Served, serving

from conftest import diverging_run, healthy_run


@pytest.fixture(scope="module")
def server(program, tmp_path_factory):
    with serving(program, tmp_path_factory.mktemp("live") / "home") as served:
        yield served


def send(server: Served, run_id: str, steps: list[dict], pack: int = 20, key: str = "") -> None:
    for i in range(0, len(steps), pack):
        body = [{"run_id": run_id, **step} for step in steps[i : i + pack]]
        assert server.post("/v2/detect", body, key=key).status == 200


def has_index(source: EventSource, last: int):
    return lambda _: any(point["index"] >= last for point in source.points())


def test_shows_each_new_step_once_in_order(server):
    steps = healthy_run(300)
    send(server, "live-1", steps[:40])
    source = EventSource(server, "/v2/runs/live-1/stream")
    assert source.status == 200
    assert source.content_type == "text/event-stream"
    source.until(lambda seen: bool(seen))  # the run's row: from here on it watches
    send(server, "live-1", steps[40:])
    source.until(has_index(source, 299))
    assert [point["index"] for point in source.points()] == list(range(40, 300))
    assert [point["loss"] for point in source.points()] == [step["training"]["loss"] for step in steps[40:]]
    assert source.seen[0].name == "run" and source.seen[0].data["run_id"] == "live-1"
    source.close()


def test_shows_timeline_events_as_they_happen(server):
    send(server, "live-2", diverging_run(600)[:390])
    source = EventSource(server, "/v2/runs/live-2/stream")
    source.until(lambda seen: bool(seen))
    send(server, "live-2", diverging_run(600)[390:])
    server.post("/v2/complete", {"run_id": "live-2", "status": "FAILED", "error": "diverged"})
    source.until(lambda seen: any(e.name == "event" and e.data["kind"] == "completed" for e in seen))
    kinds = [event.data["kind"] for event in source.named("event")]
    assert "pressure" in kinds and "episode_opened" in kinds and kinds[-1] == "completed"
    stored = server.get("/v2/runs/live-2/timeline?limit=10000").json["events"]
    assert [event.data for event in source.named("event")] == stored[-len(kinds) :]
    assert source.named("run")[-1].data["status"] == "FAILED"
    source.close()


@pytest.mark.parametrize("by_header", [True, False])
def test_resumes_behind_the_last_id(server, by_header):
    run_id = f"live-3-{by_header}"
    send(server, run_id, healthy_run(200))
    first = EventSource(server, f"/v2/runs/{run_id}/stream?after=-1")
    first.until(has_index(first, 100))
    last = first.named("steps")[-1].id
    first.close()
    path = f"/v2/runs/{run_id}/stream" + ("" if by_header else f"?after={last}")
    again = EventSource(server, path, last_id=last if by_header else "")
    send(server, run_id, healthy_run(260)[200:])
    again.until(has_index(again, 259))
    assert [point["index"] for point in again.points()] == list(range(int(last) + 1, 260))
    again.close()


def test_fields_choose_what_points_hold(server):
    send(server, "live-4", healthy_run(10))
    source = EventSource(server, "/v2/runs/live-4/stream?after=-1&fields=current_lr,severity.oscillation")
    source.until(has_index(source, 9))
    assert set(source.points()[0]) == {"index", "step", "segment", "current_lr", "severity.oscillation"}
    source.close()


def test_a_stream_far_behind_says_what_it_skips(server):
    send(server, "live-5", healthy_run(6000), pack=1000)
    source = EventSource(server, "/v2/runs/live-5/stream?after=-1")
    source.until(has_index(source, 5999))
    (skipped,) = source.named("skipped")
    assert skipped.data["first_index"] == 0
    indexes = [point["index"] for point in source.points()]
    assert indexes == list(range(skipped.data["last_index"] + 1, 6000))
    source.close()


def test_another_process_on_the_same_home_shows_the_run(program, server):
    """A replica that does not take the run's packs polls the store."""
    with serving(program, server.home) as other:
        send(server, "live-6", healthy_run(20))
        source = EventSource(other, "/v2/runs/live-6/stream?after=-1")
        source.until(has_index(source, 19))
        send(server, "live-6", healthy_run(60)[20:])
        source.until(has_index(source, 59))
        assert [point["index"] for point in source.points()] == list(range(60))
        source.close()


def test_deleting_a_run_ends_its_stream(server):
    send(server, "live-7", healthy_run(20))
    source = EventSource(server, "/v2/runs/live-7/stream?after=-1")
    source.until(has_index(source, 19))
    assert server.call("DELETE", "/v2/runs/live-7").status == 200
    source.until(lambda seen: seen[-1].name == "gone")
    assert source.ended.wait(10)


def test_runs_that_change_are_streamed_to_their_owner(server):
    source = EventSource(server, "/v2/stream")
    source.comments = 0
    send(server, "live-8a", healthy_run(20))
    send(server, "live-8b", healthy_run(20))
    source.until(lambda seen: {"live-8a", "live-8b"} <= {event.data["run_id"] for event in seen})
    newest = max(source.seen, key=lambda event: int(event.id))
    source.close()
    again = EventSource(server, "/v2/stream", last_id=newest.id)
    send(server, "live-8c", healthy_run(20))
    again.until(lambda seen: any(event.data["run_id"] == "live-8c" for event in seen))
    assert all(int(event.id) >= int(newest.id) for event in again.seen)
    again.close()


def test_streams_are_the_owners_own(program, argus, tmp_path):
    home = tmp_path / "home"
    keys = {}
    for owner in ("ada", "bob"):
        made = argus("keys", "create", "--home", home, "--owner", owner, "--scope", "ingest,read")
        assert made.returncode == 0, made.stderr
        keys[owner] = made.stdout.strip()
    with serving(program, home) as server:
        send(server, "same", healthy_run(20), key=keys["ada"])
        assert EventSource(server, "/v2/runs/same/stream").status == 401
        assert EventSource(server, "/v2/runs/same/stream", key=keys["bob"]).status == 404
        bob = EventSource(server, "/v2/stream?after=0", key=keys["bob"])
        ada = EventSource(server, "/v2/stream?after=0", key=keys["ada"])
        ada.until(lambda seen: bool(seen))
        send(server, "bobs", healthy_run(20), key=keys["bob"])
        bob.until(lambda seen: bool(seen))
        assert {event.data["run_id"] for event in bob.seen} == {"bobs"}
        assert {event.data["run_id"] for event in ada.seen} == {"same"}


def test_streams_end_when_the_server_stops(program, tmp_path):
    server = Served(program, tmp_path / "home").start()
    send(server, "r", healthy_run(20))
    sources = [EventSource(server, "/v2/runs/r/stream?after=-1") for _ in range(5)]
    sources.append(EventSource(server, "/v2/stream"))
    sources[0].until(has_index(sources[0], 19))
    assert server.stop(timeout_s=20) == 0
    for source in sources:
        assert source.ended.wait(10)


@pytest.mark.parametrize("query", ["after=x", "after=-2", "fields=nothing", "fields=loss,loss", "unknown=1"])
def test_bad_parameters_are_named(server, query):
    send(server, "live-9", healthy_run(5))
    answer = server.get(f"/v2/runs/live-9/stream?{query}")
    assert answer.status == 422
    assert answer.error["field"] == query.split("=")[0]
