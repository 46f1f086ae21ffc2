"""The reference: a server on aiortc that says a tone and a message to each client as soon as it may.

    python -m voicegate.bench.aiortc_server 127.0.0.1
    python -m voicegate.bench.aiortc_server 127.0.0.1 echo

The argument is what UDP is bound to; with ``echo``, clients hear themselves instead, through `MediaRelay`,
which decodes and encodes. Then consent is not asked for anew, as nobody would answer. It takes offers and
prints lines as `voicegate.bench.voicegate_server` does, in a process of its own since aiortc runs on asyncio.
"""

import asyncio  # noqa: TID251
import fractions
import json
import math
import sys
from array import array
from time import perf_counter
from typing import Final

import aioice.ice
import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.contrib.media import MediaRelay

__all__ = ["Tone"]

_RATE: Final = 48000
_FRAME: Final = 960
_NEVER: Final = 1_000_000
_TONE: Final = array("h", [round(8000 * math.sin(2 * math.pi * n / 48)) for n in range(_FRAME)]).tobytes()
"""20 ms of 1000 Hz, which is a whole number of waves."""


class Tone(MediaStreamTrack):
    """A voice: a frame of sound every 20 ms from the first time it is asked."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._began_at = 0.0
        self._position = 0

    async def recv(self) -> av.AudioFrame:
        """Return the next frame when it is due."""
        self._began_at = self._began_at or perf_counter()
        await asyncio.sleep(max(0.0, self._began_at + self._position / _RATE - perf_counter()))
        frame = av.AudioFrame(format="s16", layout="mono", samples=_FRAME)
        frame.planes[0].update(_TONE)
        frame.sample_rate, frame.pts, frame.time_base = _RATE, self._position, fractions.Fraction(1, _RATE)
        self._position += _FRAME
        return frame


def _say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)  # noqa: T201 - the protocol of `voicegate.bench.server`


def _use(channel: RTCDataChannel) -> None:
    def greet() -> None:
        channel.send("hello")

    @channel.on("message")
    def on_message(text: str) -> None:
        _say(message=text, at=perf_counter())

    if channel.readyState == "open":
        greet()
    else:
        channel.on("open", greet)


async def _answer(
    offer: str, channel_id: int | None, connections: set[RTCPeerConnection], *, is_echo: bool
) -> str:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # the default asks a public STUN server
    connections.add(connection)
    connection.on("datachannel", _use)
    if channel_id is not None:
        _use(connection.createDataChannel("bench", negotiated=True, id=channel_id))

    @connection.on("connectionstatechange")
    async def on_state() -> None:
        if connection.connectionState in {"failed", "closed"} and connection in connections:
            connections.discard(connection)
            await connection.close()

    if is_echo:
        connection.on("track", lambda track: connection.addTrack(MediaRelay().subscribe(track)))
    else:
        connection.addTrack(Tone())
    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    return str(connection.localDescription.sdp)


async def _serve(host: str, *, is_echo: bool) -> None:
    aioice.ice.get_host_addresses = lambda **_: [host]
    if is_echo:
        aioice.ice.CONSENT_INTERVAL = _NEVER
    connections: set[RTCPeerConnection] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request, *lines = head.lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        body = await reader.readexactly(int(fields["content-length"]))
        _, is_negotiated, channel_id = request.split()[1].partition("dcid=")
        reply = await _answer(
            body.decode(), int(channel_id) if is_negotiated else None, connections, is_echo=is_echo
        )
        writer.write(
            f"HTTP/1.1 201 Created\r\ncontent-type: application/sdp\r\ncontent-length: {len(reply)}\r\n"
            f"connection: close\r\n\r\n{reply}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    _say(port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], is_echo=sys.argv[2:] == ["echo"]))
