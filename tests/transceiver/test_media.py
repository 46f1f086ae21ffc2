import gc
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf
from typing import Any, Self

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transceiver.harness import seeded
from voicegate.audio import open_codec
from voicegate.call import AudioFrame, EncodedFrame
from voicegate.rtp import OpusFormat, RtpPacket, RtpSender, decode_compound
from voicegate.rtp.feedback import GenericNack
from voicegate.rtp.rtcp import Goodbye, ReceiverReport, ReportBlock, SenderReport, encode_compound
from voicegate.sdp import AudioParameters
from voicegate.sdp.audio import CODECS
from voicegate.srtp import SrtpSession
from voicegate.testing import sound
from voicegate.transceiver.clock import SlotClock
from voicegate.transceiver.media import Media
from voicegate.wire import PacketKind, classify

PROFILE = 0x0007
KEYS = bytes(range(SrtpSession.keying_material_length(PROFILE)))


def parameters(
    codec: str, *, fmtp: dict[str, str] | None = None, direction: str = "sendrecv", **others: Any
) -> AudioParameters:
    known = CODECS[codec]
    return AudioParameters(
        mid="0",
        codec=codec,
        payload_type=known.payload_type,
        clock_rate=known.clock_rate,
        channels=known.channels,
        fmtp=fmtp or {},
        direction=direction,
        remote_ssrcs=(),
        extensions=(),
        has_rtcp_reduced_size=False,
        packet_time_ms=None,
        opus=OpusFormat.read(fmtp or {}) if codec == "opus" else None,
        **others,
    )


@attrs.define
class Line:
    """Our media on one end, a bare SRTP session on the other."""

    media: Media
    peer: SrtpSession
    sender: RtpSender
    now: float = 50.0
    sent: list[tuple[float, RtpPacket]] = attrs.field(factory=list)
    reports: list[bytes] = attrs.field(factory=list)
    heard: list[AudioFrame] = attrs.field(factory=list)
    clock: SlotClock[str] = attrs.field(factory=SlotClock)

    @classmethod
    def make(
        cls,
        codec: str = "PCMU",
        *,
        fmtp: dict[str, str] | None = None,
        direction: str = "sendrecv",
        now: float = 50.0,
        random: Callable[[int], bytes] = seeded(1),  # noqa: B008 - it goes on, and nobody minds
        **others: Any,
    ) -> Self:
        audio = parameters(codec, fmtp=fmtp, direction=direction, **others)
        media = Media(audio, ssrc=1, cname="us", random=random, now=now, ntp_at_zero=3.9e9)
        ours, peer = (
            SrtpSession.from_exporter(profile=PROFILE, keying_material=KEYS, is_client=is_client)
            for is_client in (False, True)
        )
        media.open(ours, now=now)
        sender = RtpSender.begin(
            ssrc=2, payload_type=audio.payload_type, clock_rate=audio.clock_rate, random=seeded(2)
        )
        line = cls(media, peer, sender, now)
        line.drain()
        if media.frame_seconds is not None:
            line.clock.join("line", frame_seconds=media.frame_seconds, now=now)
        return line

    def tick(self, now: float) -> None:
        """Let the process look at the clock, be it late."""
        self.now = now
        self.media.handle_timeout(now=now)
        after = self.media.poll_timeout()
        assert after is None or after > now
        self.clock.handle_timeout(now=now)
        while (frames := self.clock.poll_frames()) is not None:
            for data in self.media.next_packets(missed=frames.missed, now=now):
                self.take(data)
        self.drain()

    @property
    def due(self) -> float:
        """When the next frame is."""
        due = self.clock.poll_timeout()
        assert due is not None
        return due

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            dues = [due for part in (self.media, self.clock) if (due := part.poll_timeout()) is not None]
            if min(dues, default=inf) > end:
                break
            self.tick(max(min(dues), self.now))
        self.now = end

    def take(self, data: bytes) -> None:
        plain = self.peer.unprotect_rtp(data)
        assert plain is not None
        self.sent.append((self.now, RtpPacket.decode(plain)))

    def drain(self) -> None:
        while (data := self.media.poll_transmit()) is not None:
            if classify(data) is PacketKind.RTCP:
                plain = self.peer.unprotect_rtcp(data)
                assert plain is not None
                self.reports.append(plain)
            else:
                self.take(data)
        while (frame := self.media.poll_audio()) is not None:
            assert isinstance(frame, AudioFrame)
            self.heard.append(frame)

    def packet(self, payload: bytes, *, samples: int = 160) -> bytes:
        return self.peer.protect_rtp(self.sender.next_packet(payload, samples=samples, now=self.now))

    def receive(self, data: bytes) -> bool:
        is_authentic = self.media.handle_rtp(data, now=self.now)
        self.drain()
        return is_authentic

    @property
    def packets(self) -> list[RtpPacket]:
        return [packet for _, packet in self.sent]


