"""The server as clients meet it: a real process, the calls of the protocol, keys, owners, sessions, TLS, restarts."""

import hashlib
import json
import signal
import subprocess

import pytest
from serving import READY_TIMEOUT_S, Served, serving

from conftest import healthy_run

PREFIXES = ["/v2", "/api/v2"]
BOTH = pytest.mark.parametrize("prefix", PREFIXES)


@pytest.fixture(scope="module")
def server(program, tmp_path_factory):
    """Open, on loopback, without keys: shared, so each test takes run ids of its own."""
    with serving(program, tmp_path_factory.mktemp("open") / "home") as served:
        yield served


def make_key(argus, home, owner: str, scope: str = "ingest,read", *flags: object) -> str:
    made = argus("keys", "create", "--home", home, "--owner", owner, "--scope", scope, *flags)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture(scope="module")
def keyed(program, argus, tmp_path_factory):
    """With keys of two owners: (server, {name: key})."""
    home = tmp_path_factory.mktemp("keyed") / "home"
    keys = {
        "ada": make_key(argus, home, "ada"),
        "ada-ingest": make_key(argus, home, "ada", "ingest"),
        "ada-read": make_key(argus, home, "ada", "read"),
        "bob": make_key(argus, home, "bob"),
        "root": make_key(argus, home, "root", "ingest,read,admin"),
    }
    with serving(program, home) as served:
        yield served, keys


def pack(run_id: str, steps: int = 20, seed: int = 1) -> list[dict]:
    return [{"run_id": run_id, **step} for step in healthy_run(steps, seed)]


# ---- starting and stopping ---------------------------------------------------------------------------------------------


def test_ready_line_names_address_home_and_engine(server):
    words = server.ready_line.split()
    assert words[0] == "READY"
    assert words[1].startswith("http://127.0.0.1:")
    assert words[2] == f"home={server.home}"
    assert words[3].startswith("engine=")


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_with_0(program, tmp_path, which):
    with serving(program, tmp_path / "home") as served:
        assert served.post("/v2/detect", pack("r")).status == 200
        served.process.send_signal(which)
        assert served.process.wait(timeout=30) == 0


def test_a_home_that_is_missing_is_made_for_its_owner_alone(program, tmp_path):
    home = tmp_path / "some" / "deep" / "home"
    with serving(program, home) as served:
        assert served.get("/ready").status == 200
    assert home.stat().st_mode & 0o077 == 0


def test_a_restart_keeps_runs_and_certificates(program, tmp_path):
    served = Served(program, tmp_path / "home").start()
    answer = served.post("/v2/detect", pack("r", 40)).json
    certificate = served.post("/v2/complete", {"run_id": "r", "status": "COMPLETED"}).json["certificate"]
    assert served.stop() == 0
    served.start()
    try:
        assert served.get("/v2/status/r").json["status"] == "COMPLETED"
        assert served.post("/v2/complete", {"run_id": "r", "status": "COMPLETED"}).json["certificate"] == certificate
        assert served.post("/v2/detect", pack("r", 40)).json == answer, "what was acknowledged is acknowledged again"
    finally:
        served.kill()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--port", "70000"], "port"),
        (["--log-level", "loud"], "log.level"),
        (["--database", "mysql://x"], "database"),
        (["--tls-cert", "x.pem"], "certificate"),
        (["--set", "no.such=1"], "no.such"),
        (["--config", "missing.toml"], "missing.toml"),
    ],
)
def test_wrong_settings_are_named(argus, tmp_path, flags, named):
    ended = argus("serve", "--home", tmp_path / "home", *flags, timeout_s=30)
    assert ended.returncode == 3
    assert named in ended.stderr
    assert ended.stdout == ""


def test_flags_come_before_environment_before_file(program, argus, tmp_path):
    config = tmp_path / "argus.toml"
    config.write_text(f'home = "{tmp_path / "file"}"\n[log]\nlevel = "error"\nformat = "json"\n')
    environment = {"ARGUS_HOME": str(tmp_path / "environment"), "ARGUS_LOG_LEVEL": "info"}
    with serving(program, tmp_path / "flag", "--config", config, environment=environment) as served:
        assert f"home={tmp_path / 'flag'}" in served.ready_line
        assert not (tmp_path / "environment").exists()
    lines = [json.loads(line) for line in served.log().splitlines()]
    assert any(line["event"] == "server.ready" for line in lines)
    config.write_text("prot = 1\n")
    ended = argus("serve", "--home", tmp_path / "flag", "--config", config, timeout_s=30)
    assert ended.returncode == 3
    assert "prot" in ended.stderr and ":1:" in ended.stderr


