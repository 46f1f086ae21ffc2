import json
from pathlib import Path as FilePath
from typing import Final
from zlib import crc32

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.ice.checks import (
    REMOTE_PWD,
    REMOTE_UFRAG,
    answer,
    check,
    events,
    local_credentials,
    new_agent,
    path,
    remote_ufrag,
    restart,
    transmits,
)
from voicegate.errors import UsageError
from voicegate.ice import (
    ConsentExpired,
    Credentials,
    IceLiteAgent,
    Message,
    PathClosed,
    PathSelected,
    PathValidated,
    Refusal,
)
from voicegate.ice.agent import CONSENT_SECONDS, MAX_PATHS, SILENCE_SECONDS
from voicegate.ice.stun import AttributeType, MessageClass, sign
from voicegate.wire.path import address_bytes

VECTORS: Final = FilePath(__file__).parent.parent / "vectors" / "stun"
WIFI, CELLULAR, STRANGER = path(1), path(2), path(66)


def connected(*, nominated: bool = True) -> IceLiteAgent:
    """Return an agent with media on WIFI since second 1."""
    agent = new_agent()
    agent.handle_datagram(check(nominates=nominated), path=WIFI, now=1.0)
    assert agent.confirm_path(WIFI, now=1.0) is False, "it was selected by its check"
    transmits(agent)
    events(agent)
    return agent


# Checks


@pytest.mark.parametrize("nominates", [True, False])
def test_a_check_is_answered_where_it_came_from_with_the_address_it_came_from(nominates: bool) -> None:
    agent = new_agent()
    request = check(nominates=nominates)
    agent.handle_datagram(request, path=WIFI, now=1.0)
    transmit = agent.poll_transmit()
    assert transmit is not None
    assert transmit.path == WIFI
    assert len(transmit.data) <= len(request)
    response = Message.decode(transmit.data)
    assert response.message_class is MessageClass.SUCCESS
    assert response.transaction_id == Message.decode(request).transaction_id
    assert response.xor_mapped_address == (WIFI.host, WIFI.port)
    assert response.has_valid_integrity(local_credentials().pwd.encode())
    assert response.has_valid_fingerprint
    assert events(agent) == [PathValidated(path=WIFI), PathSelected(path=WIFI, previous=None)]
    assert agent.is_validated(WIFI)
    assert agent.selected_path == WIFI
    assert agent.statistics().checks_answered == 1


def test_a_client_on_ipv6_learns_its_ipv6_address() -> None:
    agent = new_agent()
    home = path(1)._replace(host=address_bytes("2001:db8::7"))
    agent.handle_datagram(check(), path=home, now=1.0)
    assert answer(agent).xor_mapped_address == (address_bytes("2001:db8::7"), home.port)


def test_a_repeated_check_gets_the_same_answer_and_changes_nothing() -> None:
    agent = new_agent()
    agent.handle_datagram(check(), path=WIFI, now=1.0)
    first = transmits(agent)
    events(agent)
    agent.handle_datagram(check(), path=WIFI, now=1.1)
    assert transmits(agent) == first
    assert events(agent) == []


@pytest.mark.parametrize(
    "capture",
    [entry for entry in json.loads((VECTORS / "manifest.json").read_text()) if "-req" in entry["file"]],
    ids=lambda entry: entry["file"],
)
def test_checks_of_real_browsers_are_answered(capture: dict[str, str]) -> None:
    agent = IceLiteAgent(
        local=Credentials(ufrag=capture["our_ice_ufrag"], pwd=capture["our_ice_pwd"]),
        remote_ufrag=capture["browser_ice_ufrag"],
        remote_pwd=capture["browser_ice_pwd"],
        now=0.0,
    )
    agent.handle_datagram((VECTORS / capture["file"]).read_bytes(), path=WIFI, now=1.0)
    assert answer(agent).message_class is MessageClass.SUCCESS
    assert agent.selected_path == WIFI


def test_a_client_that_believes_to_be_controlled_is_told_to_control() -> None:
    agent = new_agent()
    agent.handle_datagram(check(controlled=True), path=WIFI, now=1.0)
    response = answer(agent)
    assert response.message_class is MessageClass.ERROR
    assert response.error_code == 487
    assert response.has_valid_integrity(local_credentials().pwd.encode())
    assert not agent.is_validated(WIFI)
    assert agent.statistics().refused == {Refusal.ROLE_CONFLICT: 1}
    agent.handle_datagram(check(), path=WIFI, now=1.1)
    assert answer(agent).message_class is MessageClass.SUCCESS