def spoken(seconds: float, rate: int = 8000) -> bytes:
    return sound.speech_like(seconds, rate=rate).pcm


# Frames out


def test_the_first_frame_leaves_at_once_and_others_every_20_ms_on_a_grid_of_5_ms() -> None:
    line = Line.make(now=50.0123)
    line.run(1.0)
    times = [at for at, _ in line.sent]
    assert times[0] == pytest.approx(50.0123)
    assert 50.0173 <= times[1] <= 50.0423
    assert times[1:] == pytest.approx([times[1] + 0.02 * index for index in range(len(times) - 1)])
    assert times[1] / 0.005 == pytest.approx(round(times[1] / 0.005))
    assert len(times) in {50, 51}
    packets = line.packets
    for before, after in pairwise(packets):
        assert (after.sequence_number - before.sequence_number) & 0xFFFF == 1
        assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 160
    assert line.media.slots_missed == 0
    assert line.media.packets_out == len(times)


@pytest.mark.parametrize(
    ("stall", "missed", "next_after"),
    [(0.019, 0, 0.001), (0.02, 1, 0.02), (0.047, 2, 0.013), (0.2, 10, 0.02), (7.0, 350, 0.02)],
)
def test_a_stalled_process_sends_one_frame_and_keeps_true_time(
    stall: float, missed: int, next_after: float
) -> None:
    line = Line.make()
    line.run(0.1)
    due = line.due
    last = line.packets[-1]
    before = len(line.sent)
    line.tick(due + stall)
    assert len(line.sent) == before + 1
    assert line.media.slots_missed == missed
    packet = line.packets[-1]
    assert (packet.sequence_number - last.sequence_number) & 0xFFFF == 1
    assert (packet.timestamp - last.timestamp) & 0xFFFFFFFF == (missed + 1) * 160
    assert line.due == pytest.approx(due + stall + next_after, abs=1e-6)


@given(stalls=st.lists(st.floats(0, 0.3) | st.integers(0, 20).map(lambda slots: slots * 0.02), max_size=20))
@settings(max_examples=50)
def test_timestamps_tell_true_time_whatever_stalls(stalls: list[float]) -> None:
    line = Line.make()
    origin = line.due - 0.02
    for stall in stalls:
        before = len(line.sent)
        line.tick(line.due + stall)
        assert len(line.sent) == before + 1
        elapsed = (line.packets[-1].timestamp - line.packets[0].timestamp) & 0xFFFFFFFF
        slot = origin + elapsed / 8000
        assert slot - 1e-6 <= line.now < slot + 0.02


def test_speech_goes_out_frame_by_frame_and_nothing_is_lost_in_a_stall() -> None:
    line = Line.make()
    pcm = spoken(0.5)
    line.media.downlink.playout.push(pcm)
    line.run(0.2)
    line.tick(line.now + 0.1)
    line.run(1.0)
    codec = open_codec("PCMU")
    sent = b"".join(packet.payload for packet in line.packets)
    assert sent[160:].startswith(codec.encode(pcm))
    assert set(sent[4160:]) == set(codec.silence)


def test_the_marker_is_on_the_first_frame_of_speech_and_on_no_other() -> None:
    line = Line.make()
    line.media.downlink.playout.push(spoken(0.1))
    line.run(0.5)
    line.media.downlink.playout.push(spoken(0.1))
    line.run(0.5)
    marked = [index for index, packet in enumerate(line.packets) if packet.marker]
    assert marked == [1, 26]


def test_after_speech_ten_silent_frames_are_encoded_and_then_one_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = Line.make("opus")
    codec, encoded = line.media.codec, []

    def encode(pcm: bytes) -> bytes:
        encoded.append(len(line.sent))
        return type(codec).encode(codec, pcm)

    monkeypatch.setattr(codec, "encode", encode)
    line.media.downlink.playout.push(spoken(0.5, 48000))
    line.run(2.0)
    assert encoded == list(range(1, 1 + 25 + 10))
    assert [packet.payload for packet in line.packets[36:]] == [codec.silence] * 65
    encoded.clear()
    line.media.downlink.playout.push(spoken(0.1, 48000))
    line.run(0.5)
    assert encoded == list(range(101, 101 + 5 + 10))
    assert [packet.payload for packet in line.packets[116:]] == [codec.silence] * 10


