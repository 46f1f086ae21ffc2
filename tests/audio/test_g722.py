from fractions import Fraction
from typing import Literal

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import frames, likeness, to_samples, voice
from voicegate.audio import G722Codec
from voicegate.errors import UsageError, WireError

SPEECH = voice(1.0, sample_rate=16000)


def reference(mode: Literal["r", "w"]) -> av.AudioCodecContext:
    """Return FFmpeg's codec, the one aiortc uses."""
    context = av.CodecContext.create("g722", mode)
    context.format = av.AudioFormat("s16")
    context.layout = av.AudioLayout("mono")
    context.sample_rate = 16000
    if mode == "w":
        context.time_base = Fraction(1, 16000)
    return context


def encode_all(codec: G722Codec, pcm: bytes = SPEECH) -> list[bytes]:
    return [codec.encode(frame) for frame in frames(pcm, 320)]


def test_payloads_are_the_same_as_those_of_ffmpeg() -> None:
    encoder = reference("w")
    expected = b""
    for pcm in frames(SPEECH, 320):
        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2")[None], format="s16", layout="mono")
        frame.sample_rate = 16000
        expected += b"".join(bytes(packet) for packet in encoder.encode(frame))
    assert b"".join(encode_all(G722Codec())) == expected


def test_samples_are_the_same_as_those_of_ffmpeg() -> None:
    codec, decoder = G722Codec(), reference("r")
    for payload in encode_all(G722Codec()):
        (expected,) = decoder.decode(av.Packet(payload))
        assert codec.decode(payload) == expected.to_ndarray().tobytes()


def test_the_clock_runs_at_half_the_sampling_rate() -> None:
    codec = G722Codec()
    payload = codec.encode(SPEECH[:640])
    assert len(payload) == 160 == codec.duration(payload) == codec.clock_rate // 50
    assert len(codec.decode(payload)) == 640
    assert codec.sample_rate == 16000


@given(st.binary(min_size=1, max_size=400))
def test_any_bytes_decode_to_two_samples_each(payload: bytes) -> None:
    codec = G722Codec()
    assert len(codec.decode(payload)) == 4 * codec.duration(payload)


@pytest.mark.parametrize("size", [1, 2, 3, 638])
def test_half_a_pair_of_samples_cannot_be_encoded(size: int) -> None:
    with pytest.raises(UsageError):
        G722Codec().encode(bytes(size))


def test_an_empty_payload_is_a_wire_error() -> None:
    with pytest.raises(WireError):
        G722Codec().decode(b"")


def test_concealment_repeats_the_last_frame_ever_more_quietly() -> None:
    codec = G722Codec()
    assert codec.conceal(320) == bytes(640)
    last = to_samples([codec.decode(payload) for payload in encode_all(G722Codec())][-1])
    concealed = to_samples(codec.conceal(640))
    assert abs(concealed[:320] - last / 2).max() <= 1
    assert abs(concealed[320:] - last / 4).max() <= 2


def test_silence_dies_away_after_any_sound() -> None:
    codec = G722Codec()
    for payload in encode_all(G722Codec()):
        codec.decode(payload)
    levels = [abs(to_samples(codec.decode(codec.silence))).max() for _ in range(5)]
    assert levels[-1] < 100


def test_speech_after_encoded_silence_is_not_disturbed() -> None:
    ours, theirs = G722Codec(), G722Codec()
    payloads = [*encode_all(ours)[:40], *(ours.encode_silence(160) for _ in range(10)), *encode_all(ours)]
    heard = [theirs.decode(payload) for payload in payloads]
    assert abs(to_samples(heard[45])).max() < 50
    assert likeness(SPEECH, b"".join(heard[50:]))[0] > 0.97
