import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.wire import PacketKind, classify


@given(st.binary(max_size=4))
def test_every_datagram_has_one_kind(datagram: bytes) -> None:
    assert classify(datagram) in PacketKind


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (0, PacketKind.STUN),
        (3, PacketKind.STUN),
        (4, PacketKind.UNKNOWN),
        (19, PacketKind.UNKNOWN),  # ZRTP begins at 16 (RFC 7983 §7)
        (20, PacketKind.DTLS),
        (63, PacketKind.DTLS),
        (64, PacketKind.UNKNOWN),  # TURN channels (RFC 7983 §7)
        (127, PacketKind.UNKNOWN),
        (128, PacketKind.RTP),
        (191, PacketKind.RTP),
        (192, PacketKind.UNKNOWN),
        (255, PacketKind.UNKNOWN),
    ],
)
def test_the_first_byte_tells_the_protocol(first: int, kind: PacketKind) -> None:
    assert classify(bytes((first, 0))) is kind


@pytest.mark.parametrize(
    ("second", "kind"),
    [
        (0x80 | 111, PacketKind.RTP),  # payload type 111, marked
        (191, PacketKind.RTP),
        (192, PacketKind.RTCP),
        (200, PacketKind.RTCP),
        (223, PacketKind.RTCP),
        (224, PacketKind.RTP),
    ],
)
def test_rtcp_is_told_from_rtp_by_the_second_byte(second: int, kind: PacketKind) -> None:
    assert classify(bytes((0x80, second))) is kind


@pytest.mark.parametrize("datagram", [b"", b"\x00", b"\x80"])
def test_what_is_too_short_to_tell_is_unknown(datagram: bytes) -> None:
    assert classify(datagram) is PacketKind.UNKNOWN
