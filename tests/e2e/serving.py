"""A real `argus serve` over a home folder of its own, and one plain way to call it."""

import contextlib
import http.client
import json
import os
import select
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

READY_TIMEOUT_S = 60.0  # generous: sanitizer builds start slowly on a busy machine


@dataclass
class Answer:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    cookies: list[str] = field(default_factory=list)  # every Set-Cookie

    @property
    def json(self) -> object:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        return json.loads(self.body)["error"]


class Served:
    """One server process. `start()` again after `stop()` or `kill()` serves the same home."""

    def __init__(self, program: Path, home: Path, *flags: object, environment: dict[str, str] | None = None) -> None:
        self.program = program
        self.home = home
        self.flags = [str(flag) for flag in flags]
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("ARGUS_")} | (environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.ready_line = ""

    def start(self) -> "Served":
        port = [] if "--port" in self.flags else ["--port", "0"]
        command = [self.program, "serve", "--home", self.home, *port, *self.flags]
        self.home.parent.mkdir(parents=True, exist_ok=True)
        log = (self.home.parent / f"{self.home.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment
            )
        self.ready_line = self._first_line()
        if not self.ready_line.startswith("READY "):
            code = self.process.wait(timeout=READY_TIMEOUT_S)
            raise RuntimeError(f"the server did not start (exit {code}):\n{self.log()[-3000:]}")
        self.url = self.ready_line.split()[1]
        return self

    def _first_line(self) -> str:
        assert self.process is not None and self.process.stdout is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        line = b""
        descriptor = self.process.stdout.fileno()
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                self.kill()
                raise TimeoutError(f"no READY line within {READY_TIMEOUT_S} s:\n{self.log()[-3000:]}")
            byte = os.read(descriptor, 1)
            if not byte:
                break
            line += byte
        return line.decode().strip()

    def log(self) -> str:
        path = self.home.parent / f"{self.home.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, as a service manager does. The exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._reap(timeout_s)

    def kill(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        return self._reap(30.0)

    def _reap(self, timeout_s: float) -> int:
        assert self.process is not None
        code = self.process.wait(timeout=timeout_s)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def connect(self, timeout_s: float = 30.0) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        if parts.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str = "",
        headers: dict[str, str] | None = None,
        connection: http.client.HTTPConnection | None = None,
    ) -> Answer:
        """One request. A `body` that is neither bytes nor str is sent as JSON."""
        sent = dict(headers or {})
        if key:
            sent["Authorization"] = f"Bearer {key}"
        payload: bytes | None = None
        if body is not None:
            payload = (
                body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
            )
            sent.setdefault("Content-Type", "application/json")
        own = connection or self.connect()
        try:
            own.request(method, path, payload, sent)
            response = own.getresponse()
            data = response.read()
            pairs = response.getheaders()
        finally:
            if connection is None:
                own.close()
        cookies = [value for name, value in pairs if name.lower() == "set-cookie"]
        return Answer(response.status, {name.lower(): value for name, value in pairs}, data, cookies)

    def get(self, path: str, **options: object) -> Answer:
        return self.call("GET", path, **options)

    def post(self, path: str, body: object = None, **options: object) -> Answer:
        return self.call("POST", path, body, **options)


@contextlib.contextmanager
def serving(program: Path, home: Path, *flags: object, environment: dict[str, str] | None = None) -> Iterator[Served]:
    """with serving(program, tmp_path / "home") as server: ..."""
    served = Served(program, home, *flags, environment=environment).start()
    try:
        yield served
    finally:
        if served.process is not None and served.process.poll() is None:
            served.kill()
