"""A transceiver that goes away: what those on the line are told, when their calls end, and who gets in."""

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.transceiver.exchange import Exchange, sleep
from tests.transceiver.test_conversation import App, Socket, dial
from voicegate.call import Call, Connected, EndCause, GoingAway
from voicegate.testing.client import ClientState
from voicegate.transceiver import TransceiverDrainingError, TransceiverFullError

pytestmark = pytest.mark.slow

GOING_AWAY = "voicegate.going_away"


@attrs.define
class Notes:
    """What agents were told, of which one is made for each call."""

    told: list[object] = attrs.field(factory=list)

    async def agent(self, call: Call) -> None:
        async for event in call.events:
            if isinstance(event, Connected | GoingAway):
                self.told.append(event)

    @property
    def seconds(self) -> list[float]:
        return [event.seconds for event in self.told if isinstance(event, GoingAway)]


async def test_calls_are_told_and_end_at_the_deadline_with_a_goodbye(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    notes = Notes()
    exchange, app = await dial(nursery, notes.agent)
    waiting = exchange.dial()  # Its client never comes.
    await app.wait_for("session.created")
    began_at = trio.current_time()
    exchange.transceiver.begin_drain(seconds=10)
    assert (await app.wait_for(GOING_AWAY))["seconds"] == 10
    assert notes.seconds == [10]
    await trio.sleep(9)
    assert exchange.transceiver.call_count == 2
    for caller in (app.caller, waiting):
        assert (await exchange.wait_for_end(caller))["cause"] == "server_drained"
    assert trio.current_time() - began_at == pytest.approx(10, abs=1)
    await app.caller.wait_for(ClientState.CLOSED)
    assert app.types.count(GOING_AWAY) == 1
    assert exchange.is_empty


async def test_who_drains_takes_no_calls_until_it_is_undone(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    notes = Notes()
    exchange, app = await dial(nursery, notes.agent)
    transceiver = exchange.transceiver
    transceiver.begin_drain(seconds=10)
    with pytest.raises(TransceiverDrainingError):
        exchange.dial()
    await trio.sleep(4)
    assert transceiver.drain_seconds_left == pytest.approx(6)
    transceiver.end_drain()
    assert transceiver.drain_seconds_left is None
    late = exchange.call()
    await late.wait_for(ClientState.CONNECTED)
    await trio.sleep(8)
    assert app.types.count(GOING_AWAY) == 1
    assert notes.seconds == [10]
    assert transceiver.call_count == 2
    exchange.scope.cancel()


@pytest.mark.parametrize(("first", "second"), [(2, 8), (8, 2)])
async def test_of_two_drains_the_later_word_counts(
    first: float, second: float, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    notes = Notes()
    exchange, app = await dial(nursery, notes.agent)
    exchange.transceiver.begin_drain(seconds=first)
    await trio.sleep(1)
    said_at = trio.current_time()
    exchange.transceiver.begin_drain(seconds=second)
    assert (await app.wait_for(GOING_AWAY, count=2))["seconds"] == second
    assert notes.seconds == [first, second]
    await exchange.wait_for_end(app.caller)
    assert trio.current_time() - said_at == pytest.approx(second, abs=1)


async def test_a_drain_of_no_time_ends_all_calls_at_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange, app = await dial(nursery, sleep)
    exchange.transceiver.begin_drain(seconds=0)
    assert (await exchange.wait_for_end(app.caller))["cause"] == "server_drained"


async def test_a_call_that_comes_to_its_own_end_keeps_its_cause(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def polite(call: Call) -> None:
        async for event in call.events:
            if isinstance(event, GoingAway):
                return

    exchange, app = await dial(nursery, polite)
    exchange.transceiver.begin_drain(seconds=60)
    await exchange.transceiver.wait_empty()
    assert trio.current_time() < 30
    assert (await exchange.wait_for_end(app.caller))["cause"] == "agent_finished"


async def test_whoever_waits_is_told_when_the_last_call_is_over(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    await exchange.transceiver.wait_empty()
    callers = [exchange.call() for _ in range(2)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    done = trio.Event()

    async def wait() -> None:
        await exchange.transceiver.wait_empty()
        done.set()

    nursery.start_soon(wait)
    exchange.transceiver.begin_drain(seconds=600)
    for caller in callers:
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        caller.hang_up()
        await exchange.wait_for_end(caller)
    await done.wait()
    assert trio.current_time() < 60


async def test_an_agent_that_comes_later_is_told_what_is_left(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    notes = Notes()

    async def first(call: Call) -> None:
        await trio.sleep(2)
        call.transfer(notes.agent)
        await trio.sleep_forever()

    exchange, app = await dial(nursery, first)
    exchange.transceiver.begin_drain(seconds=9)
    await trio.sleep(3)
    (seconds,) = notes.seconds
    assert 6 < seconds < 8
    app.caller.hang_up()


async def test_sidebands_are_told_also_those_that_come_later(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange, app = await dial(nursery, sleep)
    await app.wait_for("session.created")
    early, late = Socket(), Socket()
    nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, early)
    await early.wait_for("session.created")
    exchange.transceiver.begin_drain(seconds=5)
    assert (await early.wait_for(GOING_AWAY))["seconds"] == 5
    await trio.sleep(3)
    nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, late)
    assert 1.5 < (await late.wait_for(GOING_AWAY))["seconds"] < 2.5
    assert [event["type"] for event in late.sent] == ["session.created", GOING_AWAY]
    assert app.types.count(GOING_AWAY) == [event["type"] for event in early.sent].count(GOING_AWAY) == 1
    assert (await exchange.wait_for_end(app.caller))["cause"] == "server_drained"


async def test_after_an_undrain_nobody_who_comes_is_told(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange, app = await dial(nursery, sleep)
    exchange.transceiver.begin_drain(seconds=30)
    exchange.transceiver.end_drain()
    socket = Socket()
    nursery.start_soon(exchange.transceiver.attach, app.caller.call_id, socket)
    await socket.wait_for("session.created")
    await trio.sleep(1)
    assert [event["type"] for event in socket.sent] == ["session.created"]
    app.caller.hang_up()


async def test_a_channel_that_opens_during_a_drain_is_told_behind_its_session(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    caller = exchange.dial(has_data=True, terms={})
    exchange.transceiver.begin_drain(seconds=30)
    await trio.sleep(1)
    nursery.start_soon(caller.run)
    app = App(caller)
    assert 28 < (await app.wait_for(GOING_AWAY))["seconds"] < 30
    assert app.types == ["session.created", GOING_AWAY]
    caller.hang_up()


async def test_a_live_client_is_told_by_the_same_event(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange, app = await dial(nursery, sleep, api="live")
    await app.wait_for("session.started")
    exchange.transceiver.begin_drain(seconds=3)
    assert (await app.wait_for(GOING_AWAY))["seconds"] == 3
    assert (await exchange.wait_for_end(app.caller))["cause"] == "server_drained"


async def test_a_retired_transceiver_takes_no_calls_and_ends_none(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    notes = Notes()
    exchange, app = await dial(nursery, notes.agent)
    transceiver = exchange.transceiver
    transceiver.retire()
    transceiver.begin_drain(seconds=10)
    transceiver.end_drain()
    assert transceiver.is_draining
    assert transceiver.drain_seconds_left is None
    with pytest.raises(TransceiverDrainingError):
        exchange.dial()
    await trio.sleep(12)
    assert transceiver.call_count == 1
    app.caller.hang_up()


# Exactness


STEPS = st.lists(
    st.one_of(
        st.just(("call", 0.0)),
        st.tuples(st.just("hang up"), st.floats(0, 1)),
        st.tuples(st.just("drain"), st.sampled_from((0.0, 0.2, 1.0))),
        st.just(("undrain", 0.0)),
        st.tuples(st.just("sleep"), st.sampled_from((0.0, 0.1, 0.4))),
    ),
    max_size=25,
)
SLOTS = 3


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_no_call_is_lost_or_counted_twice_whatever_is_drained_when(steps: list[tuple[str, float]]) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            exchange = await Exchange.open(nursery, sleep, max_calls=SLOTS)
            await take_steps(exchange, steps)
            nursery.cancel_scope.cancel()

    trio.run(run, clock=MockClock(autojump_threshold=0))


async def take_steps(exchange: Exchange, steps: list[tuple[str, float]]) -> None:
    transceiver, alive, made = exchange.transceiver, set[str](), 0
    ends_at: float | None = None
    for step, value in steps:
        match step:
            case "call":
                try:
                    caller = exchange.dial()
                except TransceiverDrainingError:
                    assert ends_at is not None
                except TransceiverFullError:
                    assert (len(alive), ends_at) == (SLOTS, None)
                else:
                    assert ends_at is None
                    made += 1
                    alive.add(caller.call_id)
            case "hang up" if alive:
                call = transceiver.find(sorted(alive)[int(value * (len(alive) - 1))])
                assert call is not None
                call.end(EndCause.CLIENT_HANGUP, "the client hung up")
                alive.discard(call.id)
            case "drain":
                transceiver.begin_drain(seconds=value)
                ends_at = trio.current_time() + value
            case "undrain":
                # What had no time left is over, whatever is said then.
                if ends_at is not None and ends_at <= trio.current_time():
                    alive.clear()
                transceiver.end_drain()
                ends_at = None
            case "sleep":
                await trio.sleep(value)
            case _:
                pass
        await trio.testing.wait_all_tasks_blocked()
        if ends_at is not None and ends_at <= trio.current_time():
            alive.clear()
        assert {call["id"] for call in transceiver.describe_all() if call["state"] != "ended"} == alive
        assert transceiver.call_count == len(alive)
        assert transceiver.is_draining is (ends_at is not None)
    ended = [call for call in transceiver.describe_all() if call["state"] == "ended"]
    assert len(ended) + len(alive) == made
