from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from voicegate.errors import UsageError
from voicegate.relay.flows import (
    CONFIRMED_LIFETIME,
    ROW_RENEWAL,
    UNCONFIRMED_LIFETIME,
    Client,
    FlowTable,
)
from voicegate.wire.path import address_bytes

ONE, TWO, THREE = 1, 2, 3
"""Transceiver ids."""
ALICE: Final = (address_bytes("192.0.2.1"), 1000, False)


BOB: Final = (address_bytes("2001:db8::2"), 2000, True)


def confirmed_table() -> FlowTable:
    table = FlowTable()
    table.open(ALICE, ONE, now=0.0)
    table.confirm(ALICE, ONE, now=0.0)
    return table


def route(table: FlowTable, clients: Sequence[Client], *, now: float) -> list[int | None]:
    """Look up a batch, the way the data path does."""
    words = np.frombuffer(b"".join(host for host, _, _ in clients), np.uint64).reshape(-1, 2)
    tail = np.array([port | is_stream << 16 for _, port, is_stream in clients], np.uint32)
    numbers = table.route(words[:, 0], words[:, 1], tail, now=now)
    return [None if number < 0 else table.destination(number) for number in numbers.tolist()]


def many_clients(count: int) -> list[Client]:
    return [(address_bytes(f"10.0.{n // 256}.{n % 256}"), 5000, False) for n in range(count)]


def test_an_unknown_client_has_no_flow() -> None:
    assert FlowTable().lookup(ALICE, now=0.0) is None


def test_an_opened_flow_leads_to_its_transceiver() -> None:
    table = FlowTable()
    assert table.open(ALICE, ONE, now=0.0)
    assert table.lookup(ALICE, now=0.0) == ONE
    assert (len(table), table.opened) == (1, 1)


def test_clients_differ_by_address_port_and_transport() -> None:
    table = confirmed_table()
    host, port, _ = ALICE
    for other in ((host, port + 1, False), (host, port, True), (address_bytes("192.0.2.2"), port, False)):
        assert table.lookup(other, now=0.0) is None


def test_an_unconfirmed_flow_follows_the_latest_check() -> None:
    table = FlowTable()
    table.open(ALICE, ONE, now=0.0)
    table.open(ALICE, TWO, now=1.0)
    assert table.lookup(ALICE, now=1.0) == TWO
    assert len(table) == 1


def test_a_check_alone_does_not_overwrite_a_confirmed_flow() -> None:
    table = confirmed_table()
    assert table.open(ALICE, TWO, now=1.0)
    assert table.lookup(ALICE, now=1.0) == ONE


def test_a_challenger_takes_the_flow_over_when_it_answers() -> None:
    table = confirmed_table()
    table.open(ALICE, TWO, now=1.0)
    table.confirm(ALICE, ONE, now=1.1)
    assert table.lookup(ALICE, now=1.1) == ONE
    table.confirm(ALICE, TWO, now=1.2)
    assert table.lookup(ALICE, now=1.2) == TWO
    table.expire(1.2 + CONFIRMED_LIFETIME)
    assert len(table) == 1


def test_only_a_transceiver_that_a_check_went_to_confirms() -> None:
    table = FlowTable()
    table.confirm(ALICE, ONE, now=0.0)
    assert len(table) == 0
    table.open(ALICE, ONE, now=0.0)
    table.confirm(ALICE, TWO, now=0.0)
    table.expire(UNCONFIRMED_LIFETIME + 0.1)
    assert len(table) == 0


def test_the_flow_ends_when_its_transceiver_lets_go() -> None:
    table = confirmed_table()
    assert table.drop(ALICE, ONE)
    assert table.lookup(ALICE, now=0.0) is None
    assert not table.drop(ALICE, ONE)


def test_a_flow_let_go_falls_to_its_challenger_unconfirmed() -> None:
    table = confirmed_table()
    table.open(ALICE, TWO, now=1.0)
    assert table.drop(ALICE, ONE)
    assert table.lookup(ALICE, now=1.0) == TWO
    table.expire(UNCONFIRMED_LIFETIME + 0.1)
    assert len(table) == 0


