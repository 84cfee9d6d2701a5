"""What one rank says of itself, as bytes: one value in the key-value store, overwritten."""

from __future__ import annotations

import json
import math
import struct
from array import array
from dataclasses import dataclass, fields

from argus._shards import WIDTH

_HEAD = struct.Struct("<4sII")
_MAGIC = b"AGR1"
_ROW = WIDTH + 2
#: Longest record that is read: the shard numbers of 256 steps and a header.
BYTES_MAX = 64 * 1024
TEXT_MAX = 200


@dataclass(frozen=True)
class ShardEntry:
    """One rank's part of the sums of one step: `generation` counts the times the steps were set back."""

    generation: int
    step: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """One rank's account of itself.

    Attributes:
        beat: Rises with each record written.
        calls: Steps published so far.
        step: Number of the newest, -1 before the first.
        step_time_s: Median of the newest steps, seconds; 0 when not known.
        non_finite: Steps with a non-finite value so far.
        non_finite_step: The newest of them, -1 when there is none.
        left: The rank closed its watch, or its process ended in order.
        agrees: The rank takes part in agreements (AUTO).
        answered: Number of the proposal answered last, 0 before the first.
        objection: Why it was answered with no; empty for yes.
        settled: Number of the last proposal that is over for this rank.
        shards: Its newest parts of sums, oldest first.
    """

    beat: int = 0
    calls: int = 0
    step: int = -1
    step_time_s: float = 0.0
    non_finite: int = 0
    non_finite_step: int = -1
    left: bool = False
    agrees: bool = False
    answered: int = 0
    objection: str = ""
    settled: int = 0
    shards: tuple[ShardEntry, ...] = ()

    def pack(self) -> bytes:
        """The record as bytes; `unpack` reads them."""
        head = {name: getattr(self, name) for name in _DEFAULTS}
        head["objection"] = self.objection[:TEXT_MAX]
        text = json.dumps(head, allow_nan=False).encode()
        rows = array("d")
        for entry in self.shards:
            rows.append(float(entry.generation))
            rows.append(float(entry.step))
            rows.extend(entry.values)
        return _HEAD.pack(_MAGIC, len(text), len(self.shards)) + text + rows.tobytes()

    @staticmethod
    def unpack(data: bytes) -> Record:
        """Reads what `pack` wrote.

        Raises:
            ValueError: The bytes are something else.
        """
        if len(data) > BYTES_MAX or len(data) < _HEAD.size:
            raise ValueError(f"a record of {len(data)} bytes; accepted are {_HEAD.size} to {BYTES_MAX}")
        magic, length, count = _HEAD.unpack_from(data)
        rows = array("d")
        if magic != _MAGIC or len(data) != _HEAD.size + length + count * _ROW * rows.itemsize:
            raise ValueError("not a record of this version")
        head = json.loads(data[_HEAD.size : _HEAD.size + length])
        if not isinstance(head, dict):
            raise ValueError("a record without a header")
        for name, default in _DEFAULTS.items():
            kind = (int, float) if isinstance(default, float) else type(default)
            if not isinstance(head.get(name), kind):
                raise ValueError(f"{name} is not a {type(default).__name__}")
        rows.frombytes(data[_HEAD.size + length :])
        shards = []
        for at in range(0, len(rows), _ROW):
            generation, step = rows[at], rows[at + 1]
            if not (math.isfinite(generation) and math.isfinite(step)):
                raise ValueError("a step without a number")
            shards.append(ShardEntry(int(generation), int(step), tuple(rows[at + 2 : at + _ROW])))
        return Record(**{name: head[name] for name in _DEFAULTS}, shards=tuple(shards))


_DEFAULTS = {f.name: f.default for f in fields(Record) if f.name != "shards"}