# ---- the protocol's calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/v2/health", "/api/v2/health"])
def test_health_needs_nothing(server, path):
    answer = server.get(path)
    assert answer.status == 200
    assert answer.json["status"] == "ok"
    assert answer.json["engine_version"]
    assert {"globalStatus", "timestamp"} <= set(answer.json["data"])


@BOTH
def test_detect_answers_steps_and_packs(server, prefix):
    run_id = f"detect{prefix.replace('/', '-')}"
    steps = pack(run_id, 30)
    single = server.post(f"{prefix}/detect", steps[0])
    assert single.status == 200
    assert "steps" not in single.json
    assert (single.json["run_id"], single.json["step"]) == (run_id, 0)
    answer = server.post(f"{prefix}/detect", steps[1:]).json
    assert [a["step"] for a in answer["steps"]] == list(range(1, 30))
    assert answer["step"] == 29
    last = server.post(f"{prefix}/detect?answers=last", steps[1:]).json
    assert "steps" not in last
    assert {k: v for k, v in answer.items() if k != "steps"} == last
    assert server.post(f"{prefix}/detect?answers=some", steps[1:]).error["field"] == "answers"
    assert server.get(f"{prefix}/status/{run_id}").json["observations"] == 30


def test_python_numbers_are_read_and_strict_json_written(server):
    body = '{"run_id":"nonfinite","step":0,"training":{"loss":NaN,"grad_norm":"Infinity","update_norm":-0.0}}'
    answer = server.post("/v2/detect", body)
    assert answer.status == 200
    json.loads(answer.body, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_refused_pack_changes_nothing(server):
    steps = pack("atomic", 5)
    steps[3]["training"]["grad_norm"] = -1
    refused = server.post("/v2/detect", steps)
    assert refused.status == 422
    assert refused.error["field"] == "[3].training.grad_norm"
    assert "accepted" in refused.error["message"]
    assert server.get("/v2/status/atomic").json["exists"] is False


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("", 400),
        ("[]", 422),
        ("7", 422),
        ('{"run_id":"x"}', 422),
        ("[" * 100, 400),
        (b'{"run_id":"\xff"}', 400),
    ],
)
def test_malformed_bodies_are_named(server, body, status):
    for path in ["/v2/detect", "/v2/heartbeat", "/v2/runs", "/v2/complete", "/v2/reset", "/v2/telemetry"]:
        answer = server.post(path, body)
        if path != "/v2/detect" and body == '{"run_id":"x"}':
            continue  # enough for some of them
        assert answer.status == status, (path, answer.body)
        assert answer.error["code"] and answer.error["message"]


@BOTH
def test_register_is_idempotent(server, prefix):
    run_id = f"registered{prefix.replace('/', '-')}"
    body = {"run_id": run_id, "model_type": "llm", "total_steps": 10, "unknown": {"deep": [1]}}
    first = server.post(f"{prefix}/runs", body, headers={"x-idempotency-key": "k1"})
    again = server.post(f"{prefix}/runs", body, headers={"x-idempotency-key": "k1"})
    assert (first.status, again.status) == (200, 200)
    assert first.json["registered"] is again.json["registered"] is True
    assert server.get(f"{prefix}/status/{run_id}").json["status"] == "RUNNING"
    assert server.post(f"{prefix}/runs", {"run_id": run_id + "-bare"}).status == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v2/runs", {"run_id": "a b"}, "run_id"),
        ("/v2/runs", {"run_id": "a", "total_steps": -1}, "total_steps"),
        ("/v2/runs", {"run_id": "a", "model_type": "x" * 257}, "model_type"),
        ("/v2/runs", {"run_id": "a", "intervention_secret_hash": "zz"}, "intervention_secret_hash"),
        ("/v2/heartbeat", {"status": "RUNNING"}, "run_id"),
        ("/v2/heartbeat", {"run_id": "a", "status": 7}, "status"),
        ("/v2/reset", {"run_id": "a", "step": 1.5}, "step"),
        ("/v2/complete", {"run_id": "a", "duration_s": -1}, "duration_s"),
        ("/v2/complete", '{"run_id":"a","run_id":"a"}', "run_id"),
        ("/v2/runs/a/commands", {"kind": "EXPLODE", "secret": "s"}, "kind"),
        ("/v2/runs/a/commands", {"kind": "STOP"}, "secret"),
        ("/v2/telemetry", {"run_id": "a", "event": "party"}, "event"),
    ],
)
def test_wrong_fields_are_named(server, path, body, field):
    answer = server.post(path, body)
    assert answer.status == 422, answer.body
    assert answer.error["field"] == field


