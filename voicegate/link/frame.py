"""Binary messages of the link: one frame after another, each a header and what it announces.

- call u32, length u32 of all behind the header
- kind u8, flags u8, level u8, length u8 of the response id
- made up u16 milliseconds, ticks u16
- position i64

Behind it stand the response id, in UTF-8, and the sound.
"""

from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from voicegate.errors import WireError

__all__ = [
    "HAS_LEVEL",
    "IS_JUDGED",
    "IS_VOICE",
    "MADE_UP",
    "MAX_RESPONSE_ID_LENGTH",
    "Frame",
    "FrameKind",
    "encode_frame",
    "read_frames",
]

HEADER: Final = Struct("!IIBBBBHHq")

MAX_RESPONSE_ID_LENGTH: Final = 255
"""Bytes; ours have 28."""

MADE_UP: Final = 1
"""Flag: at least a part is no recording but the codec's guess at what was lost."""
HAS_LEVEL: Final = 2
"""Flag: the client says how loud this is."""
IS_JUDGED: Final = 4
"""Flag: the client says whether this is a voice."""
IS_VOICE: Final = 8
"""Flag: it is one."""


class FrameKind(IntEnum):
    """What a frame holds."""

    PCM16_8000 = 1
    """16-bit signed little-endian mono samples, so many a second."""
    PCM16_16000 = 2
    PCM16_24000 = 3
    PCM16_48000 = 4
    PACKET = 5
    """One packet of the call's own codec, as it came or is to go."""
    PCMU = 6
    """A byte per sample at 8 kHz (G.711 µ-law)."""
    PCMA = 7
    PROGRESS = 16
    """No sound, but how the agent's own does: received u64, clears u32, queued ms u32, heard ms u32."""


class Frame(NamedTuple):
    """One frame; of a kind that is not known here, too."""

    call: int
    kind: int
    data: bytes
    position: int = 0
    flags: int = 0
    level: int = 0
    made_up_ms: int = 0
    ticks: int = 0
    response_id: str | None = None

    def encode(self) -> bytes:
        """Write it.

        Errors: WireError for a field that has no place.
        """
        return encode_frame(*self)


def encode_frame(
    call: int,
    kind: int,
    data: bytes,
    position: int = 0,
    flags: int = 0,
    level: int = 0,
    made_up_ms: int = 0,
    ticks: int = 0,
    response_id: str | None = None,
) -> bytes:
    """Write a frame, without the value that stands for it: so it goes fifty times a second and call."""
    if response_id is None:
        return HEADER.pack(call, len(data), kind, flags, level, 0, made_up_ms, ticks, position) + data
    name = response_id.encode(errors="surrogatepass")
    length = len(name) + len(data)
    return HEADER.pack(call, length, kind, flags, level, len(name), made_up_ms, ticks, position) + name + data


def read_frames(data: bytes) -> Iterator[Frame]:
    """Read all frames of a message, in turn.

    Errors: WireError at the first that is cut off; those before it were whole.
    """
    unpack, size = HEADER.unpack_from, HEADER.size
    start, end = 0, len(data)
    while start < end:
        body = start + size
        if body > end:
            raise WireError(f"{end - start} bytes are no header of a frame")
        call, length, kind, flags, level, name_length, made_up_ms, ticks, position = unpack(data, start)
        sound = body + name_length
        start = body + length
        if start > end or name_length > length:
            raise WireError(
                f"a frame of {length} bytes and a response id of {name_length}, {end - body} are left"
            )
        name = None
        if name_length:
            try:
                name = str(data[body:sound], "utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise WireError("a response id that is not UTF-8") from error
        yield Frame(call, kind, data[sound:start], position, flags, level, made_up_ms, ticks, name)
