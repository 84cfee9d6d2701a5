"""The exceptions of the package, and the one place that maps the engine's error codes to them.

None of them but `TrainingPaused`, by the user's choice, is ever raised from a call inside the training loop.
"""

from __future__ import annotations


class ArgusError(Exception):
    """Base of all argus exceptions.

    Attributes:
        field: Dotted path of the field to blame; empty when there is none.
        hint: Advice, possibly empty.
    """

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.hint = hint


class UsageError(ArgusError, TypeError):
    """An argument that cannot be meant: the message names it and what is accepted."""


class MalformedError(ArgusError):
    """Bytes that are not what they should be, or torn."""


class InvalidError(ArgusError, ValueError):
    """Well-formed, but a value is impossible."""


class TooLargeError(ArgusError):
    """A size, depth or count limit was passed."""


class UnavailableError(ArgusError):
    """A file or service cannot be read now."""


class UnsupportedError(ArgusError):
    """A version or format this build does not know."""


class TrainingPaused(ArgusError):
    """AUTO, or a person through the server, pauses the run. Raised from `watch.step` with `on_pause="raise"` alone.

    The step it was raised from is complete and recorded: save what you like and end, or catch it and go on.

    Attributes:
        step: The optimizer step after which it was asked for.
    """

    def __init__(self, message: str, *, step: int = -1) -> None:
        super().__init__(message)
        self.step = step


_BY_CODE: dict[int, type[ArgusError]] = {
    1: MalformedError,
    2: InvalidError,
    3: TooLargeError,
    4: UnavailableError,
    5: UnsupportedError,
}


def from_native(code: int, message: str, field: str, hint: str) -> ArgusError:
    """The exception for one native error; codes as in base/result.h."""
    return _BY_CODE.get(code, ArgusError)(message, field=field, hint=hint)
