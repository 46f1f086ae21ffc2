import hashlib
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.relay.checks import ALICE, DTLS, MEDIA, SECRET, check, foreign_check, success
from voicegate.errors import UsageError
from voicegate.ice import IceLiteAgent
from voicegate.ice.credentials import Keyring, Route
from voicegate.ice.stun import AttributeType, Message, binding_request, sign
from voicegate.relay.admission import CALL_BURST, SOURCE_BURST
from voicegate.relay.counter import Count, Counters, DropReason
from voicegate.relay.flows import FlowTable
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router, ToClient, ToTransceiver, canonical
from voicegate.testing.link import Link
from voicegate.wire import PacketKind, Path, classify, hop
from voicegate.wire.path import Address, address_bytes

ONE: Final = ("10.0.0.1", 9000)
TWO: Final = ("10.0.0.2", 9000)
NINE: Final = ("10.0.0.9", 9000)
BOB: Final = address_bytes("2001:db8::b")


def make_router(*, flow_limit: int = 100) -> Router:
    router = Router(
        keyring=Keyring([SECRET]), now=0.0, flows=FlowTable(flow_limit=flow_limit, source_limit=flow_limit)
    )
    router.set_transceivers({1: ONE, 2: TWO})
    return router


def connected_router() -> Router:
    """Return a router with a confirmed flow from Alice's port 1000 to the first transceiver."""
    router = make_router()
    request = check(1)
    router.handle_client_datagram(request, ALICE, 1000, now=0.0)
    router.handle_hop_datagram(from_hop(success(request)), ONE, now=0.0)
    return router


def from_hop(
    payload: bytes, *, type_: int = hop.HopType.DATA, host: bytes = ALICE, port: int = 1000
) -> bytes:
    return hop.encode(type_, host=host, port=port, payload=payload)


def drops(router: Router) -> dict[str, int]:
    return {reason: count for reason, count in router.statistics().dropped.items() if count}


def count(router: Router, what: Count) -> int:
    return router.statistics().counts[what.value]


def test_a_verified_check_is_forwarded_to_the_transceiver_in_its_ufrag() -> None:
    router = make_router()
    for id_, address in ((1, ONE), (2, TWO)):
        request = check(id_)
        out = router.handle_client_datagram(request, BOB, id_, now=0.0)
        assert out == ToTransceiver(hop.encode(0, host=BOB, port=id_, payload=request), address)
    assert count(router, Count.CHECKS_VERIFIED) == 2
    assert drops(router) == {}


@pytest.mark.parametrize("packet", [MEDIA, DTLS, b"\x80\xc8" + bytes(40)])
def test_media_and_handshake_follow_the_flow_of_their_source(packet: bytes) -> None:
    router = connected_router()
    out = router.handle_client_datagram(packet, ALICE, 1000, now=1.0)
    assert out == ToTransceiver(from_hop(packet), ONE)


def test_clients_on_streams_are_told_apart_and_flagged() -> None:
    router = make_router()
    out = router.handle_client_datagram(check(), ALICE, 1000, is_stream=True, now=0.0)
    assert out is not None
    assert hop.decode(out.data).is_stream
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0) is None
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, is_stream=True, now=0.0) is not None


def test_each_reason_to_drop_a_client_datagram_is_counted_as_such() -> None:
    router = make_router(flow_limit=1)
    router.handle_client_datagram(check(), ALICE, 1000, now=0.0)
    request = check()
    for reason, datagram in (
        (DropReason.GARBAGE, b""),
        (DropReason.GARBAGE, b"\x16"),
        (DropReason.GARBAGE, b"GET / HTTP/1.1"),
        (DropReason.OVERSIZED, MEDIA + bytes(MAX_CLIENT_DATAGRAM)),
        (DropReason.MALFORMED_STUN, request[:-1]),
        (DropReason.MALFORMED_STUN, request[:19]),
        (DropReason.NOT_BINDING_REQUEST, success(request)),
        (DropReason.NOT_BINDING_REQUEST, b"\x00\x11" + request[2:]),
        (DropReason.BAD_FINGERPRINT, b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)),
        (DropReason.BAD_FINGERPRINT, request.replace(b":client", b"client:")),
        (DropReason.FOREIGN_UFRAG, foreign_check()),
        (DropReason.UNKNOWN_TRANSCEIVER, check(3)),
        (DropReason.FLOW_LIMIT, check(1)),
        (DropReason.NO_FLOW, MEDIA),
        (DropReason.NO_FLOW, DTLS),
    ):
        before = router.statistics().dropped[reason.value]
        assert router.handle_client_datagram(datagram, BOB, 5, now=0.0) is None
        assert router.statistics().dropped[reason.value] == before + 1
    assert sum(drops(router).values()) == 15
    assert count(router, Count.FLOWS) == 1