def test_a_check_that_demands_the_unknown_is_refused_with_the_list() -> None:
    agent = new_agent()
    request = check(extra=[(0x7ABC, b"?"), (0xC0DE, b"may be ignored")])
    agent.handle_datagram(request, path=WIFI, now=1.0)
    response = answer(agent)
    assert response.error_code == 420
    assert response.get(AttributeType.UNKNOWN_ATTRIBUTES) == bytes.fromhex("7abc")
    assert not agent.is_validated(WIFI)
    assert agent.statistics().refused == {Refusal.UNKNOWN_ATTRIBUTE: 1}


CHECK: Final = Message.decode(check())


def signed(message: Message) -> bytes:
    """Sign a variation of a check as the client would."""
    covered = message.attributes[:-2] if message.attributes == CHECK.attributes else message.attributes
    return sign(attrs.evolve(message, attributes=covered), key=local_credentials().pwd.encode())


def without_integrity(*attributes: tuple[int, bytes]) -> bytes:
    """Build a request with a good fingerprint and no integrity."""
    draft = attrs.evolve(CHECK, attributes=(*attributes, (AttributeType.FINGERPRINT, bytes(4)))).encode()
    return draft[:-4] + (crc32(draft[:-8]) ^ 0x5354554E).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", Refusal.MALFORMED),
        (check()[:-1], Refusal.MALFORMED),
        (signed(attrs.evolve(CHECK, message_class=MessageClass.INDICATION)), Refusal.INDICATION),
        (signed(attrs.evolve(CHECK, message_class=MessageClass.SUCCESS)), Refusal.RESPONSE),
        (signed(attrs.evolve(CHECK, message_class=MessageClass.ERROR)), Refusal.RESPONSE),
        (signed(attrs.evolve(CHECK, method=0x003)), Refusal.UNKNOWN_METHOD),
        (check()[:-1] + b"x", Refusal.BAD_FINGERPRINT),
        (attrs.evolve(CHECK, attributes=()).encode(), Refusal.BAD_FINGERPRINT),
        (signed(attrs.evolve(CHECK, attributes=())), Refusal.NO_CREDENTIALS),
        (without_integrity((AttributeType.USERNAME, b"a:b")), Refusal.NO_CREDENTIALS),
        (check(local_ufrag="someoneelse"), Refusal.UNKNOWN_UFRAG),
        (check(local_ufrag=""), Refusal.UNKNOWN_UFRAG),
        (check(generation=1), Refusal.UNKNOWN_UFRAG),
        (check(peer_ufrag="abcd"), Refusal.WRONG_PEER_UFRAG),
        (check(peer_ufrag=f"{REMOTE_UFRAG}:"), Refusal.WRONG_PEER_UFRAG),
        (check(peer_ufrag=""), Refusal.WRONG_PEER_UFRAG),
        (check(key="wrong password"), Refusal.BAD_INTEGRITY),
        (check(key=REMOTE_PWD), Refusal.BAD_INTEGRITY),
    ],
)
def test_what_is_no_authentic_check_is_counted_and_never_answered(datagram: bytes, reason: Refusal) -> None:
    agent = new_agent()
    agent.handle_datagram(datagram, path=WIFI, now=1.0)
    assert transmits(agent) == []
    assert events(agent) == []
    assert not agent.is_validated(WIFI)
    assert agent.statistics().refused == {reason: 1}
    assert agent.statistics().checks_answered == 0


@given(st.binary(max_size=200), st.integers(0, len(check()) - 1))
def test_garbage_never_gets_an_answer(garbage: bytes, position: int) -> None:
    assume(check()[position:] != garbage)
    agent = new_agent()
    agent.handle_datagram(garbage, path=WIFI, now=1.0)
    agent.handle_datagram(check()[:position] + garbage, path=WIFI, now=1.0)
    assert transmits(agent) == []
    assert sum(agent.statistics().refused.values()) == 2


# Paths before media


