"""The data boundary, at the socket: the bytes of a real training, each field of them one that `explain_telemetry` names.

The model computes in double precision, so that a number on the wire that equals a weight, an activation or an input to its last
bit is that weight, activation or input, and no coincidence.
"""

from __future__ import annotations

import getpass
import http.client
import json
import os
import socket
import sys
from array import array
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

torch = pytest.importorskip("torch")

import families  # noqa: E402
from recording_server import Recording, recording  # noqa: E402
from torch import Tensor  # noqa: E402

import argus  # noqa: E402
from argus import _native  # noqa: E402
from argus._analytics import Analytics  # noqa: E402
from argus._discover import discover  # noqa: E402

STEPS = 40
BATCH = 8
SECRET = "canary-5b1d9c07"
#: What every HTTP client sends, beside what explain_telemetry names.
PLAIN_HEADERS = {"host", "accept", "content-type", "content-length", "connection", "accept-encoding"}
#: Calls without a body, which have nothing to explain.
BARE_CALLS = {"GET /v2/health", "GET /health"}
#: Numbers that weights and inputs share with counters: never looked for.
PLAIN_NUMBERS = {0.0, 1.0}


class Seen:
    """Every number that passed through a training: inputs, weights, gradients and activations."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.numbers: set[float] = set()
        self.model = model
        self.handles = [module.register_forward_hook(self._activations) for module in model.modules()]

    def _activations(self, module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.add(output)

    def add(self, *tensors: Any) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.is_floating_point():
                self.numbers.update(tensor.detach().reshape(-1).tolist())

    def end_of_step(self) -> None:
        for parameter in self.model.parameters():
            self.add(parameter, parameter.grad)


def train(url: str, *, fails_at: int | None = None) -> Seen:
    """A small classifier, watched with all that a user can pass, over HTTP."""
    torch.manual_seed(11)
    model = families.Mlp().double()
    seen = Seen(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    watch: Any = argus.watch(
        model, optimizer, url=url, key=f"key-{SECRET}", run_id="boundary", analytics=True, total_steps=STEPS, quiet=True
    )
    with watch:
        for step in range(STEPS):
            inputs, targets = torch.randn(BATCH, 4, dtype=torch.float64), torch.randint(0, 2, (BATCH,))
            logits = model(inputs)
            loss = torch.nn.functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.add(inputs)
            seen.end_of_step()
            ids = [f"sample-{step}-{i}" for i in range(BATCH)]
            watch.step(
                loss, batch_size=BATCH, epoch=step / 10, samples=argus.per_sample(logits, targets), sample_ids=ids
            )
            if step == fails_at:
                raise OSError(f"{getpass.getuser()}@{socket.gethostname()}: cannot read {Path(__file__)}: {SECRET}")
    return seen


def paths_of(value: Any, path: str = "") -> set[str]:
    """Where `value` holds a value: "training.loss", "control.applied[].id", "sample_losses"."""
    if isinstance(value, dict):
        return set().union(*(paths_of(v, f"{path}.{k}" if path else k) for k, v in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(paths_of(v, path + "[]") for v in value))
    return {path}


def numbers_of(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(numbers_of, value.values()))
    if isinstance(value, list):
        return set().union(*map(numbers_of, value))
    return {float(value)} if isinstance(value, (int, float)) and not isinstance(value, bool) else set()


def explained() -> dict[str, list[dict[str, Any]]]:
    return {group["call"]: group["fields"] for group in json.loads(argus.explain_telemetry(json=True))["calls"]}


def check_fields(sent: Recording) -> None:
    """Each call, header and field is one that explain_telemetry names; of an event, one that it names for that event."""
    named = explained()
    headers = {line["path"].lower() for line in json.loads(argus.explain_telemetry(json=True))["headers"]}
    for request in sent.requests:
        assert set(request.headers) <= PLAIN_HEADERS | headers, request.headers
        if not request.body:
            assert request.call in BARE_CALLS, request.call
            continue
        for sent_object in request.objects:
            event = sent_object.get("event")
            allowed = {f["path"] for f in named[request.call] if event is None or event in f["events"]}
            assert paths_of(sent_object) <= allowed, (request.call, event)


def check_values(sent: Recording, private_numbers: set[float]) -> None:
    """No number of the model or its data, and no name, place or environment variable, is in the bytes."""
    numbers = set().union(*(numbers_of(found) for request in sent.requests for found in request.objects))
    assert not (numbers & private_numbers) - PLAIN_NUMBERS
    raw = b"".join(request.raw for request in sent.requests).decode("utf-8")
    for request in sent.requests:
        authorization = request.headers.get("authorization")
        if authorization is not None:  # the key is the one secret that is meant to travel, and there alone
            raw = raw.replace(authorization, "")
    # What is a word of the protocol, or part of the URL, on some machine cannot be looked for there.
    words = argus.explain_telemetry(json=True) + sent.url
    private = {
        "the secret": SECRET, "the folder": os.getcwd(), "the home": str(Path.home()), "the tests' folder": str(Path(__file__).parent),
        "the program": sys.executable, "the host": socket.gethostname(), "the user": getpass.getuser(),
    }  # fmt: skip
    private |= {f"the value of {name}": value for name, value in os.environ.items() if len(value) >= 8}
    for what, text in private.items():
        assert len(text) < 5 or text in words or text not in raw, what


@pytest.fixture
def private_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOUNDARY_TOKEN", SECRET)
    monkeypatch.setenv("LOGNAME", "ada-of-the-lab")
    monkeypatch.setenv("ARGUS_HOME", str(tmp_path / "argus-home"))


@pytest.mark.usefixtures("private_environment")
def test_a_training_sends_what_is_explained_and_nothing_of_the_model_or_its_data() -> None:
    with recording() as sent:
        seen = train(sent.url)
        sent.wait_for("POST /v2/complete")
        steps, events = sent.of("POST /v2/detect"), sent.wait_for("POST /v2/telemetry")
    check_fields(sent)
    check_values(sent, seen.numbers)
    # What was to be checked was there.
    assert {step["step"] for step in steps} == set(range(STEPS))
    assert all(len(step["sample_losses"]) == BATCH for step in steps)
    carried = set().union(*map(paths_of, steps))
    assert {
        "run_id",
        "training.loss",
        "training.grad_norm",
        "weights.l2_norm",
        "sample_ids",
        "batch_meta.batch_size",
    } <= carried
    assert [event["event"] for event in events][0] == "run_start"
    assert len(seen.numbers) > STEPS * BATCH * 4
    assert all(request.headers["authorization"] == f"Bearer key-{SECRET}" for request in sent.requests)


@pytest.mark.usefixtures("private_environment")
def test_a_training_that_fails_tells_neither_place_nor_person() -> None:
    with recording() as sent:
        with pytest.raises(OSError, match="cannot read"):
            train(sent.url, fails_at=20)
        (end,) = sent.wait_for("POST /v2/complete")
    check_fields(sent)
    check_values(sent, set())
    assert end["status"] == "FAILED" and "OSError" in end["error"]


@pytest.mark.skipif(not hasattr(_native, "Run"), reason="this build has no client")
@pytest.mark.usefixtures("private_environment")
def test_all_that_a_run_can_be_told_leaves_it_as_explained() -> None:
    """The native run given everything its calls take: each scalar, per-sample array, flag, report, reset and error."""
    scalars = [0.5 + 0.001 * i for i in range(len(_native.SCALARS))]
    for name in ("batch_size", "sequence_length", "accumulation_steps"):
        scalars[_native.SCALARS.index(name)] = 4.0
    samples = {name: array("d", [0.25, 0.75]) for name in ("losses", "confidences", "margins", "entropies", "correct")}
    flags = _native.STEP_SKIPPED | _native.LR_RESTARTED | _native.IS_ANCHOR
    with recording() as sent:
        run: Any = _native.Run(
            run_id="boundary", model_type="mlp", sdk_version="0", auto=True, total_steps=9, url=sent.url,
            key=f"key-{SECRET}", home=os.environ["ARGUS_HOME"],
        )  # fmt: skip
        run.observe(0, flags, scalars, **samples, sample_ids=[7, "sample-b"])
        run.report(1, "REDUCE_LR", 0, True, "lr x 0.5")
        run.observe(1, 0, scalars)
        run.reset(1)
        run.observe(1, 0, scalars)
        assert run.analytics(_native.analytics_event("boundary", "heartbeat", 1.0, {"loss": 0.5}))
        run.complete("FAILED", 1, "OSError: no x.bin", 2.0, 60.0)
        run.close(60.0)
    check_fields(sent)
    check_values(sent, set())
    calls = {request.call for request in sent.requests}
    assert calls >= {f"POST /v2/{call}" for call in ("runs", "detect", "reset", "telemetry", "complete")}
    carried = set().union(*map(paths_of, sent.of("POST /v2/detect")))
    # Left: what is read off the model or other parts, which a run is not told here.
    others = {f["path"] for f in explained()["POST /v2/detect"]} - carried
    assert not {
        path for path in others if path.startswith(("training.", "weights.", "distribution.", "sample_", "control."))
    } - {"training.loss_delta"}


@pytest.mark.usefixtures("private_environment")
def test_the_second_stream_of_a_training_holds_what_is_explained() -> None:
    torch.manual_seed(11)
    model = families.LanguageModel().double()
    seen = Seen(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    now = 0.0
    with recording() as sent:
        connection = http.client.HTTPConnection(urlsplit(sent.url).netloc, timeout=60)

        def post(event: str) -> None:
            connection.request("POST", "/v2/telemetry", event, {"User-Agent": "argus-client/0"})
            assert connection.getresponse().read()

        stream = Analytics(post, "boundary", model, [optimizer], clock=lambda: now)
        stream.start()
        for step in range(990, 1010):
            ids = torch.randint(0, 65, (4, 9))
            loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.end_of_step()
            now += 1.0
            stream.step(step, loss.item(), 4)
        stream.end("FAILED", OSError(f"{getpass.getuser()}@{socket.gethostname()}: no {Path(__file__)}: {SECRET}"), 0.5)
        connection.close()
    events = sent.of("POST /v2/telemetry")
    assert [event["event"] for event in events] == ["run_start", "heartbeat", "milestone", "heartbeat", "run_end"]
    check_fields(sent)
    check_values(sent, seen.numbers)
    # All but what this machine has not got: transformers may not be imported, and a CPU tells no memory.
    sent_paths = set().union(*map(paths_of, events))
    assert {f["path"] for f in explained()["POST /v2/telemetry"]} - sent_paths <= {
        "versions.transformers",
        "devices[].vram_gb",
    }


def test_the_check_finds_what_it_looks_for() -> None:
    """A boundary that lets a weight, a path or a field of its own through does not pass."""
    with recording() as sent:
        connection = http.client.HTTPConnection(urlsplit(sent.url).netloc, timeout=60)
        weight = 0.12345678901234567
        step = {"run_id": "r", "step": 1, "training": {"loss": weight}}
        for body in (step, {**step, "hostname": "h"}, {**step, "sdk_version": str(Path(__file__))}):
            connection.request("POST", "/v2/detect", json.dumps(body), {"User-Agent": "argus-client/0"})
            assert connection.getresponse().read()
        connection.close()
    of_one = [Recording(sent.url, [request]) for request in sent.requests]
    check_fields(of_one[0])
    check_values(of_one[0], {0.5})
    with pytest.raises(AssertionError):
        check_values(of_one[0], {weight})
    with pytest.raises(AssertionError):
        check_fields(of_one[1])
    with pytest.raises(AssertionError):
        check_values(of_one[2], set())


@pytest.mark.usefixtures("private_environment")
def test_the_architecture_that_was_found_is_told_once_with_the_first_step() -> None:
    model = families.LanguageModel()
    optimizer = torch.optim.Adam(model.parameters())
    with recording() as sent:
        for _ in range(2):  # a later process of the run tells it again, once
            with argus.watch(model, optimizer, url=sent.url, run_id="architecture", quiet=True) as watch:
                for _ in range(5):
                    watch.step(1.0, batch_size=4)
        sent.wait_for("POST /v2/complete")
        steps = sent.of("POST /v2/detect")
    found = discover(model)
    told = {"num_layers": found.num_layers, "hidden_dim": found.hidden_dim, "vocab_size": found.vocab_size}
    assert None not in told.values()
    expected = [{"batch_size": 4} | (told | {"dtype": "float32"} if i % 5 == 0 else {}) for i in range(10)]
    assert [step["batch_meta"] for step in steps] == expected
    check_fields(sent)
