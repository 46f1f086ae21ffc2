"""What is known of rows, over time."""

import contextlib

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.directory.conftest import NETWORKS, SECRET
from voicegate.directory import RelayLease, Snapshot, TransceiverLease, ledger
from voicegate.directory.ledger import Kind, Lease, Ledger, Member, Refusal
from voicegate.directory.row import LeaseRow, RelayText, Seal, TransceiverText
from voicegate.errors import WireError

ONE = TransceiverLease(hop=("10.0.0.1", 9000), max_calls=10)
TWO = TransceiverLease(hop=("10.0.0.2", 9000))
RELAY = RelayLease(udp=(("203.0.113.1", 3478),))
FIRST, SECOND, THIRD = map(Member.transceiver, (1, 2, 3))
OURS, THEIRS = b"our own.", b"another."
PREFIX = b"prefix:"


def make_ledger() -> Ledger:
    made = Ledger(seal=Seal([SECRET]), owner=OURS, prefix=PREFIX, hop_networks=NETWORKS, grace=30.0)
    made.handle_answer(now=0.0)
    return made


def row(member: Member, lease: Lease | None, *, owner: bytes = THEIRS, at: int = 1000) -> bytes:
    if isinstance(lease, RelayLease):
        text = RelayText(lease=lease, written_at=at).encode()
    else:
        text = TransceiverText(lease=lease, written_at=at).encode()
    data = LeaseRow(owner=owner, mark=b"somehow.", text=text)
    return Seal([SECRET]).encode_lease(PREFIX + member.encode(), data)


def read(taker: Ledger, member: Member, lease: Lease | None, *, now: float = 0.0) -> None:
    taker.handle_rows({member: row(member, lease)}, now=now, server_time=1000.0)


def miss(taker: Ledger, member: Member, *, now: float) -> None:
    taker.handle_rows({member: None}, now=now, server_time=1000.0)


def listed(taker: Ledger) -> dict[int, TransceiverLease]:
    return dict(taker.snapshot().transceivers)


def test_what_is_read_is_listed_and_news_until_its_writer_says_goodbye() -> None:
    taker = make_ledger()
    assert not taker.poll_news()
    read(taker, FIRST, ONE)
    assert taker.poll_news()
    assert taker.snapshot() == Snapshot(transceivers={1: ONE})
    read(taker, FIRST, ONE)
    assert not taker.poll_news()
    read(taker, FIRST, attrs.evolve(ONE, calls=5))
    assert not taker.poll_news()
    assert taker.snapshot() == Snapshot(transceivers={1: attrs.evolve(ONE, calls=5)})
    assert taker.snapshot() is taker.snapshot()
    read(taker, Member.relay("one"), RELAY)
    assert taker.poll_news()
    read(taker, FIRST, None)
    assert taker.poll_news()
    assert taker.snapshot() == Snapshot(relays={"one": RELAY})
    read(taker, FIRST, None)
    assert not taker.poll_news()


def test_a_row_that_is_missing_is_given_up_after_its_grace() -> None:
    taker = make_ledger()
    read(taker, FIRST, ONE)
    miss(taker, FIRST, now=5.0)
    assert taker.poll_missing(now=34.9) == []
    assert taker.poll_missing(now=35.0) == [FIRST]
    assert listed(taker) == {1: ONE}
    miss(taker, FIRST, now=35.0)
    assert listed(taker) == {}
    assert taker.poll_missing(now=99.0) == []


def test_a_row_that_comes_back_was_never_away() -> None:
    taker = make_ledger()
    read(taker, FIRST, ONE)
    miss(taker, FIRST, now=5.0)
    read(taker, FIRST, ONE, now=10.0)
    miss(taker, FIRST, now=35.0)
    assert listed(taker) == {1: ONE}


def test_silence_counts_for_nobody() -> None:
    taker = make_ledger()
    read(taker, FIRST, ONE)
    miss(taker, FIRST, now=5.0)
    taker.handle_silence()
    assert taker.poll_missing(now=1000.0) == []
    miss(taker, FIRST, now=1000.0)
    taker.handle_answer(now=1000.0)
    assert taker.poll_missing(now=1029.9) == []
    assert listed(taker) == {1: ONE}
    assert taker.poll_missing(now=1030.0) == [FIRST]


def test_who_is_not_in_the_list_of_all_is_missing() -> None:
    taker = make_ledger()
    read(taker, FIRST, ONE)
    read(taker, SECOND, TWO)
    taker.list_own(THIRD, TWO)
    assert taker.handle_list([SECOND, THIRD], now=5.0) == [SECOND]
    assert taker.poll_missing(now=35.0) == [FIRST]
    assert set(listed(taker)) == {1, 2, 3}


