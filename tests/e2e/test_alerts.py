"""Alerts and metrics of a real server, told to a real receiver."""

import hashlib
import hmac
import http.server
import json
import queue
import threading
from collections.abc import Iterator

import pytest
from serving import Served, serving

from conftest import diverging_run

PATIENCE_S = 30.0
SECRET = "a secret of enough bytes"


class Receiver(http.server.ThreadingHTTPServer):
    """Takes every POST; answers with the statuses given, then 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.statuses: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hooks/path"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.taken.put(({k.lower(): v for k, v in self.headers.items()}, body))

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def send_run(server: Served, run_id: str, fault_step: int = 200) -> None:
    run = [{"run_id": run_id, "seq": i, "segment": 0, **s} for i, s in enumerate(diverging_run(300, fault_step))]
    for i in range(0, len(run), 32):
        assert server.post("/v2/detect", run[i : i + 32]).status == 200


def test_a_run_that_goes_wrong_is_told(program, receiver, tmp_path):
    receiver.statuses = [500]
    with serving(program, tmp_path / "home") as server:
        made = server.post("/v2/webhooks", {"url": receiver.url, "secret": SECRET, "min_pressure": 3})
        assert made.status == 201, made.body
        send_run(server, "goes-wrong")
        first_headers, first = receiver.taken.get(timeout=PATIENCE_S)
        headers, body = receiver.taken.get(timeout=PATIENCE_S)
        assert body == first and headers["x-argus-delivery"] == first_headers["x-argus-delivery"], "asked again"

        alert = json.loads(body)
        assert (alert["event"], alert["run_id"], alert["to"]) == ("pressure", "goes-wrong", 3)
        assert alert["signals"]
        moment, signature = (part.split("=")[1] for part in headers["x-argus-signature"].split(","))
        signed = f"{moment}.".encode() + body
        assert signature == hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()

        assert server.post("/v2/complete", {"run_id": "goes-wrong", "status": "FAILED", "error": "nan"}).status == 200
        while True:
            alert = json.loads(receiver.taken.get(timeout=PATIENCE_S)[1])
            if alert["event"] == "run_failed":
                break
        assert alert["error"] == "nan"
        assert server.stop() == 0


def test_hooks_of_the_configuration(program, receiver, tmp_path):
    config = tmp_path / "argus.toml"
    config.write_text(f'[[webhooks]]\nurl = "{receiver.url}"\nformat = "slack"\nevents = ["run_completed"]\n')
    with serving(program, tmp_path / "home", "--config", config) as server:
        send_run(server, "ends", fault_step=300)
        assert server.post("/v2/complete", {"run_id": "ends", "status": "COMPLETED"}).status == 200
        headers, body = receiver.taken.get(timeout=PATIENCE_S)
        assert json.loads(body) == {"text": "Run `ends` ended: COMPLETED."}
        assert "x-argus-signature" not in headers


def test_metrics_count_without_naming(program, tmp_path):
    with serving(program, tmp_path / "home") as server:
        send_run(server, "private-name")
        answer = server.get("/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = dict(line.rsplit(" ", 1) for line in answer.body.decode().splitlines() if not line.startswith("#"))
        assert lines["argus_observations_total"] == "300"
        assert lines['argus_http_requests_total{method="POST",route="/detect",status="200"}'] == "10"
        assert lines["argus_live_runs"] == "1"
        assert b"private-name" not in answer.body and b"local" not in answer.body
