"""Which calls get in, of those of one process, while it goes away and stays after all; in virtual time."""

from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import HTTPConnection
from trio.testing import MockClock

from tests.transceiver.exchange import Exchange, sleep
from tests.transceiver.test_conversation import Socket
from voicegate.access import Admission, Grant
from voicegate.event_socket import EventSocket
from voicegate.signalling import OfferRefused
from voicegate.worker import Agents, LocalCalls

pytestmark = pytest.mark.slow

SLOTS = 3
GOING_AWAY = "voicegate.going_away"


@attrs.define(eq=False)
class Client:
    """Who asks for a socket, and is slow about it; a `Handshake`."""

    delay: float
    is_lost: bool = False
    """Whether the connection breaks meanwhile."""
    socket: Socket = attrs.field(factory=Socket)
    code: str | None = None
    """Why it was refused."""
    is_over: bool = False

    @property
    def request(self) -> HTTPConnection:
        return HTTPConnection({"type": "websocket", "client": ("192.0.2.1", 1), "headers": []})

    async def accept(self) -> EventSocket:
        await trio.sleep(self.delay)
        if self.is_lost:
            raise OSError("gone")
        return self.socket

    async def tunnel(self, door: object, *, grant: Grant) -> None:
        raise NotImplementedError

    async def run(self, calls: LocalCalls) -> None:
        try:
            await calls.run_session(self, model="", grant=Grant())
        except OfferRefused as refused:
            self.code = refused.code
        except OSError:
            assert self.is_lost
        self.is_over = True

    @property
    def is_open(self) -> bool:
        return any(event["type"] == "session.created" for event in self.socket.sent)

    @property
    def was_told(self) -> bool:
        return any(event["type"] == GOING_AWAY for event in self.socket.sent)


@attrs.define
class Desk:
    """The calls of a process, and whoever wanted one."""

    exchange: Exchange
    calls: LocalCalls
    admission: Admission
    clients: list[Client] = attrs.field(factory=list)
    made: list[str] = attrs.field(factory=list)
    refusals: list[tuple[int, bool]] = attrs.field(factory=list)
    """Of offers: their statuses, and whether they say when to come again."""
    ends_at: float | None = None
    """When the present drain is over."""

    @classmethod
    async def open(cls, nursery: trio.Nursery) -> "Desk":
        exchange = await Exchange.open(nursery, sleep, max_calls=SLOTS)
        admission = Admission(max_calls=SLOTS)
        agents = Agents(sleep, name="sleep")
        calls = LocalCalls(exchange.transceiver, agents=agents, admission=admission, max_call_seconds=3600)
        return cls(exchange, calls, admission)

    @property
    def places(self) -> int:
        """Slots that are taken, as those know who were let in."""
        going_on = [self.calls.transceiver.find(call_id) is not None for call_id in self.made]
        return sum(going_on) + sum(not client.is_over for client in self.clients)

    async def offer(self) -> str | None:
        """Make an offer; returns why it was refused, if it was."""
        try:
            created = await self.calls.create_call(
                self.exchange.make_client().offer(), session=None, client="192.0.2.1"
            )
        except OfferRefused as refused:
            self.refusals.append((refused.status, bool((refused.headers or {}).get("Retry-After"))))
            return refused.code
        self.made.append(created.id)
        return None

    async def take(self, step: str, value: Any) -> None:
        expected = "draining" if self.ends_at is not None else "no_capacity" if self.places == SLOTS else None
        match step:
            case "offer":
                assert await self.offer() == expected
            case "dial":
                client = Client(*value)
                self.clients.append(client)
                self.exchange.nursery.start_soon(client.run, self.calls)
                await trio.testing.wait_all_tasks_blocked()
                assert client.code == expected
            case "end":
                listed = [call["id"] for call in await self.calls.sessions() if call["state"] != "ended"]
                if listed:
                    assert await self.calls.end_call(listed[int(value * (len(listed) - 1))])
            case "leave" if self.clients:
                self.clients[int(value * (len(self.clients) - 1))].socket.say(None)
            case "drain":
                await self.calls.begin_drain(seconds=value)
                self.ends_at = trio.current_time() + value
            case "undrain":
                await self.calls.end_drain()
                self.ends_at = None
            case "sleep":
                await trio.sleep(value)
            case _:
                pass

    def check(self) -> None:
        assert self.calls.call_count == self.places <= SLOTS
        assert set(self.refusals) <= {(503, True)}
        if self.ends_at is not None:
            assert all(client.was_told for client in self.clients if client.is_open and not client.is_over)