def test_stun_that_is_no_request_is_dropped_on_a_known_flow_too() -> None:
    router = connected_router()
    indication = b"\x00\x11" + check()[2:]
    assert router.handle_client_datagram(indication, ALICE, 1000, now=0.0) is None
    assert drops(router) == {"not_binding_request": 1}


def test_a_check_with_the_wrong_password_opens_nothing_and_tells_the_owner() -> None:
    router = make_router()
    out = router.handle_client_datagram(check(pwd="guessed"), ALICE, 1000, now=0.0)
    assert out == ToTransceiver(from_hop(b"session1", type_=hop.HopType.CHECK_REFUSED), ONE)
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0) is None
    assert drops(router) == {"bad_integrity": 1, "no_flow": 1}
    assert count(router, Count.FLOWS) == 0


def test_a_check_with_the_wrong_password_is_refused_on_a_known_flow_too() -> None:
    router = connected_router()
    out = router.handle_client_datagram(check(2, pwd="guessed"), ALICE, 1000, now=0.0)
    assert out is not None
    assert out.address == TWO
    assert hop.decode(out.data).type == hop.HopType.CHECK_REFUSED


def test_nobody_is_told_of_a_refusal_when_the_owner_is_unknown() -> None:
    router = make_router()
    assert router.handle_client_datagram(check(3, pwd="guessed"), ALICE, 1000, now=0.0) is None
    assert drops(router) == {"bad_integrity": 1}


def test_refusals_are_told_in_a_burst_and_then_at_a_rate() -> None:
    router = make_router()
    refused = check(pwd="guessed")

    def told(now: float, times: int) -> int:
        return sum(
            router.handle_client_datagram(refused, ALICE, 1000, now=now) is not None for _ in range(times)
        )

    assert told(0.0, 100) == 20
    assert told(0.55, 100) == 5
    assert told(1000.0, 100) == 20
    assert drops(router) == {"bad_integrity": 300}


def test_a_new_call_on_the_same_addresses_is_routed_by_its_own_ufrag() -> None:
    router = connected_router()
    request = check(2, session_id=b"session2")
    out = router.handle_client_datagram(request, ALICE, 1000, now=1.0)
    assert out is not None
    assert out.address == TWO
    media = router.handle_client_datagram(MEDIA, ALICE, 1000, now=1.0)
    assert media is not None
    assert media.address == ONE
    router.handle_hop_datagram(from_hop(success(request)), TWO, now=1.1)
    media = router.handle_client_datagram(MEDIA, ALICE, 1000, now=1.2)
    assert media is not None
    assert media.address == TWO


def test_checks_from_before_and_after_an_ice_restart_reach_the_same_transceiver() -> None:
    router = connected_router()
    for generation in (0, 1, 255):
        request = check(1, generation=generation)
        out = router.handle_client_datagram(request, ALICE, 1000, now=1.0)
        assert out == ToTransceiver(from_hop(request), ONE)
        assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=1.0) == ToTransceiver(
            from_hop(MEDIA), ONE
        )
    assert drops(router) == {}
    assert count(router, Count.FLOWS) == 1


def test_only_a_success_response_confirms_a_flow() -> None:
    router = make_router()
    router.handle_client_datagram(check(1), ALICE, 1000, now=0.0)
    router.handle_hop_datagram(from_hop(b"\x01\x11" + bytes(18)), ONE, now=0.0)
    router.handle_hop_datagram(from_hop(DTLS), ONE, now=0.0)
    router.handle_timeout(11.0)
    assert count(router, Count.FLOWS) == 0


def test_return_packets_go_to_the_client_that_their_header_names() -> None:
    router = connected_router()
    for payload in (MEDIA, DTLS, success(check()), b""):
        out = router.handle_hop_datagram(from_hop(payload, host=BOB, port=7), ONE, now=0.0)
        assert out == ToClient(payload, BOB, 7, is_stream=False)


@pytest.mark.parametrize("source", [("10.0.0.3", 9000), ("10.0.0.1", 9001)])
@pytest.mark.parametrize("type_", hop.HopType)
def test_hop_datagrams_of_strangers_do_nothing(source: tuple[str, int], type_: int) -> None:
    router = connected_router()
    assert router.handle_hop_datagram(from_hop(MEDIA, type_=type_), source, now=0.0) is None
    assert drops(router) == {"foreign_hop_source": 1}
    assert count(router, Count.FLOWS) == 1