def test_a_challenger_that_lets_go_leaves_the_flow_alone() -> None:
    table = confirmed_table()
    table.open(ALICE, TWO, now=1.0)
    assert table.drop(ALICE, TWO)
    table.confirm(ALICE, TWO, now=1.0)
    assert table.lookup(ALICE, now=1.0) == ONE


def test_nobody_else_disposes_of_a_flow() -> None:
    table = confirmed_table()
    assert not table.drop(ALICE, TWO)
    assert not table.move(ALICE, TWO, to=THREE)
    assert table.lookup(ALICE, now=0.0) == ONE


def test_a_flow_is_moved_by_its_transceiver_and_stays_confirmed() -> None:
    table = confirmed_table()
    assert table.move(ALICE, ONE, to=TWO)
    table.open(ALICE, ONE, now=1.0)
    assert table.lookup(ALICE, now=1.0) == TWO


def test_a_flow_moved_to_its_challenger_has_none_any_more() -> None:
    table = confirmed_table()
    table.open(ALICE, TWO, now=1.0)
    table.move(ALICE, ONE, to=TWO)
    table.drop(ALICE, TWO)
    assert len(table) == 0


def test_transceivers_that_are_not_retained_are_taken_off_their_flows() -> None:
    table = FlowTable()
    clients = [(ALICE[0], port, False) for port in range(4)]
    for client in clients:
        table.open(client, ONE, now=0.0)
        table.confirm(client, ONE, now=0.0)
    table.open(clients[1], TWO, now=0.0)
    table.open(clients[2], THREE, now=0.0)
    table.retain({ONE, THREE})
    table.confirm(clients[1], TWO, now=0.0)
    assert [table.lookup(client, now=0.0) for client in clients] == [ONE, ONE, ONE, ONE]
    table.retain({THREE})
    assert [table.lookup(client, now=0.0) for client in clients] == [None, None, THREE, None]


def test_packets_keep_a_confirmed_flow_alive() -> None:
    table = confirmed_table()
    table.lookup(ALICE, now=CONFIRMED_LIFETIME)
    table.expire(2 * CONFIRMED_LIFETIME)
    assert len(table) == 1
    table.expire(2 * CONFIRMED_LIFETIME + 0.1)
    assert (len(table), table.expired) == (0, 1)


def test_packets_do_not_keep_an_unconfirmed_flow_alive() -> None:
    table = FlowTable()
    table.open(ALICE, ONE, now=0.0)
    assert table.lookup(ALICE, now=UNCONFIRMED_LIFETIME) == ONE
    table.expire(UNCONFIRMED_LIFETIME + 0.1)
    assert len(table) == 0


def test_checks_keep_an_unconfirmed_flow_alive() -> None:
    table = FlowTable()
    table.open(ALICE, ONE, now=0.0)
    table.open(ALICE, ONE, now=UNCONFIRMED_LIFETIME)
    table.expire(UNCONFIRMED_LIFETIME + 0.1)
    assert len(table) == 1


def test_a_full_table_refuses_new_clients_and_serves_the_old() -> None:
    table = FlowTable(flow_limit=2, source_limit=2)
    others = [(address_bytes(f"192.0.2.{last}"), 1, False) for last in range(3)]
    assert [table.open(client, ONE, now=0.0) for client in others] == [True, True, False]
    assert table.open(others[0], TWO, now=0.0)
    assert (len(table), table.opened) == (2, 2)


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::1", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_subscriber(first: str, second: str, is_one: bool) -> None:
    table = FlowTable(flow_limit=10, source_limit=1)
    assert table.open((address_bytes(first), 1, False), ONE, now=0.0)
    assert table.open((address_bytes(second), 1, False), ONE, now=0.0) is not is_one


def test_a_source_gets_back_the_room_of_its_ended_flows() -> None:
    table = FlowTable(flow_limit=10, source_limit=1)
    table.open(ALICE, ONE, now=0.0)
    table.expire(UNCONFIRMED_LIFETIME + 1)
    assert table.open((ALICE[0], 2000, False), ONE, now=20.0)


