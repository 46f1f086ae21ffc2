"""Lines of text over a byte stream, for talking with a process that a test has started.

Layer: shell (Trio).
"""

import trio

__all__ = ["LineStream"]


class LineStream:
    """Whole lines, each way; several tasks may send."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._turn = trio.Lock()

    async def send(self, line: str) -> None:
        """Send a line. Errors: trio.BrokenResourceError when the other side is gone."""
        async with self._turn:
            await self._stream.send_all(line.encode() + b"\n")

    async def receive(self) -> str | None:
        """Return the next line, or None when the other side has ended."""
        while b"\n" not in self._buffer:
            if not (chunk := await self._stream.receive_some()):
                return None
            self._buffer += chunk
        line, _newline, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return line.decode()