def test_hop_datagrams_that_make_no_sense_are_counted() -> None:
    router = connected_router()
    assert router.handle_hop_datagram(b"\x56\x10", ONE, now=0.0) is None
    for type_ in (hop.HopType.PONG, hop.HopType.CHECK_REFUSED, 15):
        assert router.handle_hop_datagram(from_hop(b"", type_=type_), ONE, now=0.0) is None
    assert drops(router) == {"malformed_hop": 1, "unexpected_hop_type": 3}


def test_a_ping_is_answered_with_its_payload_to_whom_it_came_from() -> None:
    router = make_router()
    out = router.handle_hop_datagram(from_hop(b"12345678", type_=hop.HopType.PING), TWO, now=0.0)
    assert out == ToTransceiver(from_hop(b"12345678", type_=hop.HopType.PONG), TWO)


def test_a_transceiver_ends_its_own_flows_only() -> None:
    router = connected_router()
    gone = from_hop(b"", type_=hop.HopType.FLOW_GONE)
    assert router.handle_hop_datagram(gone, TWO, now=0.0) is None
    assert count(router, Count.FLOWS) == 1
    assert router.handle_hop_datagram(gone, ONE, now=0.0) is None
    assert count(router, Count.FLOWS) == 0
    assert drops(router) == {"foreign_flow": 1}


def test_a_transceiver_moves_its_own_flows_only() -> None:
    router = connected_router()
    moved = from_hop((2).to_bytes(4, "big"), type_=hop.HopType.FLOW_MOVED)
    assert router.handle_hop_datagram(moved, TWO, now=0.0) is None
    assert drops(router) == {"foreign_flow": 1}
    assert router.handle_hop_datagram(moved, ONE, now=0.0) is None
    media = router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0)
    assert media is not None
    assert media.address == TWO


@pytest.mark.parametrize("payload", [b"", b"\x02", (3).to_bytes(4, "big"), (2).to_bytes(8, "big")])
def test_a_flow_is_not_moved_to_nowhere(payload: bytes) -> None:
    router = connected_router()
    router.handle_hop_datagram(from_hop(payload, type_=hop.HopType.FLOW_MOVED), ONE, now=0.0)
    media = router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0)
    assert media is not None
    assert media.address == ONE
    assert drops(router) == {"unknown_transceiver": 1}


def media_goes_to(router: Router, *, host: bytes = ALICE, port: int = 1000) -> Address | None:
    """Tell where a client's media goes, and see that a batch would take it there too."""
    out = router.handle_client_datagram(MEDIA, host, port, now=0.0)
    high, low = (np.array([word], np.uint64) for word in np.frombuffer(host, np.uint64))
    (number,) = router.flows.route(high, low, np.array([port], np.uint32), now=0.0).tolist()
    assert (out and out.address) == (None if number < 0 else router.destination(number))
    return out and out.address


def test_nothing_is_sent_to_a_transceiver_that_is_not_listed_any_more() -> None:
    router = connected_router()
    # Not even if somebody else is now where it was.
    router.set_transceivers({3: ONE, 2: TWO})
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0) is None
    router.set_transceivers({2: TWO})
    assert not router.is_transceiver(ONE)
    assert router.handle_hop_datagram(from_hop(MEDIA), ONE, now=0.0) is None
    assert router.handle_client_datagram(check(1), ALICE, 1000, now=0.0) is None
    assert drops(router) == {"no_flow": 1, "foreign_hop_source": 1, "unknown_transceiver": 1}


def test_flows_follow_a_transceiver_that_moves() -> None:
    router = connected_router()
    assert router.rows(now=0.0, limit=9) == [((ALICE, 1000, False), 1)]
    router.set_transceivers({1: NINE, 2: TWO})
    assert media_goes_to(router) == NINE
    assert router.handle_hop_datagram(from_hop(MEDIA), NINE, now=0.0) is not None
    assert router.handle_hop_datagram(from_hop(MEDIA), ONE, now=0.0) is None
    assert drops(router) == {"foreign_hop_source": 1}
    # The directory has nothing to learn.
    assert router.rows(now=0.0, limit=9) == []
    router.handle_hop_datagram(from_hop(b"", type_=hop.HopType.FLOW_GONE), NINE, now=0.0)
    assert count(router, Count.FLOWS) == 0


def test_flows_follow_transceivers_that_swap_their_addresses() -> None:
    router = connected_router()
    router.handle_client_datagram(check(2), BOB, 7, now=0.0)
    router.set_transceivers({1: TWO, 2: ONE})
    assert (media_goes_to(router), media_goes_to(router, host=BOB, port=7)) == (TWO, ONE)