def test_a_batch_is_routed_as_its_packets_one_by_one_would_be() -> None:
    table = confirmed_table()
    table.open(BOB, TWO, now=0.0)
    strangers = [(ALICE[0], 1000, True), (BOB[0], 2000, False)]
    assert route(table, [BOB, *strangers, ALICE, BOB], now=0.0) == [TWO, None, None, ONE, TWO]
    assert route(table, strangers, now=0.0) == [None, None]


def test_one_high_word_is_enough_for_a_batch_of_ipv4() -> None:
    table = confirmed_table()
    low = np.frombuffer(ALICE[0], np.uint64)[1:]
    (number,) = table.route(0, low, np.array([ALICE[1]], np.uint32), now=0.0).tolist()
    assert table.destination(number) == ONE


def test_a_batch_keeps_confirmed_flows_alive_and_others_not() -> None:
    table = confirmed_table()
    table.open(BOB, ONE, now=CONFIRMED_LIFETIME - UNCONFIRMED_LIFETIME)
    route(table, [ALICE, BOB], now=CONFIRMED_LIFETIME)
    table.expire(CONFIRMED_LIFETIME + 0.1)
    assert route(table, [ALICE, BOB], now=2 * CONFIRMED_LIFETIME) == [ONE, None]


def test_a_number_stays_a_transceivers_until_it_is_gone() -> None:
    table = confirmed_table()
    table.open(BOB, TWO, now=0.0)
    assert [table.destination(1), table.destination(2)] == [ONE, TWO]
    table.retain({TWO})
    assert route(table, [ALICE, BOB], now=0.0) == [None, TWO]
    with pytest.raises(UsageError):
        table.destination(1)
    table.open(ALICE, THREE, now=0.0)
    assert [table.destination(1), table.destination(2)] == [THREE, TWO]


@pytest.mark.parametrize("number", [-1, 0, 2])
def test_a_number_that_was_never_given_is_refused(number: int) -> None:
    with pytest.raises(UsageError):
        confirmed_table().destination(number)


def test_a_flow_is_confirmed_once_its_transceiver_has_answered() -> None:
    table = FlowTable()
    assert not table.is_confirmed(ALICE)
    table.open(ALICE, ONE, now=0.0)
    assert not table.is_confirmed(ALICE)
    table.confirm(ALICE, ONE, now=0.0)
    assert table.is_confirmed(ALICE)
    table.drop(ALICE, ONE)
    assert not table.is_confirmed(ALICE)


def test_a_transceiver_that_was_never_heard_of_has_no_flow_to_lose() -> None:
    assert not confirmed_table().drop(ALICE, THREE)


def test_many_flows_end_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.flows._EXPIRY_STRETCH", 64)
    monkeypatch.setattr("voicegate.relay.flows._ENDS_AT_ONCE", 16)
    table = FlowTable()
    for client in many_clients(200):
        table.open(client, ONE, now=0.0)
    left = []
    while len(table):
        table.expire(UNCONFIRMED_LIFETIME + 1)
        left.append(len(table))
    # Of each 64 those past 16 are for the next call, from where this one stopped.
    assert left == [*range(184, 0, -16), 0]
    assert table.expired == 200


def test_a_flow_let_go_was_active_when_its_last_packet_came() -> None:
    table = confirmed_table()
    table.lookup(ALICE, now=50.0)
    table.open(ALICE, TWO, now=51.0)
    table.drop(ALICE, ONE)
    table.expire(50.0 + UNCONFIRMED_LIFETIME)
    assert table.lookup(ALICE, now=60.0) == TWO
    table.expire(50.1 + UNCONFIRMED_LIFETIME)
    assert table.lookup(ALICE, now=60.1) is None


def test_a_challenger_goes_with_the_flow_it_waited_for() -> None:
    table = confirmed_table()
    table.open(ALICE, TWO, now=0.0)
    table.expire(CONFIRMED_LIFETIME + 1)
    table.open(BOB, ONE, now=61.0)
    table.confirm(BOB, TWO, now=61.0)
    assert not table.is_confirmed(BOB)


