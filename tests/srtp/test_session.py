"""SRTP sessions."""

import gc
import random
import weakref
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pylibsrtp import Policy, Session
from pylibsrtp._binding import lib

from tests.srtp import reference
from voicegate.errors import UsageError
from voicegate.srtp import SrtpSession
from voicegate.srtp.session import MAX_PACKET_LENGTH, MAX_SOURCES, _create

LENGTHS = {0x0001: (16, 14), 0x0007: (16, 12), 0x0008: (32, 12)}
PROFILES = pytest.mark.parametrize("profile", LENGTHS)

SSRC = 0xCAFEBABE
RECEIVER_REPORT = pack("!BBHI", 0x80, 201, 1, SSRC)


def rtp(sequence_number: int, *, ssrc: int = SSRC, payload: bytes = bytes(range(60))) -> bytes:
    return pack("!BBHII", 0x80, 111, sequence_number & 0xFFFF, sequence_number * 960, ssrc) + payload


def rtcp(*, ssrc: int = SSRC, body: bytes = bytes(range(24))) -> bytes:
    return pack("!BBHI", 0x81, 201, 1 + len(body) // 4, ssrc) + body


def keying_material(profile: int) -> bytes:
    return bytes(index * 7 & 0xFF for index in range(SrtpSession.keying_material_length(profile)))


def pair(profile: int) -> tuple[SrtpSession, SrtpSession]:
    """A DTLS client and its server."""
    material = keying_material(profile)
    return (
        SrtpSession.from_exporter(profile=profile, keying_material=material, is_client=True),
        SrtpSession.from_exporter(profile=profile, keying_material=material, is_client=False),
    )


def client_keys(profile: int) -> tuple[bytes, bytes]:
    """The client's master key and salt, cut out by hand (RFC 5764 §4.2)."""
    key_length, salt_length = LENGTHS[profile]
    material = keying_material(profile)
    return material[:key_length], material[2 * key_length : 2 * key_length + salt_length]


@PROFILES
def test_both_directions_carry_rtp_and_rtcp(profile: int) -> None:
    client, server = pair(profile)
    for sender, receiver in ((client, server), (server, client)):
        assert receiver.unprotect_rtp(sender.protect_rtp(rtp(1))) == rtp(1)
        assert receiver.unprotect_rtcp(sender.protect_rtcp(rtcp())) == rtcp()
    assert client.protect_rtp(rtp(2)) != server.protect_rtp(rtp(2))
    assert client.statistics().protected == 3
    assert client.statistics().unprotected == 2
    assert client.statistics().dropped == {}


@PROFILES
def test_packets_are_what_the_rfcs_say(profile: int) -> None:
    client, _ = pair(profile)
    key, salt = client_keys(profile)
    assert client.protect_rtp(rtp(1)) == reference.protect_rtp(key, salt, rtp(1), rollover=0)
    for index in (1, 2):
        assert client.protect_rtcp(rtcp()) == reference.protect_rtcp(key, salt, rtcp(), index=index)


@PROFILES
def test_sequence_numbers_wrap_many_times(profile: int) -> None:
    client, server = pair(profile)
    key, salt = client_keys(profile)
    for extended in range(0xFFF0, 0x40010, 0x3FF0):
        packet = rtp(extended & 0xFFFF)
        protected = client.protect_rtp(packet)
        assert protected == reference.protect_rtp(key, salt, packet, rollover=extended >> 16)
        assert server.unprotect_rtp(protected) == packet


@PROFILES
def test_packets_are_let_in_in_any_order_across_the_wrap(profile: int) -> None:
    client, server = pair(profile)
    packets = [rtp(number & 0xFFFF) for number in range(0xFFD0, 0x10030)]
    arriving = [(packet, client.protect_rtp(packet)) for packet in packets]
    first, *others = arriving[40:41] + arriving[:40] + arriving[41:]
    random.Random(1).shuffle(others)
    for packet, protected in (first, *others):
        assert server.unprotect_rtp(protected) == packet
    assert server.statistics().unprotected == len(packets)


@PROFILES
def test_a_replayed_packet_is_dropped(profile: int) -> None:
    client, server = pair(profile)
    packets = [client.protect_rtp(rtp(number)) for number in range(10)]
    report = client.protect_rtcp(rtcp())
    for packet in packets:
        assert server.unprotect_rtp(packet) is not None
    assert server.unprotect_rtcp(report) is not None
    for packet in packets:
        assert server.unprotect_rtp(packet) is None
    assert server.unprotect_rtcp(report) is None
    assert server.statistics().dropped == {"replayed": 11}


@PROFILES
def test_a_packet_behind_the_replay_window_is_dropped(profile: int) -> None:
    client, server = pair(profile)
    packets = [client.protect_rtp(rtp(number)) for number in range(200)]
    assert server.unprotect_rtp(packets[199]) is not None
    assert server.unprotect_rtp(packets[199 - 127]) is not None
    assert server.unprotect_rtp(packets[0]) is None
    assert server.statistics().dropped == {"too_old": 1}


@PROFILES
def test_no_byte_can_be_changed(profile: int) -> None:
    client, server = pair(profile)
    packet, report = client.protect_rtp(rtp(1)), client.protect_rtcp(rtcp())
    for unprotect, protected in ((server.unprotect_rtp, packet), (server.unprotect_rtcp, report)):
        for position in range(len(protected)):
            for bit in (0x01, 0x80):
                damaged = bytearray(protected)
                damaged[position] ^= bit
                assert unprotect(bytes(damaged)) is None
    assert server.statistics().unprotected == 0
    # And after all that, the true ones are still let in.
    assert server.unprotect_rtp(packet) == rtp(1)
    assert server.unprotect_rtcp(report) == rtcp()


@PROFILES
def test_no_part_of_a_packet_is_let_in(profile: int) -> None:
    client, server = pair(profile)
    packet, report = client.protect_rtp(rtp(1)), client.protect_rtcp(rtcp())
    for length in range(len(packet)):
        assert server.unprotect_rtp(packet[:length]) is None
    for length in range(len(report)):
        assert server.unprotect_rtcp(report[:length]) is None
    assert set(server.statistics().dropped) == {"malformed", "authentication_failed"}


@PROFILES
def test_other_keys_let_nothing_in(profile: int) -> None:
    client, _ = pair(profile)
    other = SrtpSession.from_exporter(
        profile=profile, keying_material=bytes(len(keying_material(profile))), is_client=False
    )
    assert other.unprotect_rtp(client.protect_rtp(rtp(1))) is None
    assert other.unprotect_rtcp(client.protect_rtcp(rtcp())) is None
    assert other.statistics().dropped == {"authentication_failed": 2}


@PROFILES
def test_our_own_packets_are_not_let_in_when_reflected(profile: int) -> None:
    client, _ = pair(profile)
    assert client.unprotect_rtp(client.protect_rtp(rtp(1))) is None
    assert client.unprotect_rtcp(client.protect_rtcp(rtcp())) is None


@PROFILES
def test_rtp_is_not_let_in_as_rtcp_nor_the_other_way(profile: int) -> None:
    client, server = pair(profile)
    assert server.unprotect_rtcp(client.protect_rtp(rtp(1))) is None
    assert server.unprotect_rtp(client.protect_rtcp(rtcp())) is None


@PROFILES
@given(packet=st.binary(max_size=120), well_begun=st.booleans())
def test_no_bytes_from_anybody_do_any_harm(profile: int, packet: bytes, well_begun: bool) -> None:
    client, server = pair(profile)
    if well_begun:
        packet = b"\x80\xc9" + packet[2:]
    assert server.unprotect_rtp(packet) is None
    assert server.unprotect_rtcp(packet) is None
    assert sum(server.statistics().dropped.values()) == 2
    assert server.unprotect_rtp(client.protect_rtp(rtp(1))) == rtp(1)


@PROFILES
def test_header_extensions_and_contributors_stay_readable(profile: int) -> None:
    client, server = pair(profile)
    head = pack("!BBHIIIHH", 0x91, 111, 1, 960, SSRC, 7, 0xBEDE, 1) + b"\x10\x85\0\0"
    protected = client.protect_rtp(head + b"opus")
    assert protected.startswith(head)
    assert server.unprotect_rtp(protected) == head + b"opus"


@PROFILES
def test_an_extension_longer_than_its_packet_is_malformed(profile: int) -> None:
    _, server = pair(profile)
    packet = b"\x90" + rtp(1)[1:12] + pack("!HH", 0xBEDE, 0xFFFF) + bytes(40)
    assert server.unprotect_rtp(packet) is None
    assert server.statistics().dropped == {"malformed": 1}


@PROFILES
def test_the_longest_packet_passes_and_a_longer_one_does_not(profile: int) -> None:
    client, server = pair(profile)
    trailer = len(client.protect_rtp(rtp(1))) - len(rtp(1))
    longest = rtp(2, payload=bytes(MAX_PACKET_LENGTH - 12 - trailer))
    assert server.unprotect_rtp(client.protect_rtp(longest)) == longest
    too_long = client.protect_rtp(rtp(3, payload=bytes(MAX_PACKET_LENGTH - 12)))
    assert server.unprotect_rtp(too_long) is None
    assert server.unprotect_rtcp(bytes(MAX_PACKET_LENGTH + 1)) is None
    assert server.statistics().dropped == {"too_long": 2}
    with pytest.raises(UsageError, match=str(MAX_PACKET_LENGTH)):
        client.protect_rtp(bytes(MAX_PACKET_LENGTH + 1))


@PROFILES
def test_only_so_many_sources_are_let_in_and_the_first_ones_stay(profile: int) -> None:
    client, server = pair(profile)
    for ssrc in range(MAX_SOURCES):
        assert server.unprotect_rtp(client.protect_rtp(rtp(1, ssrc=ssrc))) is not None
    assert server.unprotect_rtp(client.protect_rtp(rtp(1, ssrc=MAX_SOURCES))) is None
    assert server.unprotect_rtcp(client.protect_rtcp(rtcp(ssrc=MAX_SOURCES))) is None
    assert server.statistics().dropped == {"too_many_sources": 2}
    assert server.unprotect_rtp(client.protect_rtp(rtp(2, ssrc=0))) is not None
    assert server.unprotect_rtcp(client.protect_rtcp(rtcp(ssrc=0))) is not None


@PROFILES
def test_a_stranger_uses_up_no_sources(profile: int) -> None:
    client, server = pair(profile)
    for ssrc in range(10 * MAX_SOURCES):
        assert server.unprotect_rtp(rtp(1, ssrc=ssrc)) is None
    assert server.unprotect_rtp(client.protect_rtp(rtp(1))) is not None


@PROFILES
def test_a_sequence_number_is_never_used_twice(profile: int) -> None:
    client, _ = pair(profile)
    client.protect_rtp(rtp(1))
    with pytest.raises(UsageError):
        client.protect_rtp(rtp(1, payload=b"another"))


@PROFILES
@pytest.mark.parametrize("packet", [b"", b"\x80", bytes(7)])
def test_what_is_no_packet_cannot_be_protected(profile: int, packet: bytes) -> None:
    client, _ = pair(profile)
    with pytest.raises(UsageError):
        client.protect_rtp(packet)
    with pytest.raises(UsageError):
        client.protect_rtcp(packet)


@PROFILES
def test_the_shortest_packets_pass(profile: int) -> None:
    client, server = pair(profile)
    assert server.unprotect_rtp(client.protect_rtp(rtp(1, payload=b"."))) == rtp(1, payload=b".")
    assert server.unprotect_rtcp(client.protect_rtcp(RECEIVER_REPORT)) == RECEIVER_REPORT


@pytest.mark.parametrize(
    ("profile", "policy_profile"),
    [
        (0x0001, Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
        (0x0007, Policy.SRTP_PROFILE_AEAD_AES_128_GCM),
        (0x0008, Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
    ],
)
def test_pylibsrtp_agrees(profile: int, policy_profile: int) -> None:
    client, _ = pair(profile)
    key, salt = client_keys(profile)
    receiver = Session(Policy(key=key + salt, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=policy_profile))
    assert receiver.unprotect(client.protect_rtp(rtp(1))) == rtp(1)
    assert receiver.unprotect_rtcp(client.protect_rtcp(rtcp())) == rtcp()


@pytest.mark.parametrize(("profile", "length"), [(0x0001, 60), (0x0007, 56), (0x0008, 88)])
def test_the_length_of_the_keys_is_known(profile: int, length: int) -> None:
    assert SrtpSession.keying_material_length(profile) == length
    with pytest.raises(UsageError):
        SrtpSession.from_exporter(profile=profile, keying_material=bytes(length + 1), is_client=True)


@pytest.mark.parametrize("name", ["local_key", "local_salt", "remote_key", "remote_salt"])
def test_a_key_of_the_wrong_length_is_refused(name: str) -> None:
    keys = {
        "local_key": bytes(16),
        "local_salt": bytes(12),
        "remote_key": bytes(16),
        "remote_salt": bytes(12),
    }
    with pytest.raises(UsageError):
        SrtpSession(profile=0x0007, **(keys | {name: bytes(14)}))


@pytest.mark.parametrize("profile", [0x0000, 0x0002, 0x0005, 0x0009])
def test_an_unknown_profile_is_refused(profile: int) -> None:
    with pytest.raises(UsageError):
        SrtpSession.keying_material_length(profile)
    with pytest.raises(UsageError):
        SrtpSession(profile=profile, local_key=b"", local_salt=b"", remote_key=b"", remote_salt=b"")


def test_a_session_that_libsrtp_cannot_make_is_an_error() -> None:
    with pytest.raises(UsageError):
        _create(lib.srtp_profile_aead_aes_128_gcm, bytes(28), lib.ssrc_undefined)


def test_a_session_is_freed_with_its_owner() -> None:
    client, _ = pair(0x0007)
    contexts = [weakref.ref(context) for context in (client._outbound, client._inbound)]
    del client
    gc.collect()
    assert [context() for context in contexts] == [None, None]