def test_a_flow_is_its_transceivers_where_one_that_is_gone_is_still_listed_at_the_same_address() -> None:
    for both in ({9: ONE, 1: ONE}, {1: ONE, 9: ONE}):
        router = make_router()
        router.set_transceivers(both)
        request = check(1)
        router.handle_client_datagram(request, ALICE, 1000, now=0.0)
        router.handle_hop_datagram(from_hop(success(request)), ONE, now=0.0)
        assert router.rows(now=0.0, limit=9) == [((ALICE, 1000, False), 1)]
        router.set_transceivers({1: ONE})
        assert media_goes_to(router) == ONE
        router.handle_hop_datagram(from_hop(b"", type_=hop.HopType.FLOW_GONE), ONE, now=0.0)
        assert media_goes_to(router) is None


def test_a_challenger_that_moves_may_still_answer() -> None:
    router = connected_router()
    request = check(2, session_id=b"session2")
    router.handle_client_datagram(request, ALICE, 1000, now=0.0)
    router.set_transceivers({1: ONE, 2: NINE})
    assert media_goes_to(router) == ONE
    router.handle_hop_datagram(from_hop(success(request)), NINE, now=0.0)
    assert media_goes_to(router) == NINE


@given(changes=st.lists(st.dictionaries(st.integers(0, 3), st.sampled_from([ONE, TWO, NINE])), max_size=6))
def test_whatever_the_list_becomes_media_goes_to_the_present_address_of_its_transceiver(
    changes: list[dict[int, Address]],
) -> None:
    router = Router(keyring=Keyring([SECRET]), now=0.0, flows=FlowTable(flow_limit=10, source_limit=10))
    router.set_transceivers(dict.fromkeys(range(4), ONE))
    for id_ in range(4):
        router.handle_client_datagram(check(id_), ALICE, 1000 + id_, now=0.0)
    left = set(range(4))
    for listed in changes:
        router.set_transceivers(listed)
        left &= set(listed)
        for id_ in range(4):
            assert media_goes_to(router, port=1000 + id_) == (listed[id_] if id_ in left else None)


NEW_SECRET: Final = hashlib.sha256(b"new").digest()


@pytest.mark.parametrize("order", [[NEW_SECRET, SECRET], [SECRET, NEW_SECRET]])
@pytest.mark.parametrize("minted_with", [SECRET, NEW_SECRET])
def test_while_a_secret_is_exchanged_calls_of_either_are_taken_by_relays_in_either_state(
    order: list[bytes], minted_with: bytes
) -> None:
    router = Router(keyring=Keyring(order), now=0.0)
    router.set_transceivers({1: ONE})
    credentials = Keyring([minted_with]).mint(Route(1, b"session1", 0))
    request = binding_request(
        transaction_id=b"transaction!",
        username=f"{credentials.ufrag}:client",
        key=credentials.pwd.encode(),
        priority=1,
    )
    assert router.handle_client_datagram(request, ALICE, 1000, now=0.0) is not None
    assert media_goes_to(router) == ONE


def test_a_relay_that_has_only_one_of_two_secrets_counts_the_calls_of_the_other() -> None:
    router = Router(keyring=Keyring([NEW_SECRET]), now=0.0)
    router.set_transceivers({1: ONE})
    assert router.handle_client_datagram(check(), ALICE, 1000, now=0.0) is None
    assert drops(router) == {"foreign_ufrag": 1}


def test_silence_ends_a_flow() -> None:
    router = connected_router()
    router.handle_timeout(60.5)
    counts = [count(router, what) for what in (Count.FLOWS, Count.FLOWS_OPENED, Count.FLOWS_EXPIRED)]
    assert counts == [0, 1, 1]


def test_packets_are_counted_both_ways() -> None:
    router = connected_router()
    router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0)
    router.handle_hop_datagram(from_hop(MEDIA + MEDIA), ONE, now=0.0)
    length = len(check(1))
    assert count(router, Count.PACKETS_TO_TRANSCEIVERS) == 2
    assert count(router, Count.BYTES_TO_TRANSCEIVERS) == length + len(MEDIA)
    assert count(router, Count.PACKETS_TO_CLIENTS) == 2
    assert count(router, Count.BYTES_TO_CLIENTS) == len(success(check(1))) + 2 * len(MEDIA)


def test_counting_goes_where_it_is_told_to() -> None:
    counters = Counters()
    router = Router(keyring=Keyring([SECRET]), now=0.0, counters=counters)
    router.set_transceivers({1: ONE})
    router.handle_client_datagram(check(), ALICE, 1000, now=0.0)
    router.handle_timeout(1.0)
    counts = counters.snapshot().counts
    assert (counts["flows"], counts["flows_opened"], counts["checks_verified"]) == (1, 1, 1)


# Admission