def test_our_own_is_listed_whatever_rows_say() -> None:
    taker = make_ledger()
    taker.list_own(FIRST, ONE)
    assert taker.poll_news()
    taker.list_own(FIRST, attrs.evolve(ONE, calls=1))
    assert not taker.poll_news()
    read(taker, FIRST, TWO)
    miss(taker, FIRST, now=0.0)
    miss(taker, FIRST, now=99.0)
    assert listed(taker) == {1: attrs.evolve(ONE, calls=1)}
    taker.list_own(FIRST, None)
    assert taker.poll_news()
    assert listed(taker) == {}


def test_a_row_of_our_own_that_we_gave_up_is_not_believed() -> None:
    taker = make_ledger()
    taker.handle_rows({FIRST: row(FIRST, ONE, owner=OURS)}, now=0.0, server_time=1000.0)
    assert listed(taker) == {}


def test_what_was_yielded_is_listed_as_others_have_it() -> None:
    taker = make_ledger()
    taker.list_own(FIRST, ONE)
    taker.yield_own(FIRST)
    taker.yield_own(SECOND)
    read(taker, FIRST, TWO)
    assert listed(taker) == {1: TWO}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"by hand", Refusal.MALFORMED),
        (row(SECOND, TWO), Refusal.SEAL),
        (row(FIRST, attrs.evolve(ONE, hop=("192.0.2.1", 1))), Refusal.HOP_ADDRESS),
        (row(FIRST, attrs.evolve(ONE, hop=("0.0.0.0", 1))), Refusal.HOP_ADDRESS),
        (row(FIRST, attrs.evolve(ONE, peer=("192.0.2.1", 1))), Refusal.PEER_ADDRESS),
    ],
)
def test_a_row_that_is_refused_is_a_row_that_is_missing(data: bytes, reason: Refusal) -> None:
    taker = make_ledger()
    read(taker, FIRST, ONE)
    taker.handle_rows({FIRST: data}, now=5.0, server_time=1000.0)
    assert taker.refused == {reason: 1}
    assert listed(taker) == {1: ONE}
    taker.handle_rows({FIRST: data}, now=35.0, server_time=1000.0)
    assert listed(taker) == {}


def test_mapped_and_real_ipv6_are_judged_as_what_they_are() -> None:
    taker = make_ledger()
    read(taker, FIRST, TransceiverLease(hop=("::ffff:10.0.0.1", 1), peer=("fd00::1", 1)))
    read(taker, SECOND, TransceiverLease(hop=("2001:db8::1", 1)))
    assert set(listed(taker)) == {1}


def test_no_more_members_are_known_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MEMBER_LIMIT", 1)
    taker = make_ledger()
    read(taker, FIRST, ONE)
    read(taker, SECOND, TWO)
    read(taker, FIRST, TWO)
    assert taker.refused == {Refusal.TOO_MANY: 1}
    assert listed(taker) == {1: TWO}


@pytest.mark.parametrize(("at", "skewed"), [(1000, 0), (1060, 0), (1061, 1), (925, 0), (924, 1)])
def test_a_writer_with_a_wrong_clock_is_believed_and_counted(at: int, skewed: int) -> None:
    taker = make_ledger()
    taker.handle_rows({FIRST: row(FIRST, ONE, at=at)}, now=0.0, server_time=1000.0)
    assert taker.skewed == skewed
    assert listed(taker) == {1: ONE}


def test_an_owner_has_eight_bytes() -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        Ledger(seal=Seal([SECRET]), owner=b"", prefix=PREFIX, hop_networks=NETWORKS)


@settings(max_examples=50)
@given(transceiver_id=st.integers(0, 2**32 - 1), name=st.text(min_size=1, max_size=253))
def test_members_arrive_as_they_were_sent(transceiver_id: int, name: str) -> None:
    member = Member.transceiver(transceiver_id)
    assert Member.decode(member.encode()) == member
    assert member.transceiver_id == transceiver_id
    if name.isprintable():
        assert Member.decode(Member.relay(name).encode()) == Member(Kind.RELAY, name)


@settings(max_examples=50)
@given(data=st.binary(max_size=20) | st.text("rt:0aG+ ").map(str.encode))
def test_only_members_that_are_written_so_are_read(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert Member.decode(data).encode() == data
