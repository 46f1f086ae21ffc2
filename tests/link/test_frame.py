import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.link.frame import HEADER, Frame, FrameKind, read_frames

BYTE = st.integers(0, 0xFF)
FRAMES = st.builds(
    Frame,
    call=st.integers(0, 0xFFFF_FFFF),
    kind=BYTE,
    data=st.binary(max_size=40),
    position=st.integers(-(2**63), 2**63 - 1),
    flags=BYTE,
    level=BYTE,
    made_up_ms=st.integers(0, 0xFFFF),
    ticks=st.integers(0, 0xFFFF),
    response_id=st.none() | st.text(min_size=1, max_size=20),
)


@given(st.lists(FRAMES, max_size=5))
def test_frames_one_after_another_are_read_as_they_were_written(frames: list[Frame]) -> None:
    assert list(read_frames(b"".join(frame.encode() for frame in frames))) == frames


def test_a_frame_has_the_layout_of_the_document() -> None:
    frame = Frame(258, FrameKind.PCM16_24000, b"ab", -1, response_id="r")
    assert frame.encode() == bytes.fromhex("00000102 00000003 03 00 00 01 0000 0000") + b"\xff" * 8 + b"rab"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (bytes(23), "no header"),
        (HEADER.pack(1, 3, 1, 0, 0, 0, 0, 0, 0) + b"ab", "a frame of 3 bytes"),
        (HEADER.pack(1, 1, 1, 0, 0, 2, 0, 0, 0) + b"ab", "response id of 2"),
        (HEADER.pack(1, 1, 1, 0, 0, 1, 0, 0, 0) + b"\xff", "not UTF-8"),
    ],
)
def test_what_is_no_frame_is_refused_behind_those_that_are(data: bytes, fault: str) -> None:
    good = Frame(1, 1, b"ab")
    frames = read_frames(good.encode() + data)
    assert next(frames) == good
    with pytest.raises(WireError, match=fault):
        next(frames)
