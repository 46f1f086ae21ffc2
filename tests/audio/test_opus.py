import ctypes.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import distance_db, frames, likeness, noise, to_samples, tone, voice
from voicegate.audio import opus
from voicegate.audio.opus import OpusDecoder, OpusEncoder
from voicegate.audio.opus_packet import packet_samples, silent_packet
from voicegate.errors import UsageError, WireError

SPEECH = voice(2.0)
LIBRARY = opus._load()
APPLICATION_AUDIO = 2049


def encode_all(encoder: OpusEncoder, pcm: bytes = SPEECH) -> list[bytes]:
    return [encoder.encode(frame) for frame in frames(pcm)]


PACKETS = encode_all(OpusEncoder())

packets = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda packet, place, byte: packet[:place] + bytes([byte]) + packet[place + 1 :],
        st.sampled_from(PACKETS),
        st.integers(0, 100),
        st.integers(0, 255),
    ),
    st.builds(lambda packet, end: packet[:end], st.sampled_from(PACKETS), st.integers(0, 100)),
)


@pytest.mark.parametrize("sound", [SPEECH, tone(1.0)])
def test_what_is_encoded_sounds_the_same_decoded(sound: bytes) -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    heard = b"".join(decoder.decode(packet) for packet in encode_all(encoder, sound))
    correlation, lag = likeness(sound, heard)
    assert len(heard) == len(sound)
    assert correlation > 0.95
    # The look-ahead of libopus is 6.5 ms for speech.
    assert lag == pytest.approx(312, abs=24)


