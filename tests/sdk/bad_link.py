"""A link to a server that misbehaves from a seed: cut, delayed, duplicated, down. A real proxy over real sockets.

with BadLink("http://127.0.0.1:8088", seed=1, cut=0.1, duplicate=0.1, delay_s=0.05, down_share=0.33) as link: ... link.url
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from urllib.parse import urlsplit

_HEAD_BYTES_MAX = 64 << 10


class BadLink:
    """Forwards HTTP/1.1 requests, one connection a thread.

    Args:
        target: URL of the server.
        seed: Of what happens to each request.
        cut: Share of requests whose connection is cut: half of them before the server sees it, half in the middle of the answer.
        duplicate: Share of requests that the server gets twice; the client sees the second answer.
        delay_s: Every answer is held back so long.
        down_share: Share of the time during which connections are cut and none is accepted.
        period_s: How often it goes down.
    """

    def __init__(
        self,
        target: str,
        *,
        seed: int = 0,
        cut: float = 0.0,
        duplicate: float = 0.0,
        delay_s: float = 0.0,
        down_share: float = 0.0,
        period_s: float = 1.5,
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.cut, self.duplicate, self.delay_s = cut, duplicate, delay_s
        self._down_share, self._period_s = down_share, period_s
        self._started = time.monotonic()
        self._closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests = self.cuts = self.duplicates = self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def is_down(self) -> bool:
        """Whether the link is down now."""
        phase = (time.monotonic() - self._started) % self._period_s / self._period_s
        return phase >= 1.0 - self._down_share

    def close(self) -> None:
        """Cuts everything."""
        self._closing.set()
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                _cut(connection)

    def __enter__(self) -> BadLink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down():
                self.refused += 1
                _cut(client)
                continue
            with self._lock:
                self._connections.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                request = _message(client)
                if request is None:
                    break
                if not self._carry(client, request):
                    break
        with self._lock:
            self._connections.discard(client)
        _cut(client)

    def _carry(self, client: socket.socket, request: bytes) -> bool:
        """One request and its answer; False once the connection is cut."""
        with self._lock:
            self.requests += 1
            fate, where = self._random.random(), self._random.random()
        down = self.is_down()
        if down or fate < self.cut:
            self.cuts += 1
            if down or where < 0.5:
                return False
            answer = self._ask(request)
            client.sendall(answer[: len(answer) // 2])
            return False
        answer = self._ask(request)
        if fate > 1.0 - self.duplicate:
            self.duplicates += 1
            answer = self._ask(request)
        if self.delay_s:
            self._closing.wait(self.delay_s)
        if self.is_down():
            return False
        client.sendall(answer)
        return True

    def _ask(self, request: bytes) -> bytes:
        with socket.create_connection(self._target, timeout=30) as server:
            server.sendall(request)
            answer = _message(server)
            if answer is None:
                raise OSError("the server closed")
            return answer


def _message(connection: socket.socket) -> bytes | None:
    """A whole message: its head and Content-Length bytes of body; None when the peer closed before it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more or len(data) > _HEAD_BYTES_MAX:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    if b"100-continue" in head.lower():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    while len(body) < length:
        more = connection.recv(65536)
        if not more:
            return None
        body += more
    return head + b"\r\n\r\n" + body


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
