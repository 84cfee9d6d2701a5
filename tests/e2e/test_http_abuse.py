"""Hostile bytes against a real server: each is refused or answered, nothing refused leaves a trace, and others are served."""

import copy
import json
import os
import random
import socket
from collections.abc import Iterator

import pytest
from serving import Served, serving

from conftest import healthy_run

MUTATIONS = int(os.environ.get("ARGUS_MUTATIONS", "10000"))
SEED = int(os.environ.get("ARGUS_SEED", "20261124"))
BATCH = 50  # requests on the way at a time
HEAD = "POST /v2/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(program, tmp_path_factory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("abuse") / "home"
    with serving(program, home, "--set", "http.header_timeout_s=2", "http.body_timeout_s=2") as served:
        yield served
        assert served.get("/v2/health").status == 200
        assert served.process.poll() is None, served.log()[-3000:]


class Raw:
    """A socket and the responses that come out of it."""

    def __init__(self, server: Served) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self.received = b""

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            return False
        self.received += data
        return bool(data)

    def answer(self) -> tuple[int, bytes]:
        """The next response: its status and body. Status 0: the connection ended first."""
        while b"\r\n\r\n" not in self.received:
            if not self.more():
                return 0, b""
        head, _, rest = self.received.partition(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        length = lengths[0] if lengths else 0
        self.received = rest
        while len(self.received) < length and self.more():
            pass
        body, self.received = self.received[:length], self.received[length:]
        return int(head.split()[1]), body


def request(body: bytes, more: str = "") -> bytes:
    return f"{HEAD}{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def step(run_id: str, number: int = 0) -> dict:
    return {"run_id": run_id, **healthy_run(number + 1)[number]}


def ask(server: Served, data: bytes) -> tuple[int, bytes]:
    with Raw(server) as raw:
        raw.send(data)
        return raw.answer()


# ---- how it arrives --------------------------------------------------------------------------------------------------


def test_connections_that_drip_are_ended_and_hold_up_nobody(server):
    dripping = [Raw(server) for _ in range(200)]
    try:
        for i, raw in enumerate(dripping):
            raw.send(b"POST /v2/detect HTTP/1.1\r\nHos" if i % 2 else HEAD.encode() + b"Content-Length: 99\r\n\r\n{")
        assert server.post("/v2/detect", step("beside-drips")).status == 200
        assert {raw.answer()[0] for raw in dripping} == {408}
    finally:
        for raw in dripping:
            raw.socket.close()


def test_half_closed_client_is_answered(server):
    with Raw(server) as raw:
        raw.send(request(json.dumps(step("half-closed")).encode()))
        raw.socket.shutdown(socket.SHUT_WR)
        status, body = raw.answer()
    assert status == 200, body


def test_half_a_request_from_a_half_closed_client_leaves_nothing(server):
    with Raw(server) as raw:
        raw.send(request(json.dumps(step("half-sent")).encode())[:-1])
        raw.socket.shutdown(socket.SHUT_WR)
        assert raw.answer()[0] == 400
    assert server.get("/v2/status/half-sent").json["exists"] is False


def test_pipelined_steps_are_answered_in_order(server):
    steps = [{"run_id": "pipelined", **s} for s in healthy_run(300)]
    with Raw(server) as raw:
        raw.send(b"".join(request(json.dumps(s).encode()) for s in steps))
        answers = [raw.answer() for _ in steps]
    assert [(status, json.loads(body)["step"]) for status, body in answers] == [(200, s["step"]) for s in steps]


def test_chunked_pack_is_read_and_a_broken_one_refused(server):
    body = json.dumps([{"run_id": "chunked", **s} for s in healthy_run(20)]).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))
    head = (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode()
    assert ask(server, head + chunks + b"0\r\n\r\n")[0] == 200
    assert ask(server, head + chunks + b"zz\r\n")[0] == 400
    assert ask(server, head + b"ffffffffff\r\n")[0] == 413


# ---- what arrives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"run_id":"\xff\xfe","step":1}', 400),
        (b'{"run_id":"bad","step":1,"sdk_version":"\xed\xa0\x80"}', 400),
        (b"[" * 100_000, {400, 413}),
        (b'{"run_id":"bad","step":1,"x":' + b"[" * 200 + b"]" * 200 + b"}", {400, 413}),
        (b"", 400),
        (b"null", {400, 422}),
        (b"[]", 422),
        (b'{"run_id":"bad","step":1}{}', 400),
        (b'{"run_id":"bad","step":1,"training":{"grad_norm":-1}}', 422),
        (b'{"run_id":"../../etc/passwd","step":1}', 422),
        (b'{"run_id":"a\\u0000b","step":1}', 422),
        (b'{"run_id":"x\'; DROP TABLE runs; --","step":1}', 422),
    ],
)
def test_bad_bodies_are_refused(server, body, status):
    answered, text = ask(server, request(body))
    assert answered in (status if isinstance(status, set) else {status}), text
    error = json.loads(text)["error"]
    assert answered != 422 or error.get("field") or body == b"[]", error
    assert server.get("/v2/status/bad").json["exists"] is False


def test_oversized_body_is_refused_before_it_is_sent(server):
    assert ask(server, (HEAD + f"Content-Length: {(16 << 20) + 1}\r\n\r\n").encode())[0] == 413


