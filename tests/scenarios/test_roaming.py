"""A client that changes its network in the middle of a call."""

import pytest

from tests.transceiver.harness import ELSEWHERE, HOME, Harness
from voicegate.call import EndCause
from voicegate.transceiver.event import PathRemoved, State
from voicegate.wire import PacketKind, classify


def strayed(call: Harness) -> int:
    return sum(classify(transmit.data) is not PacketKind.STUN for transmit in call.strays)


def test_media_follows_the_first_packet_from_a_nominated_path() -> None:
    call = Harness.connected()
    call.run(0.5)
    call.check(ELSEWHERE, nominates=True)
    assert call.core.path == HOME, "a check alone moves nothing"
    assert strayed(call) == 0
    call.path = ELSEWHERE
    call.run(0.1, until=lambda: call.core.path == ELSEWHERE)
    assert call.core.path == ELSEWHERE
    # One packet of the client's, on a 20 ms grid, was all it took.
    assert strayed(call) <= 1
    heard = len(call.client.heard)
    call.run(1.0)
    assert strayed(call) <= 1
    assert len(call.client.heard) - heard >= 48 * 320


def test_packets_that_still_come_from_the_old_path_are_heard_and_pull_nothing_back() -> None:
    call = Harness.connected()
    call.run(0.5)
    call.check(ELSEWHERE, nominates=True)
    call.path = ELSEWHERE
    late: list[bytes] = []

    def hold_every_third(data: bytes) -> bytes | None:
        if classify(data) is PacketKind.RTP and len(call.captured) % 3 == 0:
            late.append(data)
            return None
        return data

    call.tamper = hold_every_third
    call.run(0.1)
    assert call.core.path == ELSEWHERE
    packets = call.core.statistics().audio_packets_in
    for data in late:
        call.inject(data, HOME)
    assert call.core.statistics().audio_packets_in == packets + len(late) > packets
    assert call.core.path == ELSEWHERE


@pytest.mark.slow
def test_the_old_path_is_forgotten_30_s_after_its_last_check() -> None:
    call = Harness.connected()
    call.run(0.5)
    call.check(ELSEWHERE, nominates=True)
    call.path = ELSEWHERE
    call.run(31)
    assert PathRemoved(HOME) in call.events
    assert call.core.state is State.CONNECTED
    call.inject(call.captured[-1], HOME)
    assert call.drops["path_not_validated"] == 1


def test_a_new_address_that_a_nat_gave_is_followed_after_a_silence_without_nomination() -> None:
    call = Harness.connected()
    call.run(0.5)
    call.path = ELSEWHERE
    call.check(ELSEWHERE, nominates=False)
    call.run(0.2)
    assert call.core.path == HOME
    call.run(0.2)
    assert call.core.path == ELSEWHERE


def test_a_path_that_ends_before_media_moved_leaves_no_burst_for_later() -> None:
    """The client checks from elsewhere only, and is silent until the old path is gone."""
    call = Harness.connected()
    call.run(0.5)
    call.vanish()
    call.run(0.05)
    call.path = ELSEWHERE
    for number in range(14):
        call.check(ELSEWHERE, nominates=True, number=number)
        call.run(2.5)
    assert call.core.state is State.CONNECTED
    nowhere = call.core.path
    assert nowhere is None
    assert call.drops["no_path"] > 100
    call.is_client_alive = True
    before = len(call.sent)
    call.run(0.1)
    assert call.core.path == ELSEWHERE
    media = [transmit for _, transmit in call.sent[before:] if classify(transmit.data) is PacketKind.RTP]
    assert len(media) <= 6


def test_a_client_without_any_path_left_is_gone() -> None:
    call = Harness.connected()
    call.check(ELSEWHERE, nominates=True)
    call.vanish()
    call.run(40)
    assert call.ended.cause is EndCause.CONSENT_EXPIRED
