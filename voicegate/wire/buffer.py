"""Reading and writing of length-delimited binary.

A `Reader` never reads past its end, and a nested length-prefixed block is a child `Reader` that must be used
up exactly: an outer length can therefore never disagree unnoticed with what is inside it.
"""

from struct import Struct
from struct import error as struct_error
from typing import Any, Final

from voicegate.errors import WireError

__all__ = ["Reader", "Writer"]

_U16: Final = Struct("!H")
_U32: Final = Struct("!I")
_U64: Final = Struct("!Q")


class Reader:
    """A cursor over bytes that raises `WireError`, and nothing else, when there are too few."""

    __slots__ = ("_data", "_end", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._end = len(data)

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self._end - self._position

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._position

    def read(self, length: int) -> bytes:
        """Take exactly ``length`` bytes."""
        start = self._position
        stop = start + length
        if length < 0 or stop > self._end:
            raise WireError(f"{length} bytes wanted at offset {start}, {self._end - start} left")
        self._position = stop
        return self._data[start:stop]

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.read(self._end - self._position)

    def unpack(self, layout: Struct) -> tuple[Any, ...]:
        """Take one fixed header; the fast way to read several fields."""
        try:
            fields = layout.unpack_from(self._data, self._position)
        except struct_error as error:
            raise WireError(f"{layout.size} bytes wanted at offset {self._position}") from error
        self._position += layout.size
        return fields

    def u8(self) -> int:
        """Take one byte."""
        return self.read(1)[0]

    def u16(self) -> int:
        """Take a big-endian 16-bit number."""
        return int.from_bytes(self.read(2), "big")

    def u24(self) -> int:
        """Take a big-endian 24-bit number."""
        return int.from_bytes(self.read(3), "big")

    def u32(self) -> int:
        """Take a big-endian 32-bit number."""
        return int.from_bytes(self.read(4), "big")

    def u48(self) -> int:
        """Take a big-endian 48-bit number."""
        return int.from_bytes(self.read(6), "big")

    def u64(self) -> int:
        """Take a big-endian 64-bit number."""
        return int.from_bytes(self.read(8), "big")

    def block8(self) -> "Reader":
        """Take a block behind an 8-bit length, as a child that must end with `finish`."""
        return Reader(self.read(self.u8()))

    def block16(self) -> "Reader":
        """Take a block behind a 16-bit length, as a child that must end with `finish`."""
        return Reader(self.read(self.u16()))

    def block24(self) -> "Reader":
        """Take a block behind a 24-bit length, as a child that must end with `finish`."""
        return Reader(self.read(self.u24()))

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self._position != self._end:
            raise WireError(f"{self._end - self._position} bytes too many at offset {self._position}")


class Writer:
    """An append-only byte builder; the mirror of `Reader`."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._data += data

    def u8(self, value: int) -> None:
        """Append one byte."""
        self._data.append(value)

    def u16(self, value: int) -> None:
        """Append a big-endian 16-bit number."""
        self._data += _U16.pack(value)

    def u24(self, value: int) -> None:
        """Append a big-endian 24-bit number."""
        self._data += value.to_bytes(3, "big")

    def u32(self, value: int) -> None:
        """Append a big-endian 32-bit number."""
        self._data += _U32.pack(value)

    def u48(self, value: int) -> None:
        """Append a big-endian 48-bit number."""
        self._data += value.to_bytes(6, "big")

    def u64(self, value: int) -> None:
        """Append a big-endian 64-bit number."""
        self._data += _U64.pack(value)

    def block8(self, data: bytes) -> None:
        """Append a block behind its 8-bit length."""
        self._data.append(len(data))
        self._data += data

    def block16(self, data: bytes) -> None:
        """Append a block behind its 16-bit length."""
        self.u16(len(data))
        self._data += data

    def block24(self, data: bytes) -> None:
        """Append a block behind its 24-bit length."""
        self.u24(len(data))
        self._data += data

    def finish(self) -> bytes:
        """Return what was written."""
        return bytes(self._data)
