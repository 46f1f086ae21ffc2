"""A whole server in a process of its own that keeps book of what it hears.

Argument: the number of relay workers. Says the port of HTTP, and then, for each
line on stdin, a line of JSON: seconds without a voice by call, at most, since the line before.
"""

import json
import sys
from functools import partial

import trio

import voicegate
from voicegate.observability import configure_logging


class Book:
    """The silences of all calls that are on."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.longest: dict[str, float] = {}

    async def listen(self, call: voicegate.Call) -> None:
        try:
            async for frame in call.audio_in:
                if not frame.is_concealed:
                    self._hear(call.id, trio.current_time())
        finally:
            self.last.pop(call.id, None)
            self.longest.pop(call.id, None)

    def _hear(self, call_id: str, now: float) -> None:
        silence = now - self.last.get(call_id, now)
        self.longest[call_id] = max(silence, self.longest.get(call_id, 0.0))
        self.last[call_id] = now

    def read(self, now: float) -> dict[str, float]:
        silences = {id_: max(self.longest[id_], now - last) for id_, last in self.last.items()}
        self.longest.clear()
        self.longest.update(dict.fromkeys(self.last, 0.0))
        return silences


async def main(workers: int) -> None:
    book = Book()
    config = voicegate.Config(
        http="127.0.0.1:0",
        udp="127.0.0.1:0",
        relay_workers=workers,
        max_pending_calls_per_client=512,
    )
    async with trio.open_nursery() as nursery:
        server: voicegate.Server = await nursery.start(partial(voicegate.serve, book.listen, config))
        answer({"port": server.http.port, "udp": server.udp.port})
        stdin = trio.lowlevel.FdStream(0)
        while await stdin.receive_some():
            answer({"relays": server.relay.pids, "silences": book.read(trio.current_time())})
        nursery.cancel_scope.cancel()


def answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure_logging(level="error")
    trio.run(main, int(sys.argv[1]))