def test_sources_are_told_apart_after_several_flows_of_one_ended_at_once() -> None:
    table = FlowTable(flow_limit=10, source_limit=2)
    for port in (1, 2):
        table.open((ALICE[0], port, False), ONE, now=0.0)
    table.retain(set())
    others = [(address_bytes(f"192.0.2.{last}"), port, False) for last in (2, 3) for port in (1, 2)]
    assert all(table.open(client, ONE, now=0.0) for client in others)


def test_a_restored_flow_is_confirmed_and_replaces_none() -> None:
    table = FlowTable(flow_limit=1, source_limit=1)
    assert table.restore(ALICE, ONE, now=0.0)
    assert table.is_confirmed(ALICE)
    assert table.restore(ALICE, TWO, now=0.0)
    assert table.lookup(ALICE, now=0.0) == ONE
    assert not table.restore(BOB, ONE, now=0.0)


def test_a_source_cannot_restore_more_flows_than_it_may_open() -> None:
    table = FlowTable(flow_limit=10, source_limit=1)
    assert table.restore(ALICE, ONE, now=0.0)
    assert not table.restore((ALICE[0], 2000, False), ONE, now=0.0)


def test_a_row_that_waits_to_be_deleted_takes_the_room_of_a_restored_flow() -> None:
    table = FlowTable(flow_limit=1, source_limit=1)
    table.restore(ALICE, ONE, now=0.0)
    table.drop(ALICE, ONE)
    assert not table.restore(BOB, ONE, now=0.0)
    assert table.poll_rows(now=0.0, limit=10) == [(ALICE, None)]
    assert table.restore(BOB, ONE, now=0.0)


def test_a_row_is_written_when_its_flow_is_confirmed_and_deleted_when_it_ends() -> None:
    table = FlowTable()
    table.open(BOB, ONE, now=0.0)
    assert table.poll_rows(now=0.0, limit=10) == []
    table.confirm(BOB, ONE, now=0.0)
    table.confirm(BOB, ONE, now=0.0)
    assert table.poll_rows(now=0.0, limit=10) == [(BOB, ONE)]
    assert table.poll_rows(now=0.0, limit=10) == []
    table.drop(BOB, ONE)
    assert table.poll_rows(now=0.0, limit=10) == [(BOB, None)]
    assert table.poll_rows(now=0.0, limit=10) == []


def test_no_row_is_deleted_that_was_not_written() -> None:
    table = confirmed_table()
    table.expire(CONFIRMED_LIFETIME + 1)
    assert table.poll_rows(now=61.0, limit=10) == []


def test_the_row_of_a_silent_flow_is_left_to_lapse_since_it_may_be_another_workers() -> None:
    table = confirmed_table()
    table.poll_rows(now=0.0, limit=10)
    table.expire(CONFIRMED_LIFETIME + 1)
    assert len(table) == 0
    assert table.poll_rows(now=61.0, limit=10) == []


def test_a_row_is_written_again_when_its_flow_moves() -> None:
    table = confirmed_table()
    table.poll_rows(now=0.0, limit=10)
    table.move(ALICE, ONE, to=TWO)
    assert table.poll_rows(now=0.0, limit=10) == [(ALICE, TWO)]
    table.open(ALICE, THREE, now=0.0)
    table.confirm(ALICE, THREE, now=0.0)
    assert table.poll_rows(now=0.0, limit=10) == [(ALICE, THREE)]


def test_the_row_of_a_flow_that_fell_to_its_challenger_is_deleted_until_that_answers() -> None:
    table = confirmed_table()
    table.poll_rows(now=0.0, limit=10)
    table.open(ALICE, TWO, now=0.0)
    table.drop(ALICE, ONE)
    assert table.poll_rows(now=0.0, limit=10) == [(ALICE, None)]
    table.confirm(ALICE, TWO, now=0.0)
    assert table.poll_rows(now=0.0, limit=10) == [(ALICE, TWO)]


