"""RTP packets."""

from struct import pack
from typing import Any

import pytest
from aiortc import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap
from aiortc.rtp import RtpPacket as AiortcPacket
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import RTP_PACKETS
from voicegate.errors import UsageError, WireError
from voicegate.rtp import RtpPacket
from voicegate.rtp.header_extension import ONE_BYTE_PROFILE, TWO_BYTE_PROFILE

PLAIN = pack("!BBHII", 0x80, 111, 1, 960, 0xCAFEBABE) + b"opus"
LIKE_A_BROWSERS = RtpPacket(
    payload_type=111,
    sequence_number=0xFFFF,
    timestamp=0xFFFFFFFF,
    ssrc=0xDEADBEEF,
    payload=b"opus",
    marker=True,
    extension_profile=ONE_BYTE_PROFILE,
    extensions=((1, b"\x85"), (2, b"\x12\x34\x56"), (3, b"\x00\x07"), (4, b"0")),
)


def test_a_plain_packet_is_header_and_payload() -> None:
    packet = RtpPacket(111, 1, 960, 0xCAFEBABE, b"opus")
    assert RtpPacket.decode(PLAIN) == packet
    assert packet.encode() == PLAIN


def test_the_marker_is_not_part_of_the_payload_type() -> None:
    packet = RtpPacket.decode(PLAIN[:1] + b"\xef" + PLAIN[2:])
    assert packet.marker
    assert packet.payload_type == 111
    assert not RtpPacket.decode(PLAIN).marker


@given(RTP_PACKETS)
def test_a_packet_survives_the_wire(packet: RtpPacket) -> None:
    data = packet.encode()
    assert RtpPacket.decode(data) == packet
    assert RtpPacket.decode(data).encode() == data


@given(st.binary(max_size=100))
def test_no_bytes_let_out_anything_but_a_wire_error(data: bytes) -> None:
    try:
        packet = RtpPacket.decode(data)
    except WireError:
        return
    assert len(packet.payload) + packet.padding_length <= len(data) - 12


@given(RTP_PACKETS, st.data())
def test_no_changed_packet_lets_out_anything_but_a_wire_error(packet: RtpPacket, data: st.DataObject) -> None:
    damaged = bytearray(packet.encode())
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    try:
        decoded = RtpPacket.decode(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))
    except WireError:
        return
    assert RtpPacket.decode(decoded.encode()) == decoded


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PLAIN[:11], id="shorter than the header"),
        pytest.param(b"\x40" + PLAIN[1:], id="version 1"),
        pytest.param(b"\x8f" + PLAIN[1:], id="fewer CSRCs than counted"),
        pytest.param(b"\x90" + PLAIN[1:14], id="no room for an extension header"),
        pytest.param(b"\x90" + PLAIN[1:12] + b"\xbe\xde\x00\x02abcd", id="extension shorter than it says"),
        pytest.param(b"\xa0" + PLAIN[1:12], id="padding bit, nothing behind the header"),
        pytest.param(b"\xa0" + PLAIN[1:12] + b"a\x00", id="no padding at all"),
        pytest.param(b"\xa0" + PLAIN[1:12] + b"a\x03", id="more padding than payload"),
    ],
)
def test_a_packet_that_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        RtpPacket.decode(data)


def test_padding_may_be_all_there_is() -> None:
    packet = RtpPacket.decode(b"\xa0" + PLAIN[1:12] + b"\x00\x00\x03")
    assert packet.payload == b""
    assert packet.padding_length == 3


def test_fifteen_csrcs_fit() -> None:
    packet = RtpPacket(111, 1, 960, 0xCAFEBABE, b"opus", csrcs=tuple(range(15)))
    assert RtpPacket.decode(packet.encode()) == packet


def test_an_extension_is_found_by_its_id_and_the_first_one_wins() -> None:
    packet = LIKE_A_BROWSERS._replace(extensions=((1, b"a"), (2, b"b"), (2, b"c")))
    assert packet.extension(2) == b"b"
    assert packet.extension(3) is None


@pytest.mark.parametrize(
    "change",
    [
        {"payload_type": 128},
        {"payload_type": -1},
        {"sequence_number": 0x10000},
        {"timestamp": -1},
        {"ssrc": 1 << 32},
        {"csrcs": (0,) * 16},
        {"csrcs": (1 << 32,)},
        {"padding_length": 256},
        {"padding_length": -1},
        {"extension_profile": 0x10000, "extensions": ()},
        {"extensions": ((15, b"a"),)},
        {"extension_profile": None},
    ],
    ids=str,
)
def test_a_field_that_does_not_fit_cannot_be_written(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LIKE_A_BROWSERS._replace(**change).encode()


def extensions_map() -> HeaderExtensionsMap:
    uris = (
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "urn:ietf:params:rtp-hdrext:sdes:mid",
    )
    parameters = RTCRtpParameters(
        headerExtensions=[
            RTCRtpHeaderExtensionParameters(id=id_, uri=uri) for id_, uri in enumerate(uris, start=1)
        ]
    )
    extensions = HeaderExtensionsMap()
    extensions.configure(parameters)
    return extensions


@pytest.mark.parametrize("profile", [ONE_BYTE_PROFILE, TWO_BYTE_PROFILE])
def test_aiortc_reads_what_we_write(profile: int) -> None:
    packet = LIKE_A_BROWSERS._replace(csrcs=(1, 2), padding_length=5, extension_profile=profile)
    theirs = AiortcPacket.parse(packet.encode(), extensions_map())
    assert theirs.marker
    assert (theirs.payload_type, theirs.sequence_number, theirs.timestamp, theirs.ssrc) == packet[:4]
    assert theirs.payload == b"opus"
    assert theirs.csrc == [1, 2]
    assert theirs.padding_size == 5
    assert theirs.extensions.audio_level == (True, 5)
    assert theirs.extensions.abs_send_time == 0x123456
    assert theirs.extensions.transport_sequence_number == 7
    assert theirs.extensions.mid == "0"


def test_we_read_what_aiortc_writes() -> None:
    theirs = AiortcPacket.parse(LIKE_A_BROWSERS.encode(), extensions_map())
    theirs.csrc = [7]
    theirs.padding_size = 9
    ours = RtpPacket.decode(theirs.serialize(extensions_map()))
    assert ours._replace(extensions=()) == LIKE_A_BROWSERS._replace(
        csrcs=(7,), padding_length=9, extensions=()
    )
    assert set(ours.extensions) == set(LIKE_A_BROWSERS.extensions)


@given(RTP_PACKETS.map(lambda packet: packet._replace(extension_profile=None, extensions=())))
def test_aiortc_agrees_on_every_packet_without_extension(packet: RtpPacket) -> None:
    theirs = AiortcPacket.parse(packet.encode())
    assert (theirs.payload_type, theirs.sequence_number, theirs.timestamp, theirs.ssrc) == packet[:4]
    assert theirs.payload == packet.payload
    assert bool(theirs.marker) is packet.marker
    assert tuple(theirs.csrc) == packet.csrcs
    assert theirs.padding_size == packet.padding_length
