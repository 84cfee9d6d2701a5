"""The detector counts updates from 0; the loop around it may number its steps otherwise."""

from __future__ import annotations

from bisect import bisect_right

# Changes of the numbering kept; beyond it every second one is forgotten.
_KEPT = 4096


class Numbers:
    """Translates updates counted here into the loop's step numbers. Without `tell` they are the same."""

    def __init__(self) -> None:
        self._own: list[int] = []
        self._told: list[int] = []
        self._offset: int | None = None

    def tell(self, own: int, number: int) -> None:
        """Update `own` (not below earlier ones) belongs to the loop's step `number`."""
        if number - own == self._offset:
            return
        self._offset = number - own
        if self._own and self._own[-1] == own:
            self._told[-1] = number
            return
        self._own.append(own)
        self._told.append(number)
        if len(self._own) > _KEPT:
            self._own, self._told = self._own[::2], self._told[::2]

    def of(self, own: int) -> int:
        """The loop's number of update `own`; between two that were told, not beyond the later one."""
        if not self._own:
            return own
        at = bisect_right(self._own, own) - 1
        number = self._told[max(0, at)] + own - self._own[max(0, at)]
        if 0 <= at < len(self._own) - 1 and self._told[at + 1] >= self._told[at]:
            number = min(number, self._told[at + 1])
        return max(0, number)
