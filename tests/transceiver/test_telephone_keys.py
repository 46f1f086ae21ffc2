"""Keys of a telephone (DTMF) on their way from packets to the agent."""

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.exchange import CLIENT_HOST, Caller, Exchange
from tests.transceiver.harness import Harness
from voicegate.call import Agent, Call, DtmfReceived
from voicegate.rtp import RtpPacket, TelephoneEvent
from voicegate.rtp.telephone_event import END_SECONDS
from voicegate.testing.client import ClientCore, ClientState
from voicegate.transceiver.event import KeyPressed, State
from voicegate.wire import PacketKind, classify, hop

KEYS = 126
PRESSED_AT = 4711
"""The timestamp that all packets of a press have."""


def with_keys(offer: str) -> str:
    return offer.replace("SAVPF 0\r\n", f"SAVPF 0 {KEYS}\r\n").replace(
        "a=mid:0\r\n", f"a=rtpmap:{KEYS} telephone-event/8000\r\na=mid:0\r\n"
    )


def key_packet(client: ClientCore, payload: bytes, *, now: float) -> bytes:
    """Return what the client sends next when it is a key and no audio."""
    media = client.media
    assert media is not None
    assert media._srtp is not None
    sender = media._sender
    spoken, sender.payload_type = sender.payload_type, KEYS
    packet = RtpPacket.decode(sender.next_packet(payload, samples=0, marker=False, now=now))
    sender.payload_type = spoken
    return media._srtp.protect_rtp(packet._replace(timestamp=PRESSED_AT).encode())


def event(duration: int, *, is_end: bool = False) -> bytes:
    return TelephoneEvent(event=5, is_end=is_end, volume=10, duration=duration).encode()


def connected() -> Harness:
    call = Harness.make(codec="PCMU", edit_offer=with_keys)
    call.connect()
    call.run(0.5)
    call.events.clear()
    return call


def press(call: Harness, *payloads: bytes) -> None:
    for payload in payloads:
        call.inject(key_packet(call.client, payload, now=call.now), call.path)
        call.run(0.02)


def test_a_press_is_an_event_and_no_audio_is_missing_for_it() -> None:
    call = connected()
    press(call, event(160), event(320), event(800, is_end=True), event(800, is_end=True))
    assert call.events == [KeyPressed("5", 100)]
    call.run(1.0)
    statistics = call.core.statistics()
    assert (statistics.drops, statistics.concealed_ms) == ({}, 0)


def test_a_press_whose_end_was_lost_is_over_after_a_while() -> None:
    call = connected()
    press(call, event(160))
    assert call.events == []
    call.run(END_SECONDS)
    assert call.events == [KeyPressed("5", 20)]


def test_what_is_no_event_is_counted() -> None:
    call = connected()
    press(call, b"\x05")
    assert call.core.statistics().drops == {"telephone_event": 1}


def test_keys_that_were_not_negotiated_are_dropped() -> None:
    call = Harness.connected(codec="PCMU")
    press(call, event(800, is_end=True))
    assert call.core.statistics().drops == {"payload_type": 1}
    assert call.core.state is State.CONNECTED


def test_the_short_way_tells_that_there_is_something_to_settle() -> None:
    call = connected()
    packet = key_packet(call.client, event(800, is_end=True), now=call.now)
    assert classify(packet) is PacketKind.RTP
    assert call.core.handle_rtp(packet, path=call.path, now=call.now)
    assert call.core.poll_event() == KeyPressed("5", 100)


async def note_keys(told: list[DtmfReceived], call: Call) -> None:
    """Be an agent that is told keys."""
    async for each in call.events:
        if isinstance(each, DtmfReceived):
            told.append(each)  # noqa: PERF401 - others look at it


async def open_exchange(nursery: trio.Nursery, agent: Agent) -> tuple[Exchange, Caller]:
    """Place a call that has keys: what negotiation would have brought about; its client's offer has none."""
    exchange = await Exchange.open(nursery, agent)
    caller = exchange.dial()
    call = exchange.transceiver.find(caller.call_id)
    assert call is not None
    nursery.start_soon(caller.run)
    await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1)
    call.core.media._keys._clock_rates[KEYS] = 8000
    return exchange, caller


def deliver(exchange: Exchange, caller: Caller, payload: bytes) -> None:
    data = key_packet(caller.core, payload, now=trio.current_time())
    exchange.port.deliver(hop.encode(hop.HopType.DATA, host=CLIENT_HOST, port=caller.number, payload=data))


@pytest.mark.parametrize("is_conversing", [False, True])
async def test_the_agent_is_told_once_in_a_conversation_and_without(
    is_conversing: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[DtmfReceived] = []

    async def agent(call: Call) -> None:
        if is_conversing:
            call.converse()
        await note_keys(told, call)

    exchange, caller = await open_exchange(nursery, agent)
    for _ in range(3):
        deliver(exchange, caller, event(800, is_end=True))
    await trio.sleep(1)
    assert told == [DtmfReceived(digit="5", duration_ms=100)]
    exchange.scope.cancel()


async def test_a_stall_of_ours_does_not_cut_a_press_short_that_went_on_meanwhile(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[DtmfReceived] = []
    exchange, caller = await open_exchange(nursery, partial(note_keys, told))
    deliver(exchange, caller, event(160))
    await trio.sleep(0.02)
    for duration in range(320, 3200, 160):
        deliver(exchange, caller, event(duration))
    autojump_clock.jump(0.4)
    await trio.testing.wait_all_tasks_blocked()
    deliver(exchange, caller, event(3360, is_end=True))
    await trio.sleep(1)
    assert told == [DtmfReceived(digit="5", duration_ms=420)]
    exchange.scope.cancel()
