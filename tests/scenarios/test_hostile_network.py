"""Somebody who can send to the relay from any address, and has seen packets, gets nothing for it."""

import pytest

from tests.transceiver.harness import ELSEWHERE, HOME, Harness
from voicegate.transceiver.core import MAX_HELD_PACKETS
from voicegate.transceiver.event import PathAdded, State
from voicegate.wire import PacketKind, Path, classify


def of_kind(call: Harness, kind: PacketKind) -> list[bytes]:
    return [data for data in call.captured if classify(data) is kind]


def withhold(call: Harness, kind: PacketKind) -> list[bytes]:
    """Let packets of a kind get lost from now on, and collect them."""
    withheld: list[bytes] = []

    def tamper(data: bytes) -> bytes | None:
        if classify(data) is not kind:
            return data
        withheld.append(data)
        return None

    call.tamper = tamper
    return withheld


@pytest.mark.parametrize("kind", [PacketKind.DTLS, PacketKind.RTP, PacketKind.RTCP])
def test_what_comes_from_a_path_without_a_check_is_dropped(kind: PacketKind) -> None:
    call = Harness.connected()
    withhold(call, kind)
    call.run(2.0)
    heard = len(call.heard)
    packets = of_kind(call, kind)
    for data in packets:
        call.inject(data, ELSEWHERE)
    assert call.drops["path_not_validated"] == len(packets) > 0
    assert len(call.heard) == heard
    assert not call.strays


def test_a_client_hello_before_any_check_is_not_answered() -> None:
    other = Harness.make(seed=7)
    other.connect()
    call = Harness.make()
    call.inject(of_kind(other, PacketKind.DTLS)[0], HOME)
    assert call.drops == {"path_not_validated": 1}
    assert call.core.state is State.AWAITING_CHECK
    assert call.sent == []


@pytest.mark.parametrize("packet", [b"\x80\x00" + bytes(40), b"\x80\xc8" + bytes(40)], ids=["SRTP", "SRTCP"])
def test_media_before_keys_is_held_up_to_a_limit(packet: bytes) -> None:
    call = Harness.make()
    call.check(HOME, nominates=True)
    for _ in range(MAX_HELD_PACKETS):
        call.inject(packet, HOME)
    assert call.drops == {}
    call.inject(packet, HOME)
    assert call.drops == {"before_keys": 1}
    call.connect()
    assert (
        sum(count for reason, count in call.drops.items() if reason.startswith("srtp_")) == MAX_HELD_PACKETS
    )


def test_what_belongs_to_no_protocol_is_counted() -> None:
    call = Harness.make()
    call.check(HOME, nominates=True)
    for packet in (b"", b"\x80", b"\xff" * 40, bytes([16]) * 40):
        call.inject(packet, HOME)
    assert call.drops == {"unknown_protocol": 4}


@pytest.mark.parametrize("kind", [PacketKind.RTP, PacketKind.RTCP])
def test_media_that_came_before_is_not_heard_again(kind: PacketKind) -> None:
    call = Harness.connected()
    call.run(2.0)
    call.vanish()
    call.run(0.1)
    heard = len(call.heard)
    for data in of_kind(call, kind):
        call.inject(data, HOME)
    assert call.drops == {"srtp_replayed": len(of_kind(call, kind))}
    assert len(call.heard) == heard


@pytest.mark.parametrize("kind", [PacketKind.RTP, PacketKind.RTCP])
@pytest.mark.parametrize("place", [5, 15, 30, -1], ids=["header", "body", "later", "tag"])
def test_media_that_was_changed_on_its_way_is_not_heard(kind: PacketKind, place: int) -> None:
    call = Harness.connected()
    withheld = withhold(call, kind)
    call.run(2.0)
    heard, changed = len(call.heard), bytearray(withheld[-1])
    changed[place] ^= 1
    call.inject(bytes(changed), HOME)
    assert call.drops == {"srtp_authentication_failed": 1}
    assert len(call.heard) == heard
    call.inject(withheld[-1], HOME)
    assert call.drops == {"srtp_authentication_failed": 1}, "the packet itself is still welcome"


def test_a_copied_check_from_elsewhere_moves_no_media() -> None:
    call = Harness.connected()
    call.run(0.5)
    call.inject(of_kind(call, PacketKind.STUN)[-1], ELSEWHERE)
    assert PathAdded(ELSEWHERE) in call.events
    # Nor do the client's own packets, copied to there.
    for data in call.captured[-30:-5]:  # the last ones are still on their way
        call.inject(data, ELSEWHERE)
    before = len(call.sent)
    call.run(2.0)
    assert call.core.path == HOME
    assert len(call.sent) - before >= 100
    assert {classify(transmit.data) for transmit in call.strays} == {PacketKind.STUN}


def test_a_forged_check_is_neither_answered_nor_a_path() -> None:
    call = Harness.connected()
    before = len(call.sent)
    call.inject(call.make_check(nominates=True, key="a guess"), ELSEWHERE)
    assert len(call.sent) == before
    assert call.drops == {"ice_bad_integrity": 1}
    assert PathAdded(ELSEWHERE) not in call.events


def test_paths_are_bounded_and_the_one_with_media_stays() -> None:
    call = Harness.connected()
    crowd = [Path(HOME.relay, HOME.host, port) for port in range(6000, 6100)]
    for number, path in enumerate(crowd):
        call.check(path, nominates=True, number=number)
    assert call.core.path == HOME
    added = sum(isinstance(event, PathAdded) for event in call.events)
    assert added == 101
    assert len(call.events) - added - 1 == added - 8, "for each path too many another is given up"
    call.run(1.0)
    assert call.core.state is State.CONNECTED
    assert all(classify(transmit.data) is PacketKind.STUN for transmit in call.strays)
