"""The life of a call, and all the ways in which it ends."""

import gc
from collections.abc import Callable
from weakref import ReferenceType, ref

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.exchange import Caller, Exchange, sleep
from voicegate.call import Call, Connected, EndCause, Interruption
from voicegate.testing import sound
from voicegate.testing.client import ClientState


def stop(exchange: Exchange, caller: Caller) -> None:
    exchange.scope.cancel()


def hang_up_by_http(exchange: Exchange, caller: Caller) -> None:
    call = exchange.transceiver.find(caller.call_id)
    assert call is not None
    call.end(EndCause.CLIENT_HANGUP, "the client hung up")


ENDINGS = pytest.mark.parametrize(
    ("ending", "cause"), [(stop, "server_stopped"), (hang_up_by_http, "client_hangup")]
)


@ENDINGS
async def test_a_call_ended_before_its_client_came_never_ran_its_agent(
    ending: Callable[[Exchange, Caller], None],
    cause: str,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    async def fail(call: Call) -> None:
        raise AssertionError("nobody was there yet")

    exchange = await Exchange.open(nursery, fail)
    caller = exchange.dial()
    ending(exchange, caller)
    assert (await exchange.wait_for_end(caller))["cause"] == cause
    assert exchange.is_empty


@ENDINGS
@pytest.mark.parametrize("state", ["awaiting_client_hello", "handshaking", "connected"])
async def test_a_call_ended_at_any_stage_says_goodbye_and_leaves_nothing(
    state: str,
    ending: Callable[[Exchange, Caller], None],
    cause: str,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    caller = exchange.dial()
    exchange.port.clients[caller.number] = caller.receive
    caller.core.handle_timeout(now=trio.current_time())
    for _ in range(20):
        caller.flush()
        await trio.testing.wait_all_tasks_blocked()
        if exchange.describe(caller)["state"] == state:
            break
        while caller._inbox:
            caller.core.handle_datagram(caller._inbox.popleft(), now=trio.current_time())
    assert exchange.describe(caller)["state"] == state
    nursery.start_soon(caller.run)
    ending(exchange, caller)
    ended = await exchange.wait_for_end(caller)
    assert ended["cause"] == cause
    assert ended["duration_ms"] < 100
    assert exchange.is_empty
    if state == "connected":
        await caller.wait_for(ClientState.CLOSED)


async def test_a_stopped_server_says_goodbye_in_every_call(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = [exchange.call() for _ in range(3)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1)
    exchange.scope.cancel()
    for caller in callers:
        assert (await exchange.wait_for_end(caller))["cause"] == "server_stopped"
        await caller.wait_for(ClientState.CLOSED)
        assert caller.core.media is not None
        # What the client decrypted last was our BYE: it counts as a compound and leaves no source behind.
        assert caller.core.media._rtp._receptions == {}
    assert exchange.is_empty


async def test_an_agent_runs_from_the_first_check_and_is_told_when_media_flows(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    seen: list[object] = []

    async def agent(call: Call) -> None:
        seen.append(exchange.describe(caller)["state"])
        seen.append(await call.events.receive())
        seen.append(exchange.describe(caller)["state"])

    exchange = await Exchange.open(nursery, agent)
    caller = exchange.call()
    ended = await exchange.wait_for_end(caller)
    before, event, after = seen
    assert before != "connected"
    assert isinstance(event, Connected)
    assert 0 <= event.setup_ms < 1000
    assert after == "connected"
    assert (ended["cause"], ended["detail"]) == ("agent_finished", "the agent returned")
    await caller.wait_for(ClientState.CLOSED)


async def test_an_agent_that_returns_before_its_client_is_connected_hangs_up(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def brief(call: Call) -> None:
        return

    exchange = await Exchange.open(nursery, brief)
    caller = exchange.call()
    ended = await exchange.wait_for_end(caller)
    assert ended["cause"] == "agent_finished"
    assert "dtls_completed" not in ended["phases"]
    assert exchange.is_empty
    caller.is_alive = False
    caller.receive(b"")


async def test_an_agent_that_raises_ends_its_own_call_only(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def moody(call: Call) -> None:
        await call.events.receive()
        if call.metadata["mood"] == "bad":
            raise ValueError("no")
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, moody)
    good, bad = exchange.call(mood="good"), exchange.call(mood="bad")
    ended = await exchange.wait_for_end(bad)
    assert (ended["cause"], ended["detail"]) == ("agent_failed", "ValueError('no')")
    await trio.sleep(1)
    assert exchange.describe(good)["state"] == "connected"
    await bad.wait_for(ClientState.CLOSED)


@ENDINGS
@pytest.mark.parametrize("has_nursery", [False, True])
async def test_an_agent_that_raises_while_being_cancelled_harms_nobody(
    has_nursery: bool,
    ending: Callable[[Exchange, Caller], None],
    cause: str,
    nursery: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    async def clumsy(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("while leaving")

    async def clumsy_twice(call: Call) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(sleep, call)
            inner.start_soon(clumsy, call)

    exchange = await Exchange.open(nursery, clumsy_twice if has_nursery else clumsy)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    ending(exchange, caller)
    ended = await exchange.wait_for_end(caller)
    assert ended["cause"] in {cause, "agent_failed"}
    await caller.wait_for(ClientState.CLOSED)
    assert exchange.is_empty
    if ending is hang_up_by_http:
        await exchange.call().wait_for(ClientState.CONNECTED)


async def test_a_call_ends_after_the_longest_time_it_may_take(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep, max_call_seconds=2.0)
    caller = exchange.call()
    ended = await exchange.wait_for_end(caller)
    assert (ended["cause"], ended["detail"]) == ("max_duration", "2 s are over")
    assert 2000 <= ended["duration_ms"] < 2050
    await caller.wait_for(ClientState.CLOSED)


@pytest.mark.slow
async def test_a_client_that_vanishes_ends_its_call(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange = await Exchange.open(nursery, sleep)
    never = exchange.dial()
    gone = exchange.call()
    await gone.wait_for(ClientState.CONNECTED)
    gone.is_alive = False
    assert (await exchange.wait_for_end(never))["cause"] == "no_stun_seen"
    assert (await exchange.wait_for_end(gone))["cause"] == "consent_expired"
    assert exchange.is_empty


async def test_a_client_that_hangs_up_cancels_its_agent(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    cancelled = trio.Event()

    async def agent(call: Call) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    exchange = await Exchange.open(nursery, agent)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    caller.hang_up()
    assert (await exchange.wait_for_end(caller))["cause"] == "client_closed"
    assert cancelled.is_set()


@pytest.mark.slow
async def test_an_agent_that_never_listens_costs_no_memory(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    calls: list[Call] = []

    async def deaf(call: Call) -> None:
        calls.append(call)
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, deaf)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(8)
    assert calls[0].audio_in.statistics().current_buffer_used == 250
    assert 100 < exchange.describe(caller)["counters"]["audio_in_dropped"] < 200
    exchange.scope.cancel()


async def test_an_agent_may_speak_for_ten_minutes_at_once_and_be_interrupted(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    queued: list[int] = []
    interruptions: list[Interruption] = []

    async def flood(call: Call) -> None:
        await call.events.receive()
        for _ in range(60):
            call.audio_out.send_nowait(b"\x10\x20" * 8000 * 10)
        queued.append(call.audio_out.queued_ms)
        await trio.sleep(1)
        interruptions.append(call.interrupt())
        await call.audio_out.drain()
        await trio.sleep(0.2)

    exchange = await Exchange.open(nursery, flood)
    caller = exchange.call()
    assert (await exchange.wait_for_end(caller))["cause"] == "agent_finished"
    assert queued == [60_000], "the queue holds a minute; what is older is dropped"
    [(heard_ms, dropped_ms)] = interruptions
    assert 980 <= heard_ms <= 1020
    assert heard_ms + dropped_ms == 60_000
    heard = sound.Sound.from_pcm(bytes(caller.core.heard), rate=8000)
    assert heard.cut(heard.seconds - 0.1, heard.seconds).loudness < 0.01, "an interruption is heard as one"


async def test_a_call_tells_what_it_is_at_every_stage(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    caller = exchange.dial()
    described = exchange.describe(caller)
    assert described["id"] == caller.call_id
    assert (described["state"], described["path"], described["phases"]) == ("awaiting_check", None, {})
    assert (described["cause"], described["codec"]) == (None, "PCMU")
    nursery.start_soon(caller.run)
    await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1)
    described = exchange.describe(caller)
    assert described["state"] == "connected"
    assert described["path"] == {
        "client": "192.0.2.1",
        "port": caller.number,
        "relay": "127.0.0.1:4000",
        "transport": "udp",
    }
    assert set(described["phases"]) == {
        "first_check",
        "client_hello",
        "keys_ready",
        "dtls_completed",
        "first_audio_out",
        "first_audio_in",
    }
    assert described["duration_ms"] >= 1000
    assert described["counters"]["audio_packets_in"] >= 45
    caller.hang_up()
    ended = await exchange.wait_for_end(caller)
    await trio.sleep(5)
    assert exchange.describe(caller) == ended, "what is remembered does not go on"


async def test_an_ended_call_leaves_nothing_to_collect(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    calls: list[ReferenceType[Call]] = []

    async def leave(call: Call) -> None:
        calls.append(ref(call))
        await call.events.receive()

    exchange = await Exchange.open(nursery, leave)
    gc.collect()
    gc.disable()
    try:
        caller = exchange.call(has_data=True)
        active = ref(exchange.transceiver.find(caller.call_id))
        await exchange.wait_for_end(caller)
        await trio.testing.wait_all_tasks_blocked()
        assert active() is None
        assert calls[0]() is None
    finally:
        gc.enable()
    exchange.scope.cancel()
