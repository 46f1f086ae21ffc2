import gc
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Self

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transceiver.harness import seeded
from voicegate.audio import open_codec
from voicegate.call import AudioFrame
from voicegate.rtp import RtpPacket, RtpSender, decode_compound
from voicegate.rtp.rtcp import Goodbye, SenderReport
from voicegate.sdp import AudioParameters
from voicegate.sdp.audio import CODECS
from voicegate.srtp import SrtpSession
from voicegate.testing import sound
from voicegate.transceiver.media import Media
from voicegate.wire import PacketKind, classify

PROFILE = 0x0007
KEYS = bytes(range(SrtpSession.keying_material_length(PROFILE)))


def parameters(
    codec: str, *, fmtp: dict[str, str] | None = None, direction: str = "sendrecv"
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
        telephone_event=None,
        has_rtcp_reduced_size=False,
        packet_time_ms=None,
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

    @classmethod
    def make(
        cls,
        codec: str = "PCMU",
        *,
        fmtp: dict[str, str] | None = None,
        direction: str = "sendrecv",
        now: float = 50.0,
    ) -> Self:
        audio = parameters(codec, fmtp=fmtp, direction=direction)
        media = Media(audio, ssrc=1, cname="us", random=seeded(1), now=now, ntp_at_zero=3.9e9)
        ours, peer = (
            SrtpSession.from_exporter(profile=PROFILE, keying_material=KEYS, is_client=is_client)
            for is_client in (False, True)
        )
        media.open(ours, now=now)
        sender = RtpSender.begin(
            ssrc=2, payload_type=audio.payload_type, clock_rate=audio.clock_rate, random=seeded(2)
        )
        return cls(media, peer, sender, now)

    def tick(self, now: float) -> None:
        """Let the process look at the clock, be it late."""
        self.now = now
        self.media.handle_timeout(now=now)
        after = self.media.poll_timeout()
        assert after is None or after > now
        self.drain()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.media.poll_timeout()) is not None and due <= end:
            self.tick(max(due, self.now))
        self.now = end

    def drain(self) -> None:
        while (data := self.media.poll_transmit()) is not None:
            if classify(data) is PacketKind.RTCP:
                plain = self.peer.unprotect_rtcp(data)
                assert plain is not None
                self.reports.append(plain)
            else:
                plain = self.peer.unprotect_rtp(data)
                assert plain is not None
                self.sent.append((self.now, RtpPacket.decode(plain)))
        while (frame := self.media.poll_audio()) is not None:
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
    assert times[1:] == pytest.approx([50.01 + 0.02 * index for index in range(1, len(times))])
    assert len(times) == 51
    packets = line.packets
    for before, after in pairwise(packets):
        assert (after.sequence_number - before.sequence_number) & 0xFFFF == 1
        assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 160
    assert line.media.slots_missed == 0
    assert line.media.packets_out == 51


@pytest.mark.parametrize(
    ("stall", "missed", "next_after"),
    [(0.019, 0, 0.001), (0.02, 1, 0.02), (0.047, 2, 0.013), (0.2, 10, 0.02), (7.0, 350, 0.02)],
)
def test_a_stalled_process_sends_one_frame_and_keeps_true_time(
    stall: float, missed: int, next_after: float
) -> None:
    line = Line.make()
    line.run(0.1)
    due = line.media.poll_timeout()
    assert due is not None
    last = line.packets[-1]
    before = len(line.sent)
    line.tick(due + stall)
    assert len(line.sent) == before + 1
    assert line.media.slots_missed == missed
    packet = line.packets[-1]
    assert (packet.sequence_number - last.sequence_number) & 0xFFFF == 1
    assert (packet.timestamp - last.timestamp) & 0xFFFFFFFF == (missed + 1) * 160
    deadline = line.media._next_frame_at
    assert deadline == pytest.approx(due + stall + next_after, abs=1e-6)


@given(stalls=st.lists(st.floats(0, 0.3) | st.integers(0, 20).map(lambda slots: slots * 0.02), max_size=20))
@settings(max_examples=50)
def test_timestamps_tell_true_time_whatever_stalls(stalls: list[float]) -> None:
    line = Line.make()
    for stall in stalls:
        due = line.media._next_frame_at
        assert due is not None
        before = len(line.sent)
        line.tick(due + stall)
        assert len(line.sent) == before + 1
        elapsed = (line.packets[-1].timestamp - line.packets[0].timestamp) & 0xFFFFFFFF
        slot = 50.0 + (elapsed / 8000) + int((stalls[0] + 1e-6) / 0.02) * 0.02
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
    assert sent.startswith(codec.encode(pcm))
    assert set(sent[4000:]) == set(codec.silence)


def test_the_marker_is_on_the_first_frame_of_speech_and_on_no_other() -> None:
    line = Line.make()
    line.media.downlink.playout.push(spoken(0.1))
    line.run(0.49)
    line.media.downlink.playout.push(spoken(0.1))
    line.run(0.49)
    marked = [index for index, packet in enumerate(line.packets) if packet.marker]
    assert marked == [0, 25]


def test_after_speech_ten_silent_frames_are_encoded_and_then_one_repeats() -> None:
    line = Line.make("opus")
    line.media.downlink.playout.push(spoken(0.5, 48000))
    line.run(1.99)
    payloads = [packet.payload for packet in line.packets]
    canned = line.media.codec.silence
    assert payloads[25 + 10 :] == [canned] * (len(payloads) - 35)
    assert canned not in payloads[: 25 + 10]
    line.media.downlink.playout.push(spoken(0.1, 48000))
    line.run(0.5)
    assert [packet.payload == canned for packet in line.packets[100:]] == [False] * 15 + [True] * 10


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
    elapsed = (onset.timestamp - line.packets[0].timestamp) & 0xFFFFFFFF
    assert elapsed == round((line.sent[before][0] - line.sent[0][0]) * 48000)
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
    assert line.media.uplink.frames_concealed == 1


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
    assert line.media.uplink.frames_concealed == 0
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
    assert line.receive(line.packet(b"", samples=960))
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
    goodbye = peer.poll_transmit()
    assert goodbye is not None
    assert line.media.handle_rtcp(goodbye, now=line.now)
    assert not line.media.handle_rtcp(goodbye, now=line.now), "a replay proves nothing"
    assert line.receive(line.packet(bytes(160)))
    assert len(line.heard) == 2


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


@pytest.mark.slow
def test_an_hour_of_a_call_costs_no_memory() -> None:
    line = Line.make()
    # The peer's packets are sparse, which makes them cheap, and wrap their sequence number.
    line.sender.sequence_number = 0xFFF0

    def talk(seconds: float) -> None:
        end = line.now + seconds
        while (due := line.media.poll_timeout()) is not None and due < end:
            line.now = due
            line.media.handle_timeout(now=due)
            if line.media.packets_out % 50 == 0:
                line.media.handle_rtp(line.packet(bytes(160)), now=due)
            while line.media.poll_transmit() is not None:
                pass
            while line.media.poll_audio() is not None:
                pass

    talk(60)
    gc.collect()
    before = sys.getallocatedblocks()
    talk(3600 - 60)
    gc.collect()
    grown = sys.getallocatedblocks() - before
    assert line.media.packets_out > 179_000
    assert line.media.packets_in > 3_500
    assert line.media.slots_missed == 0
    assert grown < 500
