"""A transceiver and clients in one process and in virtual time: only the sockets are not real."""

import datetime
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from types import MappingProxyType
from typing import Any

import attrs
import trio

from tests.transceiver.harness import CLIENT_CERTIFICATE, EPOCH, RELAY, seeded
from voicegate.call import Agent, Call
from voicegate.config import SetUp
from voicegate.ice import Keyring
from voicegate.sdp import Candidate
from voicegate.testing.client import ClientCore, ClientState
from voicegate.transceiver import Transceiver
from voicegate.wire import hop
from voicegate.wire.path import Address, address_bytes

CLIENT_HOST = address_bytes("192.0.2.1")


class MemoryPort:
    """Stands for a `DatagramPort` whose only relay is the test; nothing takes any time."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[bytes, Address]] = deque()
        self._has_arrived = trio.Event()
        self.sent: list[hop.HopDatagram] = []
        """What was for the relay itself, not for a client."""
        self.clients: dict[int, Callable[[bytes], None]] = {}
        """Where datagrams go, by the client's port."""

    def deliver(self, data: bytes, source: Address = RELAY) -> None:
        self._arrived.append((data, source))
        self._has_arrived.set()

    async def wait_readable(self) -> None:
        await self._has_arrived.wait()

    def receive_run(self) -> tuple[bytes, int, Address] | None:
        if not self._arrived:
            self._has_arrived = trio.Event()
            return None
        data, source = self._arrived.popleft()
        return data, len(data) or 1, source

    def send_run(self, datagrams: Any, destination: Address) -> None:
        self.send_batch([(data, destination) for data in datagrams])

    def send_batch(self, batch: Any) -> None:
        for data, _destination in batch:
            datagram = hop.decode(data)
            if datagram.type != hop.HopType.DATA:
                self.sent.append(datagram)
            elif datagram.port in self.clients:
                self.clients[datagram.port](datagram.payload)


@attrs.define(eq=False)
class Caller:
    """A client on the other side of a `MemoryPort`."""

    core: ClientCore
    port: MemoryPort
    number: int
    """Of its port."""
    call_id: str = ""
    is_alive: bool = True
    _inbox: deque[bytes] = attrs.field(factory=deque)
    _wake: trio.Event = attrs.field(factory=trio.Event)

    def receive(self, data: bytes) -> None:
        self._inbox.append(data)
        self._wake.set()

    async def run(self) -> None:
        self.port.clients[self.number] = self.receive
        while self.is_alive:
            self.flush()
            deadline = self.core.poll_timeout()
            with trio.CancelScope(deadline=inf if deadline is None else deadline):
                await self._wake.wait()
            self._wake = trio.Event()
            while self._inbox:
                self.core.handle_datagram(self._inbox.popleft(), now=trio.current_time())
            self.core.handle_timeout(now=trio.current_time())

    def flush(self) -> None:
        while (data := self.core.poll_transmit()) is not None:
            self.port.deliver(hop.encode(hop.HopType.DATA, host=CLIENT_HOST, port=self.number, payload=data))

    def send(self, *messages: str | bytes) -> None:
        """Send messages on the client's first channel."""
        channels = self.core.channels
        assert channels is not None
        for data in messages:
            channels.send(next(iter(channels.channels)), data, now=trio.current_time())
        self.core.handle_timeout(now=trio.current_time())
        self.flush()

    def hang_up(self) -> None:
        self.core.close(now=trio.current_time())
        self.flush()

    async def wait_for(self, state: ClientState) -> None:
        with trio.fail_after(240):
            while self.core.state is not state:
                await trio.sleep(0.005)


@attrs.define
class Exchange:
    """What a test of a transceiver has in its hands."""

    transceiver: Transceiver
    port: MemoryPort
    nursery: trio.Nursery
    scope: trio.CancelScope
    """Of the transceiver: cancelling it is stopping the server."""
    _numbers: int = 5000

    @classmethod
    async def open(cls, nursery: trio.Nursery, agent: Agent, **limits: float) -> "Exchange":
        port = MemoryPort()
        settings: dict[str, Any] = {
            "max_calls": 10,
            "max_call_seconds": 3600.0,
            "max_pending_calls": 10,
            "max_pending_calls_per_client": 10,
            **limits,
        }
        transceiver = Transceiver(
            port,  # type: ignore[arg-type] # it has what the engine asks of a port
            agent=agent,
            keyring=Keyring([bytes(32)]),
            transceiver_id=5 << 20 | 1,
            set_up=SetUp(),
            random=seeded(1),
            clock=lambda: EPOCH + datetime.timedelta(seconds=trio.current_time()),
            **settings,
        )
        transceiver.candidates = (
            Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478),
        )
        scope = trio.CancelScope()

        async def run(*, task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await transceiver.run(task_status=task_status)

        await nursery.start(run)
        return cls(transceiver, port, nursery, scope)

    def call(self, *, number: int | None = None, **parameters: Any) -> Caller:
        """Place a call; the client begins to check at once."""
        caller = self.dial(number=number, **parameters)
        self.nursery.start_soon(caller.run)
        return caller

    def make_client(self, **parameters: Any) -> ClientCore:
        """Make a client unlike those before it."""
        self._numbers += 1
        parameters = {"codec": "PCMU", **parameters}
        return ClientCore(random=seeded(self._numbers), certificate=CLIENT_CERTIFICATE, **parameters)

    def dial(
        self,
        *,
        number: int | None = None,
        codec: str = "PCMU",
        has_data: bool = False,
        negotiated_id: int | None = None,
        terms: Mapping[str, Any] = MappingProxyType({"api": "none"}),
        **metadata: object,
    ) -> Caller:
        """Make an offer and take the answer, and nothing more; ``terms`` are more of the transceiver's."""
        label = "chat" if terms.get("api") == "none" else "oai-events"
        client = self.make_client(
            codec=codec, has_data=has_data, negotiated_id=negotiated_id, channel_label=label
        )
        caller = Caller(client, self.port, number or self._numbers)
        caller.call_id, answer = self.transceiver.create_call(
            client.offer(), metadata=metadata, client="192.0.2.1", data_channel_id=negotiated_id, **terms
        )
        client.handle_answer(answer, now=trio.current_time())
        return caller

    async def wait_for_end(self, caller: Caller) -> dict[str, Any]:
        """Wait until a call is over; return what is remembered of it."""
        with trio.fail_after(240):
            while (described := self.describe(caller))["state"] != "ended":
                await trio.sleep(0.005)
        return described

    def describe(self, caller: Caller) -> dict[str, Any]:
        described = self.transceiver.describe(caller.call_id)
        assert described is not None
        return described

    @property
    def is_empty(self) -> bool:
        """Whether no trace of any call is left."""
        return not self.transceiver.call_count and set(self.transceiver.engine.footprint.values()) == {0}


async def sleep(call: Call) -> None:
    """An agent that does nothing for ever."""
    await trio.sleep_forever()