def test_the_latest_path_is_selected_until_one_is_nominated() -> None:
    agent = new_agent()
    agent.handle_datagram(check(), path=WIFI, now=1.0)
    agent.handle_datagram(check(), path=CELLULAR, now=1.1)
    assert agent.selected_path == CELLULAR
    agent.handle_datagram(check(), path=WIFI, now=1.2)
    assert agent.selected_path == CELLULAR, "a path that is only checked again is not the latest"
    agent.handle_datagram(check(nominates=True), path=WIFI, now=1.3)
    assert agent.selected_path == WIFI
    agent.handle_datagram(check(), path=path(3), now=1.4)
    assert agent.selected_path == WIFI
    agent.handle_datagram(check(nominates=True), path=CELLULAR, now=1.5)
    assert agent.selected_path == CELLULAR
    assert events(agent)[-1] == PathSelected(path=CELLULAR, previous=WIFI)


def test_before_a_nomination_tcp_comes_behind_udp_though_it_is_validated_later() -> None:
    agent = new_agent()
    stream = WIFI._replace(is_stream=True)
    agent.handle_datagram(check(), path=stream, now=1.0)
    assert agent.selected_path == stream, "it is all there is"
    agent.handle_datagram(check(), path=WIFI, now=1.1)
    assert agent.selected_path == WIFI, "one address over UDP and TCP is two paths"
    agent.handle_datagram(check(), path=stream._replace(port=1), now=1.2)
    assert agent.selected_path == WIFI
    agent.handle_datagram(check(nominates=True), path=stream, now=1.3)
    assert agent.selected_path == stream, "what the client wants counts more"


def test_media_follows_the_client_from_udp_to_tcp_and_back() -> None:
    agent = connected()
    stream = WIFI._replace(is_stream=True)
    agent.handle_datagram(check(nominates=True), path=stream, now=2.0)
    assert agent.confirm_path(stream, now=2.0) is True
    agent.handle_datagram(check(nominates=True), path=WIFI, now=3.0)
    assert agent.confirm_path(WIFI, now=3.0) is True


def test_one_address_behind_two_relays_is_two_paths() -> None:
    agent = new_agent()
    other = path(1, relay=("127.0.0.2", 7000))
    agent.handle_datagram(check(), path=WIFI, now=1.0)
    assert not agent.is_validated(other)
    agent.handle_datagram(check(), path=other, now=1.0)
    assert [transmit.path for transmit in transmits(agent)] == [WIFI, other]
    assert agent.statistics().paths == 2


def test_the_first_authenticated_packet_takes_media_to_its_path_nominated_or_not() -> None:
    agent = new_agent()
    agent.handle_datagram(check(), path=WIFI, now=1.0)
    agent.handle_datagram(check(nominates=True), path=CELLULAR, now=1.1)
    assert agent.confirm_path(WIFI, now=1.2) is True
    assert agent.selected_path == WIFI
    assert events(agent)[-1] == PathSelected(path=WIFI, previous=CELLULAR)


def test_a_packet_from_where_no_check_came_confirms_nothing() -> None:
    agent = connected()
    assert agent.confirm_path(STRANGER, now=1.1) is False
    assert agent.selected_path == WIFI
    fresh = new_agent()
    assert fresh.confirm_path(WIFI, now=0.1) is False
    assert fresh.selected_path is None


# Paths with media


def test_a_copied_check_never_moves_media() -> None:
    agent = connected()
    for step in range(1, 100):
        agent.handle_datagram(check(nominates=True), path=STRANGER, now=1.0 + step)
        agent.handle_datagram(check(), path=WIFI, now=1.0 + step)
        assert agent.selected_path == WIFI


def test_a_check_in_the_name_of_an_address_the_client_has_left_does_not_move_media_back() -> None:
    agent = connected()
    agent.handle_datagram(check(nominates=True), path=CELLULAR, now=2.0)
    assert agent.confirm_path(CELLULAR, now=2.1) is True
    agent.handle_datagram(check(nominates=True), path=WIFI, now=3.0)
    assert agent.selected_path == CELLULAR


def test_a_newly_nominated_path_takes_media_with_its_first_packet() -> None:
    agent = connected()
    agent.handle_datagram(check(nominates=True), path=CELLULAR, now=2.0)
    assert agent.selected_path == WIFI, "nomination alone moves nothing"
    agent.confirm_path(WIFI, now=2.0)
    assert agent.confirm_path(CELLULAR, now=2.01) is True
    assert agent.selected_path == CELLULAR
    assert events(agent)[-1] == PathSelected(path=CELLULAR, previous=WIFI)


