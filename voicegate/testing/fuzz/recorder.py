"""The flight recorder: the input that a worker is on, where it can be read after its death.

A file, mapped by both processes: 8 bytes of how many inputs were begun, 4 of the length of the last one, and
that one. The count is written last, so a reader that sees it has the input.

Layer: shell (no Trio, since workers use it).
"""

import mmap
from pathlib import Path
from struct import Struct
from typing import Final

__all__ = ["Recorder"]

CAPACITY: Final = 1 << 20
"""Bytes of input: the longest that libFuzzer makes."""

_COUNT: Final = Struct("<Q")
_LENGTH: Final = Struct("<I")
_START: Final = _COUNT.size + _LENGTH.size


class Recorder:
    """The file, mapped."""

    def __init__(self, path: Path) -> None:
        path.touch()
        with path.open("r+b") as file:
            file.truncate(_START + CAPACITY)
            self._map = mmap.mmap(file.fileno(), _START + CAPACITY)

    def record(self, data: bytes) -> None:
        """Note the next input, before it is run."""
        kept = data[:CAPACITY]
        _LENGTH.pack_into(self._map, _COUNT.size, len(kept))
        self._map[_START : _START + len(kept)] = kept
        _COUNT.pack_into(self._map, 0, self.count + 1)

    @property
    def count(self) -> int:
        """How many inputs were begun."""
        count: int = _COUNT.unpack_from(self._map, 0)[0]
        return count

    @property
    def data(self) -> bytes:
        """The last one."""
        (length,) = _LENGTH.unpack_from(self._map, _COUNT.size)
        return self._map[_START : _START + length]
