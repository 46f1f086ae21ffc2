"""An agent without voicegate's library: says back what you said, and stops when you talk over it.

    pip install websockets
    python examples/agents/parrot_asyncio.py &
    voicegate serve --agent ws://127.0.0.1:8765/

docs/link.md describes the protocol.
"""

import asyncio  # noqa: TID251 - the point of it
import json
import os
import struct
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

HEADER = struct.Struct("!IIBBBBHHq")
PCM16_24000 = 3
PRE_ROLL_BYTES = 24_000 * 2 * 300 // 1000


class Call:
    heard = b""
    is_talking = False

    def hear(self, pcm: bytes) -> None:  # Keep a little: speech is noticed when it has begun.
        self.heard = (self.heard + pcm)[0 if self.is_talking else -PRE_ROLL_BYTES :]


async def link(socket: ServerConnection) -> None:
    """Talk with a gateway: here about all its calls."""
    calls: dict[int, Call] = {}
    await socket.recv()  # The gateway's hello.
    await socket.send(json.dumps({"type": "hello", "version": 1, "formats": ["pcm16/24000"]}))
    async for message in socket:
        if isinstance(message, bytes):  # Frames, one after another.
            start = 0
            while start < len(message):
                number, length, form, *_ = HEADER.unpack_from(message, start)
                start += HEADER.size + length
                if form == PCM16_24000 and number in calls:
                    calls[number].hear(message[start - length : start])
            continue
        event = json.loads(message)
        kind, number = event["type"], event.get("call")
        if kind == "call.started":
            calls[number] = Call()
            await socket.send(json.dumps({"type": "detect_speech", "call": number}))
        elif kind == "speech.started":
            calls[number].is_talking = True
        elif kind == "turn.ended":
            call, calls[number] = calls[number], Call()
            header = HEADER.pack(number, len(call.heard), PCM16_24000, 0, 0, 0, 0, 0, -1)
            await socket.send(header + call.heard)
        elif kind == "call.ended":
            del calls[number]
        elif kind in {"interrupted", "error"}:
            print(message)


def authorize(socket: ServerConnection, request: Request) -> Response | None:
    key = os.environ.get("VOICEGATE_LINK_KEY")
    is_welcome = key is None or request.headers.get("authorization") == f"Bearer {key}"
    return None if is_welcome else socket.respond(401, "a key is wanted\n")


async def main(port: int) -> None:
    listening = serve(link, "127.0.0.1", port, process_request=authorize, compression=None, max_size=2**25)
    async with listening as server:
        (listener,) = server.sockets
        print(f"ws://127.0.0.1:{listener.getsockname()[1]}/", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 8765))
