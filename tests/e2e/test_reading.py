"""The reading API over a real server: lists, series, steps, timelines; and OpenAPI held against what is answered."""

import json
import math
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from serving import Served, serving

from conftest import ROOT, diverging_run, healthy_run

STEPS = 600


def send(server: Served, run_id: str, steps: list[dict], pack: int = 50, key: str = "") -> None:
    for i in range(0, len(steps), pack):
        body = [{"run_id": run_id, **step} for step in steps[i : i + pack]]
        assert server.post("/v2/detect", body, key=key).status == 200


@pytest.fixture(scope="module")
def server(program, tmp_path_factory):
    with serving(program, tmp_path_factory.mktemp("reading") / "home") as served:
        send(served, "calm", healthy_run(STEPS))
        send(served, "broken", diverging_run(STEPS))
        rewound = healthy_run(300) + healthy_run(400, seed=2)[200:]
        send(served, "rewound", rewound, pack=25)
        send(served, "long", healthy_run(9000), pack=1000)
        served.post("/v2/telemetry", {"run_id": "calm", "event": "heartbeat", "step": 5, "loss": 2.5})
        done = served.post("/v2/complete", {"run_id": "broken", "status": "FAILED", "error": "loss is NaN"})
        assert done.status == 200
        yield served


class Contract:
    """OpenAPI's schemas, applied to what a server answers."""

    def __init__(self) -> None:
        self.document = json.loads((ROOT / "server" / "openapi.json").read_text())
        self.registry = Registry().with_resource("", Resource(self.document, DRAFT202012))

    def check(self, method: str, path: str, answer) -> None:
        operation = self.document["paths"][path][method]
        response = operation["responses"][str(answer.status)]
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        ((media, content),) = response["content"].items()
        assert answer.headers["content-type"].split(";")[0] == media
        if media == "application/json":
            value = json.loads(answer.body, parse_constant=lambda word: pytest.fail(f"a bare {word} is not JSON"))
            # References in the document begin with '#': they are resolved against the whole of it.
            rooted = json.loads(json.dumps(content["schema"]).replace('"#/', '"/#/').replace('"/#/', '"#/'))
            schema = {**self.document, **rooted}
            errors = list(Draft202012Validator(schema, registry=self.registry).iter_errors(value))
            assert not errors, f"{method} {path}: {errors[0].message} at {list(errors[0].absolute_path)}"


@pytest.fixture(scope="module")
def contract():
    return Contract()


def test_the_document_is_openapi(contract):
    validate(contract.document)


def test_the_document_is_served(server, contract):
    for path in ("/openapi.json", "/v2/openapi.json", "/api/v2/openapi.json"):
        assert server.get(path).json == contract.document


def test_every_documented_path_answers(server, contract):
    """None of them is a 404 of the router's, and no other method is taken."""
    for path, methods in contract.document["paths"].items():
        real = re.sub(r"\{\w+\}", "no-such", path)
        for method in methods:
            if method == "servers" or path in ("/stream", "/openapi.json"):
                continue
            answer = server.call(method.upper(), f"/v2{real}", "{}" if method == "post" else None)
            assert answer.status != 405, (method, path)
            if answer.status == 404:
                assert "field" in answer.error or "such" in answer.error["message"], (method, path, answer.body)


CALLS = [
    ("get", "/runs", "/runs"),
    ("get", "/runs", "/runs?status=FAILED&pressure_min=0&q=rok&sort=created&limit=10&offset=0"),
    ("get", "/runs", "/runs?limit=0"),
    ("get", "/runs/{run_id}", "/runs/calm"),
    ("get", "/runs/{run_id}", "/runs/no-such"),
    ("get", "/runs/{run_id}/series", "/runs/long/series?fields=loss,pressure,expected_loss_low&points=100"),
    ("get", "/runs/{run_id}/series", "/runs/calm/series?fields=val_loss&points=3"),
    ("get", "/runs/{run_id}/series", "/runs/calm/series?fields=nothing"),
    ("get", "/runs/{run_id}/steps", "/runs/broken/steps?from=380&limit=200"),
    ("get", "/runs/{run_id}/steps", "/runs/rewound/steps?after=290&limit=100"),
    ("get", "/runs/{run_id}/timeline", "/runs/broken/timeline"),
    ("get", "/runs/{run_id}/timeline", "/runs/broken/timeline?kinds=pressure,completed&limit=2"),
    ("get", "/runs/{run_id}/episodes", "/runs/broken/episodes"),
    ("get", "/runs/{run_id}/checkpoints", "/runs/broken/checkpoints"),
    ("get", "/runs/{run_id}/interventions", "/runs/broken/interventions"),
    ("get", "/runs/{run_id}/certificate", "/runs/broken/certificate"),
    ("get", "/runs/{run_id}/certificate", "/runs/calm/certificate"),
    ("get", "/runs/{run_id}/export", "/runs/calm/export"),
    ("get", "/runs/{run_id}/analytics", "/runs/calm/analytics"),
    ("get", "/runs/{run_id}/job", "/runs/calm/job"),
    ("get", "/status/{run_id}", "/status/calm"),
    ("get", "/status/{run_id}", "/status/no-such"),
    ("get", "/session", "/session"),
    ("get", "/keys", "/keys"),
    ("get", "/webhooks", "/webhooks"),
    ("get", "/health", "/health"),
    ("get", "/ready", "/ready"),
    ("get", "/metrics", "/metrics"),
]


