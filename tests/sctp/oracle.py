"""aiortc's SCTP as the peer of ours, in one process and in virtual time."""

import asyncio
import selectors
from collections.abc import Callable
from random import Random
from typing import Any, cast
from unittest import mock

from aiortc import rtcsctptransport
from aiortc.rtcdatachannel import RTCDataChannel, RTCDataChannelParameters

from voicegate.sctp import AssociationClosed, Event, MessageReceived, SctpAssociation

__all__ = ["Oracle", "run"]


class _Selector(selectors.DefaultSelector):
    """Never waits: it moves the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("everybody waits for ever")
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Selector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


class _Clock:
    """Stands in for the module ``time`` in aiortc."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()


class _Transport:
    """Stands in for aiortc's DTLS transport."""

    state = "connected"

    def __init__(self, role: str, deliver: Callable[[bytes], None]) -> None:
        self._role = role
        self._deliver = deliver
        self.receiver: Any = None

    def _register_data_receiver(self, receiver: Any) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, _receiver: Any) -> None:
        self.receiver = None

    async def _send_data(self, data: bytes) -> None:
        self._deliver(data)


class Oracle:
    """Ours and theirs, with a line between them."""

    def __init__(
        self, ours: SctpAssociation, *, role: str = "client", loss: float = 0.0, seed: int = 0
    ) -> None:
        self.ours = ours
        self.loss = loss
        self.events: list[Event] = []
        self.heard: list[tuple[int, bytes | str]] = []
        """What the peer's channels have got."""
        self._random = Random(seed)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport = _Transport(role, lambda data: self._carry(self._to_ours, data))
        self.theirs = rtcsctptransport.RTCSctpTransport(cast("Any", self._transport))
        self.theirs.on("datachannel", self._listen)

    @property
    def now(self) -> float:
        return self._loop.time()

    async def start(self, *, both: bool = True) -> None:
        if both:
            self.ours.start(now=self.now)
        await self.theirs.start(None, 5000)
        self.theirs._remote_max_message_size = 0
        self.drain()

    def channel(self, stream_id: int, **options: Any) -> RTCDataChannel:
        parameters = RTCDataChannelParameters(label=str(stream_id), negotiated=True, id=stream_id, **options)
        channel = RTCDataChannel(self.theirs, parameters)
        self._listen(channel)
        return channel

    def drain(self) -> None:
        for packet in iter(self.ours.poll_transmit, None):
            self._carry(self._to_theirs, packet)
        while (event := self.ours.poll_event()) is not None:
            self.events.append(event)
            if isinstance(event, MessageReceived):
                self.ours.consume(len(event.data))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (due := self.ours.poll_timeout()) is not None:
            self._timer = self._loop.call_at(due, self._tick)

    async def until(self, is_done: Callable[[], bool]) -> None:
        while not is_done():
            assert self.now < 600
            assert not any(isinstance(event, AssociationClosed) for event in self.events)
            await asyncio.sleep(0.05)

    def messages(self) -> list[tuple[int, bytes]]:
        return [(event.stream_id, event.data) for event in self.events if isinstance(event, MessageReceived)]

    def _listen(self, channel: RTCDataChannel) -> None:
        channel.on("message", lambda data: self.heard.append((cast("int", channel.id), data)))

    def _carry(self, deliver: Callable[[bytes], None], data: bytes) -> None:
        if self._random.random() >= self.loss:
            self._loop.call_later(0.02, deliver, data)

    def _to_ours(self, data: bytes) -> None:
        self.ours.handle_datagram(data, now=self.now)
        self.drain()

    def _to_theirs(self, data: bytes) -> None:
        if self._transport.receiver is not None:
            task = self._loop.create_task(self._transport.receiver._handle_data(data))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _tick(self) -> None:
        self._timer = None
        self.ours.handle_timeout(now=self.now)
        self.drain()


def run(scenario: Callable[[], Any]) -> None:
    """Run a coroutine function in virtual time."""
    clock = mock.patch.object(rtcsctptransport, "time", _Clock())
    with clock, asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(scenario())