@pytest.mark.parametrize("sample_rate", [8000, 12000, 16000, 24000, 48000])
def test_every_sample_rate_of_opus_goes_both_ways(sample_rate: int) -> None:
    encoder, decoder = OpusEncoder(sample_rate=sample_rate), OpusDecoder(sample_rate=sample_rate)
    sound = voice(1.0, sample_rate=sample_rate)
    heard = [decoder.decode(encoder.encode(frame)) for frame in frames(sound, sample_rate // 50)]
    assert likeness(sound, b"".join(heard))[0] > 0.9


@pytest.mark.parametrize("samples", [120, 240, 480, 960, 1920, 2880])
def test_frames_from_2_5_to_60_ms_can_be_encoded(samples: int) -> None:
    packet = OpusEncoder().encode(SPEECH[: 2 * samples])
    assert packet_samples(packet) == samples
    assert len(OpusDecoder().decode(packet)) == 2 * samples


@pytest.mark.parametrize("size", [0, 1, 2, 1918, 1919, 1921, 2000, 48000])
def test_other_lengths_are_our_callers_fault(size: int) -> None:
    with pytest.raises(UsageError, match="no Opus frame"):
        OpusEncoder().encode(bytes(size))


def test_a_packet_of_the_longest_kind_is_decoded_whole() -> None:
    # Code 3, six CELT frames of 20 ms and of no bytes each.
    packet = b"\xfb\x06"
    assert packet_samples(packet) == 5760
    assert len(OpusDecoder().decode(packet)) == 2 * 5760


def test_stereo_is_mixed_down() -> None:
    encoder = LIBRARY.encoder.create_state(48000, 2, APPLICATION_AUDIO)
    left = to_samples(tone(1.0))
    stereo = np.stack([left, np.zeros_like(left)], axis=1).astype("<i2").tobytes()
    decoder = OpusDecoder()
    heard = b""
    for start in range(0, len(stereo), 3840):
        packet = LIBRARY.encoder.encode(encoder, stereo[start : start + 3840], 960, 1200)
        assert packet[0] & 0x04
        heard += decoder.decode(packet)
    LIBRARY.encoder.destroy(encoder)
    assert len(heard) == 2 * 48000
    assert likeness(tone(1.0), heard)[0] > 0.9
    assert np.abs(to_samples(heard)[24000:]).max() == pytest.approx(4000, rel=0.1)


def test_concealment_continues_the_sound_and_then_dies_away() -> None:
    decoder = OpusDecoder()
    for packet in encode_all(OpusEncoder(), tone(0.5)):
        decoder.decode(packet)
    levels = [np.abs(to_samples(decoder.conceal(960))).max() for _ in range(50)]
    assert levels[0] > 6000
    assert levels[-1] < 500


@pytest.mark.parametrize("samples", [0, -960, 100, 5880, 10**9])
def test_only_a_loss_that_opus_can_have_is_concealed(samples: int) -> None:
    decoder = OpusDecoder()
    with pytest.raises(UsageError):
        decoder.conceal(samples)
    with pytest.raises(UsageError):
        decoder.decode_fec(PACKETS[50], samples)


def test_fec_brings_back_what_concealment_cannot() -> None:
    lost = range(3, len(PACKETS) - 1, 5)
    intact, concealing, correcting = OpusDecoder(), OpusDecoder(), OpusDecoder()
    expected, concealed, corrected = [], [], []
    for index, packet in enumerate(PACKETS):
        pcm = intact.decode(packet)
        if index in lost:
            expected.append(to_samples(pcm))
            concealed.append(to_samples(concealing.conceal(960)))
            corrected.append(to_samples(correcting.decode_fec(PACKETS[index + 1], 960)))
        else:
            concealing.decode(packet)
            correcting.decode(packet)
    truth = np.concatenate(expected)
    assert distance_db(truth, np.concatenate(corrected)) > 10
    assert distance_db(truth, np.concatenate(concealed)) < 5


def test_fec_covers_the_end_of_a_longer_loss() -> None:
    decoder = OpusDecoder()
    decoder.decode(PACKETS[49])
    assert len(decoder.decode_fec(PACKETS[53], 2880)) == 2 * 2880


def test_fec_that_does_not_parse_is_a_wire_error() -> None:
    # The frame count is plausible, but six frames of equal length do not fit into seven bytes.
    packet = b"\x4b\x06" + bytes(7)
    assert packet_samples(packet) == 5760
    with pytest.raises(WireError, match="FEC"):
        OpusDecoder().decode_fec(packet, 960)


@pytest.mark.slow
@given(packets)
def test_any_bytes_decode_to_samples_or_a_wire_error(packet: bytes) -> None:
    decoder = OpusDecoder()
    try:
        assert len(decoder.decode(packet)) == 2 * packet_samples(packet)
        is_good = True
    except WireError:
        is_good = False
    try:
        assert len(decoder.decode_fec(packet, 960)) == 1920
    except WireError:
        assert not is_good
    # A bad packet does not spoil the decoder.
    assert len(decoder.decode(PACKETS[60])) == 1920


@pytest.mark.slow
@given(packets)
def test_the_length_of_a_packet_is_what_libopus_says(packet: bytes) -> None:
    state = LIBRARY.decoder.create_state(48000, 1)
    try:
        expected = LIBRARY.decoder.get_nb_samples(state, packet, len(packet)) or None
    except LIBRARY.error:
        expected = None
    finally:
        LIBRARY.decoder.destroy(state)
    try:
        assert packet_samples(packet) == expected
    except WireError:
        assert expected is None


def test_quality_follows_the_bit_rate() -> None:
    low, high = (sum(map(len, encode_all(OpusEncoder(bitrate=rate)))) for rate in (12000, 64000))
    assert low * 8 / 2.0 == pytest.approx(12000, rel=0.25)
    assert high > 3 * low


@pytest.mark.parametrize(
    "settings",
    [{"inband_fec": True, "expected_loss_percent": 15}, {"dtx": True}, {"max_playback_rate": 16000}],
)
def test_speech_is_coded_as_speech_where_something_needs_that(settings: dict[str, Any]) -> None:
    encoder = OpusEncoder(**{"bitrate": 60_000, "inband_fec": False, **settings})
    # Configurations below 16 have a SILK part.
    assert all(packet[0] >> 3 < 16 for packet in encode_all(encoder))


@pytest.mark.parametrize("bitrate", [24_000, 32_000, 60_000])
@pytest.mark.parametrize("settings", [{"inband_fec": False}, {"expected_loss_percent": 0}])
def test_speech_is_coded_like_music_where_nothing_does(bitrate: int, settings: dict[str, Any]) -> None:
    packets = encode_all(OpusEncoder(bitrate=bitrate, **settings))
    assert all(packet[0] >> 3 >= 28 for packet in packets)
    decoder = OpusDecoder()
    assert likeness(SPEECH, b"".join(decoder.decode(packet) for packet in packets))[0] > 0.94


def test_no_packet_outgrows_a_datagram() -> None:
    encoder = OpusEncoder(bitrate=510_000)
    assert max(len(encoder.encode(frame)) for frame in frames(noise(0.6, deviation=8000), 2880)) <= 1200


def test_dtx_sends_nothing_in_silence_but_now_and_then() -> None:
    quiet = bytes(2 * 48000 * 2)
    with_dtx, without = encode_all(OpusEncoder(dtx=True), quiet), encode_all(OpusEncoder(), quiet)
    assert with_dtx.count(b"") > 70
    assert 1 <= sum(map(bool, with_dtx[50:])) <= 5
    assert all(without)


@pytest.mark.parametrize(
    "setting",
    [{"bitrate": -5}, {"complexity": 11}, {"expected_loss_percent": 101}],
)
def test_settings_that_libopus_does_not_know_are_our_callers_fault(setting: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="setting"):
        OpusEncoder(**setting)  # type: ignore[arg-type] # one key at a time is not seen to be no bool


@pytest.mark.parametrize("kind", [OpusEncoder, OpusDecoder])
def test_a_rate_that_opus_does_not_have_is_our_callers_fault(
    kind: type[OpusEncoder] | type[OpusDecoder],
) -> None:
    with pytest.raises(UsageError, match="44100"):
        kind(sample_rate=44100)


@pytest.mark.parametrize("milliseconds", [5, 10, 20, 40, 60, 80, 100, 120])
def test_a_silent_packet_is_as_long_as_wished_and_silent(milliseconds: int) -> None:
    packet = silent_packet(milliseconds)
    assert packet_samples(packet) == 48 * milliseconds
    assert not to_samples(OpusDecoder().decode(packet)).any()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
def test_states_are_freed_with_their_objects() -> None:
    def use() -> None:
        OpusDecoder().decode(OpusEncoder().encode(SPEECH[:1920]))

    for _ in range(50):
        use()
    before = resident_bytes()
    for _ in range(400):
        use()
    # An encoder and a decoder hold over 40 kB of state: 16 MB had they been kept.
    assert resident_bytes() - before < 4_000_000


class TestLibrary:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
        """Nothing of opuslib has been imported, or even compiled."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "opuslib"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "pycache"))
        monkeypatch.syspath_prepend(tmp_path)
        opus._load.cache_clear()
        yield
        opus._load.cache_clear()

    @pytest.fixture
    def bundled(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """A package like opuslib-next-bundled on a machine without libopus; it must not be imported."""
        monkeypatch.setattr(ctypes.util, "find_library", lambda _name: None)
        library = tmp_path / "opuslib_next" / "_native" / "libopus.so"
        library.parent.mkdir(parents=True)
        (tmp_path / "opuslib_next" / "__init__.py").write_text("raise ImportError('not wanted')")
        return library

    def test_the_system_library_is_loaded_without_a_warning(self) -> None:
        assert len(OpusEncoder().encode(SPEECH[:1920])) > 2

    def test_the_bundled_library_is_second_choice(self, bundled: Path) -> None:
        bundled.symlink_to(system_library())
        assert len(OpusEncoder().encode(SPEECH[:1920])) > 2
        assert sys.modules["opuslib.api"].libopus._name == str(bundled)
        assert ctypes.util.find_library("opus") is None

    def test_a_package_without_a_library_inside_does_not_count(self, bundled: Path) -> None:
        assert not bundled.exists()
        with pytest.raises(UsageError, match="apt install libopus0"):
            OpusDecoder()

    def test_a_missing_library_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ctypes.util, "find_library", lambda _name: None)
        monkeypatch.setitem(sys.modules, "opuslib_next", None)  # as if it were not installed
        with pytest.raises(UsageError, match=r"apt install libopus0.*voicegate-server\[bundled-opus\]"):
            OpusEncoder()

    def test_a_library_that_cannot_be_loaded_is_named(self, bundled: Path) -> None:
        bundled.write_bytes(b"no library")
        with pytest.raises(UsageError, match=r"cannot load .*libopus\.so"):
            OpusEncoder()


def system_library() -> Path:
    """Return the file that the already loaded libopus came from."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if "libopus" in line:
            return Path(line.split()[-1])
    raise FileNotFoundError("libopus is not loaded")