@pytest.mark.parametrize(("method", "pattern", "path"), CALLS)
def test_answers_are_as_documented(server, contract, method, pattern, path):
    contract.check(method, pattern, server.call(method.upper(), f"/v2{path}"))


POSTS = [
    ("/detect", "/detect", [{"run_id": "posted", **step} for step in diverging_run(450, 400)]),
    ("/detect", "/detect", {"run_id": "posted", "step": 450, "training": {"loss": "NaN", "grad_norm": "Infinity"}}),
    ("/detect", "/detect", {"run_id": "posted", "step": -1}),
    ("/runs", "/runs", {"run_id": "registered", "model_type": "llm", "total_steps": 10}),
    ("/heartbeat", "/heartbeat", {"run_id": "calm", "status": "running"}),
    ("/heartbeat", "/heartbeat", {"run_id": "no-such"}),
    ("/reset", "/reset", {"run_id": "posted", "step": 3}),
    ("/complete", "/complete", {"run_id": "posted"}),
    ("/telemetry", "/telemetry", {"run_id": "posted", "event": "milestone", "step": 1000}),
    ("/runs/{run_id}/commands", "/runs/calm/commands", {"kind": "STOP", "secret": "wrong"}),
    ("/runs/{run_id}/commands/report", "/runs/calm/commands/report", {"kind": "STOP", "ok": True}),
    ("/runs/{run_id}/stop-acknowledge", "/runs/calm/stop-acknowledge", {"step": 7}),
    ("/session", "/session", {}),
    ("/keys", "/keys", {"owner": "", "scopes": "nothing"}),
]


@pytest.mark.parametrize(("pattern", "path", "body"), POSTS)
def test_answers_to_posts_are_as_documented(server, contract, pattern, path, body):
    contract.check("post", pattern, server.post(f"/v2{path}", body))


# ---- lists -------------------------------------------------------------------------------------------------------------


def test_lists_filter_sort_and_page(server):
    assert [run["run_id"] for run in server.get("/v2/runs?status=FAILED").json["runs"]] == ["broken"]
    assert [run["run_id"] for run in server.get("/v2/runs?q=alm").json["runs"]] == ["calm"]
    names = [run["run_id"] for run in server.get("/v2/runs?sort=run_id&limit=1000").json["runs"]]
    assert names == sorted(names)
    first, second = (server.get(f"/v2/runs?sort=run_id&limit=1&offset={i}").json for i in (0, 1))
    assert [first["runs"][0]["run_id"], second["runs"][0]["run_id"]] == names[:2]
    assert first["total"] == len(names)


@pytest.mark.parametrize(
    "query", ["limit=1001", "limit=x", "offset=-1", "status=DONE", "sort=size", "pressure_min=4", "nothing=1"]
)
def test_bad_list_parameters_are_named(server, query):
    answer = server.get(f"/v2/runs?{query}")
    assert answer.status == 422
    assert answer.error["field"] == query.split("=")[0]


@pytest.mark.parametrize("text", ["'; DROP TABLE runs; --", "%25", "_", '"', "\\", "%F0%9F%98%80"])
def test_searching_for_anything_finds_only_what_contains_it(server, text):
    answer = server.get("/v2/runs?q=" + (text if text.startswith("%") else "".join(f"%{ord(c):02X}" for c in text)))
    assert answer.status == 200
    assert answer.json["runs"] == []


# ---- series ------------------------------------------------------------------------------------------------------------


def test_series_are_exact_for_the_buckets_they_state(server):
    losses = [step["training"]["loss"] for step in healthy_run(9000)]
    for query, first, last in (("", 0, 8999), ("&from=1000&to=8500", 1000, 8500), ("&from=4090&to=4100", 4090, 4100)):
        body = server.get(f"/v2/runs/long/series?fields=loss&points=100{query}").json
        buckets, values = body["buckets"], body["fields"]["loss"]
        assert body["observations"] == last - first + 1
        assert len(buckets["first_step"]) <= 100
        at = first
        for i, observations in enumerate(buckets["observations"]):
            part = losses[at : at + observations]
            assert (buckets["first_step"][i], buckets["last_step"][i]) == (at, at + observations - 1)
            assert (values["min"][i], values["max"][i], values["count"][i]) == (min(part), max(part), len(part))
            assert math.isclose(values["mean"][i], sum(part) / len(part), rel_tol=1e-12)
            at += observations
        assert at == last + 1


def test_series_name_the_segment_of_each_bucket(server):
    body = server.get("/v2/runs/rewound/series?fields=loss&points=40").json["buckets"]
    assert sorted(set(body["segment"])) == [0, 1]
    assert body["segment"] == sorted(body["segment"])
    second = body["segment"].index(1)
    assert body["first_index"][second] == 300 and body["first_step"][second] == 200