def test_a_flood_of_foreign_checks_is_not_even_looked_at_and_costs_others_nothing() -> None:
    router = connected_router()
    router.handle_client_datagram(check(1), ALICE, 1000, now=0.0)
    foreign = foreign_check()
    for port in range(SOURCE_BURST):
        assert router.handle_client_datagram(foreign, BOB, port, now=0.0) is None
    refused = drops(router)["admission"]
    assert refused > 0.8 * SOURCE_BURST
    assert drops(router) == {"foreign_ufrag": SOURCE_BURST - refused, "admission": refused}
    assert router.handle_client_datagram(check(2), BOB, 1, now=0.0) is None
    assert router.handle_client_datagram(check(2), ALICE, 2000, now=0.0) is not None
    assert router.handle_client_datagram(check(1), ALICE, 1000, now=0.0) is not None


@pytest.mark.parametrize(
    "forged",
    [
        foreign_check(),
        check(session_id=b"session3", pwd="guessed"),
        check(session_id=b"session3")[:-1] + b"?",
        b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12),
    ],
    ids=["foreign", "guessed", "damaged", "empty"],
)
def test_checks_forged_from_a_clients_address_neither_cost_its_flow_nor_pass_for_it(forged: bytes) -> None:
    router = connected_router()
    for _ in range(SOURCE_BURST):
        router.handle_client_datagram(forged, ALICE, 1000, now=1.0)
    assert drops(router)["admission"] > 0.8 * SOURCE_BURST
    assert router.handle_client_datagram(check(1), ALICE, 1000, now=1.0) is not None
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=1.0) is not None


def test_a_check_repeated_without_end_is_cut_off_and_takes_no_other_call_along() -> None:
    router = connected_router()
    sent = sum(router.handle_client_datagram(check(1), ALICE, 1000, now=0.0) is not None for _ in range(1000))
    assert 100 < sent < 1000
    assert drops(router) == {"admission": 1000 - sent}
    other = check(1, session_id=b"session2")
    assert router.handle_client_datagram(other, ALICE, 1001, now=0.0) is not None


def test_forgeries_under_a_username_read_off_the_wire_cost_only_that_call() -> None:
    router = connected_router()
    forged = check(1, pwd="guessed")
    for second in range(30):
        for _ in range(500):
            router.handle_client_datagram(forged, ALICE, 1000, now=float(second))
    other = check(1, session_id=b"session2")
    assert router.handle_client_datagram(other, ALICE, 1001, now=29.0) is not None
    # And that one for not longer than they last.
    assert router.handle_client_datagram(check(1), ALICE, 1000, now=29.1) is not None


def test_a_check_whose_username_comes_late_is_as_good_but_a_stranger_each_time() -> None:
    router = connected_router()
    late, foreign = with_late_username(), foreign_check()
    assert router.handle_client_datagram(late, ALICE, 1000, now=0.0) is not None
    assert router.handle_client_datagram(late, ALICE, 1000, now=0.0) is not None
    for _ in range(SOURCE_BURST):
        router.handle_client_datagram(foreign, ALICE, 1000, now=0.0)
    assert router.handle_client_datagram(late, ALICE, 1000, now=0.0) is None
    assert router.handle_client_datagram(check(1), ALICE, 1000, now=0.0) is not None


def test_one_call_does_not_fill_the_flow_table_from_forged_addresses() -> None:
    router = make_router(flow_limit=2 * CALL_BURST)
    for number in range(2 * CALL_BURST):
        router.handle_client_datagram(check(1), BOB[:4] + number.to_bytes(12, "big"), 1000, now=0.0)
    assert count(router, Count.FLOWS) == CALL_BURST
    assert drops(router) == {"admission": CALL_BURST}
    other = check(1, session_id=b"session2")
    assert router.handle_client_datagram(other, ALICE, 1000, now=0.0) is not None


def with_late_username() -> bytes:
    """Return a check with another attribute in front of its USERNAME."""
    credentials = Keyring([SECRET]).mint(Route(1, b"session1"))
    plain = Message.decode(check(1))
    attributes = ((AttributeType.SOFTWARE, b"late"), *plain.attributes[:-2])
    return sign(attrs.evolve(plain, attributes=attributes), key=credentials.pwd.encode())


# Recovery


def test_media_from_an_unknown_source_follows_what_the_directory_says_of_it() -> None:
    router = make_router()
    client = (ALICE, 1000, False)
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0) is None
    assert router.recovery.poll_lookups(now=0.0) == [client]
    router.handle_found(client, 2, now=0.01)
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.02) == ToTransceiver(from_hop(MEDIA), TWO)
    assert count(router, Count.LOOKUPS_FOUND) == 1
    assert drops(router) == {"no_flow": 1}