def test_with_dtx_silence_is_hardly_sent_and_time_goes_on() -> None:
    line = Line.make("opus", fmtp={"usedtx": "1"})
    line.media.downlink.playout.push(spoken(0.5, 48000))
    line.run(4.0)
    quiet = [packet for at, packet in line.sent if at > 51.0]
    assert 1 <= len(quiet) <= 12, "a packet now and then, 400 ms apart"
    line.media.downlink.playout.push(spoken(0.1, 48000))
    before = len(line.sent)
    line.run(0.1)
    onset = line.packets[before]
    assert onset.marker
    elapsed = (onset.timestamp - line.packets[1].timestamp) & 0xFFFFFFFF
    assert elapsed == round((line.sent[before][0] - line.sent[1][0]) * 48000)
    assert (onset.sequence_number - line.packets[0].sequence_number) & 0xFFFF == before


@pytest.mark.parametrize("direction", ["recvonly", "inactive"])
def test_nothing_is_sent_to_who_does_not_listen(direction: str) -> None:
    line = Line.make(direction=direction)
    line.media.downlink.playout.push(spoken(0.1))
    line.run(5.0)
    assert line.sent == []
    assert line.media.first_out_at is None
    assert line.media.downlink.playout.queued_samples == 800


def test_nothing_leaves_before_there_are_keys() -> None:
    media = Media(parameters("PCMU"), ssrc=1, cname="us", random=seeded(1), now=0.0, ntp_at_zero=0.0)
    for now in range(20):
        media.handle_timeout(now=float(now))
        assert media.poll_transmit() is None
    media.close(now=20.0)
    assert media.poll_transmit() is None
    assert media.poll_timeout() is None


def test_reports_tell_of_what_was_sent_and_the_last_one_says_goodbye() -> None:
    line = Line.make()
    line.run(6.0)
    assert len(line.reports) >= 2
    report = decode_compound(line.reports[-1])[0]
    assert isinstance(report, SenderReport)
    assert 0 < report.packet_count <= len(line.sent)
    line.media.close(now=line.now)
    line.drain()
    assert any(isinstance(packet, Goodbye) for packet in decode_compound(line.reports[-1]))
    assert line.media.poll_timeout() is None


# Frames in


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("packet_ms", [10, 20, 30, 40, 60])
def test_packets_of_any_length_become_frames_of_20_ms(packet_ms: int) -> None:
    line = Line.make()
    codec = open_codec("PCMU")
    pcm = spoken(1.2)
    for chunk in chunks(codec.encode(pcm), 8 * packet_ms):
        line.now += packet_ms / 1000
        assert line.receive(line.packet(chunk, samples=len(chunk)))
    assert [len(frame.pcm) for frame in line.heard] == [320] * 60
    assert [frame.position for frame in line.heard] == [160 * index for index in range(60)]
    assert b"".join(frame.pcm for frame in line.heard) == codec.decode(codec.encode(pcm))
    assert {frame.sample_rate for frame in line.heard} == {8000}
    assert not any(frame.is_concealed for frame in line.heard)