def test_values_that_are_not_finite_are_counted_apart(server):
    steps = healthy_run(100)
    steps[50]["training"]["loss"] = "NaN"
    steps[60]["training"]["loss"] = "Infinity"
    send(server, "not-finite", steps)
    values = server.get("/v2/runs/not-finite/series?fields=loss&points=1").json["fields"]["loss"]
    assert (values["count"], values["non_finite"]) == ([98], [2])


# ---- steps and timeline ------------------------------------------------------------------------------------------------


def test_steps_hold_what_was_sent_and_answered(server):
    sent = diverging_run(STEPS)
    seen = []
    after = ""
    while True:
        page = server.get(f"/v2/runs/broken/steps?limit=250{after}").json
        seen += page["steps"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert [o["index"] for o in seen] == list(range(STEPS))
    assert [o["step"]["training"] for o in seen] == [step["training"] for step in sent]
    answer = server.post("/v2/detect", {"run_id": "broken", **sent[450]}).json  # sent again: the answer of then
    assert answer == seen[450]["answer"]


def test_the_timeline_tells_the_episode(server):
    events = server.get("/v2/runs/broken/timeline?kinds=episode_opened").json["events"]
    episodes = server.get("/v2/runs/broken/episodes").json["episodes"]
    assert [event["id"] for event in events] == [episode["id"] for episode in episodes]
    assert episodes[-1]["peak_pressure"] >= 2


def test_long_export_comes_in_parts_and_whole(program, argus, tmp_path):
    with serving(program, tmp_path / "home") as served:
        samples = {"sample_ids": list(range(256)), "sample_losses": [0.5 + i / 997 for i in range(256)]}
        send(served, "large", [{**step, **samples} for step in healthy_run(1200)], pack=200)
        answer = served.get("/v2/runs/large/export")
        assert answer.status == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert len(answer.body) > 8 << 20, "larger than what the server lets wait for a client"
        lines = answer.body.splitlines()
        assert sum(line.startswith(b'{"index":') for line in lines) == 1200
        assert json.loads(lines[-1])["observations"] == 1200
        file = tmp_path / "run.jsonl"
        file.write_bytes(answer.body)
        imported = argus("runs", "import", file, "--home", tmp_path / "other")
        assert imported.returncode == 0, imported.stderr


def test_exports_are_imported_as_they_were(server, argus, tmp_path):
    exported = server.get("/v2/runs/broken/export").body
    file = tmp_path / "broken.jsonl"
    file.write_bytes(exported)
    other = tmp_path / "other"
    done = argus("runs", "import", file, "--home", other)
    assert done.returncode == 0, done.stderr
    again = argus("runs", "export", "broken", "--home", other)
    # Where an event stands between observations depends on how the log is cut into records; their order does not.
    before, after = ([json.loads(line) for line in text.splitlines()] for text in (exported, again.stdout))
    for kind in ("argus_export", "index", "event", "certificate", "end"):
        assert [line for line in before if kind in line] == [line for line in after if kind in line]
    assert len(before) == len(after)


# ---- owners ------------------------------------------------------------------------------------------------------------


def test_another_owners_run_is_as_absent_as_none(program, argus, tmp_path: Path, contract):
    home = tmp_path / "home"
    keys = {}
    for owner, scope in (("ada", "ingest,read"), ("bob", "ingest,read"), ("root", "admin")):
        made = argus("keys", "create", "--home", home, "--owner", owner, "--scope", scope)
        assert made.returncode == 0, made.stderr
        keys[owner] = made.stdout.strip()
    with serving(program, home) as server:
        send(server, "secret-run", healthy_run(50), key=keys["ada"])
        for path, methods in contract.document["paths"].items():
            if not path.startswith("/runs/{run_id}") or "get" not in methods or path.endswith("/job"):
                continue
            real = path.replace("{run_id}", "secret-run")
            absent = path.replace("{run_id}", "no-such-run")
            assert server.get(f"/v2{real}", key=keys["bob"]).status == 404, path
            other = server.get(f"/v2{absent}", key=keys["bob"]).body.replace(b"no-such-run", b"secret-run")
            assert server.get(f"/v2{real}", key=keys["bob"]).body == other, path
            assert server.get(f"/v2{real}").status == 401, path
        assert server.get("/v2/runs", key=keys["bob"]).json["total"] == 0
        # Reading is not administration, and an admin's key is of its own owner.
        assert server.call("DELETE", "/v2/runs/secret-run", key=keys["ada"]).status == 403
        assert server.call("DELETE", "/v2/runs/secret-run", key=keys["root"]).status == 404
        assert server.get("/v2/runs/secret-run", key=keys["ada"]).status == 200


def test_a_deleted_run_is_gone(server):
    send(server, "short-lived", healthy_run(50))
    assert server.call("DELETE", "/v2/runs/short-lived").json == {"deleted": True}
    assert server.get("/v2/runs/short-lived").status == 404
    assert server.call("DELETE", "/v2/runs/short-lived").status == 404
