"""The server under test of `voicegate bench quality`: it decodes what clients say and encodes it again.

    python -m voicegate.bench.quality_server accurate

The argument is `voicegate.Config.uplink`. It prints ``{"port": ...}``, that of HTTP, when it takes calls, and
ends with its standard input.
"""

import json
import os
import sys
from functools import partial

import trio

from voicegate.config import Address, Config
from voicegate.observability import configure_logging
from voicegate.server import serve

__all__: list[str] = []


async def _serve(uplink: str) -> None:
    config = Config(
        http=Address("127.0.0.1", 0),
        udp=Address("127.0.0.1", 0),
        agent="transcode",
        uplink=uplink,  # type: ignore[arg-type] # checked by the class
    )
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, None, config, owns_process=True))
        print(json.dumps({"port": server.http.port}), flush=True)  # noqa: T201 - protocol of `bench.program`
        async with trio.lowlevel.FdStream(os.dup(0)) as lines:
            async for _ in lines:
                pass
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    configure_logging(level="error")
    trio.run(_serve, sys.argv[1])
