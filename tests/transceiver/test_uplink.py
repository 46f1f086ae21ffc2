"""The receive side as a whole, in virtual time: a client's packets, a network, and what the agent hears."""

import random
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from itertools import pairwise
from math import ceil
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import voice
from tests.line import parameters
from voicegate.audio import OpusEncoder, open_codec
from voicegate.audio.pacer import CEILING_SECONDS
from voicegate.audio.red import RedEncoder
from voicegate.call import AudioFrame, EncodedFrame
from voicegate.errors import WireError
from voicegate.rtp import RtpPacket
from voicegate.transceiver.uplink import HOLD_SECONDS, Uplink

Mode = Literal["fast", "accurate"]
MODES: tuple[Mode, ...] = ("fast", "accurate")
TICKS = 160
FIRST = 0xFFF0
"""Sequence numbers and timestamps wrap soon after the start."""
FIRST_TIMESTAMP = 0xFFFFF000
ROUND_TRIP = 0.08
GRID = 0.005
SPEECH, CYCLE = 60, 80
"""Frames of speech, and of speech and the pause after it: 1.2 s in 1.6."""

quiet = open_codec("PCMU").silence


def payload_of(index: int) -> bytes:
    """Return 20 ms that are loud and say which ones they are."""
    return bytes([index >> 8 & 0x7F, index & 0x7F]) * (TICKS // 2)


def spoken(index: int) -> bytes:
    return payload_of(index) if index % CYCLE < SPEECH else quiet


def packet_of(index: int, payload: bytes | None = None, **changed: Any) -> RtpPacket:
    fields: dict[str, Any] = {
        "payload_type": 0,
        "sequence_number": (FIRST + index) & 0xFFFF,
        "timestamp": (FIRST_TIMESTAMP + index * TICKS) & 0xFFFFFFFF,
        "ssrc": 1,
        "payload": payload_of(index) if payload is None else payload,
    }
    return RtpPacket(**{**fields, **changed})


class Heard(NamedTuple):
    time: float
    frame: AudioFrame

    @property
    def number(self) -> int:
        return self.frame.position // TICKS


class Network:
    """Sends a client's packets to an uplink, and takes down what comes out and when."""

    def __init__(self, mode: Mode, *, wants: Literal["pcm", "encoded"] = "pcm", **others: Any) -> None:
        self.uplink = Uplink(parameters("PCMU", **others), open_codec("PCMU"), mode=mode)
        self.uplink.wants = wants
        self.uplink.set_round_trip(ROUND_TRIP)
        self.now = 0.0
        self.out: list[tuple[float, AudioFrame | EncodedFrame]] = []
        self.asked: list[tuple[float, int]] = []
        self._arrivals: list[tuple[float, int, RtpPacket, int | None]] = []
        self._sent: dict[int, RtpPacket] = {}
        self._count = 0

    def send(self, packet: RtpPacket, at: float, *, level: int | None = None) -> None:
        self._count += 1
        heappush(self._arrivals, (at, self._count, packet, level))

    def talk(
        self,
        seconds: float,
        delay: Callable[[float], float] = lambda _: 0.05,
        *,
        loss: Callable[[], bool] = lambda: False,
        drift: float = 0.0,
        say: Callable[[int], bytes] = spoken,
        red: RedEncoder | None = None,
        has_level: bool = False,
    ) -> None:
        """Let the client talk in packets of 20 ms, which stay in order as on most paths."""
        latest = 0.0
        for index in range(round(seconds * 50)):
            at = index * 0.02 * (1 + drift)
            latest = max(latest, at + delay(at))
            packet = packet_of(index, say(index))
            if red is not None:
                payload = red.encode(packet.payload, timestamp=packet.timestamp)
                packet = packet._replace(payload_type=63, payload=payload)
            self._sent[packet.sequence_number] = packet
            if not loss():
                level = (20 if index % CYCLE < SPEECH else 80) if has_level else None
                self.send(packet, latest, level=level)
        self.run(lose=loss)

    def run(self, until: float = 1e9, *, lose: Callable[[], bool] = lambda: False) -> None:
        heapify(self._arrivals)
        while True:
            due = self.uplink.poll_timeout()
            tick = 1e9 if due is None else max(due, ceil(due / GRID - 1e-6) * GRID)
            arrival = self._arrivals[0][0] if self._arrivals else 1e9
            if min(tick, arrival) > until or min(tick, arrival) == 1e9:
                self.now = max(self.now, until if until < 1e9 else self.now)
                return
            self.now = max(self.now, min(tick, arrival))
            if arrival <= tick:
                _, _, packet, level = heappop(self._arrivals)
                self.uplink.handle_packet(packet, level=level, is_voice=None, now=self.now)
            else:
                self.uplink.handle_timeout(now=self.now)
            self.drain(lose)

    def drain(self, lose: Callable[[], bool] = lambda: False) -> None:
        for number in self.uplink.poll_missing():
            self.asked.append((self.now, number))
            if number in self._sent and not lose():
                self.send(self._sent[number], self.now + ROUND_TRIP)
        while (frame := self.uplink.poll_frame()) is not None:
            self.out.append((self.now, frame))

    @property
    def heard(self) -> list[Heard]:
        return [Heard(time, frame) for time, frame in self.out if isinstance(frame, AudioFrame)]

    @property
    def packets(self) -> list[EncodedFrame]:
        return [frame for _, frame in self.out if isinstance(frame, EncodedFrame)]

    def delay_at(self, time: float, *, drift: float = 0.0) -> float:
        """Return how long after it was spoken the frame came out that did at a time."""
        *_, last = (each for each in self.heard if each.time <= time)
        return last.time - last.number * 0.02 * (1 + drift)


def chance(share: float) -> Callable[[], bool]:
    generator = random.Random(1)
    return lambda: generator.random() < share


def jitter(most: float, least: float = 0.05) -> Callable[[float], float]:
    generator = random.Random(2)
    return lambda _: least + generator.uniform(0, most)


# Laws


@st.composite
def journeys(draw: st.DrawFn) -> list[tuple[float, int]]:
    """Packets sent every 20 ms, each lost, doubled or delayed by up to 200 ms: arrivals and indices."""
    fates = draw(st.lists(st.lists(st.integers(0, 200), max_size=2), min_size=1, max_size=40))
    return sorted((n * 0.02 + delay / 1000, n) for n, delays in enumerate(fates) for delay in delays)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@given(journeys())
def test_whatever_the_network_does_the_audio_is_whole_and_in_order_and_what_is_made_up_says_so(
    mode: Mode, arrivals: list[tuple[float, int]]
) -> None:
    network = Network(mode)
    for at, index in arrivals:
        network.send(packet_of(index), at)
    network.run()
    heard = network.heard
    if not arrivals:
        assert not heard
        return
    decode = open_codec("PCMU").decode
    first = arrivals[0][1]
    arrived_at: dict[int, float] = {}
    for at, index in arrivals:
        arrived_at.setdefault(index, at)
    for each in heard:
        if each.frame.is_concealed:
            assert each.frame.concealed_ms == 20
        else:
            index = first + each.number
            assert each.frame.pcm == decode(payload_of(index))
            assert arrived_at[index] <= each.time
            limit = HOLD_SECONDS if mode == "fast" else CEILING_SECONDS + 0.02
            assert each.time <= arrived_at[index] + limit + GRID + 1e-9

    # Each 20 ms once, in order; but for what is made up on top, and losses of more than 120 ms.
    for one, other in pairwise(heard):
        step = other.number - one.number
        assert step >= 0
        assert step == 1 or (other.frame.is_concealed if step else one.frame.is_concealed)
    said = network.uplink.statistics()
    # What is made up on top stands where the next frame would. That comes behind it, or is left out as the
    # beginning of a long loss, and then the two can't be told apart from here.
    on_top = sum(one.number == other.number for one, other in pairwise(heard)) + heard[-1].frame.is_concealed
    assert said.expanded_ms >= 20 * on_top if mode == "accurate" else said.expanded_ms == 0
    assert said.concealed_ms + said.expanded_ms == 20 * sum(each.frame.is_concealed for each in heard)
    assert said.compressed_ms == 0


@pytest.mark.slow
@given(journeys(), st.sampled_from(MODES))
def test_undecoded_each_packet_comes_out_once_or_its_time_does(
    arrivals: list[tuple[float, int]], mode: Mode
) -> None:
    network = Network(mode, wants="encoded")
    for at, index in arrivals:
        network.send(packet_of(index), at)
    network.run()
    for frame in network.packets:
        index = (frame.timestamp - FIRST_TIMESTAMP) % 2**32 // TICKS
        assert frame.ticks % TICKS == 0
        assert frame.payload in (b"", payload_of(index))
    ends = [(frame.timestamp + frame.ticks) & 0xFFFFFFFF for frame in network.packets]
    starts = [frame.timestamp for frame in network.packets]
    for end, start in zip(ends, starts[1:], strict=False):
        assert 0 <= (start - end) % 2**32 < 2**31
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("packet_ms", [10, 20, 30, 40, 60, 120])
def test_packets_of_any_length_come_out_in_frames_of_20_ms(mode: Mode, packet_ms: int) -> None:
    network = Network(mode)
    codec = open_codec("PCMU")
    said = b"".join(payload_of(index) for index in range(60))
    size = packet_ms * 8
    for number, start in enumerate(range(0, len(said), size)):
        timestamp = (FIRST_TIMESTAMP + start) & 0xFFFFFFFF
        network.send(packet_of(number, said[start : start + size], timestamp=timestamp), start / 8000)
    network.run()
    heard = [each for each in network.heard if not each.frame.is_concealed]
    assert [each.frame.position for each in heard] == [TICKS * index for index in range(60)]
    assert b"".join(each.frame.pcm for each in heard) == codec.decode(said)
    assert network.uplink.statistics().concealed_ms == 0


# Fast


def test_in_order_packets_come_out_at_once_and_untouched() -> None:
    network = Network("fast", wants="encoded")
    for index in range(40):
        network.uplink.handle_packet(packet_of(index), level=30, is_voice=True, now=index * 0.02)
        frame = network.uplink.poll_frame()
        timestamp = packet_of(index).timestamp
        assert frame == EncodedFrame(payload_of(index), TICKS, timestamp, level=30, is_voice=True)
        assert network.uplink.poll_timeout() is None


def test_level_and_voice_are_handed_on_with_the_sound() -> None:
    uplink = Network("fast").uplink
    for index in range(2):
        uplink.handle_packet(packet_of(index), level=30 + index, is_voice=bool(index), now=0.0)
        frame = uplink.poll_frame()
        assert isinstance(frame, AudioFrame)
        assert (frame.level, frame.is_voice) == (30 + index, bool(index))


@pytest.mark.parametrize(("spread", "wait"), [(0.0, 0.010), (0.06, 0.025), (0.2, HOLD_SECONDS)])
def test_the_wait_at_a_gap_is_as_long_as_the_jitter_makes_it_worth(spread: float, wait: float) -> None:
    network = Network("fast")
    network.talk(4, lambda at: 0.05 + (spread if round(at * 50) % 5 == 0 else 0))
    assert network.uplink.statistics().target_ms == pytest.approx(
        min(max(10, spread * 1000), 1000 * HOLD_SECONDS), abs=2
    )
    network.out.clear()
    # After a pause, a packet that is a quarter as late as the latest comes behind a lost one.
    for index, at in ((200, 6.05), (202, 6.09 + spread / 4)):
        timestamp = (FIRST_TIMESTAMP + (index + 100) * TICKS) & 0xFFFFFFFF
        network.send(packet_of(index, timestamp=timestamp), at)
    network.run()
    assert [each.frame.is_concealed for each in network.heard] == [False, True, False]
    assert network.heard[1].time - at == pytest.approx(wait, abs=GRID)


def test_what_comes_while_the_gap_is_waited_for_fills_it() -> None:
    network = Network("fast")
    for index, at in ((0, 0.0), (2, 0.04), (3, 0.06), (1, 0.09)):
        network.send(packet_of(index), at)
    network.run()
    # Three packets have not told anything about jitter yet but that the third was late.
    assert [each.frame.is_concealed for each in network.heard] in ([False] * 4, [False, True, False, False])


@pytest.mark.parametrize("has_nack", [True, False])
def test_a_gap_is_waited_for_as_long_as_an_answer_takes(has_nack: bool) -> None:
    network = Network("fast", has_nack=has_nack)
    network.uplink.set_round_trip(0.03)
    for index in range(60):
        if index != 50:
            network.send(packet_of(index), index * 0.02)
    network.send(packet_of(50), 51 * 0.02 + 0.028)
    network.run()
    said = network.uplink.statistics()
    assert [number for _, number in network.asked] == ([(FIRST + 50) & 0xFFFF] * has_nack)
    assert said.nack_recovered == has_nack
    assert said.concealed_ms == (0 if has_nack else 20)
    assert said.drops == ({} if has_nack else {"audio_late": 1})


def test_no_answer_is_asked_for_that_comes_too_late() -> None:
    network = Network("fast", has_nack=True)
    network.uplink.set_round_trip(0.07)
    network.talk(1, loss=chance(0.2))
    assert network.asked == []


def test_a_burst_after_a_stall_of_the_network_comes_out_at_once() -> None:
    network = Network("fast")
    network.talk(4, lambda at: max(0.05, 3 - at if 2 < at < 3 else 0))
    assert [each.number for each in network.heard] == list(range(200))
    assert network.uplink.statistics().concealed_ms == 0


# Accurate


@pytest.mark.slow
@pytest.mark.parametrize("most", [0.0, 0.02, 0.05, 0.1])
def test_the_delay_is_as_long_as_the_jitter(most: float) -> None:
    network = Network("accurate")
    network.talk(30, jitter(most))
    said = network.uplink.statistics()
    assert said.target_ms <= 1000 * most + 11
    for second in range(10, 29):
        assert 0.05 <= network.delay_at(second) <= 0.05 + most + 0.04
    assert said.concealed_ms == 0
    # The last six frames are what an end looks like.
    assert said.expanded_ms <= 120 + 100


def test_the_sound_is_even_at_steps_of_20_ms() -> None:
    network = Network("accurate")
    network.talk(20, jitter(0.05))
    times = [each.time for each in network.heard]
    assert times == sorted(times)
    assert all(later - earlier < 0.02 + 2 * GRID for earlier, later in pairwise(times))


@pytest.mark.parametrize("drift", [-0.005, 0.005])
@pytest.mark.parametrize("wants", ["pcm", "encoded"])
@pytest.mark.slow
def test_the_drift_of_the_clients_clock_is_taken_up_in_its_pauses(drift: float, wants: Any) -> None:
    network = Network("accurate", wants=wants)
    network.talk(180, jitter(0.02), drift=drift, has_level=True)
    said = network.uplink.statistics()
    assert said.drift_ppm == pytest.approx(drift * 1e6, abs=300)
    # Half a per cent of three minutes is 900 ms.
    assert said.compressed_ms - said.expanded_ms + 120 == pytest.approx(-900 if drift > 0 else 900, abs=120)
    assert said.concealed_ms == 0
    for second in range(10, 179, 3) if wants == "pcm" else ():
        assert 0.05 < network.delay_at(second, drift=drift) < 0.05 + 0.02 + 0.06
    times = [time for time, _ in network.out]
    assert max(later - earlier for earlier, later in pairwise(times)) < 0.06


@pytest.mark.slow
def test_without_a_pause_drift_is_taken_up_at_the_ceiling() -> None:
    network = Network("accurate")
    network.talk(80, drift=-0.005, say=payload_of)
    said = network.uplink.statistics()
    assert said.compressed_ms > 100
    delays = [each.time - each.number * 0.0199 for each in network.heard if not each.frame.is_concealed]
    assert max(delays) < 0.05 + CEILING_SECONDS + 0.03


@pytest.mark.slow
@pytest.mark.parametrize("wants", ["pcm", "encoded"])
def test_the_delay_is_back_within_five_seconds_after_a_burst_of_jitter(wants: Any) -> None:
    network = Network("accurate", wants=wants)
    burst, calm = jitter(0.2), jitter(0.01)
    network.talk(20, lambda at: burst(at) if 10 < at < 12 else calm(at), has_level=True)
    said = network.uplink.statistics()
    assert said.target_ms < 30
    assert said.compressed_ms >= 80
    assert max(later - earlier for (earlier, _), (later, _) in pairwise(network.out)) < 0.2
    if wants == "pcm":
        assert network.delay_at(9.9) < 0.11
        assert network.delay_at(12.2) > 0.18
        assert network.delay_at(17) < 0.11


def test_what_a_stall_of_the_network_lets_go_at_once_is_cut_to_the_ceiling() -> None:
    network = Network("accurate")
    network.talk(12, lambda at: max(0.05, 7 - at if 6 < at < 7 else 0), say=payload_of)
    assert network.delay_at(7.3) <= 0.05 + CEILING_SECONDS + 0.02
    assert network.uplink.statistics().compressed_ms == pytest.approx(1000 - 240, abs=60)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_each_lost_packet_is_concealed_where_it_was(share: float) -> None:
    network = Network("accurate")
    lost = []
    lose = chance(share)

    def loss() -> bool:
        lost.append(lose())
        return lost[-1]

    network.talk(20, jitter(0.02), loss=loss, say=payload_of)
    first = lost.index(False)
    heard = {each.number + first: each.frame for each in network.heard[:-6]}
    assert sorted(heard) == list(range(first, max(heard) + 1))
    assert all(heard[index].is_concealed == lost[index] for index in heard)
    assert network.uplink.statistics().drops == {}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_redundancy_makes_good_all_but_losses_in_a_row(mode: Mode) -> None:
    network = Network(mode, red=63)
    lose = chance(0.1)
    lost = []

    def loss() -> bool:
        lost.append(lose())
        return lost[-1]

    network.talk(20, jitter(0.02), loss=loss, red=RedEncoder(0))
    said = network.uplink.statistics()
    alone = sum(here and not after for here, after in pairwise(lost))
    assert said.red_recovered >= alone - 2 > 50
    assert said.concealed_ms <= 20 * (sum(lost) - alone + 2)


@pytest.mark.slow
def test_most_of_what_is_asked_for_comes_in_time() -> None:
    network = Network("accurate", has_nack=True)
    network.talk(30, jitter(0.01), loss=chance(0.1))
    said = network.uplink.statistics()
    assert said.nack_recovered > 100
    assert said.concealed_ms < 20 * 150 * 0.3
    assert said.target_ms > 1000 * ROUND_TRIP
    asked = [number for _, number in network.asked]
    assert max(asked.count(number) for number in asked) <= 3


@pytest.mark.slow
def test_after_the_last_loss_the_delay_no_longer_leaves_time_for_answers() -> None:
    network = Network("accurate", has_nack=True)
    lost = iter([True, False] * 100 + [False] * 1000)
    network.talk(20, loss=lambda: next(lost, False))
    assert network.uplink.statistics().target_ms < 30
    assert network.delay_at(12) < 0.1


def test_a_stall_of_our_own_makes_nothing_up() -> None:
    network = Network("accurate")
    for index in range(100):
        network.send(packet_of(index), index * 0.02)
    network.run(1.0)
    before = len(network.heard)
    # For 400 ms nobody reads a packet nor looks at the clock; then the clock comes first.
    network.uplink.handle_timeout(now=1.4)
    network.drain()
    network.now = 1.4
    network.run()
    assert len(network.heard) > before
    assert network.uplink.statistics().expanded_ms <= 120 + 40


# Pauses


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wants", ["pcm", "encoded"])
def test_silence_that_was_not_sent_is_not_heard_and_the_clock_stays_true(mode: Mode, wants: Any) -> None:
    network = Network(mode, wants=wants)
    for index in range(100):
        start = index * 0.02 + (3 if index >= 50 else 0)
        timestamp = (FIRST_TIMESTAMP + round(start * 8000)) & 0xFFFFFFFF
        network.send(packet_of(index, timestamp=timestamp), start + 0.05)
    network.run()
    said = network.uplink.statistics()
    assert said.concealed_ms == 0
    assert said.drift_ppm == 0
    if wants == "encoded":
        assert [frame.payload for frame in network.packets] == [payload_of(index) for index in range(100)]
        return
    heard = [each for each in network.heard if not each.frame.is_concealed]
    positions = [TICKS * index + (24_000 if index >= 50 else 0) for index in range(100)]
    assert [each.frame.position for each in heard] == positions
    again = next(each for each in heard if each.frame.position == positions[50])
    assert again.time - 4.05 <= 0.06


def test_a_frame_cut_short_by_a_pause_is_filled_up() -> None:
    for mode in MODES:
        network = Network(mode)
        half = payload_of(1)[:80]
        for index, start in enumerate([0, 80, 160, 2000, 2080, 2085]):
            timestamp = (FIRST_TIMESTAMP + start) & 0xFFFFFFFF
            network.send(packet_of(index, half, timestamp=timestamp), start / 8000)
        network.run()
        made_up = [(each.frame.position, each.frame.concealed_ms) for each in network.heard]
        if mode == "fast":
            assert made_up == [(0, 0), (160, 0), (2000, 0)]
        else:  # Whose clock had to go on before anybody knew of the pause.
            assert [each for each in made_up if each[1] < 20] == [(0, 0), (160, 10), (2000, 0), (2160, 10)]


def test_a_client_that_goes_silent_is_not_made_up_for() -> None:
    encoder = OpusEncoder(dtx=True)
    network = Network("accurate")
    uplink = Uplink(parameters("opus"), open_codec("opus"), mode="accurate")
    network.uplink = uplink
    sound = voice(0.4)
    for index in range(20):
        packet = encoder.encode(sound[index * 1920 : (index + 1) * 1920])
        network.send(RtpPacket(111, index, index * 960, 1, packet), index * 0.02)
    network.send(RtpPacket(111, 20, 20 * 960, 1, b"\x48"), 0.4)
    network.send(RtpPacket(111, 21, 60 * 960, 1, b"\x48"), 1.2)
    network.run()
    assert uplink.statistics().expanded_ms == 0
    assert [each.frame.position // 960 for each in network.heard] == [*range(21), 60]


def shifted(index: int, start: float, payload: bytes | None = None) -> RtpPacket:
    """Return a packet that begins so many seconds after the start of the stream."""
    return packet_of(index, payload, timestamp=(FIRST_TIMESTAMP + round(start * 8000)) & 0xFFFFFFFF)


@pytest.mark.parametrize("wants", ["pcm", "encoded"])
def test_what_follows_a_pause_waits_for_its_time(wants: Any) -> None:
    network = Network("accurate", wants=wants)
    network.talk(2, jitter(0.1))
    after = len(network.out)
    network.send(shifted(100, 2.5), 2.67)
    network.send(shifted(101, 2.62), 2.67)
    network.run()
    times = [time for time, frame in network.out[after:] if not getattr(frame, "is_concealed", False)]
    # The first was late, so that the pause is shorter by as much.
    assert times[0] == pytest.approx(2.67, abs=GRID)
    assert times[1] == pytest.approx(2.62 + 0.05 + 0.1, abs=0.015)


def test_a_pause_in_the_middle_of_a_frame_ends_it() -> None:
    network = Network("accurate")
    network.talk(2, jitter(0.1))
    after = len(network.out)
    half = payload_of(100)[:80]
    network.send(shifted(100, 2.5, half), 2.62)
    network.send(shifted(101, 2.56), 2.62)
    network.run()
    frames = [each.frame for each in network.heard[after:] if not each.frame.is_concealed]
    assert [frame.position for frame in frames] == [20_000, 20_480]
    assert frames[0].pcm == open_codec("PCMU").decode(half) + bytes(160)


@pytest.mark.parametrize("mode", MODES)
def test_packets_lost_where_the_timestamps_leave_no_time_make_no_sound(mode: Mode) -> None:
    network = Network(mode)
    for index in range(10):
        network.send(packet_of(index), index * 0.02)
    network.send(packet_of(11, timestamp=packet_of(10).timestamp + 10), 0.2)
    network.run()
    positions = [each.frame.position for each in network.heard if not each.frame.is_concealed]
    assert positions == [*(TICKS * index for index in range(10)), 10 * TICKS + 10]
    assert network.uplink.statistics().concealed_ms == 0


@pytest.mark.slow
@pytest.mark.parametrize("wants", ["pcm", "encoded"])
def test_a_delay_short_of_the_target_grows_in_silence(wants: Any) -> None:
    network = Network("accurate", wants=wants, has_nack=True)
    network.uplink.set_round_trip(0.15)
    lost = iter([False] * 100 + [True])
    network.talk(6, loss=lambda: next(lost, False), has_level=True)
    said = network.uplink.statistics()
    assert said.target_ms > 150
    assert said.expanded_ms >= 120 + 120
    if wants == "pcm":
        assert network.delay_at(1.9) < 0.1
        assert network.delay_at(4) > 0.05 + 0.15
        # The first of it while the lost packet was waited for.
        on_top = [each for each in network.heard[:-6] if each.time > 2.3 and each.frame.is_concealed]
        assert on_top
        assert min(each.number % CYCLE for each in on_top) >= SPEECH


def test_a_clock_that_nothing_is_due_for_does_nothing() -> None:
    network = Network("accurate")
    network.uplink.handle_timeout(now=0.0)
    network.uplink.handle_packet(packet_of(0), now=1.0)
    network.uplink.handle_timeout(now=1.01)
    network.drain()
    assert network.out == []


def test_a_short_packet_that_announces_silence_ends_its_frame_too() -> None:
    network = Network("accurate")
    network.uplink = Uplink(parameters("opus"), open_codec("opus"), mode="accurate")
    network.send(RtpPacket(111, 0, 0, 1, b"\x40"), 0.0)
    network.run()
    assert [each.frame.concealed_ms for each in network.heard] == [10]
    assert network.uplink.poll_timeout() is None


def test_an_end_in_the_middle_of_a_frame_is_filled_up() -> None:
    network = Network("accurate")
    network.send(packet_of(0, payload_of(0) + bytes(80)), 0.0)
    network.run()
    assert [each.frame.concealed_ms for each in network.heard] == [0, 10, 20, 20, 20, 20, 20]
    assert network.heard[-1].frame.position == 240
    assert network.uplink.poll_timeout() is None


# Streams


@pytest.mark.parametrize("mode", MODES)
def test_another_source_goes_on_where_the_first_one_ended(mode: Mode) -> None:
    network = Network(mode, has_nack=True)
    for index in range(50):
        network.send(packet_of(index), index * 0.02)
    for index in range(50):
        packet = packet_of(50 + index, ssrc=2, sequence_number=7 + index, timestamp=index * TICKS)
        network.send(packet, 1 + index * 0.02)
    network.run()
    heard = [each.frame.position for each in network.heard if not each.frame.is_concealed]
    assert heard == [TICKS * index for index in range(100)]


# Decoding


def opus_packets(seconds: float) -> Iterator[tuple[int, bytes]]:
    encoder = OpusEncoder(bitrate=24_000, inband_fec=True, expected_loss_percent=30)
    sound = voice(seconds)
    for index in range(round(seconds * 50)):
        yield index, encoder.encode(sound[index * 1920 : (index + 1) * 1920])


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_next_packets_copy_makes_good_a_loss(mode: Mode) -> None:
    network = Network(mode)
    network.uplink = Uplink(parameters("opus"), open_codec("opus"), mode=mode)
    for index, payload in opus_packets(1.0):
        if index not in (20, 30, 31):
            network.send(RtpPacket(111, index, index * 960, 1, payload), index * 0.02)
    network.run()
    real = {each.frame.position // 960 for each in network.heard if not each.frame.is_concealed}
    assert real >= {20, 31}
    assert 30 not in real
    said = network.uplink.statistics()
    assert (said.fec_recovered, said.concealed_ms) == (2, 20)


def test_what_the_codec_refuses_is_counted_and_concealed() -> None:
    network = Network("fast")
    network.uplink = Uplink(parameters("opus"), open_codec("opus"), mode="fast")
    bad = b"\xfb\x02\x00\x00\x00"
    with pytest.raises(WireError):
        open_codec("opus").decode(bad)
    frames = [bad, *(payload for _, payload in opus_packets(0.1)), bad]
    for index, payload in enumerate(frames):
        timestamp = index * 960 + (960 if index else 0)
        network.send(RtpPacket(111, index, timestamp, 1, payload), index * 0.02)
    network.run()
    assert [each.frame.position // 960 for each in network.heard] == [2, 3, 4, 5, 6, 7, 8]
    assert [each.frame.concealed_ms for each in network.heard] == [0] * 5 + [20] * 2
    assert network.uplink.statistics().drops == {"codec": 2}


@pytest.mark.parametrize("mode", MODES)
def test_nothing_comes_out_until_it_is_wanted_and_then_at_its_place(mode: Mode) -> None:
    codec = open_codec("PCMU")
    network = Network(mode)
    network.uplink = uplink = Uplink(parameters("PCMU"), codec, mode=mode)
    uplink.wants = "nothing"
    for index in range(100):
        if index != 20:
            network.send(packet_of(index), index * 0.02)
    network.run(1.0)
    assert network.out == []
    assert uplink.statistics().concealed_ms == 20
    codec.use_rate(16000)
    uplink.wants = "pcm"
    network.run(1.5)
    uplink.wants = "encoded"
    network.run(1.7)
    uplink.wants = "pcm"
    network.run()
    assert {len(each.frame.pcm) for each in network.heard} == {640}
    real = [each.frame for each in network.heard if not each.frame.is_concealed]
    assert all(frame.position % 320 == 0 for frame in real)
    assert 48 <= real[0].position // 320 <= 51
    assert len(network.packets) >= 9
    assert real[-1].position // 320 == 99


def test_statistics_say_what_is_held() -> None:
    network = Network("accurate", has_nack=True)
    for index in (0, 1, 2, 4):
        network.uplink.handle_packet(packet_of(index), now=0.02 * index)
    said = network.uplink.statistics()
    assert said.depth_ms == 40
    assert said.target_ms >= 40
    assert said.drops == {}
    assert network.uplink.poll_missing() == ((FIRST + 3) & 0xFFFF,)
