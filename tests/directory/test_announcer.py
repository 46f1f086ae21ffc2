"""What is announced, and what becomes of it."""

import attrs
import pytest

from tests.directory.conftest import SECRET
from voicegate.directory import RelayLease, TransceiverLease
from voicegate.directory.announcer import Announcement, Announcer, Mode, Outcome
from voicegate.directory.ledger import Member
from voicegate.directory.row import RelayText, Seal, TransceiverText

ONE = TransceiverLease(hop=("10.0.0.1", 9000), max_calls=80)
RELAY = RelayLease(udp=(("203.0.113.1", 3478),))
FIRST = Member.transceiver(1)
NAMED = Member.relay("one")
PREFIX = b"prefix:"
SEAL = Seal([SECRET])


def make_announcer(owner: bytes = b"our own.") -> Announcer:
    return Announcer(seal=SEAL, owner=owner, prefix=PREFIX)


def poll(announcer: Announcer) -> list[Announcement]:
    return announcer.poll_rows(limit=100, wall_time=1000.5)


def write(announcer: Announcer) -> list[Announcement]:
    rows = poll(announcer)
    for row in rows:
        assert announcer.handle_answer(row, None) is Outcome.WRITTEN
    return rows


def mark(row: Announcement) -> bytes:
    return SEAL.decode_lease(PREFIX + row.member.encode(), row.data).mark


def test_what_is_registered_is_announced_until_it_is_written_and_then_renewed() -> None:
    announcer = make_announcer()
    assert announcer.register(FIRST, ONE)
    for _ in range(2):
        [row] = poll(announcer)
        opened = SEAL.decode_lease(PREFIX + b"t:00000001", row.data)
        assert TransceiverText.decode(opened.text) == TransceiverText(lease=ONE, written_at=1000)
        assert (row.mode, row.replaced, opened.owner) == (Mode.KEEP, b"", b"our own.")
    write(announcer)
    assert poll(announcer) == []
    announcer.renew()
    assert [row.member for row in write(announcer)] == [FIRST]
    assert poll(announcer) == []


def test_what_changes_while_it_is_written_is_written_again() -> None:
    announcer = make_announcer()
    announcer.register(FIRST, ONE)
    [row] = poll(announcer)
    announcer.register(FIRST, attrs.evolve(ONE, is_draining=True))
    announcer.handle_answer(row, None)
    [row] = write(announcer)
    assert row.lease == attrs.evolve(ONE, is_draining=True)


def test_a_changed_load_waits_for_the_renewal_and_is_told_when_it_is_much() -> None:
    announcer = make_announcer()
    announcer.register(FIRST, ONE)
    marks = []
    for calls in (0, 9, 10, 1, 0, 79, 80, 79):
        assert not announcer.register(FIRST, attrs.evolve(ONE, calls=calls))
        announcer.renew()
        marks.append(mark(write(announcer)[0]))
    assert [marks.index(each) for each in marks] == [0, 0, 2, 2, 0, 5, 6, 5]


def test_a_goodbye_is_announced_once_and_before_all_else() -> None:
    announcer = make_announcer()
    announcer.register(FIRST, ONE)
    announcer.register(NAMED, RELAY)
    write(announcer)
    assert announcer.unregister(FIRST)
    assert not announcer.unregister(FIRST)
    announcer.register(Member.transceiver(2), ONE)
    [row] = announcer.poll_rows(limit=1, wall_time=1000.0)
    assert (row.member, row.mode, row.lease) == (FIRST, Mode.LEAVE, None)
    text = SEAL.decode_lease(PREFIX + FIRST.encode(), row.data).text
    assert TransceiverText.decode(text).lease is None
    announcer.handle_answer(row, None)
    announcer.leave()
    assert [row.member for row in write(announcer)] == [NAMED, Member.transceiver(2)]
    assert poll(announcer) == []


def test_what_left_may_come_back_before_its_goodbye_is_written() -> None:
    announcer = make_announcer()
    announcer.register(FIRST, ONE)
    [row] = poll(announcer)
    announcer.unregister(FIRST)
    assert announcer.handle_answer(row, None) is Outcome.WRITTEN
    announcer.register(FIRST, ONE)
    assert [row.mode for row in write(announcer)] == [Mode.KEEP]


def test_the_second_holder_of_an_id_is_told_and_asks_again_at_each_renewal() -> None:
    announcer, other = make_announcer(), make_announcer(b"another.")
    for each in (announcer, other):
        each.register(FIRST, ONE)
    [theirs] = write(other)
    [row] = poll(announcer)
    assert announcer.handle_answer(row, theirs.data) is Outcome.CONFLICT
    assert announcer.conflicts == {FIRST}
    assert poll(announcer) == []
    announcer.renew()
    [row] = write(announcer)
    assert row.mode is Mode.KEEP
    assert announcer.conflicts == set()


def test_who_lost_an_id_says_no_goodbye() -> None:
    announcer, other = make_announcer(), make_announcer(b"another.")
    for each in (announcer, other):
        each.register(FIRST, ONE)
    announcer.handle_answer(poll(announcer)[0], write(other)[0].data)
    announcer.unregister(FIRST)
    assert poll(announcer) == []
    assert announcer.conflicts == set()


@pytest.mark.parametrize("forged", [b"by hand", b"\x01" * 40])
def test_a_row_that_nobody_of_the_cluster_wrote_is_replaced(forged: bytes) -> None:
    announcer = make_announcer()
    announcer.register(FIRST, ONE)
    assert announcer.handle_answer(poll(announcer)[0], forged) is Outcome.FORGED
    assert announcer.conflicts == set()
    [row] = write(announcer)
    assert row.replaced == forged
    announcer.renew()
    assert poll(announcer)[0].replaced == b""


def test_a_relay_takes_its_name_once_and_keeps_it() -> None:
    announcer = make_announcer()
    announcer.register(NAMED, RELAY)
    [row] = write(announcer)
    assert row.mode is Mode.TAKE
    opened = SEAL.decode_lease(PREFIX + b"r:one", row.data)
    assert RelayText.decode(opened.text) == RelayText(lease=RELAY, written_at=1000)
    announcer.renew()
    assert [row.mode for row in write(announcer)] == [Mode.KEEP]
    assert not announcer.register(NAMED, RELAY)
    announcer.unregister(NAMED)
    [goodbye] = write(announcer)
    assert RelayText.decode(SEAL.decode_lease(PREFIX + b"r:one", goodbye.data).text).lease is None


def test_a_claim_is_a_row_that_says_nobody_is_there_yet() -> None:
    row = make_announcer().claim(1, wall_time=7.0)
    assert (row.member, row.lease) == (FIRST, None)
    text = TransceiverText.decode(SEAL.decode_lease(PREFIX + FIRST.encode(), row.data).text)
    assert text == TransceiverText(lease=None, written_at=7)
