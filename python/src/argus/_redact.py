"""Texts that leave the process, such as messages of exceptions, without what tells who trains and where."""

from __future__ import annotations

import getpass
import os
import platform
import re

#: Values of environment variables shorter than this are words like "1" or "en_US": nothing would be left of a message.
_VALUE_MIN = 8
_MASK = "***"  # nothing that ends a path: the native writer still sees it whole


def redact(text: str) -> str:
    """`text` with the names of host and user and all values of environment variables (8 characters and more) replaced by "***".

    Paths are not touched here: the native writer cuts them to their last part. The result is valid Unicode.
    """
    for value in sorted({v for v in os.environ.values() if len(v) >= _VALUE_MIN}, key=len, reverse=True):
        text = text.replace(value, _MASK)
    for name in _names():
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", _MASK, text)
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")


def _names() -> list[str]:
    """Names of this host and user, the longest first."""
    host = platform.node()
    words = {host, host.split(".", 1)[0]}
    try:
        words.add(getpass.getuser())
    except (OSError, KeyError):  # a user without an entry, as in many containers
        pass
    # Names that are words of any message: replacing them hides nothing and tells readers what the name is.
    return sorted((w for w in words if w and w not in ("root", "user", "localhost")), key=len, reverse=True)


def message_of(error: BaseException | str | None) -> str | None:
    """One text for how a run failed: class and message of an exception; None where there is nothing to say."""
    if error is None:
        return None
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")
    return redact(text) or None