@pytest.mark.parametrize("codec", ["opus", "PCMU"])
def test_a_lost_packet_is_concealed_and_flagged(codec: str) -> None:
    line = Line.make(codec)
    encoder = open_codec(codec)
    rate = encoder.sample_rate
    for index, pcm in enumerate(chunks(spoken(0.4, rate), 2 * rate // 50)):
        line.now += 0.02
        data = line.packet(encoder.encode(pcm), samples=encoder.clock_rate // 50)
        if index != 7:
            line.receive(data)
    assert [frame.is_concealed for frame in line.heard] == [index == 7 for index in range(20)]
    assert [frame.position for frame in line.heard] == [rate // 50 * index for index in range(20)]
    assert line.media.uplink.statistics().concealed_ms == 20


def test_a_gap_before_a_pause_is_given_up_by_time() -> None:
    line = Line.make()
    packets = [line.packet(bytes([index]) * 160) for index in range(3)]
    line.receive(packets[0])
    line.receive(packets[2])
    assert len(line.heard) == 1
    line.run(0.1)
    assert [frame.is_concealed for frame in line.heard] == [False, True, False]


def test_packets_in_the_wrong_order_are_heard_in_the_right_one() -> None:
    line = Line.make()
    codec = open_codec("PCMU")
    payloads = [bytes([index]) * 160 for index in range(6)]
    packets = [line.packet(payload) for payload in payloads]
    for index in (0, 2, 1, 3, 5, 4):
        line.receive(packets[index])
    assert b"".join(frame.pcm for frame in line.heard) == codec.decode(b"".join(payloads))


def test_sequence_numbers_wrap_unheard() -> None:
    line = Line.make()
    line.sender.sequence_number = 0xFFF0
    for index in range(40):
        line.receive(line.packet(bytes([index]) * 160))
    assert len(line.heard) == 40
    assert line.media.uplink.statistics().concealed_ms == 0
    assert line.media.all_drops() == {}


def test_another_payload_type_is_authentic_but_not_heard() -> None:
    line = Line.make()
    line.sender.payload_type = 101
    assert line.receive(line.packet(bytes(4)))
    assert line.media.all_drops() == {"payload_type": 1}
    assert line.heard == []
    assert line.media.first_in_at is None


def test_what_is_no_payload_of_the_codec_is_counted() -> None:
    line = Line.make("opus")
    # Code 3, and nothing that says how many frames there are.
    assert line.receive(line.packet(b"\xff", samples=960))
    # Code 3 with 2 frames in CBR, whose lengths do not come out even: only the decoder sees it.
    assert line.receive(line.packet(b"\xfb\x02\x00\x00\x00", samples=960))
    assert line.media.all_drops() == {"audio_malformed": 1, "codec": 1}
    assert line.heard == []


def test_an_authentic_packet_that_is_no_rtp_is_counted() -> None:
    line = Line.make()
    # Padding longer than the packet: libsrtp does not look at it.
    padded = bytearray(line.sender.next_packet(bytes([255]) * 20, samples=160, now=line.now))
    padded[0] |= 0x20
    assert line.receive(line.peer.protect_rtp(bytes(padded)))
    assert line.media.all_drops() == {"malformed_rtp": 1}


def test_reports_of_the_peer_are_taken_in_and_its_goodbye_ends_nothing() -> None:
    line = Line.make()
    peer = Media(parameters("PCMU"), ssrc=2, cname="them", random=seeded(3), now=line.now, ntp_at_zero=0.0)
    line.sender = peer._rtp._sender
    line.receive(line.packet(bytes(160)))
    peer.open(line.peer, now=line.now)
    peer.close(now=line.now)
    first, goodbye = iter(peer.poll_transmit, None)
    assert line.receive(first)
    assert line.media.handle_rtcp(goodbye, now=line.now)
    assert not line.media.handle_rtcp(goodbye, now=line.now), "a replay proves nothing"
    assert line.receive(line.packet(bytes(160)))
    assert len(line.heard) == 3


@pytest.mark.slow
@given(data=st.binary(max_size=200), is_rtcp=st.booleans(), codec=st.sampled_from(["opus", "PCMU"]))
def test_any_authentic_bytes_are_survived(data: bytes, is_rtcp: bool, codec: str) -> None:
    line = Line.make(codec)
    if is_rtcp:
        line.media.handle_rtcp(line.peer.protect_rtcp(b"\x81\xc8\x00\x06" + bytes(4) + data), now=line.now)
    else:
        line.receive(line.packet(data))
        line.receive(line.packet(data[::-1]))
        line.packet(data)
        line.receive(line.packet(data))
    line.run(1.0)
    assert all(len(frame.pcm) == 2 * line.media.codec.frame_samples for frame in line.heard)


# What the client asks for


def report(line: Line, *others: Any, fraction_lost: int = 0) -> None:
    """Let the client report on what we have sent."""
    block = ReportBlock(
        ssrc=1,
        fraction_lost=fraction_lost,
        packets_lost=0,
        highest_sequence_number=line.packets[-1].sequence_number,
        jitter=0,
        last_sender_report=0,
        delay_since_last_sender_report=0,
    )
    compound = encode_compound((ReceiverReport(ssrc=2, reports=(block,)), *others))
    assert line.media.handle_rtcp(line.peer.protect_rtcp(compound), now=line.now)


def test_packets_that_the_client_misses_are_sent_again_as_they_were() -> None:
    line = Line.make(has_nack=True)
    line.run(0.2)
    missed = tuple(line.packets[index].sequence_number for index in (3, 5))
    report(line, GenericNack(ssrc=2, media_ssrc=1, sequence_numbers=(*missed, 9999)))
    again = list(iter(line.media.poll_transmit, None))
    assert [RtpPacket.decode(data[:12]).sequence_number for data in again] == list(missed)
    assert line.peer.unprotect_rtp(again[0]) is None, "it has come before"
    assert line.peer.statistics().dropped == {"replayed": 1}


def test_who_did_not_agree_to_it_gets_nothing_again() -> None:
    line = Line.make()
    line.run(0.2)
    report(line, GenericNack(ssrc=2, media_ssrc=1, sequence_numbers=(line.packets[3].sequence_number,)))
    assert line.media.poll_transmit() is None


def test_what_we_miss_is_asked_for_at_once() -> None:
    line = Line.make(has_nack=True)
    line.media.uplink.set_round_trip(0.02)
    packets = [line.packet(bytes([index]) * 160) for index in range(4)]
    for index in (0, 1, 3):
        line.now += 0.02
        line.receive(packets[index])
    line.run(0.02)
    compound = line.reports[0]
    [nack] = [packet for packet in decode_compound(compound) if isinstance(packet, GenericNack)]
    assert nack.sequence_numbers == (RtpPacket.decode(packets[2][:12]).sequence_number,)
    line.receive(packets[2])
    assert [frame.is_concealed for frame in line.heard] == [False] * 4
    assert line.media.uplink.statistics().nack_recovered == 1


def test_a_bad_path_gets_every_frame_twice_and_a_good_one_once() -> None:
    line = Line.make("opus", red=63)
    line.run(0.1)
    for _ in range(5):
        line.run(1.0)
        report(line, fraction_lost=64)
    before = len(line.sent)
    line.run(0.1)
    assert {packet.payload_type for packet in line.packets[:before]} >= {111}
    assert {packet.payload_type for packet in line.packets[before:]} == {63}
    for _ in range(30):
        line.run(5.0)
        report(line)
    assert line.packets[-1].payload_type == 111
    first, *others = line.packets
    for packet in others:
        assert (packet.timestamp - first.timestamp) & 0xFFFFFFFF == 960 * (
            (packet.sequence_number - first.sequence_number) & 0xFFFF
        )


def test_how_the_audio_fares_can_be_asked() -> None:
    line = Line.make()
    for _ in range(20):
        line.now += 0.02
        line.receive(line.packet(bytes(160)))
    report(line, fraction_lost=128)
    figures = line.media.statistics()
    assert (figures.packets_lost, figures.depth_ms, figures.remote_loss) == (0, 0, 0.5)
    assert figures.jitter_ms <= 1


# A long call


@pytest.mark.slow
def test_two_hours_of_a_call_survive_every_wrap_and_cost_no_memory() -> None:
    # Our timestamps begin at their end, the sequence numbers of both halfway.
    line = Line.make("opus", random=lambda count: b"\xff" * count)
    line.sender.sequence_number, line.sender.timestamp = 0xFFF0, 0xFFFFF000
    line.media.uplink.wants = "encoded"
    packet = bytes([0x78]) + bytes(20)
    echoed = 0

    def talk(seconds: float) -> None:
        nonlocal echoed
        end = line.now + seconds
        while (due := min(line.due, line.media.poll_timeout() or inf)) < end:
            line.now = due
            line.media.handle_timeout(now=due)
            line.clock.handle_timeout(now=due)
            while (frames := line.clock.poll_frames()) is not None:
                for data in line.media.next_packets(missed=frames.missed, now=due):
                    plain = line.peer.unprotect_rtp(data)
                    assert plain is not None, "a roll-over that both ends count alike"
                    echoed += plain.endswith(packet)
                line.media.handle_rtp(line.packet(packet, samples=960), now=due)
            while (frame := line.media.poll_audio()) is not None:
                assert isinstance(frame, EncodedFrame)
                line.media.downlink.push_live(frame.payload, frame.ticks)
            while line.media.poll_transmit() is not None:
                pass

    talk(60)
    gc.collect()
    before = sys.getallocatedblocks()
    talk(7200 - 60)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    assert line.media.packets_out > 5 * 0x10000
    assert echoed > line.media.packets_out - 100
    assert line.media.packets_in == line.media.packets_out - 1
    assert line.media.slots_missed == 0
    assert line.media.all_drops() == {}
    assert grown < 500
