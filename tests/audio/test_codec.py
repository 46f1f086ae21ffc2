import pytest

from tests.audio.signals import frames, likeness, to_samples, voice
from voicegate.audio import Codec, open_codec, packet_samples
from voicegate.errors import UsageError, WireError

CODECS = [("opus", 48000, 960), ("PCMU", 8000, 160), ("PCMA", 8000, 160)]
every_codec = pytest.mark.parametrize("name", [name for name, *_ in CODECS])


def speech_of(codec: Codec) -> bytes:
    return voice(1.0, sample_rate=codec.sample_rate)


def bits_per_second(codec: Codec) -> float:
    return 8.0 * sum(len(codec.encode(frame)) for frame in frames(speech_of(codec), codec.frame_samples))


@pytest.mark.parametrize(("name", "rate", "frame_samples"), CODECS)
def test_a_codec_says_what_it_is(name: str, rate: int, frame_samples: int) -> None:
    codec = open_codec(name)
    assert (codec.name, codec.sample_rate, codec.clock_rate) == (name, rate, rate)
    assert codec.frame_samples == frame_samples


@every_codec
def test_a_frame_goes_both_ways(name: str) -> None:
    codec = open_codec(name)
    speech = speech_of(codec)
    payloads = [codec.encode(frame) for frame in frames(speech, codec.frame_samples)]
    assert {codec.duration(payload) for payload in payloads} == {codec.frame_samples}
    assert likeness(speech, b"".join(codec.decode(payload) for payload in payloads))[0] > 0.95


@every_codec
def test_the_canned_payload_is_20_ms_of_silence(name: str) -> None:
    codec = open_codec(name)
    assert codec.duration(codec.silence) == codec.frame_samples
    pcm = codec.decode(codec.silence)
    assert len(pcm) == 2 * codec.frame_samples
    assert abs(to_samples(pcm)).max() <= 8


@every_codec
@pytest.mark.parametrize("following", [b"", b"\x4b\x06" + bytes(7), b"\xfb"])
def test_a_loss_is_made_up_for_whatever_comes_after(name: str, following: bytes) -> None:
    codec = open_codec(name)
    lost = 3 * codec.frame_samples
    assert len(codec.conceal(lost, following=following)) == 2 * lost


@every_codec
def test_an_empty_payload_is_a_wire_error(name: str) -> None:
    codec = open_codec(name)
    for take in (codec.decode, codec.duration):
        with pytest.raises(WireError):
            take(b"")


def test_the_client_may_ask_for_less_than_we_would_send() -> None:
    assert bits_per_second(open_codec("opus", fmtp={"maxaveragebitrate": "12000"})) < 15000


@pytest.mark.slow
@pytest.mark.parametrize("value", ["510000", "9" * 5000, "", "fast", "32000"])
def test_asking_for_more_or_for_nonsense_changes_nothing(value: str) -> None:
    fmtp = {"maxaveragebitrate": value, "stereo": "1"}
    assert bits_per_second(open_codec("opus", fmtp=fmtp)) == bits_per_second(open_codec("opus"))


@pytest.mark.parametrize("value", ["0", "-1", "1"])
def test_asking_for_less_than_opus_can_gives_the_least(value: str) -> None:
    assert bits_per_second(open_codec("opus", fmtp={"maxaveragebitrate": value})) < 9000


@pytest.mark.slow
def test_fec_is_sent_only_on_request() -> None:
    assert bits_per_second(open_codec("opus", fmtp={"useinbandfec": "1"})) != bits_per_second(
        open_codec("opus")
    )
    assert bits_per_second(open_codec("opus", fmtp={"useinbandfec": "0"})) == bits_per_second(
        open_codec("opus")
    )


def test_the_copy_in_the_following_payload_is_used() -> None:
    sender = open_codec("opus", fmtp={"useinbandfec": "1"})
    payloads = [sender.encode(frame) for frame in frames(speech_of(sender))]
    with_copy, without = open_codec("opus"), open_codec("opus")
    for payload in payloads[:30]:
        with_copy.decode(payload)
        without.decode(payload)
    assert with_copy.conceal(960, following=payloads[31]) != without.conceal(960)


def test_silence_is_left_out_only_on_request() -> None:
    for fmtp, expected in (({"usedtx": "1"}, True), ({"usedtx": "0"}, False), ({}, False)):
        codec = open_codec("opus", fmtp=fmtp)
        sent = [codec.encode(bytes(1920)) for _ in range(50)]
        assert (b"" in sent) is expected
        assert all(packet_samples(payload) == 960 for payload in sent if payload)


def test_an_unknown_codec_is_our_callers_fault() -> None:
    with pytest.raises(UsageError, match="speex"):
        open_codec("speex")
