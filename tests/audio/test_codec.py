import attrs
import pytest

from tests.audio.signals import frames, likeness, to_samples, voice
from voicegate.audio import Codec, OpusCodec, open_codec, packet_samples
from voicegate.errors import UsageError, WireError

CODECS = [
    ("opus", 48000, 48000, 960),
    ("G722", 16000, 8000, 320),
    ("PCMU", 8000, 8000, 160),
    ("PCMA", 8000, 8000, 160),
]
every_codec = pytest.mark.parametrize("name", [name for name, *_ in CODECS])


@attrs.frozen(kw_only=True)
class Settings:
    bitrate: int = 32_000
    expected_loss_percent: int = 0
    has_fec: bool = False
    has_dtx: bool = False
    is_cbr: bool = False


def speech_of(codec: Codec) -> bytes:
    return voice(1.0, sample_rate=codec.sample_rate)


def bits_per_second(codec: Codec) -> float:
    return 8.0 * sum(len(codec.encode(frame)) for frame in frames(speech_of(codec), codec.frame_samples))


@pytest.mark.parametrize(("name", "sample_rate", "clock_rate", "frame_samples"), CODECS)
def test_a_codec_says_what_it_is(name: str, sample_rate: int, clock_rate: int, frame_samples: int) -> None:
    codec = open_codec(name)
    assert (codec.name, codec.sample_rate, codec.clock_rate) == (name, sample_rate, clock_rate)
    assert codec.frame_samples == frame_samples