def test_late_packets_of_the_path_just_left_do_not_pull_media_back() -> None:
    agent = connected()
    agent.handle_datagram(check(nominates=True), path=CELLULAR, now=2.0)
    agent.confirm_path(CELLULAR, now=2.0)
    agent.handle_datagram(check(), path=WIFI, now=2.05)  # kept alive as a spare
    for step in range(1, 50):
        now = 2.05 + step * 0.01
        assert agent.confirm_path(WIFI, now=now) is False
        assert agent.confirm_path(CELLULAR, now=now) is False
    assert agent.selected_path == CELLULAR


def test_a_client_whose_address_changed_unnoticed_is_followed_although_it_nominates_nothing() -> None:
    agent = connected()
    agent.confirm_path(WIFI, now=9.98)
    rebound = path(9)
    agent.handle_datagram(check(), path=rebound, now=10.0)
    assert agent.confirm_path(rebound, now=10.02) is False, "old packets may still be on their way"
    assert agent.confirm_path(rebound, now=9.98 + SILENCE_SECONDS) is True
    assert agent.selected_path == rebound


def test_media_on_both_of_two_paths_stays_where_it_is() -> None:
    agent = connected()
    agent.handle_datagram(check(), path=CELLULAR, now=2.0)
    for step in range(100):
        agent.confirm_path(WIFI, now=2.0 + step * 0.02)
        assert agent.confirm_path(CELLULAR, now=2.01 + step * 0.02) is False
    assert agent.selected_path == WIFI


def test_a_silent_path_keeps_media_while_the_checks_come_from_it() -> None:
    agent = connected()
    agent.handle_datagram(check(), path=CELLULAR, now=2.0)
    agent.handle_datagram(check(), path=WIFI, now=3.0)
    assert agent.confirm_path(CELLULAR, now=3.5) is False
    assert agent.selected_path == WIFI


# Consent


def test_consent_runs_out_when_the_checks_stop() -> None:
    agent = connected()
    agent.handle_datagram(check(), path=WIFI, now=11.0)
    assert agent.poll_timeout() == 11.0 + CONSENT_SECONDS
    agent.handle_timeout(now=11.0 + CONSENT_SECONDS - 0.001)
    assert events(agent) == []
    agent.confirm_path(WIFI, now=40.0)  # media is no consent (RFC 7675 §5.1)
    agent.handle_timeout(now=11.0 + CONSENT_SECONDS)
    assert events(agent) == [PathClosed(path=WIFI), ConsentExpired()]
    assert agent.selected_path is None
    assert not agent.is_validated(WIFI)
    assert agent.poll_timeout() is None
    agent.handle_timeout(now=1000.0)
    assert events(agent) == [], "it runs out once"


def test_checks_without_nomination_keep_consent() -> None:
    agent = connected()
    for second in range(5, 200, 5):
        agent.handle_timeout(now=float(second))
        agent.handle_datagram(check(number=second), path=WIFI, now=float(second))
        assert answer(agent).message_class is MessageClass.SUCCESS
    assert events(agent) == []
    assert agent.selected_path == WIFI


def test_a_client_that_never_comes_has_no_consent() -> None:
    agent = new_agent(now=100.0)
    assert agent.poll_timeout() == 100.0 + CONSENT_SECONDS
    agent.handle_timeout(now=100.0 + CONSENT_SECONDS)
    assert events(agent) == [ConsentExpired()]


@pytest.mark.parametrize(
    "datagram", [check(key="wrong"), check(controlled=True), check(extra=[(0x7ABC, b"")])]
)
def test_refused_checks_give_no_consent(datagram: bytes) -> None:
    agent = connected()
    agent.handle_datagram(datagram, path=WIFI, now=20.0)
    assert agent.poll_timeout() == 1.0 + CONSENT_SECONDS


