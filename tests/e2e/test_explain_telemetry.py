"""`argus explain-telemetry` beside the tables of the source and a server that is sent what it explains."""

import json
import re

import pytest
from serving import serving

from conftest import ROOT

TABLES = {
    "POST /v2/detect": ("wire/step_fields.h", r'\{"(\w+)", FieldType::k(?!Object|Applied)', {"seq_len"}),
    "POST /v2/telemetry": (
        "wire/analytics_fields.h",
        r'\{"(\w+)", AnalyticsType::k(?!Objects?\b)',
        {"total_parameters", "trainable_parameters", "error_message"},
    ),
}


@pytest.fixture(scope="module")
def explained(argus) -> dict:
    done = argus("explain-telemetry", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fields(explained: dict, call: str) -> list[dict]:
    (group,) = [group for group in explained["calls"] if group["call"] == call]
    return group["fields"]


def example_body(described: list[dict]) -> dict:
    """The body that the examples make: "control.applied[].id" -> {"control": {"applied": [{"id": ...}]}}."""
    body: dict = {}
    for field in described:
        *parents, name = field["path"].split(".")
        at = body
        for parent in parents:
            if parent.endswith("[]"):
                at = at.setdefault(parent[:-2], [{}])[0]
            else:
                at = at.setdefault(parent, {})
        at[name] = field["example"]
    return body


@pytest.mark.parametrize("call", TABLES)
def test_each_field_of_the_table_is_explained_and_nothing_else(explained, call):
    source, pattern, read_only = TABLES[call]
    in_table = set(re.findall(pattern, (ROOT / source).read_text()))
    in_table -= read_only | {name for name in in_table if re.fullmatch(r"\w+_per_sec(ond)?|\w+_version", name)}
    if call == "POST /v2/detect":
        in_table |= {"id", "kind", "step", "ok", "detail", "sdk_version"}
    assert {field["path"].rsplit(".", 1)[-1] for field in fields(explained, call)} == in_table


def test_each_field_has_a_type_a_meaning_and_an_example(explained):
    lines = [field for group in explained["calls"] for field in group["fields"]] + explained["headers"]
    types = {
        "integer": int,
        "number": (int, float),
        "text": str,
        "flag": bool,
        "numbers": list,
        "integers or texts": list,
    }
    for line in lines:
        assert len(line["meaning"]) > 4, line
        assert isinstance(line["example"], types[line["type"]]), line
    paths = [(group["call"], field["path"]) for group in explained["calls"] for field in group["fields"]]
    assert len(paths) == len(set(paths))


def test_a_server_takes_what_is_explained_and_keeps_the_second_stream_as_sent(explained, program, tmp_path):
    order = ["/v2/runs", "/v2/detect", "/v2/heartbeat", "/v2/reset", "/v2/telemetry", "/v2/complete"]
    assert {group["call"] for group in explained["calls"]} == {f"POST {path}" for path in order}
    with serving(program, tmp_path / "home") as server:
        for path in order:
            body = example_body(fields(explained, f"POST {path}"))
            answer = server.post(path, body)
            assert answer.status == 200, (path, answer.body)
        sent = example_body(fields(explained, "POST /v2/telemetry"))
        (kept,) = server.get(f"/v2/runs/{sent.pop('run_id')}/analytics").json["events"]
    expected = sent | sent.pop("versions")
    assert kept.items() >= {name: value for name, value in expected.items() if name != "versions"}.items()


def test_people_read_the_same(argus, explained):
    text = argus("explain-telemetry").stdout
    for group in explained["calls"]:
        assert f"\n{group['call']}: {group['when']}" in text
        for field in group["fields"]:
            assert re.search(
                rf"^  {re.escape(field['path'])} +{field['type']} +{re.escape(field['meaning'])}", text, re.M
            )
    assert max(map(len, text.splitlines())) < 200
