"""A WebSocket that another process accepts: its handshake goes there, and from then on bytes, both ways."""

from collections.abc import Sequence
from typing import Final

import h11
import trio

from voicegate.signalling.door import Door
from voicegate.signalling.remote import ANSWER_SECONDS, no_worker, refusal_of

__all__ = ["carry", "open_tunnel"]

_SWITCHED: Final = 101
_RECEIVE_SIZE: Final = 64 * 1024
_MAX_REFUSAL: Final = 64 * 1024
"""Bytes of a refusal; they are a few hundred."""


async def open_tunnel(
    door: Door, request: h11.Request, headers: Sequence[tuple[bytes, bytes]]
) -> tuple[trio.abc.Stream, bytes]:
    """Ask the process behind a door to accept a WebSocket.

    Args:
        door: The way there.
        request: The client's handshake.
        headers: What it should say of these names, instead of what it says.

    Returns: The connection, and what came of it already, from the answer's first byte.

    Errors: RequestRefused, in the other's words, or for want of an answer.
    """
    replaced = {name for name, _ in headers}
    kept = [(name, value) for name, value in request.headers if name not in replaced]
    asked = h11.Request(method="GET", target=request.target, headers=[*kept, *headers])
    with trio.move_on_after(ANSWER_SECONDS):
        try:
            stream = await door.connect()
            try:
                return stream, await _exchange(stream, asked)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        except (OSError, trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise (door.absent() or no_worker()) from error
    raise door.late()


async def carry(near: trio.abc.Stream, far: trio.abc.Stream) -> None:
    """Carry bytes between two streams until either ends."""
    async with trio.open_nursery() as nursery:

        async def pump(source: trio.abc.ReceiveStream, sink: trio.abc.SendStream) -> None:
            try:
                while data := await source.receive_some(_RECEIVE_SIZE):
                    await sink.send_all(data)
            except (OSError, trio.BrokenResourceError):
                pass
            nursery.cancel_scope.cancel()

        nursery.start_soon(pump, near, far)
        nursery.start_soon(pump, far, near)


async def _exchange(stream: trio.abc.Stream, request: h11.Request) -> bytes:
    """Send a handshake, and return all that was received with the answer that accepts it."""
    http = h11.Connection(h11.CLIENT)
    await stream.send_all((http.send(request) or b"") + (http.send(h11.EndOfMessage()) or b""))
    received, body = bytearray(), bytearray()
    response: h11.Response | None = None
    while len(body) < _MAX_REFUSAL:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = bytes(await stream.receive_some(_RECEIVE_SIZE))
            received += data
            http.receive_data(data)
        elif isinstance(event, h11.InformationalResponse) and event.status_code == _SWITCHED:
            return bytes(received)
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            raise refusal_of(response.status_code, dict(response.headers), bytes(body))
        else:
            break
    raise trio.BrokenResourceError("no answer to a handshake")