def test_a_path_without_checks_is_closed_while_the_call_goes_on() -> None:
    agent = connected()
    agent.handle_datagram(check(), path=CELLULAR, now=20.0)
    agent.handle_timeout(now=1.0 + CONSENT_SECONDS)
    assert events(agent) == [PathValidated(path=CELLULAR), PathClosed(path=WIFI)]
    assert agent.selected_path is None, "media goes nowhere until the client shows where it is"
    assert agent.confirm_path(CELLULAR, now=32.0) is True
    assert events(agent) == [PathSelected(path=CELLULAR, previous=None)]


def test_the_path_checked_longest_ago_closes_first_whichever_came_first() -> None:
    agent = connected()
    agent.handle_datagram(check(), path=CELLULAR, now=2.0)
    agent.handle_datagram(check(), path=WIFI, now=3.0)
    assert agent.poll_timeout() == 2.0 + CONSENT_SECONDS
    agent.handle_timeout(now=2.0 + CONSENT_SECONDS)
    assert events(agent) == [PathValidated(path=CELLULAR), PathClosed(path=CELLULAR)]
    assert agent.selected_path == WIFI
    assert agent.poll_timeout() == 3.0 + CONSENT_SECONDS


def test_without_media_the_best_remaining_path_is_selected_when_one_closes() -> None:
    agent = new_agent()
    agent.handle_datagram(check(nominates=True), path=WIFI, now=1.0)
    agent.handle_datagram(check(), path=CELLULAR, now=2.0)
    agent.handle_datagram(check(), path=path(3), now=3.0)
    events(agent)
    agent.handle_timeout(now=1.0 + CONSENT_SECONDS)
    assert events(agent) == [PathClosed(path=WIFI), PathSelected(path=path(3), previous=None)]


def test_a_client_with_too_many_paths_keeps_the_selected_and_the_latest() -> None:
    agent = connected()
    others = [path(number) for number in range(2, 2 * MAX_PATHS)]
    for number, other in enumerate(others):
        agent.handle_datagram(check(), path=other, now=2.0 + number)
        assert agent.statistics().paths <= MAX_PATHS
    assert agent.selected_path == WIFI
    assert agent.is_validated(WIFI)
    kept = [other for other in others if agent.is_validated(other)]
    assert kept == others[-(MAX_PATHS - 1) :]
    closed = [event.path for event in events(agent) if isinstance(event, PathClosed)]
    assert closed == others[: -(MAX_PATHS - 1)]


# Round trip


def test_the_round_trip_is_at_most_the_time_from_the_first_answer_to_the_first_dtls_datagram() -> None:
    agent = new_agent()
    assert agent.round_trip is None
    agent.note_datagram(WIFI, now=0.5)
    assert agent.round_trip is None, "nothing was answered there yet"
    agent.handle_datagram(check(), path=WIFI, now=1.0)
    agent.handle_datagram(check(number=2), path=WIFI, now=1.05)
    agent.note_datagram(WIFI, now=1.2)
    agent.note_datagram(WIFI, now=1.9)
    assert agent.round_trip == pytest.approx(0.2)


@pytest.mark.parametrize(("second", "best"), [(0.1, 0.1), (0.9, 0.2)])
def test_the_shortest_round_trip_counts(second: float, best: float) -> None:
    agent = new_agent()
    agent.handle_datagram(check(), path=WIFI, now=1.0)
    agent.note_datagram(WIFI, now=1.2)
    agent.handle_datagram(check(), path=CELLULAR, now=2.0)
    agent.note_datagram(CELLULAR, now=2.0 + second)
    assert agent.round_trip == pytest.approx(best)


def test_a_datagram_after_the_handshake_says_nothing_about_the_round_trip() -> None:
    agent = connected()
    agent.handle_datagram(check(), path=CELLULAR, now=2.0)
    agent.note_datagram(CELLULAR, now=2.001)
    assert agent.round_trip is None


# Restart


def test_after_a_restart_old_and_new_checks_are_answered_until_media_takes_a_new_path() -> None:
    agent = connected()
    restart(agent, 1, now=2.0)
    agent.handle_datagram(check(generation=0), path=WIFI, now=2.1)
    agent.handle_datagram(check(generation=1), path=CELLULAR, now=2.2)
    old, new = [Message.decode(transmit.data) for transmit in transmits(agent)]
    assert old.has_valid_integrity(local_credentials(0).pwd.encode())
    assert new.has_valid_integrity(local_credentials(1).pwd.encode())
    assert agent.selected_path == WIFI
    agent.confirm_path(WIFI, now=2.3)
    assert agent.confirm_path(CELLULAR, now=2.31) is True, "a path of the new generation needs no nomination"
    agent.handle_datagram(check(generation=0), path=WIFI, now=2.4)
    assert transmits(agent) == []
    assert agent.statistics().refused == {Refusal.UNKNOWN_UFRAG: 1}