def test_what_the_batch_path_has_no_flow_for_is_looked_up_too() -> None:
    router = make_router()
    router.note_no_flow((BOB, 1, False), now=0.0)
    assert router.recovery.poll_lookups(now=0.0) == [(BOB, 1, False)]
    assert drops(router) == {"no_flow": 1}


def test_a_client_that_the_directory_does_not_know_stays_without_a_flow() -> None:
    router = make_router()
    router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0)
    router.recovery.poll_lookups(now=0.0)
    router.handle_found((ALICE, 1000, False), None, now=0.0)
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.5) is None
    assert router.recovery.poll_lookups(now=0.5) == []
    assert drops(router) == {"no_flow": 2}
    assert count(router, Count.LOOKUPS_FOUND) == 0


@pytest.mark.parametrize("poison", [3, -1, 1 << 40])
def test_a_row_that_leads_to_nobody_listed_opens_nothing_and_is_not_asked_for_at_once(poison: int) -> None:
    router = make_router()
    router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0)
    router.recovery.poll_lookups(now=0.0)
    router.handle_found((ALICE, 1000, False), poison, now=0.0)
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.1) is None
    assert router.recovery.poll_lookups(now=0.1) == []
    assert drops(router) == {"no_flow": 2}
    assert (count(router, Count.FLOWS), count(router, Count.LOOKUPS_UNLISTED)) == (0, 1)
    # The client's next check needs no directory.
    router.handle_client_datagram(check(2), ALICE, 1000, now=0.2)
    assert media_goes_to(router) == TWO


def test_a_row_never_overrules_a_flow_that_is_there() -> None:
    router = connected_router()
    router.handle_found((ALICE, 1000, False), 2, now=0.1)
    router.handle_client_datagram(check(2), ALICE, 2000, now=0.1)
    router.handle_found((ALICE, 2000, False), 1, now=0.1)
    for port, address in ((1000, ONE), (2000, TWO)):
        media = router.handle_client_datagram(MEDIA, ALICE, port, now=0.2)
        assert media is not None
        assert media.address == address


def test_a_row_that_leads_to_the_wrong_transceiver_is_corrected_by_the_next_answer() -> None:
    router = make_router()
    router.handle_found((ALICE, 1000, False), 1, now=0.0)
    request = check(2)
    router.handle_client_datagram(request, ALICE, 1000, now=0.1)
    router.handle_hop_datagram(from_hop(success(request)), TWO, now=0.2)
    media = router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.3)
    assert media is not None
    assert media.address == TWO
    assert count(router, Count.FLOWS_DISOWNED) == 0


def test_or_by_the_transceiver_that_it_leads_to_and_is_then_deleted_before_it_is_asked_for_again() -> None:
    router = make_router()
    client = (ALICE, 1000, False)
    router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.0)
    assert router.recovery.poll_lookups(now=0.0) == [client]
    router.handle_found(client, 1, now=0.0)
    # Nobody but the transceiver that the row named gets anything, and only until it says that it is not its.
    assert media_goes_to(router) == ONE
    router.handle_hop_datagram(from_hop(b"", type_=hop.HopType.FLOW_GONE), ONE, now=0.1)
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.2) is None
    assert router.recovery.poll_lookups(now=0.2) == []
    assert router.rows(now=0.2, limit=9) == [(client, None)]
    assert count(router, Count.FLOWS_DISOWNED) == 1
    router.handle_client_datagram(MEDIA, ALICE, 1000, now=1.2)
    assert router.recovery.poll_lookups(now=1.2) == [client]
    router.handle_client_datagram(check(2), ALICE, 1000, now=1.3)
    assert media_goes_to(router) == TWO


def test_a_client_whose_challenger_takes_over_is_not_taken_for_absent() -> None:
    router = connected_router()
    router.handle_client_datagram(check(2), ALICE, 1000, now=0.1)
    router.handle_hop_datagram(from_hop(b"", type_=hop.HopType.FLOW_GONE), ONE, now=0.2)
    assert media_goes_to(router) == TWO
    router.set_transceivers({1: ONE})
    assert router.handle_client_datagram(MEDIA, ALICE, 1000, now=0.3) is None
    assert router.recovery.poll_lookups(now=0.3) == [(ALICE, 1000, False)]


def test_a_row_that_proved_right_is_nobodys_fault_when_its_call_ends() -> None:
    router = make_router()
    for port, proof in ((1000, hop.HopType.DATA), (1001, hop.HopType.FLOW_MOVED)):
        router.handle_found((ALICE, port, False), 1, now=0.0)
        request = check(1)
        router.handle_client_datagram(request, ALICE, port, now=0.1)
        payload = success(request, port=port) if proof == hop.HopType.DATA else (2).to_bytes(4, "big")
        router.handle_hop_datagram(from_hop(payload, type_=proof, port=port), ONE, now=0.2)
        owner = ONE if proof == hop.HopType.DATA else TWO
        gone = from_hop(b"", type_=hop.HopType.FLOW_GONE, port=port)
        router.handle_hop_datagram(gone, owner, now=0.3)
    assert (count(router, Count.FLOWS), count(router, Count.FLOWS_DISOWNED)) == (0, 0)


