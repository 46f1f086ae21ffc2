"""Two ends over a faulty network in virtual time: two `DataChannels`, or one and a bare association."""

import hashlib
from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

import attrs

from voicegate.datachannel import DataChannels, Event, Message
from voicegate.sctp import SctpAssociation
from voicegate.testing.link import Link

MAX_MESSAGE_SIZE = 65_536


class Core(Protocol):
    def handle_datagram(self, data: bytes, *, now: float) -> None: ...

    def handle_timeout(self, *, now: float) -> None: ...

    def poll_transmit(self) -> bytes | None: ...

    def poll_timeout(self) -> float | None: ...


def association(seed: int = 0, **options: Any) -> SctpAssociation:
    numbers = count()

    def random(length: int) -> bytes:
        return hashlib.shake_128(f"{seed} {next(numbers)}".encode()).digest(length)

    return SctpAssociation(random=random, now=0.0, max_message_size=MAX_MESSAGE_SIZE, **options)


def data_channels(
    seed: int = 0, *, is_client: bool = False, max_message_size: int = 0, **options: Any
) -> DataChannels:
    return DataChannels(
        association(seed, **options), is_dtls_client=is_client, max_message_size=max_message_size
    )


@attrs.define
class Network:
    """Moves datagrams between two ends, and the clock with them."""

    ends: tuple[Core, Core]
    links: tuple[Link, Link]
    now: float = 0.0
    after_step: Callable[[], None] = lambda: None

    def run(self, seconds: float) -> None:
        self.run_until(lambda: False, within=seconds, is_demanded=False)

    def run_until(
        self, condition: Callable[[], bool], *, within: float = 60.0, is_demanded: bool = True
    ) -> None:
        deadline = self.now + within
        while True:
            self._send()
            self.after_step()
            self._send()
            if condition():
                return
            dues = [part.poll_timeout() for part in (*self.ends, *self.links)]
            due = max(self.now, min((due for due in dues if due is not None), default=deadline))
            if due >= deadline:
                self.now = deadline
                assert not is_demanded, "what should come did not"
                return
            self.now = due
            self._receive()

    def _send(self) -> None:
        for end, link in zip(self.ends, self.links, strict=True):
            while (data := end.poll_transmit()) is not None:
                link.send(data, now=self.now)

    def _receive(self) -> None:
        for end, link in zip(self.ends, reversed(self.links), strict=True):
            for data in link.receive(now=self.now):
                end.handle_datagram(data, now=self.now)
            due = end.poll_timeout()
            if due is not None and due <= self.now:
                end.handle_timeout(now=self.now)


class End:
    """A `DataChannels`, and what it has said."""

    def __init__(self, core: DataChannels) -> None:
        self.core = core
        self.events: list[Event] = []
        self.messages: list[Message] = []
        self.is_reading = True

    def collect(self) -> None:
        self.events += iter(self.core.poll_event, None)
        if self.is_reading:
            self.messages += iter(self.core.poll_message, None)

    def read(self) -> list[Message]:
        """Take what came since the last time."""
        self.collect()
        taken, self.messages = self.messages, []
        return taken

    def said(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def links(seed: int, faults: dict[str, float]) -> tuple[Link, Link]:
    return Link(seed=seed, **faults), Link(seed=seed + 1, **faults)  # type: ignore[arg-type]  # none is an int


class Pair:
    """Two `DataChannels`; the client is the DTLS client, and both begin at once unless told otherwise."""

    def __init__(
        self,
        *,
        seed: int = 0,
        is_started: bool = True,
        max_message_size: int = 0,
        options: dict[str, Any] | None = None,
        **faults: float,
    ) -> None:
        self.client, self.server = (
            End(
                data_channels(
                    2 * seed + is_client,
                    is_client=is_client,
                    max_message_size=max_message_size,
                    **(options or {}),
                )
            )
            for is_client in (True, False)
        )
        self.network = Network(
            (self.client.core, self.server.core), links(seed, faults), after_step=self.collect
        )
        if is_started:
            self.client.core.start(now=0.0)
            self.server.core.start(now=0.0)

    @property
    def now(self) -> float:
        return self.network.now

    def collect(self) -> None:
        self.client.collect()
        self.server.collect()

    def run(self, seconds: float = 2.0) -> None:
        self.network.run(seconds)

    def run_until(self, condition: Callable[[], bool], *, within: float = 60.0) -> None:
        self.network.run_until(condition, within=within)


class Puppet:
    """A bare association, that does as the test says, against the `DataChannels` of a DTLS server."""

    def __init__(
        self, *, options: dict[str, Any] | None = None, max_message_size: int = 0, **faults: float
    ) -> None:
        self.peer = association(1, **(options or {}))
        self.end = End(data_channels(0, max_message_size=max_message_size, **(options or {})))
        self.heard: list[Any] = []
        self.network = Network((self.peer, self.end.core), links(0, faults), after_step=self.collect)
        self.peer.start(now=0.0)
        self.run()

    @property
    def now(self) -> float:
        return self.network.now

    def collect(self) -> None:
        self.end.collect()
        while (event := self.peer.poll_event()) is not None:
            self.heard.append(event)
            if hasattr(event, "data"):
                self.peer.consume(len(event.data))

    def run(self, seconds: float = 2.0) -> None:
        self.network.run(seconds)

    def say(self, stream_id: int, protocol_id: int, data: bytes, *, is_ordered: bool = True) -> None:
        self.peer.send(stream_id, protocol_id, data, now=self.now, is_ordered=is_ordered)
