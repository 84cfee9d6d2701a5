"""A server that keeps every byte it is sent and says to each call what a keeper of runs would say."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    raw: bytes
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def call(self) -> str:
        """ "POST /v2/detect": without the query and whichever of the two prefixes was used."""
        return f"{self.method} {self.path.split('?', 1)[0].removeprefix('/api')}"

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects of the body: several in a pack."""
        if not self.body:
            return []
        read = json.loads(self.body, parse_constant=_refuse)
        return read if isinstance(read, list) else [read]


def _refuse(word: str) -> None:
    raise ValueError(f"the bare word {word} is no JSON")


@dataclass
class Recording:
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def of(self, call: str) -> list[dict[str, Any]]:
        return [found for request in list(self.requests) if request.call == call for found in request.objects]

    def wait_for(self, call: str, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: self.of(call), timeout_s), f"no {call} within {timeout_s} s"
        return self.of(call)


def _answer(request: Request) -> dict[str, Any]:
    objects = request.objects
    newest = objects[-1] if objects else {}
    answer: dict[str, Any] = {"run_id": newest.get("run_id", ""), "engine_version": "0.0.0"}
    if request.call == "POST /v2/detect":
        answer |= {"step": newest["step"], "harm_pressure": 0, "action": "CONTINUE", "intervention": "NONE"}
    elif request.call == "POST /v2/complete":
        answer |= {"completed": True, "certificate": {"run_id": newest["run_id"], "data_quality": {"index": 0.5}}}
    return answer


@contextmanager
def recording() -> Iterator[Recording]:
    """Serves on a free port of this machine while the block runs."""
    kept = Recording()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.one():
                pass

        def one(self) -> bool:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = self.rfile.readline()
                if not line:
                    return False
                head += line
            first, *lines = head.decode("latin-1").split("\r\n")
            method, path, _ = first.split(" ", 2)
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            body = self.rfile.read(int(headers.get("content-length", "0")))
            request = Request(head + body, method, path, headers, body)
            with kept.arrived:
                kept.requests.append(request)
                kept.arrived.notify_all()
            answer = json.dumps(_answer(request)).encode()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            self.wfile.write(b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
            return headers.get("connection", "").lower() != "close"

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
