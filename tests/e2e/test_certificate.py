"""A certificate from a real server: valid however it is written anew, tampered when anything in it is changed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import postgres  # noqa: F401 (a fixture)
from serving import Served, serving

from conftest import diverging_run

VALID, TAMPERED, UNKNOWN_KEY = 0, 1, 2
PACK = 32


def complete(server: Served, run_id: str, steps: int = 300, key: str = "") -> dict:
    run = [{"run_id": run_id, "seq": i, "segment": 0, **s} for i, s in enumerate(diverging_run(steps, 2 * steps // 3))]
    for i in range(0, steps, PACK):
        assert server.post("/v2/detect", run[i : i + PACK], key=key).status == 200
    body = {"run_id": run_id, "status": "COMPLETED", "step": steps - 1, "duration_s": 12.5}
    answer = server.post("/v2/complete", body, key=key)
    assert answer.status == 200, answer.body
    return answer.json


@pytest.fixture(scope="module")
def served(program, tmp_path_factory) -> Iterator[Served]:
    with serving(program, tmp_path_factory.mktemp("certificate") / "home") as server:
        yield server


@pytest.fixture(scope="module")
def answer(served) -> dict:
    return complete(served, "certified")


@pytest.fixture
def verify(argus, served, tmp_path):
    def run(document: object, *flags: object, home: Path | None = None) -> int:
        path = tmp_path / "certificate.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        done = argus("verify", path, "--home", home or served.home, *flags)
        assert done.returncode in (VALID, TAMPERED, UNKNOWN_KEY), done.stderr
        return done.returncode

    return run


def paths_in(node: object, at: tuple = ()) -> Iterator[tuple]:
    yield at
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths_in(value, (*at, key))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from paths_in(value, (*at, i))


def changed(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return 0 if value is None else None


def test_valid_however_written(answer, verify):
    certificate = answer["certificate"]
    assert verify(answer) == VALID
    assert verify(certificate) == VALID
    assert verify(json.dumps(certificate, indent=4, sort_keys=True)) == VALID
    assert verify(dict(reversed(certificate.items()))) == VALID
    assert verify(json.loads(json.dumps(certificate), parse_int=float)) == VALID


def test_states_the_run(answer):
    certificate = answer["certificate"]
    assert certificate["run_id"] == "certified"
    assert certificate["observations"] == 300
    assert (certificate["first_step"], certificate["last_step"]) == (0, 299)
    assert sum(certificate["at_pressure"]["observations"]) == 300
    assert certificate["episodes"] and certificate["interventions"]
    assert 0 <= certificate["data_quality"]["index"] <= 1
    assert certificate["duration_s"] == 12.5


def test_tampered_when_any_field_is_changed(answer, verify):
    certificate = answer["certificate"]
    paths = [path for path in paths_in(certificate) if path]
    # A process for each: a sample of every section; the unit test walks them all.
    sampled = {path[0]: path for path in paths}.values()
    for path in [*sampled, ("signature", "value"), ("chain", "end"), ("at_pressure", "observations", 3)]:
        other = json.loads(json.dumps(certificate))
        parent = other
        for part in path[:-1]:
            parent = parent[part]
        parent[path[-1]] = changed(parent[path[-1]])
        assert verify(other) == TAMPERED, path
    assert verify({**certificate, "added": 1}) == TAMPERED
    assert verify({k: v for k, v in certificate.items() if k != "episodes"}) == TAMPERED
    assert verify("not json") == TAMPERED
    assert verify({"completed": True}) == TAMPERED


def test_trusts_the_home_or_the_key_given_and_nothing_else(answer, verify, tmp_path):
    own = answer["certificate"]["signature"]["public_key"]
    assert verify(answer, home=tmp_path / "nowhere") == UNKNOWN_KEY
    assert not (tmp_path / "nowhere").exists()
    assert verify(answer, "--pubkey", own, home=tmp_path / "nowhere") == VALID
    assert verify(answer, "--pubkey", "A" * 43) == UNKNOWN_KEY
    assert verify(answer, "--pubkey", "no key") == UNKNOWN_KEY


def test_rotated_key_signs_and_the_old_one_stays_trusted(program, argus, tmp_path):
    home = tmp_path / "home"
    with serving(program, home) as server:
        before = complete(server, "before", 40)
        rotated = argus("keys", "rotate", "--home", home)
        assert rotated.returncode == 0, rotated.stderr
        after = complete(server, "after", 40)
    new = after["certificate"]["signature"]["public_key"]
    assert new in rotated.stdout
    assert new != before["certificate"]["signature"]["public_key"]
    for answered in (before, after):
        file = tmp_path / "certificate.json"
        file.write_text(json.dumps(answered))
        assert argus("verify", file, "--home", home).returncode == VALID


def test_trusts_the_keys_of_a_database(program, argus, tmp_path, postgres):  # noqa: F811
    url = postgres.make_database()
    with serving(program, tmp_path / "home", "--database", url) as server:
        file = tmp_path / "certificate.json"
        file.write_text(json.dumps(complete(server, "kept", 40)))
    assert argus("verify", file, "--database", url).returncode == VALID
    assert argus("verify", file, "--database", postgres.make_database()).returncode == UNKNOWN_KEY


def test_chain_is_recomputed_from_the_export(argus, served, answer, verify, tmp_path):
    exported = argus("runs", "export", "certified", "--home", served.home)
    assert exported.returncode == 0, exported.stderr
    whole = tmp_path / "run.jsonl"
    whole.write_text(exported.stdout)
    assert verify(answer, "--export", whole) == VALID

    other = complete(served, "another")
    assert verify(other, "--export", whole) == TAMPERED

    lines = exported.stdout.splitlines(keepends=True)
    shortened = tmp_path / "shortened.jsonl"
    shortened.write_text("".join(lines[:100] + lines[101:]))
    assert verify(answer, "--export", shortened) == TAMPERED


def test_completing_again_returns_the_same_certificate(served, answer):
    again = served.post("/v2/complete", {"run_id": "certified", "status": "COMPLETED", "step": 299})
    assert again.json == answer


def test_the_server_uses_its_key_after_a_restart(program, argus, tmp_path):
    home = tmp_path / "home"
    keys = []
    for run_id in ("one", "two"):
        with serving(program, home) as server:
            keys.append(complete(server, run_id, 40)["certificate"]["signature"]["public_key"])
            assert server.stop() == 0
    assert keys[0] == keys[1]
    assert keys[0] in argus("keys", "server", "--home", home).stdout
