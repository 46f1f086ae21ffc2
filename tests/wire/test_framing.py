import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.wire.framing import LENGTH_BYTES, MAX_FRAME, FrameReader, frame

datagrams = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


def feed_in_pieces(reader: FrameReader, stream: bytes, cuts: list[int]) -> list[bytes]:
    frames: list[bytes] = []
    start = 0
    for end in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        frames += reader.feed(stream[start:end])
        start = end
    return frames


@given(datagrams=datagrams, cuts=st.lists(st.integers(0, 2000), max_size=20))
def test_datagrams_come_back_whole_however_the_stream_is_cut(datagrams: list[bytes], cuts: list[int]) -> None:
    reader = FrameReader()
    assert feed_in_pieces(reader, b"".join(map(frame, datagrams)), cuts) == datagrams
    assert reader.pending == 0


@given(stream=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=10))
def test_any_stream_gives_frames_or_a_wire_error_however_it_is_cut(stream: bytes, cuts: list[int]) -> None:
    whole, pieces = FrameReader(limit=64), FrameReader(limit=64)
    try:
        expected = whole.feed(stream)
    except WireError:
        with pytest.raises(WireError):
            feed_in_pieces(pieces, stream, cuts)
        return
    assert feed_in_pieces(pieces, stream, cuts) == expected
    assert pieces.pending == whole.pending < LENGTH_BYTES + 64


def test_a_stream_fed_byte_by_byte_is_understood() -> None:
    reader = FrameReader()
    frames = [found for byte in frame(b"one") + frame(b"two") for found in reader.feed(bytes([byte]))]
    assert frames == [b"one", b"two"]


def test_empty_frames_are_passed_over() -> None:
    assert FrameReader().feed(frame(b"") * 3 + frame(b"data") + frame(b"")) == [b"data"]


def test_a_frame_at_the_limit_is_taken_and_a_longer_one_is_not() -> None:
    assert FrameReader(limit=3).feed(frame(b"abc")) == [b"abc"]
    with pytest.raises(WireError, match="4 bytes, 3 at most"):
        FrameReader(limit=3).feed(frame(b"abcd")[:LENGTH_BYTES])


def test_after_a_frame_that_is_too_long_nothing_is_taken_or_kept() -> None:
    reader = FrameReader(limit=3)
    for data in (frame(b"ab") + frame(b"abcd"), frame(b"ab"), b"", bytes(1000)):
        with pytest.raises(WireError):
            reader.feed(data)
        assert reader.pending == LENGTH_BYTES


def test_what_the_length_cannot_say_is_not_framed() -> None:
    assert FrameReader().feed(frame(bytes(MAX_FRAME))) == [bytes(MAX_FRAME)]
    with pytest.raises(UsageError):
        frame(bytes(MAX_FRAME + 1))
