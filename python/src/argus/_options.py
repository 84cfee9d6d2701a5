"""What `argus.watch` was asked for: arguments before the environment before defaults."""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from argus._errors import UsageError

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_MODES = ("manual", "auto")
_PAUSES = ("raise",)


@dataclass(frozen=True)
class Options:
    """Resolved and checked. Texts are empty, and counts 0, where nothing was said."""

    url: str = ""
    key: str = ""
    run_id: str = ""
    auto: bool = False
    checkpoint_dir: str = ""
    total_steps: int = 0
    home: str = ""
    record: bool = True
    model_type: str = ""
    quiet: bool = False
    history_steps: int = 100_000
    analytics: bool = False
    local: bool = False
    on_change: Callable[[Any], object] | None = None
    on_pause: Callable[[str], object] | str | None = None


def resolve(given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Options:
    """Options from what was given (None: not given) and the environment.

    Raises:
        UsageError: A value of a kind that cannot be meant; the message names the argument or the variable.
    """
    mode = _text(given, environ, "mode", "ARGUS_MODE").lower() or "manual"
    if mode not in _MODES:
        source = _source(given, "mode", "ARGUS_MODE")
        raise UsageError(f"{source}: {mode!r}; accepted is 'manual' or 'auto'", field="mode")
    home = _text(given, environ, "home", "ARGUS_HOME") or os.path.join(os.path.expanduser("~"), ".argus")
    return Options(
        url=_text(given, environ, "url", "ARGUS_URL"),
        key=_text(given, environ, "key", "ARGUS_API_KEY"),
        run_id=_run_id(_text(given, environ, "run_id", "ARGUS_RUN_ID"), _source(given, "run_id", "ARGUS_RUN_ID")),
        auto=mode == "auto",
        checkpoint_dir=_text(given, environ, "checkpoint_dir", "ARGUS_CHECKPOINT_DIR"),
        total_steps=_count(given, environ, "total_steps", "ARGUS_TOTAL_STEPS", 0),
        home=home,
        record=_flag(given, environ, "record", "ARGUS_RECORD", True),
        model_type=_text(given, environ, "model_type", "ARGUS_MODEL_TYPE"),
        quiet=_flag(given, environ, "quiet", "ARGUS_QUIET", False),
        history_steps=_count(given, environ, "history_steps", "ARGUS_HISTORY_STEPS", 100_000)
        or _no_history(_source(given, "history_steps", "ARGUS_HISTORY_STEPS")),
        analytics=_flag(given, environ, "analytics", "ARGUS_ANALYTICS", False),
        local=_flag(given, environ, "local", "ARGUS_LOCAL", False),
        on_change=_callable(given, "on_change", "a function of one decision"),
        on_pause=_pause(given, environ),
    )


def new_run_id(model: Any) -> str:
    """An id that says when and what: `sequential-20260131-094500-3fa9c1`."""
    name = type(model).__name__ if model is not None else "run"
    name = re.sub(r"[^A-Za-z0-9._:-]+", "-", name).strip("-").lower()[:64] or "run"
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def _source(given: Mapping[str, Any], name: str, variable: str) -> str:
    """Where a value came from, for a message."""
    return variable if given.get(name) is None else name


def _text(given: Mapping[str, Any], environ: Mapping[str, str], name: str, variable: str) -> str:
    value = given.get(name)
    if value is None:
        return environ.get(variable, "").strip()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise UsageError(f"{name}: a {type(value).__name__}; accepted is a text", field=name)
    if "\0" in value:
        raise UsageError(f"{name}: a text with NUL; accepted is one without", field=name)
    return value.strip()


def _flag(given: Mapping[str, Any], environ: Mapping[str, str], name: str, variable: str, default: bool) -> bool:
    value = given.get(name)
    if value is not None:
        try:
            return bool(value)
        except Exception as error:
            raise UsageError(f"{name}: a {type(value).__name__}; accepted is True or False", field=name) from error
    word = environ.get(variable, "").strip().lower()
    if not word:
        return default
    if word not in _TRUE + _FALSE:
        raise UsageError(f"{variable}: {word!r}; accepted is 1 or 0", field=variable)
    return word in _TRUE


def _count(given: Mapping[str, Any], environ: Mapping[str, str], name: str, variable: str, default: int) -> int:
    value = given.get(name)
    source = name
    if value is None:
        value, source = environ.get(variable, "").strip() or default, variable
    try:
        if isinstance(value, float):
            raise ValueError("a fraction")
        count = int(value)
        if not 0 <= count < 1 << 62:
            raise ValueError("out of range")
    except (TypeError, ValueError) as error:
        raise UsageError(f"{source}: {value!r}; accepted is an integer of 0 or more", field=source) from error
    return count


def _no_history(source: str) -> int:
    raise UsageError(f"{source}: 0; accepted is an integer of 1 or more", field="history_steps")


def _run_id(text: str, source: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", text):
        raise UsageError(f"{source}: {text[:150]!r}; accepted is 1 to 128 of A-Z a-z 0-9 . _ : -", field="run_id")
    return text


def _callable(given: Mapping[str, Any], name: str, accepted: str) -> Any:
    value = given.get(name)
    if value is not None and not callable(value):
        raise UsageError(f"{name}: {value!r} cannot be called; accepted is {accepted}", field=name)
    return value


def _pause(given: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    value = given.get("on_pause")
    if value is None:
        value = environ.get("ARGUS_ON_PAUSE", "").strip() or None
    if value is not None and not callable(value) and value not in _PAUSES:
        source = _source(given, "on_pause", "ARGUS_ON_PAUSE")
        raise UsageError(f"{source}: {value!r}; accepted is 'raise' or a function of one text", field="on_pause")
    return value
