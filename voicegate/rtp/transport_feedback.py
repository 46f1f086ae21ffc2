"""When packets arrived, told to their sender (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

Behind the SSRCs:

- u16 base sequence number, u16 count of packets
- i24 reference time in 64 ms, u8 count of feedbacks
- chunks of 16 bits, which say of each packet whether it arrived and how long its delta is: a run of one
  symbol (13 bits), or a vector of 14 symbols of one bit or 7 of two bits
- a delta per packet that arrived, in 250 µs since the one before: u8 or i16
- zeros up to 32 bits
"""

from collections import deque
from itertools import islice
from struct import Struct
from typing import ClassVar, Final, Self

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.rtp.feedback import TRANSPORT_LAYER_FEEDBACK
from voicegate.rtp.rtcp_header import write_packet
from voicegate.wire import Reader, Writer

__all__ = ["MAX_DELTA", "REFERENCE_TICKS", "TICKS_PER_SECOND", "TransportFeedback"]

TICKS_PER_SECOND: Final = 4000
REFERENCE_TICKS: Final = 256
"""The unit of the reference time, in ticks."""
MAX_DELTA: Final = 0x7FFF

_FIXED: Final = Struct("!IIHHI")
_DELTA: Final = Struct("!h")

_LOST: Final = 0
_SMALL: Final = 1
_LARGE: Final = 2

_VECTOR_BIT: Final = 0x8000
_TWO_BIT: Final = 0x4000
_MAX_RUN: Final = 0x1FFF
_ONE_BIT_SYMBOLS: Final = 14
_TWO_BIT_SYMBOLS: Final = 7


@attrs.frozen(kw_only=True)
class TransportFeedback:
    """Which of the packets in a row have arrived, and when."""

    FORMAT: ClassVar[int] = 15

    ssrc: int
    """Who received them."""
    media_ssrc: int
    """One of the sources that sent them."""
    base_sequence_number: int
    """Of the first packet, by the transport-wide count."""
    packet_count: int
    """How many packets this is about."""
    reference_time: int
    """In 64 ms, signed 24 bits: what the first delta counts from."""
    feedback_count: int
    """Of the feedbacks before this one, 8 bits."""
    arrivals: tuple[tuple[int, int], ...] = ()
    """What has arrived: how far behind the base, ascending, and its delta in ticks. So what did not arrive
    takes no memory, however many a peer claims."""

    @classmethod
    def read(cls, reader: Reader, _count: int) -> Self:
        """Take what is behind the header."""
        ssrc, media_ssrc, base, packet_count, times = reader.unpack(_FIXED)
        symbols = _read_chunks(reader, packet_count)
        arrivals = tuple(
            (offset, reader.u8() if symbol == _SMALL else reader.unpack(_DELTA)[0])
            for offset, symbol in symbols
        )
        if reader.remaining > 3 or any(reader.rest()):
            raise WireError("transport feedback is not padded with zeros to 32 bits")
        return cls(
            ssrc=ssrc,
            media_ssrc=media_ssrc,
            base_sequence_number=base,
            packet_count=packet_count,
            reference_time=((times >> 8) ^ 0x800000) - 0x800000,
            feedback_count=times & 0xFF,
            arrivals=arrivals,
        )

    def write(self, writer: Writer) -> None:
        """Append the packet."""
        if not (-0x800000 <= self.reference_time < 0x800000 and 0 <= self.feedback_count < 256):
            raise UsageError("a reference time has 24 bits and a count of feedbacks 8")
        body = Writer()
        times = (self.reference_time & 0xFFFFFF) << 8 | self.feedback_count
        body.write(
            _FIXED.pack(self.ssrc, self.media_ssrc, self.base_sequence_number, self.packet_count, times)
        )
        _write_chunks(body, self._runs())
        for _, delta in self.arrivals:
            if 0 <= delta < 256:
                body.u8(delta)
            else:
                body.write(_DELTA.pack(delta))
        body.write(bytes(-len(body) % 4))
        write_packet(writer, TRANSPORT_LAYER_FEEDBACK, self.FORMAT, body.finish())

    def _runs(self) -> deque[tuple[int, int]]:
        """Return how many of which symbol there are, one after the other."""
        runs: deque[tuple[int, int]] = deque()
        position = 0
        for offset, delta in self.arrivals:
            if not position <= offset < self.packet_count:
                raise UsageError("arrivals ascend, and stay below the count of packets")
            if offset > position:
                runs.append((_LOST, offset - position))
            symbol = _SMALL if 0 <= delta < 256 else _LARGE
            if runs and runs[-1][0] == symbol:
                runs[-1] = (symbol, runs[-1][1] + 1)
            else:
                runs.append((symbol, 1))
            position = offset + 1
        if position < self.packet_count:
            runs.append((_LOST, self.packet_count - position))
        return runs


def _read_chunks(reader: Reader, packet_count: int) -> list[tuple[int, int]]:
    """Return offset and symbol of all that arrived."""
    arrived: list[tuple[int, int]] = []
    position = 0
    while position < packet_count:
        chunk = reader.u16()
        left = packet_count - position  # the last chunk may say more than there are packets
        if chunk & _VECTOR_BIT:
            symbols = _vector(chunk)[:left]
            arrived += [(position + index, symbol) for index, symbol in enumerate(symbols) if symbol]
            position += len(symbols)
        else:
            symbol, run = chunk >> 13, min(chunk & _MAX_RUN, left)
            if symbol and len(arrived) + run > reader.remaining:
                raise WireError("transport feedback has less than a byte for each packet that arrived")
            arrived += [(position + index, symbol) for index in range(run if symbol else 0)]
            position += run
    if any(symbol > _LARGE for _, symbol in arrived):
        raise WireError("a reserved symbol in transport feedback")
    return arrived


def _vector(chunk: int) -> list[int]:
    if chunk & _TWO_BIT:
        return [chunk >> shift & 3 for shift in range(2 * _TWO_BIT_SYMBOLS - 2, -1, -2)]
    return [chunk >> shift & 1 for shift in range(_ONE_BIT_SYMBOLS - 1, -1, -1)]


def _write_chunks(writer: Writer, runs: deque[tuple[int, int]]) -> None:
    """Append the chunks that say ``runs``, which are used up."""
    while runs:
        symbol, length = runs[0]
        window = _window(runs)
        width = _TWO_BIT_SYMBOLS if _LARGE in window else _ONE_BIT_SYMBOLS
        if length >= width or len(runs) == 1:
            length = min(length, _MAX_RUN)
            writer.u16(symbol << 13 | length)
        else:
            length = min(len(window), width)
            bits, vector = (2, _VECTOR_BIT | _TWO_BIT) if width == _TWO_BIT_SYMBOLS else (1, _VECTOR_BIT)
            for index, symbol in enumerate(window[:width]):
                vector |= symbol << bits * (width - 1 - index)
            writer.u16(vector)
        _take(runs, length)


def _window(runs: deque[tuple[int, int]]) -> list[int]:
    """Return the next symbols, as many as one vector can say at most."""
    symbols: list[int] = []
    for symbol, length in islice(runs, _ONE_BIT_SYMBOLS):
        symbols += [symbol] * min(length, _ONE_BIT_SYMBOLS - len(symbols))
    return symbols


def _take(runs: deque[tuple[int, int]], count: int) -> None:
    """Take the first symbols away; there are as many."""
    while count:
        symbol, length = runs.popleft()
        if length > count:
            runs.appendleft((symbol, length - count))
            return
        count -= length
