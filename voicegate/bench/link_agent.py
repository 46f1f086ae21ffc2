"""The agent that `voicegate bench link` links to: it says back each frame, and is as quick as Python can be.

    python -m voicegate.bench.link_agent opus

Its argument is the format that it takes. It prints one JSON object when it takes calls, ``port``, and ends
with its standard input.
"""

import json
import os
import sys
from functools import partial
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from voicegate.link import AgentHello, FrameKind
from voicegate.link.frame import HEADER

__all__ = ["answer_frames"]

_UNCOUNTED: Final = (-1).to_bytes(8, "big", signed=True)
_POSITION: Final = 16
"""Where it is in the header."""

_ACKNOWLEDGE_EVERY: Final = 32


def answer_frames(message: bytes) -> bytes:
    """Return the sound of a message as if the agent said it."""
    answer: list[bytes] = []
    start = 0
    while start < len(message):
        _, length, kind, *_ = HEADER.unpack_from(message, start)
        sound = start + HEADER.size
        if kind != FrameKind.PROGRESS:
            answer += (message[start : start + _POSITION], _UNCOUNTED, message[sound : sound + length])
        start = sound + length
    return b"".join(answer)


async def _answer(form: str, request: WebSocketRequest) -> None:
    socket = await request.accept()
    try:
        await socket.get_message()
        await socket.send_message(AgentHello(version=1, formats=(form,), resumes=True).encode())
        received = 0
        while True:
            message = await socket.get_message()
            if isinstance(message, bytes):
                if answer := answer_frames(message):
                    await socket.send_message(answer)
            elif json.loads(message)["type"] == "ack":
                continue
            received += 1
            if received % _ACKNOWLEDGE_EVERY == 0:
                await socket.send_message(json.dumps({"type": "ack", "received": received}))
    except ConnectionClosed:
        return


async def _serve(form: str) -> None:
    async with trio.open_nursery() as nursery:
        serve = partial(serve_websocket, receive_buffer_size=131_072)
        server = await nursery.start(serve, partial(_answer, form), "127.0.0.1", 0, None)
        print(json.dumps({"port": server.port}), flush=True)  # noqa: T201 - as `voicegate.bench.program` has it
        async with trio.lowlevel.FdStream(os.dup(0)) as lines:
            async for _ in lines:
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1])