def test_rows_for_the_directory_say_where_confirmed_flows_lead_and_when_they_are_gone() -> None:
    router = connected_router()
    router.handle_client_datagram(check(2), BOB, 5, now=0.0)
    client = (ALICE, 1000, False)
    assert router.rows(now=0.1, limit=10) == [(client, 1)]
    assert router.rows(now=0.2, limit=10) == []
    router.handle_hop_datagram(from_hop((2).to_bytes(4, "big"), type_=hop.HopType.FLOW_MOVED), ONE, now=0.3)
    assert router.rows(now=0.4, limit=10) == [(client, 2)]
    router.handle_hop_datagram(from_hop(b"", type_=hop.HopType.FLOW_GONE), TWO, now=0.5)
    assert router.rows(now=0.6, limit=10) == [(client, None)]


# Roaming


def test_media_moves_within_one_round_trip_of_the_check_of_a_client_that_roams() -> None:
    call = RoamingCall()
    call.run(until=1.0)
    assert set(call.heard_at) == {1000}
    call.port = 2000
    call.send(nomination(), now=1.0)
    call.run(until=1.5)
    # Up: nothing is lost behind the check. Down: heard a round trip after it, on a grid of 20 ms.
    assert call.server_heard == [time for time in call.spoken_at if time <= 1.5 - call.ONE_WAY]
    assert call.heard_at[2000][0] <= 1.0 + 2 * call.ONE_WAY + 0.02
    assert drops(call.router) == {}


def test_two_calls_behind_one_nat_that_swap_their_ports_are_told_apart_by_their_checks() -> None:
    router = make_router()
    ports = {1: 1000, 2: 2000}
    for now in (0.0, 1.0):
        for id_, port in ports.items():
            request = check(id_)
            router.handle_client_datagram(request, ALICE, port, now=now)
            out = router.handle_hop_datagram(
                from_hop(success(request), port=port), (ONE, TWO)[id_ - 1], now=now
            )
            assert out is not None
        for id_, port in ports.items():
            media = router.handle_client_datagram(MEDIA, ALICE, port, now=now)
            assert media is not None
            assert media.address == (ONE, TWO)[id_ - 1]
        ports = {1: 2000, 2: 1000}


def nomination() -> bytes:
    """Return a check of the client's in a `RoamingCall` that says where it wants the media now."""
    credentials = Keyring([SECRET]).mint(Route(1, b"session1"))
    return binding_request(
        transaction_id=b"nomination!!",
        username=f"{credentials.ufrag}:client",
        key=credentials.pwd.encode(),
        priority=1,
        ice_controlling=1,
        has_use_candidate=True,
    )


class RoamingCall:
    """A client whose address may change, the relay's router, and the transceiver's ICE behind it."""

    ONE_WAY: Final = 0.05
    RELAY: Final = ("10.0.0.100", 9000)

    def __init__(self) -> None:
        self.router = make_router()
        self.port = 1000
        self.heard_at: dict[int, list[float]] = {}
        """When the client got media, by the port that it then had."""
        self.spoken_at: list[float] = []
        self.server_heard: list[float] = []
        """When the client sent what the transceiver got."""
        self._agent = IceLiteAgent(
            local=Keyring([SECRET]).mint(Route(1, b"session1")),
            remote_ufrag="client",
            remote_pwd="x" * 22,
            now=0.0,
        )
        self._up = {port: Link(delay=self.ONE_WAY) for port in (1000, 2000)}
        self._down = {port: Link(delay=self.ONE_WAY) for port in (1000, 2000)}
        self._now = 0.0
        self.send(check(1), now=0.0)

    def send(self, data: bytes, *, now: float) -> None:
        self._up[self.port].send(data, now=now)

    def run(self, *, until: float) -> None:
        """Let time pass, and both sides speak every 20 ms."""
        while (now := self._now) < until:
            self._speak(now)
            for port in self._up:
                for data in self._up[port].receive(now=now):
                    self._forward(data, port, now)
                received = self._down[port].receive(now=now)
                if port == self.port and any(classify(data) is PacketKind.RTP for data in received):
                    self.heard_at.setdefault(port, []).append(now)
            self._now = round(now + 0.005, 3)

    def _speak(self, now: float) -> None:
        if round(now * 1000) % 20:
            return
        if now > 2 * self.ONE_WAY:
            self.spoken_at.append(now)
            self.send(MEDIA + str(now).encode(), now=now)
        if (path := self._agent.selected_path) is not None:
            self._return(MEDIA, path, now)

    def _forward(self, data: bytes, port: int, now: float) -> None:
        out = self.router.handle_client_datagram(data, ALICE, port, now=now)
        assert out is not None
        carried = hop.decode(out.data)
        path = Path(self.RELAY, carried.host, carried.port)
        if classify(carried.payload) is PacketKind.STUN:
            self._agent.handle_datagram(carried.payload, path=path, now=now)
        else:
            self.server_heard.append(float(carried.payload[len(MEDIA) :]))
            self._agent.confirm_path(path, now=now)
        while (transmit := self._agent.poll_transmit()) is not None:
            self._return(*transmit, now)

    def _return(self, data: bytes, path: Path, now: float) -> None:
        datagram = from_hop(data, host=path.host, port=path.port)
        out = self.router.handle_hop_datagram(datagram, ONE, now=now)
        assert isinstance(out, ToClient)
        self._down[out.port].send(out.data, now=now)


