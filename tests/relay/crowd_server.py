"""A whole server in a process of its own that keeps book of what it hears.

Arguments: the number of relay workers, and ``alone`` when the directory is to be out of reach. Says the ports
in a line of JSON, and then, for each line on stdin, another: the relay workers; seconds without a voice by
call, at most, since the line before; and seconds from when the last worker was ready to the next voice.
"""

import json
import sys
from collections.abc import Collection, Mapping
from functools import partial

import trio

import voicegate
import voicegate.directory
import voicegate.server
from voicegate.observability import configure_logging
from voicegate.relay import Relay


class Book:
    """The silences of all calls that are on."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.longest: dict[str, float] = {}
        self.ready_at = 0.0
        self.resumed: dict[str, float] = {}

    async def watch(self, relay: Relay) -> None:
        """Note when a relay worker is ready."""
        started = relay.workers_started
        while True:
            await trio.sleep(0.002)
            if relay.workers_started != started:
                started, self.ready_at = relay.workers_started, trio.current_time()
                self.resumed.clear()

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
        self.resumed.setdefault(call_id, now - self.ready_at)

    def read(self, now: float) -> dict[str, float]:
        silences = {id_: max(self.longest[id_], now - last) for id_, last in self.last.items()}
        self.longest.clear()
        self.longest.update(dict.fromkeys(self.last, 0.0))
        return silences


class LostDirectory(voicegate.directory.MemoryDirectory):
    """A directory that can be told things, but has no answers."""

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        await trio.lowlevel.checkpoint()
        return {}


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
        nursery.start_soon(book.watch, server.relay)
        answer({"port": server.http.port, "udp": server.udp.port})
        stdin = trio.lowlevel.FdStream(0)
        while await stdin.receive_some():
            silences = book.read(trio.current_time())
            answer({"relays": server.relay.pids, "silences": silences, "resumed": book.resumed})
        nursery.cancel_scope.cancel()


def answer(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    configure_logging(level="error")
    if "alone" in sys.argv:
        voicegate.server.MemoryDirectory = LostDirectory  # type: ignore[attr-defined]
    trio.run(main, int(sys.argv[1]))