FRACTION = st.floats(0, 1)
STEPS = st.lists(
    st.one_of(
        st.just(("offer", None)),
        st.tuples(st.just("dial"), st.tuples(st.sampled_from((0.0, 0.1, 1.0)), st.booleans())),
        st.tuples(st.just("end"), FRACTION),
        st.tuples(st.just("leave"), FRACTION),
        st.tuples(st.just("drain"), st.sampled_from((0.0, 0.2, 1.0))),
        st.just(("undrain", None)),
        st.tuples(st.just("sleep"), st.sampled_from((0.0, 0.1, 0.4))),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_slots_are_exact_whoever_comes_and_goes_during_whatever_drains(steps: list[tuple[str, Any]]) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            desk = await Desk.open(nursery)
            for step in steps:
                await desk.take(*step)
                await trio.testing.wait_all_tasks_blocked()
                desk.check()
            await desk.calls.begin_drain(seconds=1)
            with trio.fail_after(10):
                await desk.calls.wait_empty()
            assert not desk.places
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def test_a_socket_that_is_being_accepted_has_its_slot(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    desk = await Desk.open(nursery)
    for _ in range(SLOTS):
        await desk.take("dial", (1.0, False))
    assert desk.calls.call_count == SLOTS
    # Asking must not let go what was promised.
    for _ in range(2):
        assert await desk.offer() == "no_capacity"
    await trio.sleep(2)
    assert all(client.is_open for client in desk.clients)
    nursery.cancel_scope.cancel()


async def test_a_socket_that_was_being_accepted_when_a_drain_began_is_told(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    desk = await Desk.open(nursery)
    await desk.take("dial", (1.0, False))
    (client,) = desk.clients
    await desk.take("drain", 10.0)
    emptied_at: list[float] = []

    async def wait() -> None:
        await desk.calls.wait_empty()
        emptied_at.append(trio.current_time())

    nursery.start_soon(wait)
    await trio.sleep(2)
    assert client.is_open
    assert client.was_told
    assert not emptied_at
    await trio.sleep(9)
    assert client.is_over
    assert client.socket.closed == (1001, "the server goes away")
    assert emptied_at == [pytest.approx(10, abs=0.1)]
    assert await desk.offer() == "draining"
    assert not await desk.calls.is_ready()
    await desk.take("undrain", None)
    assert await desk.calls.is_ready()
    assert await desk.offer() is None
    nursery.cancel_scope.cancel()


async def test_a_retired_process_keeps_its_calls_and_takes_none(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    desk = await Desk.open(nursery)
    await desk.take("dial", (0.0, False))
    ours = desk.calls.transceiver.id
    assert not desk.calls.retire(ours + 1)
    assert await desk.offer() is None
    assert desk.calls.retire(ours)
    assert not desk.calls.retire(ours)
    assert await desk.offer() == "draining"
    assert b"voicegate_retired 1.0" in await desk.calls.metrics()
    assert b"voicegate_draining 1.0" in await desk.calls.metrics()
    assert b"voicegate_calls_max 3.0" in await desk.calls.metrics()
    await trio.sleep(5)
    assert desk.clients[0].is_open
    assert not desk.clients[0].was_told
    state = await desk.calls.drain_state()
    assert (state.is_draining, state.seconds_left, state.calls) == (True, None, 2)
    nursery.cancel_scope.cancel()
