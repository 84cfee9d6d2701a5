"""A client of server-sent events, as a browser's EventSource reads them: one thread, one queue."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving import Served

WAIT_S = 20.0


@dataclass
class Event:
    name: str
    id: str
    data: dict


class EventSource:
    """Reads until the server ends the stream. `ended` is set then."""

    def __init__(self, server: Served, path: str, *, key: str = "", last_id: str = "") -> None:
        headers = {"Accept": "text/event-stream"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        if last_id:
            headers["Last-Event-ID"] = last_id
        self.connection = server.connect(timeout_s=60.0)
        self.connection.request("GET", path, headers=headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status
        self.content_type = self.response.getheader("content-type")
        self.events: queue.Queue[Event] = queue.Queue()
        self.seen: list[Event] = []
        self.comments = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        if self.status == 200:
            self.thread.start()

    def _read(self) -> None:
        name, identity, data = "message", "", ""
        try:
            for raw in self.response:
                line = raw.decode().rstrip("\n")
                if line.startswith(":"):
                    self.comments += 1
                elif line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("id: "):
                    identity = line[4:]
                elif line.startswith("data: "):
                    data = line[6:]
                elif not line and data:
                    self.events.put(Event(name, identity, json.loads(data)))
                    name, identity, data = "message", "", ""
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # cut, or closed by us
        self.ended.set()

    def until(self, is_enough: Callable[[list[Event]], bool]) -> list[Event]:
        """All events seen so far, once they are enough."""
        deadline = time.monotonic() + WAIT_S
        while not is_enough(self.seen):
            try:
                self.seen.append(self.events.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                names = [(event.name, event.id) for event in self.seen]
                raise AssertionError(f"not enough events within {WAIT_S} s: {names}") from None
        return self.seen

    def named(self, name: str) -> list[Event]:
        return [event for event in self.seen if event.name == name]

    def points(self) -> list[dict]:
        return [point for event in self.named("steps") for point in event.data["points"]]

    def close(self) -> None:
        self.connection.close()