def test_both_sides_names_are_told_as_they_are_now() -> None:
    agent = connected()
    names = [local_credentials(generation).ufrag for generation in (0, 1)]
    assert (agent.local, [*agent.ufrags]) == (local_credentials(0), names[:1])
    restart(agent, 1, now=2.0)
    assert agent.local == local_credentials(1)
    assert (agent.remote.ufrag, agent.remote.pwd) == (remote_ufrag(1), REMOTE_PWD)
    assert [*agent.ufrags] == names
    agent.handle_datagram(check(generation=1), path=WIFI, now=2.2)
    assert [*agent.ufrags] == names[1:]


def test_after_a_restart_late_packets_of_the_old_generation_are_taken_but_move_nothing() -> None:
    agent = connected()
    restart(agent, 1, now=2.0)
    agent.handle_datagram(check(generation=1), path=CELLULAR, now=2.1)
    agent.confirm_path(CELLULAR, now=2.2)
    assert agent.is_validated(WIFI)
    assert agent.confirm_path(WIFI, now=5.0) is False


def test_a_restart_on_the_same_address_keeps_media_there() -> None:
    agent = connected()
    restart(agent, 1, now=2.0)
    agent.handle_datagram(check(generation=1), path=WIFI, now=2.1)
    assert agent.selected_path == WIFI
    assert events(agent) == []
    transmits(agent)
    agent.handle_datagram(check(generation=0), path=WIFI, now=2.2)
    assert transmits(agent) == []


def test_a_restart_forgets_what_was_nominated_before() -> None:
    agent = connected()
    agent.handle_datagram(check(nominates=True), path=CELLULAR, now=2.0)
    restart(agent, 1, now=3.0)
    agent.handle_datagram(check(generation=1), path=WIFI, now=3.1)
    agent.handle_datagram(check(generation=1), path=CELLULAR, now=3.2)
    agent.confirm_path(WIFI, now=3.3)
    assert agent.confirm_path(CELLULAR, now=3.31) is False


def test_a_restart_before_media_prefers_the_new_generation() -> None:
    agent = new_agent()
    agent.handle_datagram(check(nominates=True), path=WIFI, now=1.0)
    restart(agent, 1, now=2.0)
    agent.handle_datagram(check(generation=1), path=CELLULAR, now=2.1)
    assert agent.selected_path == CELLULAR


def test_a_restart_gives_the_client_time_to_come_back() -> None:
    agent = connected()
    restart(agent, 1, now=29.0)
    agent.handle_timeout(now=1.0 + CONSENT_SECONDS)
    assert events(agent) == [PathClosed(path=WIFI)]
    assert agent.poll_timeout() == 29.0 + CONSENT_SECONDS
    agent.handle_datagram(check(generation=1), path=CELLULAR, now=40.0)
    assert agent.confirm_path(CELLULAR, now=40.1) is True


def test_a_second_restart_replaces_the_first_that_was_never_used() -> None:
    agent = connected()
    restart(agent, 1, now=2.0)
    restart(agent, 2, now=3.0)
    agent.handle_datagram(check(generation=1), path=CELLULAR, now=4.0)
    assert transmits(agent) == []
    agent.handle_datagram(check(generation=0), path=WIFI, now=4.0)
    agent.handle_datagram(check(generation=2), path=CELLULAR, now=4.0)
    assert len(transmits(agent)) == 2


@pytest.mark.parametrize("generation", [0, 1])
def test_a_restart_with_credentials_in_use_is_a_fault_of_the_caller(generation: int) -> None:
    agent = connected()
    restart(agent, 1, now=2.0)
    with pytest.raises(UsageError):
        restart(agent, generation, now=3.0)


def test_nothing_secret_is_shown_in_logs() -> None:
    agent = connected()
    assert REMOTE_PWD not in repr(agent._current)
    assert local_credentials().pwd not in repr(agent._current)
