"""aiortc's SCTP and data channels against ours, over a faulty network that stands in for ICE and DTLS."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import pytest
from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities, RTCSctpTransport

from voicegate.datachannel import (
    Channel,
    ChannelClosed,
    ChannelOpened,
    DataChannels,
    DataFailed,
    Event,
    Message,
)
from voicegate.sctp import SctpAssociation
from voicegate.testing.link import Link

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(600)]

BOTH_ROLES = pytest.mark.parametrize("is_dtls_client", [True, False], ids=["client", "server"])
MAX_MESSAGE_SIZE = 65_536
BULK = 16 << 20
"""Bytes each way."""
MAX_BUFFERED = 1 << 20
MESSAGES: list[str | bytes] = ["ä", b"\xff\0", "", b"", "a" * 3000, b"b" * MAX_MESSAGE_SIZE, "last"]


class Transport:
    """What aiortc takes for its DTLS transport."""

    state = "connected"

    def __init__(self, meeting: "Meeting", *, role: str) -> None:
        self._meeting = meeting
        self._role = role

    def _register_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self._meeting.receiver = receiver

    def _unregister_data_receiver(self, receiver: RTCSctpTransport) -> None:
        self._meeting.receiver = None

    async def _send_data(self, data: bytes) -> None:
        self._meeting.up.send(data, now=self._meeting.now)
        self._meeting.wake()


class Meeting:
    """Our end and aiortc's; a task moves what they say, and collects what they tell."""

    def __init__(self, *, is_dtls_client: bool, **faults: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        numbers = count()
        self.core = DataChannels(
            SctpAssociation(
                random=lambda length: hashlib.shake_128(str(next(numbers)).encode()).digest(length),
                now=self.now,
                max_message_size=MAX_MESSAGE_SIZE,
            ),
            is_dtls_client=is_dtls_client,
            max_message_size=MAX_MESSAGE_SIZE,
        )
        self.up, self.down = Link(seed=1, **faults), Link(seed=2, **faults)
        self.events: list[Event] = []
        self.messages: list[Message] = []
        self.receiver: RTCSctpTransport | None = None
        transport: Any = Transport(self, role="server" if is_dtls_client else "client")
        self.peer = RTCSctpTransport(transport)
        self.peer_channels: list[RTCDataChannel] = []
        self.peer_messages: list[tuple[int | None, str | bytes]] = []
        self.peer.on("datachannel", self.watch)
        self.faults: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _loop, context: self.faults.append(context))
        self._mover = self._loop.create_task(self._move())

    @property
    def now(self) -> float:
        return self._loop.time()

    def wake(self) -> None:
        self._news.set()

    def watch(self, channel: RTCDataChannel) -> None:
        self.peer_channels.append(channel)
        channel.on("message", lambda data: self.peer_messages.append((channel.id, data)))

    def peer_opens(self, **options: Any) -> RTCDataChannel:
        channel = RTCDataChannel(self.peer, RTCDataChannelParameters(**options))
        self.watch(channel)
        return channel

    def opens(self, **options: Any) -> Channel:
        channel = self.core.open(now=self.now, **options)
        self.wake()
        return channel

    def says(self, channel: RTCDataChannel, data: str | bytes) -> None:
        self.core.send(number_of(channel), data, now=self.now)
        self.wake()

    def said(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def start(self) -> None:
        self.core.start(now=self.now)
        self.wake()
        await self.peer.start(RTCSctpCapabilities(maxMessageSize=MAX_MESSAGE_SIZE), 5000)

    async def end(self) -> None:
        await self.peer.stop()
        self._mover.cancel()
        assert self.faults == []

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._mover.done():
                await self._mover
            await asyncio.sleep(0.005)

    async def _move(self) -> None:
        while True:
            self._news.clear()
            for data in self.up.receive(now=self.now):
                self.core.handle_datagram(data, now=self.now)
            for data in self.down.receive(now=self.now):
                if self.receiver is not None:
                    await self.receiver._handle_data(data)
            due = self.core.poll_timeout()
            if due is not None and due <= self.now:
                self.core.handle_timeout(now=self.now)
            self.events += iter(self.core.poll_event, None)
            self.messages += iter(self.core.poll_message, None)
            for data in iter(self.core.poll_transmit, None):
                self.down.send(data, now=self.now)
            dues = [part.poll_timeout() for part in (self.core, self.up, self.down)]
            due = min((due for due in dues if due is not None), default=self.now + 1)
            with suppress(TimeoutError):
                async with asyncio.timeout(due - self.now):
                    await self._news.wait()
            # Waiting for what is there already would not let anybody else have a turn.
            await asyncio.sleep(0)


def number_of(channel: RTCDataChannel) -> int:
    assert channel.id is not None
    return channel.id


def meet(conversation: Callable[[Meeting], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        meeting = Meeting(**options)
        await meeting.start()
        await asyncio.wait_for(conversation(meeting), 500)
        await meeting.end()

    asyncio.run(main())


@BOTH_ROLES
@pytest.mark.parametrize("is_ordered", [True, False])
def test_channels_opened_by_either_carry_all_kinds_of_messages(
    is_dtls_client: bool, is_ordered: bool
) -> None:
    async def conversation(meeting: Meeting) -> None:
        ours = meeting.opens(label="öurs", protocol="json", is_ordered=is_ordered)
        theirs = meeting.peer_opens(label="theirs", protocol="text", ordered=is_ordered)
        assert ours.id == (0 if is_dtls_client else 1)
        await meeting.until(
            lambda: (
                len(meeting.said(ChannelOpened)) == 2
                and [channel.readyState for channel in meeting.peer_channels] == ["open", "open"]
            )
        )
        assert theirs.id == (1 if is_dtls_client else 0)
        seen = next(channel for channel in meeting.peer_channels if channel is not theirs)
        assert (seen.id, seen.label, seen.protocol, seen.ordered) == (ours.id, "öurs", "json", is_ordered)
        assert meeting.core.channels[theirs.id] == Channel(
            id=theirs.id, label="theirs", protocol="text", is_ordered=is_ordered
        )
        for data in MESSAGES:
            for channel in (seen, theirs):
                meeting.says(channel, data)
                channel.send(data)
        await meeting.until(lambda: len(meeting.messages) == len(meeting.peer_messages) == 2 * len(MESSAGES))
        for channel in (seen, theirs):
            received = [message.data for message in meeting.messages if message.channel_id == channel.id]
            heard = [data for number, data in meeting.peer_messages if number == channel.id]
            for got in (received, heard):
                assert sorted(map(repr, got)) == sorted(map(repr, MESSAGES))

    meet(conversation, is_dtls_client=is_dtls_client)


@BOTH_ROLES
def test_either_closes_a_channel_and_its_number_is_used_again(is_dtls_client: bool) -> None:
    async def conversation(meeting: Meeting) -> None:
        for turn in range(4):
            # Who opens and who closes goes through all four.
            opened, closed = len(meeting.said(ChannelOpened)), len(meeting.said(ChannelClosed))
            if turn % 2:
                ours = meeting.opens(label=f"{turn}")
                await meeting.until(lambda turn=turn: len(meeting.peer_channels) == turn + 1)  # type: ignore[misc]
                assert ours.id % 2 == (0 if is_dtls_client else 1)
            else:
                theirs = meeting.peer_opens(label=f"{turn}")
                await meeting.until(lambda theirs=theirs: theirs.readyState == "open")  # type: ignore[misc]
                assert theirs.id == (1 if is_dtls_client else 0)
            await meeting.until(lambda opened=opened: len(meeting.said(ChannelOpened)) == opened + 1)  # type: ignore[misc]
            channel = meeting.peer_channels[-1]
            assert channel.label == f"{turn}"
            meeting.says(channel, "before the end")
            if turn < 2:
                channel.close()
            else:
                meeting.core.close_channel(number_of(channel), now=meeting.now)
                meeting.wake()
            await meeting.until(lambda closed=closed: len(meeting.said(ChannelClosed)) == closed + 1)  # type: ignore[misc]
            await meeting.until(lambda channel=channel: channel.readyState == "closed")  # type: ignore[misc]
            assert meeting.core.channels == {}

    meet(conversation, is_dtls_client=is_dtls_client)


@BOTH_ROLES
def test_a_negotiated_channel_needs_no_word(is_dtls_client: bool) -> None:
    async def conversation(meeting: Meeting) -> None:
        meeting.opens(negotiated_id=7)
        channel = meeting.peer_opens(negotiated=True, id=7)
        meeting.says(channel, "at once")
        await meeting.until(lambda: channel.readyState == "open")
        channel.send("soon")
        await meeting.until(lambda: bool(meeting.messages and meeting.peer_messages))
        assert meeting.messages == [Message(channel_id=7, data="soon")]
        assert meeting.peer_messages == [(7, "at once")]

    meet(conversation, is_dtls_client=is_dtls_client)


@BOTH_ROLES
@pytest.mark.parametrize("is_ours", [True, False])
def test_the_end_of_either_is_the_end_of_both(is_dtls_client: bool, is_ours: bool) -> None:
    async def conversation(meeting: Meeting) -> None:
        channel = meeting.peer_opens(label="short")
        await meeting.until(lambda: channel.readyState == "open")
        if is_ours:
            meeting.core.close(now=meeting.now)
            meeting.wake()
        else:
            await meeting.peer.stop()
        await meeting.until(lambda: channel.readyState == "closed" and bool(meeting.said(DataFailed)))
        assert [type(event) for event in meeting.events[-2:]] == [ChannelClosed, DataFailed]
        assert meeting.events[-1].is_remote is not is_ours  # type: ignore[union-attr]

    meet(conversation, is_dtls_client=is_dtls_client)


def bulk(seed: int) -> list[str | bytes]:
    """Make messages of all lengths, some of them text, `BULK` bytes in all."""
    random, left = Random(seed), BULK
    messages: list[str | bytes] = []
    while left:
        length = min(left, int(MAX_MESSAGE_SIZE * random.random() ** 2))
        messages.append("x" * length if random.random() < 0.3 else random.randbytes(length))
        left -= length
    return messages


def test_a_lot_arrives_intact_over_a_bad_network() -> None:
    ours, theirs = bulk(1), bulk(2)

    async def conversation(meeting: Meeting) -> None:
        channel = meeting.peer_opens(label="bulk")
        await meeting.until(lambda: channel.readyState == "open")
        for data in theirs:
            channel.send(data)
        waiting = ours[::-1]

        def is_done() -> bool:
            while waiting and meeting.core.buffered(number_of(channel)) < MAX_BUFFERED:
                meeting.says(channel, waiting.pop())
            return len(meeting.messages) == len(theirs) and len(meeting.peer_messages) == len(ours)

        await meeting.until(is_done)
        assert [message.data for message in meeting.messages] == theirs
        assert [data for _number, data in meeting.peer_messages] == ours

    faults = {"loss": 0.05, "delay": 0.002, "jitter": 0.002, "duplication": 0.02}
    meet(conversation, is_dtls_client=False, **faults)