def test_unknown_runs(server):
    assert server.get("/v2/status/never").json == {"exists": False, "run_id": "never", "status": None}
    assert server.get("/v2/runs/never/job").json == {"status": "WAIT"}
    for path, body in [
        ("/v2/heartbeat", {"run_id": "never", "status": "RUNNING"}),
        ("/v2/complete", {"run_id": "never", "status": "COMPLETED"}),
        ("/v2/runs/never/commands", {"kind": "STOP", "secret": "s"}),
        ("/v2/runs/never/stop-acknowledge", {}),
    ]:
        assert server.post(path, body).status == 404, path


@pytest.mark.parametrize(
    ("said", "error", "status"),
    [
        ("COMPLETED", None, "COMPLETED"),
        ("success", None, "COMPLETED"),
        ("Failed", "boom", "FAILED"),
        ("crashed", None, "FAILED"),
        ("stopped", None, "STOPPED"),
        ("odd word", "boom", "FAILED"),
        (None, None, "COMPLETED"),
    ],
)
def test_complete_reads_any_clients_word_for_the_end(server, said, error, status):
    run_id = f"end-{(said or 'none').replace(' ', '_')}"
    server.post("/v2/detect", pack(run_id, 3))
    done = server.post("/v2/complete", {"run_id": run_id, "status": said, "error": error, "step": 2, "duration_s": 1.5})
    assert done.status == 200
    assert done.json["completed"] is True
    assert done.json["certificate"]["run_id"] == run_id
    assert server.post("/v2/complete", {"run_id": run_id, "status": "FAILED"}).json == done.json
    assert server.get(f"/v2/status/{run_id}").json["status"] == status


def test_errors_lose_their_paths(server):
    server.post("/v2/detect", pack("paths", 2))
    error = 'File "/mnt/somebody/secret/train.py", line 3: cannot open C:\\Users\\somebody\\x.bin ' + "e" * 5000
    done = server.post("/v2/complete", {"run_id": "paths", "status": "FAILED", "error": error})
    assert done.status == 200
    assert b"somebody" not in done.body


def test_heartbeat_takes_any_word(server):
    server.post("/v2/runs", {"run_id": "beat"})
    for word in ["RUNNING", "running", "whatever", None]:
        assert server.post("/v2/heartbeat", {"run_id": "beat", "status": word}).status == 200


def test_a_reset_begins_a_segment(server):
    steps = pack("reset", 30)
    server.post("/v2/detect", steps)
    assert server.post("/v2/reset", {"run_id": "reset", "step": 10}).json["reset"] is True
    assert server.post("/v2/detect", steps[10:]).status == 200
    assert server.get("/v2/status/reset").json["observations"] == 50


def test_commands_need_the_runs_own_secret(server):
    secret = "only the trainer knows"
    server.post("/v2/runs", {"run_id": "cmd", "intervention_secret_hash": hashlib.sha256(secret.encode()).hexdigest()})
    assert server.post("/v2/runs/cmd/commands", {"kind": "STOP", "secret": "guess"}).status == 403
    assert server.post("/v2/runs/cmd/commands", {"kind": "stop", "secret": secret}).json["accepted"] is True
    steps = pack("cmd", 3)
    assert server.post("/v2/detect", steps[0]).json["action"] == "STOP"
    assert server.post("/v2/detect", steps[1]).json["action"] != "STOP", "delivered once"
    assert server.post("/v2/runs/cmd/stop-acknowledge", {"step": 1, "reason": "asked"}).json["recorded"] is True
    assert server.post("/v2/runs/cmd/commands/report", {"command": "STOP", "ok": True}).json["recorded"] is True
    assert server.post("/v2/runs/cmd/commands", {"kind": "START", "secret": secret}).status == 200
    assert server.get("/v2/runs/cmd/job").json == {"status": "START"}
    assert server.get("/v2/runs/cmd/job").json == {"status": "WAIT"}


