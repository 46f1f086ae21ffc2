"""Elements of header extensions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rtp.strategy import EXTENSIONS, RTP_PACKETS
from voicegate.errors import UsageError, WireError
from voicegate.rtp import AudioLevel, RtpPacket
from voicegate.rtp.audio_level import AUDIO_LEVEL_URI
from voicegate.rtp.header_extension import (
    ONE_BYTE_PROFILE,
    TRANSPORT_SEQUENCE_URI,
    TWO_BYTE_PROFILE,
    ExtensionReader,
    Extensions,
    decode_elements,
    encode_elements,
)


@given(EXTENSIONS.filter(lambda extension: extension[0] is not None))
def test_elements_survive_the_wire(extension: tuple[int, tuple[tuple[int, bytes], ...]]) -> None:
    profile, elements = extension
    block = encode_elements(profile, elements)
    assert len(block) % 4 == 0
    assert decode_elements(profile, block) == elements
    assert encode_elements(profile, decode_elements(profile, block)) == block


@given(st.sampled_from([ONE_BYTE_PROFILE, TWO_BYTE_PROFILE, 0x1234]), st.binary(max_size=80))
def test_no_block_lets_out_anything_but_a_wire_error(profile: int, block: bytes) -> None:
    try:
        elements = decode_elements(profile, block)
    except WireError:
        return
    assert sum(len(value) for _, value in elements) <= len(block)


def test_padding_may_stand_between_one_byte_elements() -> None:
    block = bytes.fromhex("10aa 00 21bbcc 0000 1155aa 00".replace(" ", ""))
    assert decode_elements(ONE_BYTE_PROFILE, block) == ((1, b"\xaa"), (2, b"\xbb\xcc"), (1, b"\x55\xaa"))


def test_padding_may_stand_between_two_byte_elements() -> None:
    block = bytes.fromhex("0101aa 00 0200 000000 ff02bbcc".replace(" ", ""))
    assert decode_elements(0x100F, block) == ((1, b"\xaa"), (2, b""), (255, b"\xbb\xcc"))


@pytest.mark.parametrize("stop", ["f0", "ff", "03"])
def test_a_reserved_id_ends_a_block_of_one_byte_elements(stop: str) -> None:
    block = bytes.fromhex("10aa" + stop + "20bb")
    assert decode_elements(ONE_BYTE_PROFILE, block) == ((1, b"\xaa"),)


@pytest.mark.parametrize(
    ("profile", "block"),
    [
        (ONE_BYTE_PROFILE, "10"),
        (ONE_BYTE_PROFILE, "13aabbcc"),
        (TWO_BYTE_PROFILE, "01"),
        (TWO_BYTE_PROFILE, "0101"),
        (TWO_BYTE_PROFILE, "00000005"),
        (TWO_BYTE_PROFILE, "0103aabb"),
    ],
)
def test_an_element_that_leaves_its_block_is_refused(profile: int, block: str) -> None:
    with pytest.raises(WireError):
        decode_elements(profile, bytes.fromhex(block))


@pytest.mark.parametrize(
    ("profile", "elements"),
    [
        (ONE_BYTE_PROFILE, ((0, b"a"),)),
        (ONE_BYTE_PROFILE, ((15, b"a"),)),
        (ONE_BYTE_PROFILE, ((1, b""),)),
        (ONE_BYTE_PROFILE, ((1, bytes(17)),)),
        (TWO_BYTE_PROFILE, ((0, b"a"),)),
        (TWO_BYTE_PROFILE, ((256, b"a"),)),
        (TWO_BYTE_PROFILE, ((1, bytes(256)),)),
        (0x1234, ((0, b""),)),
        (0x1234, ((0, b"abc"),)),
        (0x1234, ((1, b"abcd"),)),
        (0x1234, ((0, b"abcd"), (0, b"abcd"))),
    ],
)
def test_an_element_that_does_not_fit_cannot_be_written(
    profile: int, elements: tuple[tuple[int, bytes], ...]
) -> None:
    with pytest.raises(UsageError):
        encode_elements(profile, elements)


NEGOTIATED = ((1, AUDIO_LEVEL_URI), (3, TRANSPORT_SEQUENCE_URI), (4, "urn:ietf:params:rtp-hdrext:sdes:mid"))


def packet(*elements: tuple[int, bytes], profile: int = ONE_BYTE_PROFILE) -> RtpPacket:
    return RtpPacket(111, 1, 2, 3, b"opus", extension_profile=profile, extensions=elements)


@pytest.mark.parametrize("profile", [ONE_BYTE_PROFILE, TWO_BYTE_PROFILE])
def test_what_is_negotiated_is_read(profile: int) -> None:
    told = packet((4, b"0"), (1, b"\xa5"), (3, b"\x12\x34"), profile=profile)
    received = RtpPacket.decode(told.encode())
    assert ExtensionReader(NEGOTIATED).read(received) == Extensions(
        level=0x25, is_voice=True, transport_sequence=0x1234
    )


def test_the_level_is_that_of_its_own_decoder() -> None:
    reader = ExtensionReader(NEGOTIATED)
    for value in range(256):
        level, is_voice, _ = reader.read(packet((1, bytes((value,)))))
        assert (level, is_voice) == AudioLevel.decode(bytes((value,)))


@pytest.mark.parametrize(
    "elements", [(), ((2, b"\x05"),), ((1, b""),), ((1, b"\x05\x06"),), ((3, b"\x05"),), ((0, b"abcd"),)]
)
def test_what_is_not_there_or_of_the_wrong_length_says_nothing(
    elements: tuple[tuple[int, bytes], ...],
) -> None:
    assert ExtensionReader(NEGOTIATED).read(packet(*elements)) == Extensions(None, None, None)


@given(RTP_PACKETS)
def test_nothing_is_read_where_nothing_is_negotiated(received: RtpPacket) -> None:
    assert ExtensionReader(()).read(received) == Extensions()
