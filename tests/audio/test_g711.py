import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audio.signals import distance_db, likeness, to_samples, voice
from voicegate.audio import G711Codec
from voicegate.errors import UsageError, WireError

SPEECH = voice(1.0, sample_rate=8000)
names = pytest.mark.parametrize("name", ["PCMU", "PCMA"])


@names
def test_speech_survives_with_the_quality_of_a_telephone(name: str) -> None:
    codec = G711Codec(name)
    payload = codec.encode(SPEECH)
    heard = codec.decode(payload)
    assert len(payload) == len(SPEECH) // 2
    correlation, lag = likeness(SPEECH, heard)
    assert correlation > 0.99
    assert lag == 0
    assert distance_db(to_samples(SPEECH), to_samples(heard)) > 30


@names
@given(payload=st.binary(min_size=1, max_size=400))
def test_a_decoded_payload_encodes_to_itself(name: str, payload: bytes) -> None:
    codec = G711Codec(name)
    pcm = codec.decode(payload)
    assert len(pcm) == 2 * codec.duration(payload)
    # Mu-law has a negative zero, which decodes to the same as the positive one.
    assert codec.encode(pcm) == (payload.replace(b"\x7f", b"\xff") if name == "PCMU" else payload)


@pytest.mark.parametrize(("name", "byte"), [("PCMU", b"\xff"), ("PCMA", b"\xd5")])
def test_silence_is_a_frame_of_silence(name: str, byte: bytes) -> None:
    codec = G711Codec(name)
    assert codec.silence == byte * 160
    assert abs(to_samples(codec.decode(codec.silence))).max() <= 8


@names
def test_concealment_repeats_the_last_frame_ever_more_quietly(name: str) -> None:
    codec = G711Codec(name)
    assert codec.conceal(160) == bytes(320)
    last = to_samples(codec.decode(codec.encode(SPEECH))[-320:])
    concealed = to_samples(codec.conceal(400))
    assert len(concealed) == 400
    assert abs(concealed[:160] - last / 2).max() <= 1
    assert abs(concealed[160:320] - last / 4).max() <= 2
    assert abs(to_samples(codec.conceal(16000))[-160:]).max() <= 1


@names
def test_an_empty_payload_is_a_wire_error(name: str) -> None:
    with pytest.raises(WireError):
        G711Codec(name).decode(b"")


@names
def test_half_a_sample_cannot_be_encoded(name: str) -> None:
    with pytest.raises(UsageError):
        G711Codec(name).encode(b"\0\0\0")


def test_other_names_are_refused() -> None:
    with pytest.raises(UsageError, match="G722"):
        G711Codec("G722")