# Addresses


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("2001:DB8:0::1", 1), "2001:db8::1"),
        (("::ffff:10.0.0.1", 1), "10.0.0.1"),
        (("10.0.0.1", 0xFFFF), "10.0.0.1"),
    ],
)
def test_a_hop_address_has_one_form(address: tuple[str, int], text: str) -> None:
    assert canonical(address) == (text, address[1])


@pytest.mark.parametrize("address", [("localhost", 1), ("", 1), ("10.0.0.1", 0), ("10.0.0.1", 0x10000)])
def test_what_is_no_hop_address_is_refused(address: tuple[str, int]) -> None:
    with pytest.raises(UsageError, match="not a"):
        make_router().set_transceivers({1: address})


# Whatever arrives


requests = st.builds(check, st.integers(1, 3), pwd=st.none() | st.just("guessed"))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a check, cut or with a byte changed."""
    request = draw(requests)
    position = draw(st.integers(0, len(request) - 1))
    if draw(st.booleans()):
        return request[:position]
    return (
        request[:position] + bytes((request[position] ^ draw(st.integers(1, 255)),)) + request[position + 1 :]
    )


sources = st.tuples(st.sampled_from([ALICE, BOB, bytes(16)]), st.integers(0, 3))
client_datagrams = st.binary(max_size=60) | st.sampled_from([MEDIA, DTLS]) | requests | damaged()
hop_datagrams = st.binary(max_size=60) | st.builds(
    hop.encode,
    st.integers(0, 15),
    host=st.sampled_from([ALICE, BOB]),
    port=st.integers(0, 3),
    payload=st.binary(max_size=8) | st.integers(0, 3).map(lambda id_: id_.to_bytes(4, "big")),
    is_stream=st.booleans(),
)
scripts = st.lists(
    st.tuples(st.just("client"), client_datagrams, sources)
    | st.tuples(st.just("hop"), hop_datagrams, st.sampled_from([ONE, TWO, ("10.0.0.3", 1)])),
    max_size=30,
)


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts)
def test_whatever_arrives_only_the_authenticated_gets_anything_sent(
    script: list[tuple[str, bytes, tuple[bytes, int]] | tuple[str, bytes, tuple[str, int]]],
) -> None:
    router = make_router(flow_limit=4)
    valid = {check(1), check(2)}
    placed = set()
    for now, (_, datagram, (host, port)) in enumerate(script):
        before = router.statistics()
        if isinstance(host, bytes):
            to_hop = router.handle_client_datagram(datagram, host, port, now=float(now))
            if datagram in valid:
                placed.add((host, port))
            if to_hop is not None:
                assert len(to_hop.data) <= len(datagram) + hop.HEADER_LENGTH
                assert to_hop.address in {ONE, TWO}
                decoded = hop.decode(to_hop.data)
                assert (decoded.host, decoded.port) == (host, port)
                if decoded.type == hop.HopType.DATA:
                    assert decoded.payload == datagram
                    assert (host, port) in placed
                else:
                    assert (decoded.type, decoded.payload) == (hop.HopType.CHECK_REFUSED, b"session1")
        else:
            out = router.handle_hop_datagram(datagram, (host, port), now=float(now))
            if out is not None:
                assert (host, port) in {ONE, TWO}
                assert len(out.data) <= len(datagram)
                assert isinstance(out, ToClient) or out.address == (host, port)
        after = router.statistics()
        assert after.counts["flows"] <= 4
        assert all(after.dropped[reason] >= count for reason, count in before.dropped.items())