def test_a_row_is_renewed_when_its_flow_was_in_use_since() -> None:
    table = confirmed_table()
    table.poll_rows(now=1.0, limit=10)
    assert table.poll_rows(now=1.0 + ROW_RENEWAL, limit=10) == []
    route(table, [ALICE], now=2.0)
    assert table.poll_rows(now=0.9 + ROW_RENEWAL, limit=10) == []
    assert table.poll_rows(now=1.0 + ROW_RENEWAL, limit=10) == [(ALICE, ONE)]
    assert table.poll_rows(now=1.0 + 2 * ROW_RENEWAL, limit=10) == []


def test_an_answered_check_is_use_too() -> None:
    table = confirmed_table()
    table.poll_rows(now=1.0, limit=10)
    table.confirm(ALICE, ONE, now=2.0)
    assert table.poll_rows(now=1.0 + ROW_RENEWAL, limit=10) == [(ALICE, ONE)]


def test_the_end_of_a_row_comes_before_its_new_beginning() -> None:
    table = confirmed_table()
    table.poll_rows(now=0.0, limit=10)
    table.drop(ALICE, ONE)
    table.open(ALICE, TWO, now=0.0)
    table.confirm(ALICE, TWO, now=0.0)
    assert table.poll_rows(now=0.0, limit=10) == [(ALICE, None), (ALICE, TWO)]


def test_rows_come_in_portions_and_none_twice() -> None:
    table = FlowTable()
    clients = many_clients(100)
    for client in clients:
        table.open(client, ONE, now=0.0)
        table.confirm(client, ONE, now=0.0)
        table.lookup(client, now=1.0)
    for now in (0.5, 0.5 + ROW_RENEWAL):
        portions = [table.poll_rows(now=now, limit=30) for _ in range(5)]
        assert [len(portion) for portion in portions] == [30, 30, 30, 10, 0]
        assert [client for portion in portions for client, _ in portion] == clients
    table.retain(set())
    portions = [table.poll_rows(now=30.0, limit=60) for _ in range(3)]
    assert portions == [[(c, None) for c in clients[:60]], [(c, None) for c in clients[60:]], []]


def test_many_rows_are_renewed_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.relay.flows._RENEWAL_STRETCH", 8)
    table = FlowTable()
    for client in many_clients(20):
        table.restore(client, ONE, now=0.0)
    assert len(table.poll_rows(now=0.0, limit=100)) == 20
    route(table, many_clients(20), now=1.0)
    assert sum(len(table.poll_rows(now=ROW_RENEWAL, limit=100)) for _ in range(4)) == 20