@pytest.mark.parametrize(
    "path",
    [
        "/v2/runs/%2e%2e/%2e%2e/etc/passwd",
        "/v2/../../etc/passwd",
        "/../argus.db",
        "//etc/passwd",
        "/v2//runs//x",
        "/v2/runs/..%2f..%2fargus.db",
        "/v2/status/%00",
        "/v2/status/a%00b",
        "/v2/status/%ff",
        "/v2/status/%zz",
        "/v2/status/" + "x" * 4000,
        "/v2/status/x'%20OR%20'1'='1",
        "/v2/runs/%E2%80%AE",
        "/%",
        "/assets/..%5c..%5cargus.db",
        "/" + "a/" * 3000,
    ],
)
def test_path_tricks_find_nothing(server, path):
    status, body = ask(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert 400 <= status < 500, (path, status, body[:200])
    assert json.loads(body)["error"]["message"]


def test_very_long_target_is_refused(server):
    assert ask(server, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n")[0] == 414


# ---- mutants ---------------------------------------------------------------------------------------------------------

WILD = [
    None, True, False, -1, 0, 1, 2**31, 2**53, 2**63, 2**64, 10**40, -0.0, 1e308, 5e-324, float("nan"), float("inf"),
    float("-inf"), "", "NaN", "-Infinity", "x" * 257, "\u0000", "\ud800", "'; DROP TABLE runs; --", "\U0001f525", [], {},
    [1], {"a": {}}, [[[[]]]], [None] * 3, "AUTO", "llm",
]  # fmt: skip


def full_step(run_id: str, number: int) -> dict:
    return {
        **step(run_id, number % 50),
        "step": number, "epoch": 0.5, "seq": number, "segment": 0, "model_type": "cnn", "sdk_version": "2",
        "weights": {"l1_norm": 12.5, "l2_norm": 3.25}, "distribution": {"l2_norm": 1.5, "grad_norm_early": 0.5},
        "batch_meta": {"batch_size": 32, "seq_len": 128, "dtype": "bf16"},
        "sample_ids": [1, "two", 3], "sample_losses": [1.0, 2.0, 3.0], "sample_correct": [True, False, True],
        "local_health": {"worst_level": "ok", "trend": 0.0, "affected_fraction": 0.1},
        "control": {"mode": "AUTO", "applied": [{"id": 1, "kind": "REDUCE_LR", "step": 1, "ok": True}]},
    }  # fmt: skip


def places(value: object) -> Iterator[tuple[object, object]]:
    """(container, key) of everything inside."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def mutate_structure(rng: random.Random, body: object) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        container, key = rng.choice(list(places(body)) or [([0], 0)])
        what = rng.randrange(4)
        if what == 0:
            del container[key]
        elif what == 1 and isinstance(container, dict):
            container[rng.choice(("step", "run_id", "training", "loss", "__proto__", ""))] = copy.deepcopy(
                rng.choice(WILD)
            )
        else:
            container[key] = copy.deepcopy(rng.choice(WILD))
    return json.dumps(body).encode()


def mutate_bytes(rng: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(5)
        if what == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at:at] = bytes([rng.choice(b'{}[]",:\\0-9eE.+ \x00\xff')])
        elif what == 2:
            del data[at : at + rng.randrange(1, 20)]
        elif what == 3:
            data[at:at] = data[max(0, at - rng.randrange(1, 40)) : at]
        else:
            del data[at:]
    return bytes(data)


def mutant(rng: random.Random, number: int) -> bytes:
    run_id = f"m{number}"
    body: object = full_step(run_id, number)
    if rng.random() < 0.3:
        body = [full_step(run_id, number + i) for i in range(rng.randrange(1, 4))]
    if rng.random() < 0.5:
        return mutate_structure(rng, body)
    return mutate_bytes(rng, json.dumps(body).encode())


def test_mutants_are_answered_or_refused_without_a_trace(server):
    rng = random.Random(SEED)
    witness = json.dumps([full_step("witness", i) for i in range(20)]).encode()
    before = ask(server, request(witness))
    assert before[0] == 200, before
    tally: dict[int, int] = {}
    accepted: set[str] = set()  # a mutant may bear the name of a later one
    with Raw(server) as raw:
        for first in range(0, MUTATIONS, BATCH):
            numbers = range(first, min(first + BATCH, MUTATIONS))
            bodies = [mutant(rng, number) for number in numbers]
            raw.send(b"".join(map(request, bodies)))
            refused = []
            for number, body in zip(numbers, bodies, strict=True):
                status, text = raw.answer()
                case = f"seed {SEED}, mutant {number}: {body[:2000]!r} -> {status} {text[:500]!r}"
                assert status in (200, 400, 413, 422), case
                tally[status] = tally.get(status, 0) + 1
                if status == 200:
                    accepted.add(json.loads(text)["run_id"])
                else:
                    error = json.loads(text)["error"]
                    assert error["message"], case
                    assert status != 422 or error.get("field") or body == b"[]", case
                    refused.append(number)
            traces = [number for number in refused if f"m{number}" not in accepted]
            get = "GET /v2/status/m{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            raw.send("".join(get.format(number) for number in traces).encode())
            for number in traces:
                status, text = raw.answer()
                assert (status, json.loads(text)["exists"]) == (200, False), f"seed {SEED}, mutant {number}: {text!r}"
    print(f"{MUTATIONS} mutants, seed {SEED}: {dict(sorted(tally.items()))}")
    assert ask(server, request(witness)) == before