def test_guessing_secrets_is_slowed(server):
    server.post("/v2/runs", {"run_id": "guess", "intervention_secret_hash": hashlib.sha256(b"s").hexdigest()})
    statuses = [server.post("/v2/runs/guess/commands", {"kind": "STOP", "secret": str(i)}).status for i in range(8)]
    assert statuses[:5] == [403] * 5
    assert statuses[-1] == 429


def test_analytics_are_taken(server):
    event = {
        "run_id": "analytics",
        "event": "run_start",
        "ts": 1.0,
        "devices": [{"vendor": "NVIDIA Model 3000", "vram_gb": 80}],
        "gpu_name": "Model 3000",
    }
    assert server.post("/v2/telemetry", event).json["recorded"] is True
    stored = b"".join(path.read_bytes() for path in server.home.iterdir() if path.is_file())
    assert b"Model 3000" not in stored


# ---- paths and methods -------------------------------------------------------------------------------------------------


def test_errors_of_paths_and_methods(server):
    assert server.get("/v2/nothing").error["code"] == "not_found"
    wrong = server.get("/v2/detect")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert server.get("/v2/status/a%2F..%2Fb").error["field"] == "run_id"
    for path in ["/v2/../health", "/v2/./health", "//v2/health", "/v2/status/", "/V2/health", "/etc/passwd"]:
        assert server.get(path).status == 404, path
    assert server.call("HEAD", "/v2/health").status == 200


def test_sql_in_names_is_text(server):
    for text in ["'; DROP TABLE runs;--", "a' OR '1'='1", "%25", "\\"]:
        assert server.post("/v2/detect", {"run_id": text, "step": 1}).status == 422
        assert server.post("/v2/runs", {"run_id": "sql", "model_type": text}).status == 200
    assert server.get("/v2/status/sql").json["exists"] is True


