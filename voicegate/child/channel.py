"""What a child process and its parent talk through: a JSON object per line, on the child's stdio.

Configuration goes this way, too, because command lines and environments can be read by others. The end of its
stdin tells the child that its parent is gone.
"""

import json
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import trio

from voicegate.errors import WireError

__all__ = ["ControlChannel", "ControlMessage"]

ControlMessage: TypeAlias = dict[str, Any]

_LINE_LIMIT: Final = 16 * 1024 * 1024
"""Bytes in a line at most: for a relay, a table of some 300 000 transceivers."""


class ControlChannel:
    """One end of the conversation; leaving it closes the stream.

    One task may send while another receives. Both always checkpoint.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stream.aclose()

    async def send(self, message: ControlMessage) -> None:
        """Send one message; not to be cancelled if more are to follow.

        Errors: trio.BrokenResourceError when the other end is gone, or ours is closed meanwhile.
        """
        try:
            await self._stream.send_all(json.dumps(message).encode() + b"\n")
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError("control channel is closed") from error

    async def receive(self) -> ControlMessage | None:
        """Wait for a message; None when the other end is gone, or ours is closed meanwhile.

        Errors: WireError when a line is too long or not a JSON object.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LINE_LIMIT:
                raise WireError(f"control line longer than {_LINE_LIMIT} bytes")
            try:
                chunk = await self._stream.receive_some()
            except trio.ClosedResourceError:
                return None
            if not chunk:
                return None
            self._buffer += chunk
        line = self._buffer[:end]
        del self._buffer[: end + 1]
        try:
            message = json.loads(line)
        except ValueError as error:
            raise WireError("control line is not JSON") from error
        if not isinstance(message, dict):
            raise WireError("control line is not a JSON object")
        return message
