"""The engine on real sockets; a socket of the test's own stands for the relay."""

import datetime
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from itertools import pairwise

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.transceiver.exchange import CLIENT_HOST, Caller, Exchange, MemoryPort, sleep
from tests.transceiver.harness import CLIENT_CERTIFICATE, EPOCH, RELAY, Harness, seeded
from voicegate.agents import parrot
from voicegate.call import EndCause
from voicegate.config import SetUp
from voicegate.datagram import DatagramPort
from voicegate.ice import Keyring
from voicegate.observability import Metrics
from voicegate.sdp import Candidate
from voicegate.testing.client import ClientCore, ClientState
from voicegate.testing.sound import speech_like
from voicegate.transceiver import Transceiver
from voicegate.transceiver.collector import open_collector
from voicegate.transceiver.engine import Engine
from voicegate.wire import Path, hop
from voicegate.wire.path import Address

LIMIT = hop.HEADER_LENGTH + hop.MAX_PAYLOAD_LENGTH


@attrs.define
class Bench:
    """A running transceiver and the relay's socket."""

    transceiver: Transceiver
    port: DatagramPort
    relay: DatagramPort

    def send(self, type_: int, payload: bytes = b"", *, port: int = 5000, is_stream: bool = False) -> None:
        data = hop.encode(type_, host=CLIENT_HOST, port=port, payload=payload, is_stream=is_stream)
        self.send_raw(data)

    def send_raw(self, data: bytes) -> None:
        self.relay.send_batch([(data, self.port.address)])

    async def receive(self) -> hop.HopDatagram:
        with trio.fail_after(120):
            while True:
                if batch := self.relay.receive_batch():
                    assert len(batch) == 1
                    return hop.decode(batch[0][0])
                await self.relay.wait_readable()

    async def round_trip(self) -> None:
        """Return when all that was sent before has been handled, without any answer."""
        self.send(hop.HopType.PING, b"flush")
        pong = await self.receive()
        assert (pong.type, pong.payload) == (hop.HopType.PONG, b"flush")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with (
        closing(DatagramPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as port,
        closing(DatagramPort(("127.0.0.1", 0), datagram_limit=LIMIT)) as relay,
    ):
        transceiver = Transceiver(
            port,
            agent=sleep,
            keyring=Keyring([bytes(32)]),
            transceiver_id=1,
            max_calls=3,
            max_call_seconds=60.0,
            max_pending_calls=3,
            max_pending_calls_per_client=3,
            set_up=SetUp(),
            random=seeded(1),
            clock=lambda: EPOCH + datetime.timedelta(seconds=trio.current_time()),
        )
        transceiver.candidates = (
            Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478),
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(transceiver.run)
            yield Bench(transceiver, port, relay)
            nursery.cancel_scope.cancel()


async def test_a_ping_is_answered_with_what_it_said(bench: Bench) -> None:
    bench.send(hop.HopType.PING, b"how are you", port=7)
    pong = await bench.receive()
    assert pong == hop.HopDatagram(hop.HopType.PONG, CLIENT_HOST, 7, False, b"how are you")


async def test_what_is_no_hop_datagram_is_counted_and_not_answered(bench: Bench) -> None:
    for data in (b"", b"\x00", bytes(24), b"\x56\x10\xff\xff" + bytes(20), b"GET / HTTP/1.1\r\n\r\n" * 5):
        bench.send_raw(data)
    await bench.round_trip()
    assert bench.transceiver.engine.drops == {"malformed_hop": 5}


async def test_types_that_are_not_for_a_transceiver_are_counted_and_not_answered(bench: Bench) -> None:
    for type_ in (hop.HopType.FLOW_GONE, hop.HopType.FLOW_MOVED, hop.HopType.PONG, 15):
        bench.send(type_)
    await bench.round_trip()
    assert bench.transceiver.engine.drops == {"hop_type": 4}


def offer() -> ClientCore:
    return ClientCore(random=seeded(9), certificate=CLIENT_CERTIFICATE, codec="PCMU")


def stranger_checks() -> list[bytes]:
    """Checks of a client whose call is elsewhere, or nowhere."""
    stranger = Harness.make()
    check = stranger.make_check(nominates=True)
    nameless = bytes.fromhex("000100002112a442") + bytes(12)
    return [check, nameless, check[:10]]


async def test_a_flow_without_a_session_is_given_back_to_the_relay(bench: Bench) -> None:
    packets = [*stranger_checks(), b"\x80\x00" + bytes(40), b"\x16\xfe\xfd" + bytes(40), b""]
    for packet in packets:
        bench.send(hop.HopType.DATA, packet, is_stream=True)
        gone = await bench.receive()
        assert gone == hop.HopDatagram(hop.HopType.FLOW_GONE, CLIENT_HOST, 5000, True, b"")
    assert bench.transceiver.engine.drops == {"no_session": len(packets)}


async def test_a_refused_check_reaches_its_call(bench: Bench) -> None:
    client = offer()
    call_id, _answer = bench.transceiver.create_call(client.offer(), metadata={})
    call = bench.transceiver.find(call_id)
    assert call is not None
    (session_id,) = bench.transceiver.engine._by_session
    bench.send(hop.HopType.CHECK_REFUSED, bytes(8))
    bench.send(hop.HopType.CHECK_REFUSED, session_id)
    await bench.round_trip()
    call.core.handle_timeout(now=trio.current_time() + 16)
    bench.transceiver.engine.settle(call, trio.current_time())
    with trio.fail_after(120):
        while bench.transceiver.call_count:
            await trio.lowlevel.checkpoint()
    described = bench.transceiver.describe(call_id)
    assert described is not None
    assert described["cause"] == "bad_integrity"


async def test_more_datagrams_than_a_turn_takes_are_all_handled(bench: Bench) -> None:
    for _ in range(8 * 64 + 100):
        bench.send(hop.HopType.FLOW_GONE)
    await bench.round_trip()
    assert bench.transceiver.engine.drops == {"hop_type": 8 * 64 + 100}


@pytest.mark.slow
@given(
    datagrams=st.lists(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x56\x10" + rest))
)
def test_any_hop_datagram_is_survived(datagrams: list[bytes]) -> None:
    port = MemoryPort()
    engine = Engine(port)  # type: ignore[arg-type] # it has what the engine asks of a port
    for data in datagrams:
        engine._take_run(data, len(data) or 1, ("127.0.0.1", 1), 0.0)
    assert sum(engine.drops.values()) <= len(datagrams)
    assert set(engine.footprint.values()) == {0}


@pytest.mark.slow
async def test_a_new_call_from_the_same_address_takes_its_path_over(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    first = exchange.call(number=5000)
    await first.wait_for(ClientState.CONNECTED)
    first.is_alive = False
    second = exchange.call(number=5000)
    await second.wait_for(ClientState.CONNECTED)
    old, new = exchange.transceiver.find(first.call_id), exchange.transceiver.find(second.call_id)
    assert old is not None
    assert new is not None
    assert old.paths == new.paths == {Path(("127.0.0.1", 4000), CLIENT_HOST, 5000)}
    assert exchange.transceiver.engine.footprint["paths"] == 1
    # The old one's consent runs out; the path is not its own any more.
    assert (await exchange.wait_for_end(first))["cause"] == "consent_expired"
    footprint = exchange.transceiver.engine.footprint
    assert footprint == dict.fromkeys(("ufrags", "paths", "sessions", "feeds", "frames", "deadlines"), 1)
    before = exchange.describe(second)["counters"]["audio_packets_in"]
    await trio.sleep(1)
    assert exchange.describe(second)["counters"]["audio_packets_in"] - before >= 49
    assert exchange.port.sent == []
    second.hang_up()
    await exchange.wait_for_end(second)
    assert exchange.is_empty
    assert [gone.type for gone in exchange.port.sent] == [hop.HopType.FLOW_GONE]


async def test_an_old_call_hung_up_leaves_the_path_to_the_new_one(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    first = exchange.call(number=5000)
    await first.wait_for(ClientState.CONNECTED)
    first.is_alive = False
    second = exchange.call(number=5000)
    await second.wait_for(ClientState.CONNECTED)
    call = exchange.transceiver.find(first.call_id)
    assert call is not None
    call.end(EndCause.CLIENT_HANGUP, "")
    await exchange.wait_for_end(first)
    assert exchange.transceiver.engine.footprint["paths"] == 1
    assert exchange.port.sent == [], "the relay is not told to drop a flow that is in use"
    await trio.sleep(1)
    assert exchange.describe(second)["state"] == "connected"
    exchange.scope.cancel()


@pytest.mark.slow
async def test_a_path_that_another_call_took_comes_back_with_the_next_check(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    victim = exchange.call(number=5000)
    await victim.wait_for(ClientState.CONNECTED)
    # Somebody in a call of his own sends its check in the name of the victim's address.
    thief = exchange.dial(number=5000)
    thief.core.handle_timeout(now=trio.current_time())
    thief.flush()
    await trio.sleep(0.1)
    assert exchange.transceiver.engine.footprint["paths"] == 1
    before = exchange.describe(victim)["counters"]["audio_packets_in"]
    await trio.sleep(3)
    heard = exchange.describe(victim)["counters"]["audio_packets_in"] - before
    assert 20 < heard < 148, "what came until the next check was lost"
    await exchange.wait_for_end(thief)
    before = exchange.describe(victim)["counters"]["audio_packets_in"]
    await trio.sleep(1)
    assert exchange.describe(victim)["counters"]["audio_packets_in"] - before >= 49
    exchange.scope.cancel()


async def test_the_schedule_holds_each_call_once(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = [exchange.call() for _ in range(3)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    for _ in range(5):
        await trio.sleep(1)
        footprint = exchange.transceiver.engine.footprint
        assert (footprint["frames"], footprint["deadlines"]) == (3, 3)
    exchange.scope.cancel()
    await exchange.wait_for_end(callers[-1])
    assert exchange.is_empty


# Runs of segments


def rtp(caller: Caller, *, payload: bytes = bytes(160)) -> bytes:
    """Make a hop datagram with the next packet of a client's voice."""
    media = caller.core.media
    assert media is not None
    assert media._srtp is not None
    packet = media._srtp.protect_rtp(media._sender.next_packet(payload, samples=160, now=trio.current_time()))
    return hop.encode(hop.HopType.DATA, host=CLIENT_HOST, port=caller.number, payload=packet)


async def connected(exchange: Exchange, count: int) -> list[Caller]:
    callers = [exchange.call() for _ in range(count)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(0.1)
    for caller in callers:
        caller.is_alive = False
        caller.receive(b"")
    await trio.sleep(0.1)
    return callers


def packets_in(exchange: Exchange, callers: list[Caller]) -> list[int]:
    return [exchange.describe(caller)["counters"]["audio_packets_in"] for caller in callers]


def taken(exchange: Exchange, run: bytes, size: int) -> None:
    exchange.transceiver.engine._take_run(run, size, RELAY, trio.current_time())


async def test_each_segment_of_a_run_reaches_its_call(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = await connected(exchange, 3)
    before = packets_in(exchange, callers)
    segments = [rtp(callers[index]) for index in (0, 1, 2, 1, 0, 1)]
    size = len(segments[0]) + 7
    run = b"".join(segment.ljust(size, b"\0") for segment in segments[:-1]) + segments[-1]
    taken(exchange, run, size)
    after = packets_in(exchange, callers)
    assert [late - early for early, late in zip(before, after, strict=True)] == [2, 3, 1]
    assert exchange.transceiver.engine.drops == {}
    exchange.scope.cancel()


async def test_no_segment_reaches_into_the_next(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = await connected(exchange, 2)
    before = packets_in(exchange, callers)
    liar, honest = (rtp(caller) for caller in callers)
    longer = liar[:2] + (len(liar) - 24 + 1).to_bytes(2, "big") + liar[4:]
    taken(exchange, longer + honest, len(honest))
    taken(exchange, rtp(callers[1]) + honest[:10], len(honest))
    taken(exchange, rtp(callers[1]) + honest[:-1], len(honest))
    after = packets_in(exchange, callers)
    assert [late - early for early, late in zip(before, after, strict=True)] == [0, 3]
    assert exchange.transceiver.engine.drops == {"malformed_hop": 3}
    exchange.scope.cancel()


async def test_the_same_client_address_at_another_relay_is_another_path(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    [caller] = await connected(exchange, 1)
    before = packets_in(exchange, [caller])
    data = rtp(caller)
    exchange.transceiver.engine._take_run(data, len(data), ("127.0.0.1", 4001), trio.current_time())
    assert packets_in(exchange, [caller]) == before
    assert exchange.transceiver.engine.drops == {"no_session": 1}
    exchange.scope.cancel()


# Faults


@pytest.mark.parametrize("where", ["decode", "encode_silence"])
async def test_a_fault_of_ours_on_the_fast_way_ends_its_call_only(
    where: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    bad, good = exchange.call(), exchange.call()
    for caller in (bad, good):
        await caller.wait_for(ClientState.CONNECTED)
    call = exchange.transceiver.find(bad.call_id)
    assert call is not None

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    setattr(call.core.media.codec, where, fail)
    ended = await exchange.wait_for_end(bad)
    assert (ended["cause"], ended["detail"]) == ("internal_error", "ZeroDivisionError('ours')")
    await trio.sleep(1)
    described = exchange.describe(good)
    assert described["state"] == "connected"
    assert described["counters"]["slots_missed"] == 0
    exchange.scope.cancel()


@pytest.mark.parametrize(
    ("owner", "method"), [("", "_drain_events"), ("", "_follow"), ("conversation", "handle_timeout")]
)
async def test_a_fault_of_ours_with_what_comes_of_packets_ends_its_call_only(
    owner: str, method: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    bad, good = await connected(exchange, 2)
    call = exchange.transceiver.find(bad.call_id)
    assert call is not None

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    setattr(getattr(call, owner) if owner else call, method, fail)
    ended = await exchange.wait_for_end(bad)
    assert (ended["cause"], ended["detail"]) == ("internal_error", "ZeroDivisionError('ours')")
    await trio.sleep(1)
    assert exchange.describe(good)["state"] == "connected"
    assert exchange.describe(good)["counters"]["slots_missed"] == 0
    exchange.scope.cancel()


# Time


@pytest.mark.slow
async def test_calls_that_begin_at_once_take_turns(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = [exchange.call() for _ in range(8)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(0.1)
    batches: list[tuple[float, int]] = []
    send_run = exchange.port.send_run

    def note(datagrams: list[bytes], destination: Address) -> None:
        batches.append((trio.current_time(), sum(len(data) > 150 for data in datagrams)))
        send_run(datagrams, destination)

    exchange.port.send_run = note  # type: ignore[method-assign] # to see what leaves together
    await trio.sleep(1)
    frames = [count for _, count in batches if count]
    assert set(frames) == {2}
    assert sum(frames) in range(8 * 49, 8 * 51 + 1)
    times = [at for at, count in batches if count]
    assert [after - before for before, after in pairwise(times)] == pytest.approx([0.005] * (len(times) - 1))
    exchange.scope.cancel()


async def test_what_a_call_has_sent_at_once_takes_no_frame_of_the_others_along(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    engine = exchange.transceiver.engine
    for caller in await connected(exchange, 8):  # two in each slot
        call = exchange.transceiver.find(caller.call_id)
        assert call is not None
        call.control.follow_output()  # so that there is something to follow in each slot
        call.follow = partial(engine.touch, call)  # type: ignore[method-assign]
    frames = 0
    send_run = exchange.port.send_run

    def note(datagrams: list[bytes], destination: Address) -> None:
        nonlocal frames
        frames += sum(len(data) > 150 for data in datagrams)
        send_run(datagrams, destination)

    exchange.port.send_run = note  # type: ignore[method-assign] # to see what leaves
    await trio.sleep(1)
    assert frames in range(8 * 49, 8 * 51 + 1)
    exchange.scope.cancel()


@pytest.mark.slow
async def test_after_a_stall_each_call_sends_one_frame_and_the_schedule_stands(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = [exchange.call() for _ in range(4)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1.001)
    before = [exchange.describe(caller)["counters"] for caller in callers]
    autojump_clock.jump(0.2)
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(0.0001)
    after = [exchange.describe(caller)["counters"] for caller in callers]
    for early, late in zip(before, after, strict=True):
        assert late["audio_packets_out"] - early["audio_packets_out"] == 1
        assert late["slots_missed"] - early["slots_missed"] == 9
    await trio.sleep(1)
    for early, late in zip(after, [exchange.describe(caller)["counters"] for caller in callers], strict=True):
        assert late["audio_packets_out"] - early["audio_packets_out"] == 50
        assert late["slots_missed"] == early["slots_missed"]
    exchange.scope.cancel()


async def test_lateness_is_measured_for_each_call_and_for_all(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    callers = [exchange.call() for _ in range(2)]
    for caller in callers:
        await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1)
    assert exchange.describe(callers[0])["lateness_ms"] == {"p50": 0.0, "p99": 0.0, "max": 0.0}
    # Each has a frame 12 ms late; virtual time stands still while it is handled.
    send_run = exchange.port.send_run

    def dawdle(datagrams: list[bytes], destination: Address) -> None:
        send_run(datagrams, destination)
        if any(len(data) > 150 for data in datagrams) and len(dawdled) < 2:
            dawdled.append(trio.current_time())
            autojump_clock.jump(0.012)

    dawdled: list[float] = []
    exchange.port.send_run = dawdle  # type: ignore[method-assign] # time is what it lacks
    await trio.sleep(1)
    lateness = exchange.transceiver.engine.lateness
    assert lateness.longest == pytest.approx(0.012, abs=0.008)
    assert 2 <= sum(lateness.counts[1:]) <= 6
    assert max(exchange.describe(caller)["lateness_ms"]["max"] for caller in callers) >= 12.0
    metrics = Metrics()
    exchange.transceiver.report(metrics)
    text = metrics.render().decode()
    assert f"voicegate_frame_lateness_ms_count {float(sum(lateness.counts))}" in text
    assert 'voicegate_calls_audio_ms_bucket{figure="jitter"' in text
    exchange.scope.cancel()


@pytest.mark.slow
async def test_garbage_is_collected_between_slots_when_the_process_is_ours(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    with open_collector() as collector:
        exchange = await Exchange.open(nursery, sleep, collector=collector)  # type: ignore[arg-type] # no limit
        caller = exchange.call()
        await caller.wait_for(ClientState.CONNECTED)
        for _ in range(5000):
            garbage: list[object] = []
            garbage.append(garbage)
        await trio.sleep(0.1)
        assert collector.collected["young"] >= 4900
        metrics = Metrics()
        exchange.transceiver.report(metrics)
        assert 'voicegate_gc_pause_ms_count{kind="young"}' in metrics.render().decode()
        exchange.scope.cancel()
        await exchange.wait_for_end(caller)


@pytest.mark.slow
async def test_how_long_users_wait_for_an_answer_is_shown(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, parrot)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    caller.core.say(speech_like(1.0, rate=8000).pcm)
    with trio.fail_after(60):
        while not (turns := exchange.describe(caller)["turns"]):
            await trio.sleep(0.1)
    ((first_audio, first_packet),) = (turn.values() for turn in turns)
    assert 200 <= first_audio <= first_packet < 1000
    metrics = Metrics()
    exchange.transceiver.report(metrics)
    text = metrics.render().decode()
    for until, ms in (("first_audio", first_audio), ("first_packet", first_packet)):
        assert f'voicegate_turn_answer_ms_sum{{until="{until}"}} {float(ms)}' in text
    exchange.scope.cancel()
