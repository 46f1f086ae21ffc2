"""The server under test: says a tone and a message to each client as soon as it may.

    python -m voicegate.bench.voicegate_server 127.0.0.1 '{"sctp_init": false}'

The arguments: what UDP is bound to, and, as JSON, the `voicegate.config.SetUp` to use. Offers are taken as by
`voicegate serve`. Standard output has one JSON object per line: first ``{"port": ...}``, that of HTTP, then
``{"message": text, "at": seconds}`` for each message of a client's, on the clock of `time.perf_counter`.
"""

import json
import math
import sys
from array import array
from functools import partial
from time import perf_counter
from typing import Final

import trio

from voicegate.call import Call
from voicegate.config import Address, Config, SetUp
from voicegate.observability import configure_logging
from voicegate.server import serve

__all__ = ["speak"]

_HERTZ: Final = 1000


async def speak(call: Call) -> None:
    """Say a tone until the call ends, and a message at once; report what the client says."""
    wave = call.sample_rate // _HERTZ
    samples = [round(8000 * math.sin(2 * math.pi * n / wave)) for n in range(wave)]
    second = array("h", samples).tobytes() * _HERTZ
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say_tone, call, second)
        nursery.start_soon(call.send, "hello")
        async for message in call.messages:
            _say(message=message.data, at=perf_counter())
        nursery.cancel_scope.cancel()


async def _say_tone(call: Call, second: bytes) -> None:
    while True:
        await call.audio_out.send(second)


def _say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)  # noqa: T201 - the protocol of `voicegate.bench.server`


async def _serve(host: str, set_up: SetUp) -> None:
    config = Config(http=Address("127.0.0.1", 0), udp=Address(host, 0), set_up=set_up)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, speak, config))
        server.transceiver.has_api = False  # What is measured is the channel that was agreed on.
        _say(port=server.http.port)


if __name__ == "__main__":
    configure_logging(level="error")
    trio.run(_serve, sys.argv[1], SetUp(**json.loads(sys.argv[2])))