@every_codec
def test_a_frame_goes_both_ways(name: str) -> None:
    codec = open_codec(name)
    speech = speech_of(codec)
    payloads = [codec.encode(frame) for frame in frames(speech, codec.frame_samples)]
    assert {codec.duration(payload) for payload in payloads} == {codec.clock_rate // 50}
    assert likeness(speech, b"".join(codec.decode(payload) for payload in payloads))[0] > 0.95


@every_codec
@pytest.mark.parametrize("sample_rate", [8000, 16000, 24000, 48000])
def test_pcm_may_have_another_rate_on_our_side(name: str, sample_rate: int) -> None:
    codec = open_codec(name)
    codec.use_rate(sample_rate)
    assert (codec.sample_rate, codec.frame_samples) == (sample_rate, sample_rate // 50)
    speech = speech_of(codec)
    payloads = [codec.encode(frame) for frame in frames(speech, codec.frame_samples)]
    assert {codec.duration(payload) for payload in payloads} == {codec.clock_rate // 50}
    heard = [codec.decode(payload) for payload in payloads]
    assert {len(pcm) for pcm in heard} == {2 * codec.frame_samples}
    assert likeness(speech, b"".join(heard))[0] > 0.9
    assert len(codec.conceal(codec.frame_samples)) == 2 * codec.frame_samples


@every_codec
def test_any_other_rate_is_our_callers_fault(name: str) -> None:
    with pytest.raises(UsageError, match="44100"):
        open_codec(name).use_rate(44100)


@every_codec
@pytest.mark.parametrize("milliseconds", [10, 20, 40, 60])
def test_packets_may_be_longer_or_shorter(name: str, milliseconds: int) -> None:
    codec = open_codec(name)
    samples, ticks = (rate * milliseconds // 1000 for rate in (codec.sample_rate, codec.clock_rate))
    assert codec.duration(codec.encode(speech_of(codec)[: 2 * samples])) == ticks
    silence = codec.encode_silence(ticks)
    assert codec.duration(silence) == ticks
    pcm = open_codec(name).decode(open_codec(name).encode_silence(ticks))
    assert len(pcm) == 2 * samples
    assert abs(to_samples(pcm)).max() <= 8


@pytest.mark.parametrize("ticks", [0, -960, 1, 961, 720, 1440, 6720])
def test_opus_has_no_silence_of_odd_length(ticks: int) -> None:
    with pytest.raises(UsageError, match="no Opus packet"):
        open_codec("opus").encode_silence(ticks)


@every_codec
def test_adapting_never_breaks_the_stream(name: str) -> None:
    codec, listener = open_codec(name), open_codec(name)
    speech = frames(speech_of(codec), codec.frame_samples)
    heard = b""
    for index, frame in enumerate(speech):
        if index % 10 == 0:
            codec.adapt(Settings(has_fec=index % 20 == 0, expected_loss_percent=index, bitrate=24_000))
        heard += listener.decode(codec.encode(frame))
    assert likeness(speech_of(codec), heard)[0] > 0.9


@every_codec
def test_the_canned_payload_is_20_ms_of_silence(name: str) -> None:
    codec = open_codec(name)
    assert codec.duration(codec.silence) == codec.clock_rate // 50
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
@pytest.mark.parametrize("value", ["510000", "9" * 5000, "", "fast", "-1", "32000"])
def test_asking_for_more_or_for_nonsense_changes_nothing(value: str) -> None:
    fmtp = {"maxaveragebitrate": value, "stereo": "1"}
    assert bits_per_second(open_codec("opus", fmtp=fmtp)) == bits_per_second(open_codec("opus"))


@pytest.mark.parametrize("value", ["1", "5999"])
def test_asking_for_less_than_opus_can_gives_the_least(value: str) -> None:
    assert bits_per_second(open_codec("opus", fmtp={"maxaveragebitrate": value})) < 9000


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (None, False),
        (Settings(expected_loss_percent=15), False),
        (Settings(has_fec=True), False),
        (Settings(has_fec=True, expected_loss_percent=15), True),
    ],
)
def test_copies_are_sent_only_when_there_is_loss(settings: Settings | None, expected: bool) -> None:
    sender = open_codec("opus", fmtp={"useinbandfec": "1"})
    if settings:
        sender.adapt(settings)
    payloads = [sender.encode(frame) for frame in frames(speech_of(sender))]
    with_copy, without = open_codec("opus"), open_codec("opus")
    for payload in payloads[:30]:
        with_copy.decode(payload)
        without.decode(payload)
    assert (with_copy.conceal(960, following=payloads[31]) != without.conceal(960)) is expected


def test_adapting_takes_effect_at_once() -> None:
    codec = open_codec("opus")
    before = bits_per_second(codec)
    codec.adapt(Settings(bitrate=12_000))
    assert bits_per_second(codec) < before / 2
    codec.adapt(Settings(is_cbr=True))
    assert len({len(codec.encode(frame)) for frame in frames(speech_of(codec))}) == 1
    codec.adapt(Settings(has_dtx=True))
    assert b"" in [codec.encode(bytes(1920)) for _ in range(50)]


def test_settings_that_opus_does_not_know_are_our_callers_fault() -> None:
    codec = open_codec("opus")
    codec.encode(bytes(1920))
    with pytest.raises(UsageError, match="setting"):
        codec.adapt(Settings(bitrate=-5))


def test_every_packet_is_as_long_when_the_client_wants_that() -> None:
    codec = open_codec("opus", fmtp={"cbr": "1"})
    assert {len(codec.encode(frame)) for frame in frames(speech_of(codec))} == {80}


@pytest.mark.parametrize(
    ("rate", "configurations"),
    [("8000", range(4)), ("12000", range(8)), ("16000", range(12)), ("24000", range(24, 28))],
)
def test_nothing_is_sent_that_the_client_cannot_play(rate: str, configurations: range) -> None:
    codec = open_codec("opus", fmtp={"maxplaybackrate": rate})
    payloads = [codec.encode(frame) for frame in frames(speech_of(codec))]
    # Numbers as in RFC 6716, table 2: SILK of narrow, medium and wide band, CELT of super-wide band.
    assert {payload[0] >> 3 for payload in payloads} <= set(configurations)


def test_passing_packets_on_allocates_no_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("OpusEncoder", "OpusDecoder"):
        monkeypatch.setattr(f"voicegate.audio.codec.{part}", None)
    codec = OpusCodec(fmtp={})
    codec.adapt(Settings())
    codec.use_rate(16000)
    assert codec.duration(codec.silence) == codec.duration(codec.encode_silence(960)) == 960


def test_silence_is_left_out_only_on_request() -> None:
    for fmtp, expected in (({"usedtx": "1"}, True), ({"usedtx": "0"}, False), ({}, False)):
        codec = open_codec("opus", fmtp=fmtp)
        sent = [codec.encode(bytes(1920)) for _ in range(50)]
        assert (b"" in sent) is expected
        assert all(packet_samples(payload) == 960 for payload in sent if payload)


def test_an_unknown_codec_is_our_callers_fault() -> None:
    with pytest.raises(UsageError, match="speex"):
        open_codec("speex")