clients = st.tuples(
    st.sampled_from(
        [address_bytes(host) for host in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2")]
    ),
    st.integers(1, 3),
    st.just(False),
)
transceivers = st.sampled_from([ONE, TWO, THREE])


class FlowTableMachine(RuleBasedStateMachine):
    """Anything may happen in any order; only who was checked may get packets, and the bounds hold."""

    def __init__(self) -> None:
        super().__init__()
        self.table = FlowTable(flow_limit=5, source_limit=3)
        self.now = 0.0
        self.granted: dict[Client, set[int]] = {}
        self.confirmed: dict[Client, int] = {}

    @rule(seconds=st.floats(0, 80))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.table.expire(self.now)
        self._forget_ended()

    @rule(client=clients, transceiver=transceivers)
    def check_arrives(self, client: Client, transceiver: int) -> None:
        before = self.table.lookup(client, now=self.now)
        if self.table.open(client, transceiver, now=self.now):
            self.granted.setdefault(client, set()).add(transceiver)
            expected = before if client in self.confirmed else transceiver
            assert self.table.lookup(client, now=self.now) == expected
        else:
            assert before is None

    @rule(client=clients, transceiver=transceivers)
    def transceiver_answers(self, client: Client, transceiver: int) -> None:
        self.table.confirm(client, transceiver, now=self.now)
        if self.table.lookup(client, now=self.now) == transceiver:
            self.confirmed[client] = transceiver

    @rule(client=clients, transceiver=transceivers)
    def transceiver_lets_go(self, client: Client, transceiver: int) -> None:
        self.table.drop(client, transceiver)
        assert self.table.lookup(client, now=self.now) != transceiver
        if self.confirmed.get(client) == transceiver:
            del self.confirmed[client]
        self._forget_ended()

    @rule(client=clients, transceiver=transceivers, to=transceivers)
    def session_moves(self, client: Client, transceiver: int, to: int) -> None:
        if self.table.move(client, transceiver, to=to):
            self.granted[client].add(to)
            if client in self.confirmed:
                self.confirmed[client] = to

    @rule(kept=st.sets(transceivers))
    def list_changes(self, kept: set[int]) -> None:
        self.table.retain(kept)
        self.confirmed = {client: to for client, to in self.confirmed.items() if to in kept}
        self._forget_ended()
        for client in self.granted:
            assert self.table.lookup(client, now=self.now) in kept

    @invariant()
    def bounds_hold(self) -> None:
        flows = [client for client in self.granted if self.table.lookup(client, now=self.now) is not None]
        assert len(self.table) == len(flows) <= 5
        for source in ("192.0.2.1", "192.0.2.2"):
            assert sum(client[0] == address_bytes(source) for client in flows) <= 3
        assert sum(client[0].startswith(b"\x20\x01") for client in flows) <= 3

    @invariant()
    def packets_only_go_where_a_check_or_a_move_led(self) -> None:
        for client, granted in self.granted.items():
            assert self.table.lookup(client, now=self.now) in granted

    @invariant()
    def a_confirmed_flow_stays_where_it_is(self) -> None:
        for client, transceiver in self.confirmed.items():
            assert self.table.lookup(client, now=self.now) == transceiver

    def _forget_ended(self) -> None:
        for client in list(self.granted):
            if self.table.lookup(client, now=self.now) is None:
                del self.granted[client]
                self.confirmed.pop(client, None)


TestFlowTableMachine = FlowTableMachine.TestCase
TestFlowTableMachine.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@attrs.define(kw_only=True)
class ModelFlow:
    transceiver: int
    last_seen: float
    is_confirmed: bool = False
    challenger: int | None = None


class ModelMachine(RuleBasedStateMachine):
    """The table does what a dict of flows does, and the directory ends up with what is confirmed."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, value in (("_EXPIRY_STRETCH", 2), ("_ENDS_AT_ONCE", 1), ("_RENEWAL_STRETCH", 2)):
            self.patch.setattr(f"voicegate.relay.flows.{name}", value)
        self.table = FlowTable(flow_limit=5, source_limit=3)
        self.now = 0.0
        self.flows: dict[Client, ModelFlow] = {}
        self.directory: dict[Client, int] = {}

    def teardown(self) -> None:
        self.patch.undo()

    @rule(seconds=st.sampled_from([1.0, 11.0, 19.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def silent_flows_end(self) -> None:
        for _ in range(10):
            self.table.expire(self.now)
        for client, flow in list(self.flows.items()):
            lifetime = CONFIRMED_LIFETIME if flow.is_confirmed else UNCONFIRMED_LIFETIME
            if self.now - flow.last_seen > lifetime:
                del self.flows[client]
                self.directory.pop(client, None)  # lapsed by itself

    @rule(batch=st.lists(clients, min_size=1))
    def packets_arrive(self, batch: list[Client]) -> None:
        expected = [flow.transceiver if (flow := self.flows.get(client)) else None for client in batch]
        assert route(self.table, batch, now=self.now) == expected
        self._note(batch)

    @rule(client=clients)
    def a_packet_arrives(self, client: Client) -> None:
        flow = self.flows.get(client)
        assert self.table.lookup(client, now=self.now) == (flow and flow.transceiver)
        self._note([client])

    @rule(client=clients, transceiver=transceivers)
    def check_arrives(self, client: Client, transceiver: int) -> None:
        flow = self.flows.get(client)
        has_room = flow is not None or self._has_room(client)
        assert self.table.open(client, transceiver, now=self.now) is has_room
        if flow is None and has_room:
            self.flows[client] = ModelFlow(transceiver=transceiver, last_seen=self.now)
        elif flow is not None and (flow.transceiver == transceiver or not flow.is_confirmed):
            flow.transceiver, flow.last_seen = transceiver, self.now
        elif flow is not None:
            flow.challenger = transceiver

    @rule(client=clients, transceiver=transceivers)
    def transceiver_answers(self, client: Client, transceiver: int) -> None:
        self.table.confirm(client, transceiver, now=self.now)
        flow = self.flows.get(client)
        if flow is None or transceiver not in (flow.transceiver, flow.challenger):
            return
        if transceiver == flow.challenger:
            flow.transceiver, flow.challenger = transceiver, None
        flow.is_confirmed, flow.last_seen = True, self.now

    @rule(client=clients, transceiver=transceivers)
    def directory_answers(self, client: Client, transceiver: int) -> None:
        waiting = len(self.table._to_delete)
        has_room = self._has_room(client) and len(self.flows) + waiting < 5
        is_there = client in self.flows
        assert self.table.restore(client, transceiver, now=self.now) is (is_there or has_room)
        if has_room and not is_there:
            self.directory[client] = transceiver
            self.flows[client] = ModelFlow(transceiver=transceiver, last_seen=self.now, is_confirmed=True)

    @rule(client=clients, transceiver=transceivers, to=transceivers)
    def session_moves(self, client: Client, transceiver: int, to: int) -> None:
        flow = self.flows.get(client)
        moves = flow is not None and flow.transceiver == transceiver
        assert self.table.move(client, transceiver, to=to) is moves
        if flow is not None and moves:
            flow.transceiver = to
            if flow.challenger == to:
                flow.challenger = None

    @rule(client=clients, transceiver=transceivers)
    def transceiver_lets_go(self, client: Client, transceiver: int) -> None:
        assert self.table.drop(client, transceiver) is self._drop(client, transceiver)

    @rule(kept=st.sets(transceivers))
    def list_changes(self, kept: set[int]) -> None:
        self.table.retain(kept)
        for client, flow in list(self.flows.items()):
            for address in (flow.challenger, flow.transceiver):
                if address is not None and address not in kept:
                    self._drop(client, address)

    @rule(limit=st.integers(0, 3))
    def rows_are_polled(self, limit: int) -> None:
        rows = self.table.poll_rows(now=self.now, limit=limit)
        assert len(rows) <= limit
        for client, transceiver in rows:
            if transceiver is None:
                self.directory.pop(client, None)
            else:
                assert self.flows[client].is_confirmed
                assert self.flows[client].transceiver == transceiver
                self.directory[client] = transceiver

    @rule()
    def all_rows_are_polled(self) -> None:
        for _ in range(20):
            self.rows_are_polled(3)
        confirmed = {client: flow.transceiver for client, flow in self.flows.items() if flow.is_confirmed}
        assert self.directory == confirmed

    @invariant()
    def the_table_has_the_flows_of_the_model(self) -> None:
        assert len(self.table) == len(self.flows)
        assert len(self.table._to_delete) <= 5
        for client, flow in self.flows.items():
            assert self.table.is_confirmed(client) is flow.is_confirmed

    def _note(self, batch: list[Client]) -> None:
        for client in batch:
            if client in self.flows and self.flows[client].is_confirmed:
                self.flows[client].last_seen = self.now

    def _has_room(self, client: Client) -> bool:
        def source(host: bytes) -> bytes:
            return host[:8] if host.startswith(b"\x20\x01") else host

        same = sum(source(other[0]) == source(client[0]) for other in self.flows)
        return len(self.flows) < 5 and same < 3

    def _drop(self, client: Client, transceiver: int) -> bool:
        flow = self.flows.get(client)
        if flow is None or transceiver not in (flow.transceiver, flow.challenger):
            return False
        if flow.challenger == transceiver:
            flow.challenger = None
        elif flow.challenger is None:
            del self.flows[client]
        else:
            flow.transceiver, flow.challenger, flow.is_confirmed = flow.challenger, None, False
        return True


TestModelMachine = ModelMachine.TestCase
TestModelMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
