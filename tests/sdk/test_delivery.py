"""Where the steps of a watched run go, and that they get there once: over good links, bad ones, and none."""

import json

import pytest
from bad_link import BadLink
from losses import WAIT_S, feed, kept, steps_of
from serving import Served, serving

import argus


def watch(served_url: str, run_id: str, **options) -> argus.Watch:
    return argus.watch(url=served_url, run_id=run_id, quiet=True, **options)


def test_without_a_server_the_run_is_kept_at_home(program, argus_program, home):
    watched = argus.watch(run_id="at-home", quiet=True)
    feed(watched, 100)
    certificate = json.loads(watched.complete(wait_s=WAIT_S))
    assert certificate["run_id"] == "at-home"
    assert steps_of(kept(program, argus_program, home, "at-home")) == list(range(100))
    assert watched.counters["steps_in_spool"] == 0


def test_a_server_has_every_step_and_says_what_was_said_here(program, argus_program, served, home):
    watched = watch(served.url, "over-http")
    decisions = []
    for step in range(0, 200):
        feed(watched, 1, first=step)
        decisions.append(watched.decision)
    watched.complete(wait_s=WAIT_S)
    observations = kept(program, argus_program, served.home, "over-http")
    assert steps_of(observations) == list(range(200))
    for decision, observation in zip(decisions, observations, strict=True):
        answer = observation["answer"]
        assert answer["harm_pressure"] == decision.harm_pressure
        assert answer["breakdown"] == pytest.approx(decision.breakdown)


def test_a_link_that_cuts_delays_and_doubles_delivers_every_step_once(program, argus_program, served, home):
    with BadLink(served.url, seed=7, cut=0.15, duplicate=0.4, delay_s=0.005, down_share=0.2, period_s=2.0) as link:
        watched = watch(link.url, "bad-link")
        for first in range(0, 2000, 50):
            feed(watched, 50, first=first)
            watched.run.flush(0.05)
        watched.complete(wait_s=WAIT_S)
        assert link.cuts > 0 and link.duplicates > 0
    assert steps_of(kept(program, argus_program, served.home, "bad-link")) == list(range(2000))
    assert watched.counters["steps_in_spool"] == 0


def test_a_run_that_began_without_a_server_catches_up_when_it_comes(program, argus_program, home, tmp_path):
    server = Served(program, tmp_path / "late").start()
    url = server.url
    port = server.port
    server.stop()
    watched = watch(url, "late-server")
    feed(watched, 500)
    with serving(program, tmp_path / "late", "--port", port):
        assert watched.complete(wait_s=WAIT_S)
    assert steps_of(kept(program, argus_program, tmp_path / "late", "late-server")) == list(range(500))


def test_what_a_wrong_key_kept_back_is_there_once_the_key_is_right(program, argus_program, home, tmp_path, capfd):
    folder = tmp_path / "keyed"
    made = argus_program("keys", "create", "--owner", "alice", "--scope", "ingest,read", "--home", folder)
    key = made.stdout.split()[-1]
    with serving(program, folder) as server:
        watched = watch(server.url, "wrong-key", key="argus_wrong")
        feed(watched, 50)
        assert watched.complete(wait_s=2.0) == ""
        assert watched.watching is False and watched.errors == 0
        lines = [line for line in capfd.readouterr().err.splitlines() if "key" in line]
        assert len(lines) == 1
        assert "argus_wrong" not in lines[0]
        with_key = watch(server.url, "wrong-key", key=key)
        feed(with_key, 10, first=50)
        assert with_key.complete(wait_s=WAIT_S)
    assert steps_of(kept(program, argus_program, folder, "wrong-key", "--owner", "alice")) == list(range(60))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "ftp://somewhere", "http://", "nonsense", "http://user:pw@h"])
def test_a_wrong_url_is_said_once_and_the_run_is_watched(url, home, capfd):
    watched = argus.watch(url=url, quiet=True)
    feed(watched, 40)
    assert len(watched.history) == 40
    watched.complete(wait_s=1.0)
    assert watched.errors == 0
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_nan_losses_travel_as_valid_json(program, argus_program, served, home):
    watched = watch(served.url, "nan")
    feed(watched, 30)
    for step in range(30, 40):
        watched.step(float("nan"), step=step, grad_norm=float("inf"))
    assert watched.pressure == 3
    watched.complete(wait_s=WAIT_S)
    last = kept(program, argus_program, served.home, "nan")[-1]
    assert last["step"]["training"]["loss"] == "NaN"
    assert last["step"]["training"]["grad_norm"] == "Infinity"
    assert last["answer"]["harm_pressure"] == 3


def test_a_remote_pause_reaches_the_user(served, home):
    import hashlib

    said = []
    watched = watch(served.url, "remote", on_pause=said.append)
    feed(watched, 10)
    secret = "only the owner knows"
    registered = {"run_id": "remote", "intervention_secret_hash": hashlib.sha256(secret.encode()).hexdigest()}
    assert served.post("/v2/runs", registered).status in (200, 201)
    assert served.post("/v2/runs/remote/commands", {"kind": "PAUSE", "secret": secret}).status in (200, 202)
    for step in range(10, 10_000):
        watched.step(1.0, step=step)
        watched.run.flush(1.0)
        if said:
            break
    watched.complete(wait_s=WAIT_S)
    assert len(said) == 1
