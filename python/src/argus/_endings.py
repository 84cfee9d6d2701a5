"""What becomes of watched runs when the program ends without saying so: normally, by an exception, by SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Protocol

#: Seconds a program that ends waits for a run's completion to be delivered, and after SIGTERM.
EXIT_WAIT_S = 5.0
SIGTERM_WAIT_S = 2.0


class Endable(Protocol):
    """A run that can be told how its program ended."""

    def end(self, status: str, error: str, wait_s: float) -> None:
        """Completes the run; never raises."""


_open: weakref.WeakSet[Any] = weakref.WeakSet()
_ending: list[threading.Thread] = []
_owner = 0
_installed = False
_uncaught: BaseException | None = None


def enroll(run: Endable, *, keeps: bool) -> None:
    """The run is completed at exit unless `dismiss` comes first.

    Args:
        keeps: Whether there is anything to complete: without, neither exits nor signals are looked at on its account.
    """
    global _owner
    _owner = os.getpid()
    if keeps:
        _install()
    _open.add(run)


def dismiss(run: Endable) -> None:
    """The run is complete."""
    _open.discard(run)


def open_runs() -> list[Any]:
    """The runs that are enrolled and not complete."""
    return list(_open)


def end_aside(run: Endable, status: str, error: str) -> None:
    """Completes a run that nobody refers to any more on a thread of its own; the end of the program waits for it."""
    _ending[:] = [thread for thread in _ending if thread.is_alive()]
    thread = threading.Thread(target=run.end, args=(status, error, EXIT_WAIT_S), name="argus-ending", daemon=True)
    thread.start()
    _ending.append(thread)


def describe(error: BaseException) -> str:
    """`ValueError: first line`, at most 300 characters."""
    text = str(error).strip().split("\n", 1)[0]
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:300]


def status_of(error: BaseException | None) -> tuple[str, str]:
    """The protocol's status for a loop left with this exception, and its error text."""
    if error is None:
        return "COMPLETED", ""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        clean = isinstance(error, SystemExit) and error.code in (None, 0)
        return ("COMPLETED", "") if clean else ("STOPPED", describe(error))
    return "FAILED", describe(error)


def _end_all(status: str, error: str, wait_s: float) -> None:
    if os.getpid() != _owner:  # a forked child: its parent's runs are not its own
        return
    for run in list(_open):
        _open.discard(run)
        run.end(status, error, wait_s)
    for thread in _ending:
        thread.join(wait_s)


def _install() -> None:
    global _installed
    if _installed:
        return
    _installed = True
    atexit.register(_at_exit)
    _chain_excepthook()
    _chain_sigterm()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """A forked child has no runs, and dies of SIGTERM as if this module were not there: at once, also inside a call into C."""
    _open.clear()
    _ending.clear()
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _at_exit() -> None:
    _end_all(*status_of(_uncaught), EXIT_WAIT_S)


def _chain_excepthook() -> None:
    before: Callable[[type[BaseException], BaseException, TracebackType | None], object] = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        global _uncaught
        _uncaught = error
        before(kind, error, traceback)

    sys.excepthook = hook


def _chain_sigterm() -> None:
    """Only where nobody else handles SIGTERM: the program still dies of it, after at most SIGTERM_WAIT_S."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    try:
        _end_all("STOPPED", "SIGTERM", SIGTERM_WAIT_S)
    finally:
        os.kill(os.getpid(), number)
