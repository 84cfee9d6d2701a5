"""The thread of a rank that talks to the key-value store, over a connection of its own."""

from __future__ import annotations

import importlib
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

#: Longest a single exchange with a store that answers may take, seconds.
_STORE_TIMEOUT_S = 10.0
#: Pauses before the store is tried again after failures in a row; then never. torch itself prints lines about each attempt.
_RETRY_S = (0.5, 2.0, 10.0, 30.0)
_ADDRESS_POLL_S = 0.1
#: How long the last exchange is repeated while others still have something to say.
_LINGER_S = 1.0


class Store(Protocol):
    """What is used of a torch store. Every call may block; values are bytes."""

    def set(self, key: str, value: bytes) -> None: ...
    def multi_get(self, keys: list[str]) -> list[bytes]: ...
    def compare_set(self, key: str, expected: str, desired: str) -> bytes: ...


class Errand(Protocol):
    """What is done over the connection, all of it on the courier's thread: `prepare` once a connection, `exchange` once a cycle (it
    returns the seconds until the next), `cut_off` when the connection failed and another one will be tried. `over` says that there is
    nothing more to come: the thread ends, when it is closing or not."""

    def prepare(self, store: Store) -> None: ...
    def exchange(self, store: Store) -> float: ...
    def over(self, closing: bool) -> bool: ...
    def cut_off(self, error: Exception) -> None: ...


class _Ended(Exception):
    """The process group was destroyed."""


class Courier:
    """Runs an errand over an own connection to the default group's store, in a thread of its own.

    The training thread only calls `wake` and `close`. The default store is never used from here but to open a connection
    beside it: calls of one connection wait for each other, and a waiting rendezvous would hold ours, or ours it.

    Args:
        rank: This rank.
        session: Prefix of all keys, the same on all ranks.
        errand: What to do each cycle.
        source: The default store, or None once there is no process group.
    """

    def __init__(self, rank: int, session: str, errand: Errand, source: Callable[[], Any]) -> None:
        self._rank = rank
        self._session = session
        self._errand = errand
        self._source = source
        self._server: Any = None
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="argus-ranks", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Starts the next exchange now. Never blocks."""
        self._awake.set()

    def alive(self) -> bool:
        """Whether the thread runs: not once the process group or rank 0's watch is gone, nor in a forked child."""
        return self._thread.is_alive() and os.getpid() == self._pid

    def close(self, timeout_s: float) -> None:
        """One last exchange, then the end; waits for it `timeout_s` at most."""
        self._closing.set()
        self._awake.set()
        if self.alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while True:
            try:
                store = self._connect()
                if store is not None:
                    self._errand.prepare(store)
                    failures = 0
                    self._deliver(store)
                    return
            except _Ended:
                return
            except Exception as error:
                if self._source() is None:
                    return  # the group's store went with the group: that is no failure
                self._errand.cut_off(error)
                failures += 1
            if failures > len(_RETRY_S) or self._closing.wait(_RETRY_S[failures - 1] if failures else _ADDRESS_POLL_S):
                return

    def _deliver(self, store: Store) -> None:
        lingers_until = math.inf
        while True:
            closing = self._closing.is_set()
            if closing and lingers_until == math.inf:
                lingers_until = steady_s() + _LINGER_S
            pause_s = self._errand.exchange(store)
            if self._errand.over(closing) or steady_s() >= lingers_until:
                return
            self._awake.wait(_ADDRESS_POLL_S if closing else pause_s)
            self._awake.clear()

    def _connect(self) -> Store | None:
        """A connection of our own, or None while the reporting rank has not said where its store is."""
        # The stubs leave the stores out of this module, and bytes out of their values.
        dist: Any = importlib.import_module("torch.distributed")
        base = self._source()
        if base is None:
            raise _Ended
        inner = base
        while isinstance(inner, dist.PrefixStore):
            inner = inner.underlying_store
        timeout = timedelta(seconds=_STORE_TIMEOUT_S)
        own: Any
        if isinstance(inner, dist.TCPStore):
            own = base.clone() if hasattr(base, "clone") else dist.TCPStore(inner.host, inner.port, timeout=timeout)
        else:
            own = self._own_store(dist, base, timeout)
        if own is None:
            return None
        own.set_timeout(timeout)
        store: Store = dist.PrefixStore(self._session, own)
        return store

    def _own_store(self, dist: Any, base: Any, timeout: timedelta) -> Any:
        """A TCP store on the reporting rank: a file store grows with every value that is set."""
        key = f"{self._session}/address"
        if self._rank == 0:
            if self._server is None:
                self._server = dist.TCPStore("localhost", 0, is_master=True, timeout=timeout, wait_for_workers=False)
                base.set(key, f"{socket.gethostname()}|{self._server.port}")
            host, port = "localhost", self._server.port
        else:
            if not base.check([key]):
                return None
            host, _, number = base.get(key).decode().partition("|")
            port = int(number)
            if host == socket.gethostname():
                host = "localhost"
        return dist.TCPStore(host, port, is_master=False, timeout=timeout, wait_for_workers=False)


def default_store() -> Any:
    """The store of the default process group; None when there is none. Never communicates."""
    dist = sys.modules.get("torch.distributed")
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return None
    from torch.distributed import distributed_c10d

    try:
        return distributed_c10d._get_default_store()
    except (KeyError, ValueError):  # while another thread destroys the group
        return None


def steady_s() -> float:
    """Seconds on a steady clock."""
    return time.monotonic()
