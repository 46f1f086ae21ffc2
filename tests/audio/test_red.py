import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.audio.red import RedBlock, RedEncoder, RedPayload
from voicegate.errors import UsageError, WireError

types = st.integers(0, 127)
blocks = st.builds(RedBlock, types, st.integers(0, 0x3FFF), st.binary(max_size=40))
payloads = st.builds(
    RedPayload,
    payload_type=types,
    primary=st.binary(max_size=40),
    copies=st.lists(blocks, max_size=5).map(tuple),
)

CHROMIUM = bytes.fromhex("ef0f0003 6f") + b"old" + b"new"
"""What Chromium sends: Opus (111) and one copy, 960 ticks older."""


@pytest.mark.slow
@given(payloads)
def test_a_payload_reads_as_it_was_written(payload: RedPayload) -> None:
    assert RedPayload.decode(payload.encode()) == payload


def test_a_copy_stands_before_the_primary() -> None:
    expected = RedPayload(payload_type=111, primary=b"new", copies=(RedBlock(111, 960, b"old"),))
    assert RedPayload.decode(CHROMIUM) == expected
    assert expected.encode() == CHROMIUM


def test_without_copies_the_header_is_one_byte() -> None:
    assert RedPayload.decode(b"\x6fopus") == RedPayload(payload_type=111, primary=b"opus")


@pytest.mark.slow
@given(st.binary(max_size=60))
def test_other_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        payload = RedPayload.decode(data)
    except WireError:
        return
    assert payload.encode() == data


@pytest.mark.parametrize("data", [b"", b"\xef", b"\xef\x0f\x00\x03", CHROMIUM[:7]])
def test_a_payload_that_ends_too_soon_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        RedPayload.decode(data)


@pytest.mark.parametrize(
    "payload",
    [
        RedPayload(payload_type=128, primary=b""),
        RedPayload(payload_type=0, primary=b"", copies=(RedBlock(128, 0, b""),)),
        RedPayload(payload_type=0, primary=b"", copies=(RedBlock(0, 0x4000, b""),)),
        RedPayload(payload_type=0, primary=b"", copies=(RedBlock(0, 0, bytes(0x400)),)),
    ],
)
def test_what_does_not_fit_is_refused(payload: RedPayload) -> None:
    with pytest.raises(UsageError):
        payload.encode()


def test_each_packet_carries_those_before_it() -> None:
    encoder = RedEncoder(111, depth=2)
    sent = [
        RedPayload.decode(encoder.encode(bytes([n]), timestamp=(2**32 - 960 + n * 960) % 2**32))
        for n in range(4)
    ]
    assert [payload.primary for payload in sent] == [b"\0", b"\1", b"\2", b"\3"]
    assert [payload.copies for payload in sent[1:]] == [
        (RedBlock(111, 960, b"\0"),),
        (RedBlock(111, 1920, b"\0"), RedBlock(111, 960, b"\1")),
        (RedBlock(111, 1920, b"\1"), RedBlock(111, 960, b"\2")),
    ]


def test_where_a_copy_does_not_fit_the_older_ones_stay_out_too() -> None:
    encoder = RedEncoder(111, depth=2)
    encoder.encode(b"fits", timestamp=0)
    encoder.encode(bytes(1024), timestamp=960)
    assert RedPayload.decode(encoder.encode(b"next", timestamp=1920)).copies == ()
    assert RedPayload.decode(encoder.encode(b"later", timestamp=1920 + 0x4000)).copies == ()