# ---- no web page may talk to an open server ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:8088"},
        {"Host": "localhost.rebound.example"},
        {"Origin": "https://site.example"},
        {"Origin": "http://localhost:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_open_servers_refuse_web_pages(server, headers):
    for path, method in [("/health", "GET"), ("/v2/detect", "POST"), ("/v2/nothing", "GET"), ("/v2/detect", "OPTIONS")]:
        answer = server.call(method, path, {"run_id": "web", "step": 1} if method == "POST" else None, headers=headers)
        assert answer.status == 403, (path, headers)
    assert server.get("/v2/status/web").json["exists"] is False


def test_open_servers_take_their_own_names_and_any_key(server):
    for host in ["localhost", f"127.0.0.1:{server.port}", "127.8.9.1:1", "[::1]:8088"]:
        assert server.get("/health", headers={"Host": host}).status == 200
    own = {"Host": f"localhost:{server.port}", "Origin": f"http://localhost:{server.port}"}
    assert server.get("/health", headers=own).status == 200
    assert server.post("/v2/detect", {"run_id": "anykey", "step": 1}, key="whatever a client has").status == 200
    assert server.get("/v2/session").json["owner"] == "local"


# ---- keys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_beyond_loopback_it_needs_keys(program, argus, tmp_path, host):
    home = tmp_path / "home"
    refused = argus("serve", "--home", home, "--port", "0", "--host", host, timeout_s=30)
    assert refused.returncode == 3
    assert "argus keys create" in refused.stderr
    assert "READY" not in refused.stdout


def test_beyond_loopback_with_keys_it_serves(program, argus, tmp_path):
    home = tmp_path / "home"
    key = make_key(argus, home, "ada")
    with serving(program, home, "--host", "0.0.0.0") as served:
        served.url = f"http://127.0.0.1:{served.port}"
        assert served.get("/v2/status/r").status == 401
        assert served.get("/v2/status/r", key=key).status == 200
        assert served.get("/v2/status/r", key=key, headers={"Host": "any.example"}).status == 200


def test_keys_and_scopes(keyed):
    served, keys = keyed
    step = {"run_id": "scopes", "step": 1, "training": {"loss": 1.0}}
    missing = served.post("/v2/detect", step)
    assert missing.status == 401
    assert "bearer" in missing.headers["www-authenticate"].lower()
    assert served.post("/v2/detect", step, key="argus_unknown").status == 401
    assert served.post("/v2/detect", step, key=keys["ada-read"]).status == 403
    assert served.post("/v2/detect", step, key=keys["ada-ingest"]).status == 200
    assert served.post("/v2/detect", step, headers={"x-api-key": keys["ada-ingest"]}).status == 200
    assert served.get("/v2/keys", key=keys["ada"]).status == 403
    assert served.get("/health").status == 200
    assert served.get("/ready").status == 200


def test_another_owners_run_is_as_absent_as_one_that_never_was(keyed):
    served, keys = keyed
    assert served.post("/v2/detect", pack("private", 10), key=keys["ada"]).status == 200
    for make in [
        lambda run: served.get(f"/v2/status/{run}", key=keys["bob"]),
        lambda run: served.get(f"/v2/runs/{run}/job", key=keys["bob"]),
        lambda run: served.post("/v2/heartbeat", {"run_id": run, "status": "RUNNING"}, key=keys["bob"]),
        lambda run: served.post("/v2/complete", {"run_id": run, "status": "FAILED"}, key=keys["bob"]),
        lambda run: served.post("/v2/reset", {"run_id": run}, key=keys["bob"]),
        lambda run: served.post(f"/v2/runs/{run}/commands", {"kind": "STOP", "secret": "s"}, key=keys["bob"]),
        lambda run: served.post(f"/v2/runs/{run}/stop-acknowledge", {}, key=keys["bob"]),
        lambda run: served.get(f"/v2/runs/{run}", key=keys["bob"]),
        lambda run: served.get(f"/v2/runs/{run}/certificate", key=keys["bob"]),
        lambda run: served.call("DELETE", f"/v2/runs/{run}", key=keys["bob"]),
    ]:
        private, absent = make("private"), make("absent_")
        assert private.status == absent.status
        assert private.body.replace(b"private", b"absent_") == absent.body
    assert served.get("/v2/status/private", key=keys["ada"]).json["status"] == "RUNNING"
    mine = served.post("/v2/detect", pack("private", 3, seed=2), key=keys["bob"])
    assert mine.status == 200, "the name is free in bob's own space"
    assert served.get("/v2/status/private", key=keys["ada"]).json["observations"] == 10
    assert served.get("/v2/status/private", key=keys["bob"]).json["observations"] == 3


def test_keys_are_managed_over_http(keyed):
    served, keys = keyed
    made = served.post("/v2/keys", {"owner": "eve", "scopes": ["ingest"], "expires_days": 1}, key=keys["root"])
    assert made.status == 201
    assert made.headers["cache-control"] == "no-store"
    key, key_id = made.json["key"], made.json["id"]
    assert served.post("/v2/detect", {"run_id": "e", "step": 1}, key=key).status == 200
    listed = served.get("/v2/keys", key=keys["root"])
    assert key_id in [k["id"] for k in listed.json["keys"]]
    assert key[-43:].encode() not in listed.body and b"hash" not in listed.body
    assert served.call("DELETE", f"/v2/keys/{key_id}", key=keys["root"]).json == {"revoked": True}
    assert served.post("/v2/detect", {"run_id": "e", "step": 2}, key=key).status == 401
    assert served.call("DELETE", "/v2/keys/0000000000000000", key=keys["root"]).status == 404
    for body, field in [
        ({"owner": "a b", "scopes": ["read"]}, "owner"),
        ({"owner": "a", "scopes": ["write"]}, "scopes"),
        ({"owner": "a", "scopes": []}, "scopes"),
        ({"owner": "a"}, "scopes"),
    ]:
        assert served.post("/v2/keys", body, key=keys["root"]).error["field"] == field


def test_keys_survive_a_restart_and_lie_nowhere(program, argus, tmp_path):
    home = tmp_path / "home"
    key = make_key(argus, home, "ada")
    served = Served(program, home).start()
    try:
        assert served.post("/v2/detect", {"run_id": "r", "step": 1}, key=key).status == 200
        served.stop()
        served.start()
        assert served.post("/v2/detect", {"run_id": "r", "step": 2}, key=key).status == 200
        served.stop()
    finally:
        served.kill()
    secret = key[-43:].encode()
    for path in home.iterdir():
        assert secret not in path.read_bytes(), path
    assert secret.decode() not in served.log()


def test_keys_from_the_command_line(argus, tmp_path):
    home = tmp_path / "home"
    key = make_key(argus, home, "ada", "read", "--expires", 30)
    listed = json.loads(argus("keys", "list", "--home", home, "--json").stdout)
    assert [(k["owner"], k["scopes"]) for k in listed] == [("ada", ["read"])]
    assert listed[0]["expires_ms"] - listed[0]["created_ms"] == 30 * 86_400_000
    assert listed[0]["id"] in key
    assert argus("keys", "revoke", listed[0]["id"], "--home", home).returncode == 0
    assert "revoked" in argus("keys", "list", "--home", home).stdout
    assert argus("keys", "revoke", "0000000000000000", "--home", home).returncode == 1
    assert argus("keys", "create", "--home", home, "--owner", "a b").returncode == 3
    assert argus("keys", "create", "--home", home).returncode == 2
    assert "signs" in argus("keys", "server", "--home", home).stdout


def test_rates_are_limited_by_key(program, argus, tmp_path):
    home = tmp_path / "home"
    key, other = make_key(argus, home, "ada"), make_key(argus, home, "bob")
    with serving(program, home, "--set", "limits.steps_per_s=5", "--set", "limits.burst_s=1") as served:
        assert served.post("/v2/detect", pack("r", 20), key=key).status == 200
        refused = served.post("/v2/detect", pack("r", 20), key=key)
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert served.post("/v2/detect", pack("r", 20), key=other).status == 200


def test_failed_attempts_are_bounded(program, argus, tmp_path):
    home = tmp_path / "home"
    key = make_key(argus, home, "ada")
    with serving(program, home, "--set", "limits.failures_burst=3", "--set", "limits.failures_per_s=0.001") as served:
        assert served.get("/v2/status/r", key=key).status == 200
        statuses = [served.get("/v2/status/r", key="argus_guess").status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert served.get("/v2/status/r", key=key).status == 200, "a key in use is not hindered"


# ---- browsers --------------------------------------------------------------------------------------------------------------


def test_sessions_carry_a_cookie_and_need_their_csrf_token(keyed):
    served, keys = keyed
    for sign_in in [
        lambda: served.post("/v2/session", {"key": keys["ada"]}),
        lambda: served.post("/v2/session", key=keys["ada"]),
    ]:
        opened = sign_in()
        assert opened.status == 200
        cookie = opened.cookies[0]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
        assert keys["ada"].encode() not in opened.body
    headers = {"Cookie": cookie.split(";")[0]}
    who = served.get("/v2/session", headers=headers).json
    assert (who["owner"], who["scopes"]) == ("ada", ["ingest", "read"])
    assert who["csrf_token"] == opened.json["csrf_token"]
    assert served.get("/v2/status/x", headers=headers).status == 200
    step = {"run_id": "browser", "step": 1}
    assert served.post("/v2/detect", step, headers=headers).error["field"] == "x-csrf-token"
    assert served.post("/v2/detect", step, headers={**headers, "x-csrf-token": "guess"}).status == 403
    with_token = {**headers, "x-csrf-token": who["csrf_token"]}
    assert served.post("/v2/detect", step, headers=with_token).status == 200
    assert served.call("DELETE", "/v2/session", headers=headers).status == 403
    assert served.call("DELETE", "/v2/session", headers=with_token).status == 200
    assert served.get("/v2/session", headers=headers).status == 401
    assert served.post("/v2/session", {"key": "argus_wrong"}).status == 401
    foreign = served.post("/v2/session", {"key": keys["ada"]}, headers={"Origin": "https://site.example"})
    assert (foreign.status, foreign.cookies) == (403, [])
    assert served.post("/v2/session").status == 401
    wrong = served.post("/v2/session", {"key": keys["ada"] * 6})
    assert wrong.status == 422 and keys["ada"].encode() not in wrong.body


# ---- TLS -------------------------------------------------------------------------------------------------------------------


def test_tls_from_files(program, argus, tmp_path):
    certificate, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", key_file, "-out", certificate],
        check=True, capture_output=True, timeout=READY_TIMEOUT_S,
    )  # fmt: skip
    home = tmp_path / "home"
    key = make_key(argus, home, "ada")
    with serving(program, home, "--tls-cert", certificate, "--tls-key", key_file) as served:
        assert served.url.startswith("https://")
        assert served.post("/v2/detect", pack("r"), key=key).status == 200
        assert "Secure" in served.post("/v2/session", key=key).cookies[0]


def test_unreadable_certificates_are_named(argus, tmp_path):
    ended = argus("serve", "--home", tmp_path / "home", "--port", "0", "--tls-cert", "no.pem", "--tls-key", "no.key",
                  timeout_s=30)  # fmt: skip
    assert ended.returncode == 3
    assert "no.pem" in ended.stderr
