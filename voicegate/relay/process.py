"""A relay worker: the process between the public sockets and the hop.

It is driven by its supervisor through `voicegate.relay.control` and ends with it, at the end of stdin. It
keeps nothing that matters: its sockets and counters are the supervisor's, and clients recover from its death
by the directory or by their next connectivity check; so SIGTERM may end it at once.
"""

import gc
import itertools
import mmap
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, closing, suppress
from typing import Final

import trio

from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.errors import VoicegateError
from voicegate.ice.credentials import Keyring
from voicegate.relay.control import WorkerConfig, decode_rows, decode_transceivers, encode_rows
from voicegate.relay.counter import Count, Counters
from voicegate.relay.datapath import Datapath
from voicegate.relay.flows import Client, FlowTable
from voicegate.relay.recovery import flow_key
from voicegate.relay.router import Router

__all__ = ["RelayWorker", "main", "run_worker"]

_TEND_INTERVAL: Final = 1.0
"""Seconds between looks for silent flows, and between signs of life."""

_LOOKUP_INTERVAL: Final = 0.02
"""Seconds between questions to the directory: a packet of audio, the shortest silence that can be heard."""

_LOOKUPS_PER_ROWS: Final = 3
"""Turns of questions for one of rows, which nobody waits for."""

_ROW_LIMIT: Final = 1024
"""Rows written at once: a millisecond of work. Makes 17 000 a second, the renewals of 300 000 flows."""

_QUESTION_LIMIT: Final = 256
"""Questions whose answers are awaited; the oldest is given up, as the directory is out of reach."""


def main() -> None:
    """Run a worker on this process's stdin and stdout."""
    # Ctrl-C goes to the whole foreground group; what it means for the relay is for the supervisor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What was imported stays for good, and is not worth looking through again while packets wait.
    gc.freeze()

    async def converse() -> None:
        stdin, stdout = (trio.lowlevel.FdStream(os.dup(fd)) for fd in (0, 1))
        async with ControlChannel(trio.StapledStream(stdout, stdin)) as control:
            await run_worker(control)

    trio.run(converse)


async def run_worker(control: ControlChannel) -> None:
    """Be a relay until the supervisor is gone, or until the configuration proves impossible.

    Cancellation: leaves nothing. Resources: all inherited sockets are closed on return.
    """
    first = await control.receive()
    if first is None:
        return
    with ExitStack() as stack:
        try:
            worker = RelayWorker(WorkerConfig.from_json(first), stack, now=trio.current_time())
        except VoicegateError as error:
            await control.send({"error": str(error)})
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            with suppress(trio.BrokenResourceError):
                await control.send({"ready": True})
            await worker.converse(control)
            nursery.cancel_scope.cancel()


class RelayWorker:
    """The parts of a relay, and the tasks that run them.

    Args:
        config: The supervisor's first line.
        stack: Closes what was inherited.
        now: Seconds, monotonic.

    Errors: UsageError for secrets that are too short, and for files that TLS can't be taken from.
    """

    def __init__(self, config: WorkerConfig, stack: ExitStack, *, now: float) -> None:
        public = [stack.enter_context(closing(socket.socket(fileno=number))) for number in config.public]
        hop = stack.enter_context(closing(socket.socket(fileno=config.hop)))
        listeners = [stack.enter_context(closing(socket.socket(fileno=number))) for number in config.streams]
        stack.callback(os.close, config.counters)
        self._counters = Counters(mmap.mmap(config.counters, Counters.SIZE))
        self._has_directory = config.has_directory
        seed = os.urandom(16)
        # As by default, one source may have a quarter of the table.
        source_limit = max(config.flow_limit // 4, 1)
        flows = FlowTable(flow_limit=config.flow_limit, source_limit=source_limit, seed=seed)
        self._router = Router(
            keyring=Keyring(config.secrets), counters=self._counters, flows=flows, seed=seed, now=now
        )
        self._router.set_transceivers(config.transceivers)
        self._datapath = Datapath(
            self._router,
            public=public,
            hop=hop,
            counters=self._counters,
            hop_offload=config.hop_offload,
        )
        self._serve_streams: Callable[[], Awaitable[None]] | None = None
        if listeners:
            # Media waits while a worker starts, and not every relay has clients on TCP.
            from voicegate.relay.stream import StreamServer, listen, load_tls

            server = StreamServer(
                [listen(sock) for sock in listeners],
                handle=self._datapath.handle_frames,
                counters=self._counters,
                tls=load_tls(*config.tls) if config.tls else None,
            )
            self._datapath.streams = server
            self._serve_streams = server.run
        self._questions: dict[int, dict[bytes, Client]] = {}

    async def run(self) -> None:
        """Move datagrams, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._datapath.run)
            nursery.start_soon(self._tend)
            if self._serve_streams is not None:
                nursery.start_soon(self._serve_streams)

    async def converse(self, control: ControlChannel) -> None:
        """Do what the supervisor says, and tell it what it must know, until it is gone."""
        async with trio.open_nursery() as nursery:
            if self._has_directory:
                nursery.start_soon(self._report, control)
            with suppress(trio.BrokenResourceError):
                while (message := await control.receive()) is not None:
                    self._obey(message)
            nursery.cancel_scope.cancel()

    def _obey(self, message: ControlMessage) -> None:
        if "transceivers" in message:
            self._router.set_transceivers(decode_transceivers(message["transceivers"]))
        if "found" in message:
            found = decode_rows(message["flows"])
            now = trio.current_time()
            for key, client in self._questions.pop(message["found"], {}).items():
                self._router.handle_found(client, found.get(key), now=now)

    async def _report(self, control: ControlChannel) -> None:
        """Tell the supervisor about flows, and ask it about others: one task, as there is one pipe."""
        for turn in itertools.count(1):
            await trio.sleep(_LOOKUP_INTERVAL)
            now = trio.current_time()
            messages: list[ControlMessage] = []
            if clients := self._router.recovery.poll_lookups(now=now):
                messages.append(self._ask(turn, clients))
            if turn % _LOOKUPS_PER_ROWS == 0 and (rows := self._router.rows(now=now, limit=_ROW_LIMIT)):
                keyed = {flow_key(client): id_ for client, id_ in rows}
                messages.append({"rows": encode_rows(keyed)})
            with suppress(trio.BrokenResourceError):
                for message in messages:
                    await control.send(message)

    def _ask(self, number: int, clients: list[Client]) -> ControlMessage:
        asked = self._questions[number] = {flow_key(client): client for client in clients}
        if len(self._questions) > _QUESTION_LIMIT:
            del self._questions[next(iter(self._questions))]
        return {"lookup": number, "keys": [key.hex() for key in asked]}

    async def _tend(self) -> None:
        while True:
            self._counters.add(Count.HEARTBEATS)
            await trio.sleep(_TEND_INTERVAL)
            self._router.handle_timeout(trio.current_time())
            self._datapath.tend()
