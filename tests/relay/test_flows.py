from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from voicegate.relay.flows import CONFIRMED_LIFETIME, UNCONFIRMED_LIFETIME, Client, FlowTable
from voicegate.wire.path import address_bytes

ONE: Final = ("10.0.0.1", 9000)
TWO: Final = ("10.0.0.2", 9000)
THREE: Final = ("10.0.0.3", 9000)
ALICE: Final = (address_bytes("192.0.2.1"), 1000, False)


def confirmed_table() -> FlowTable:
    table = FlowTable()
    table.open(ALICE, ONE, now=0.0)
    table.confirm(ALICE, ONE, now=0.0)
    return table


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
        self.granted: dict[Client, set[tuple[str, int]]] = {}
        self.confirmed: dict[Client, tuple[str, int]] = {}

    @rule(seconds=st.floats(0, 80))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.table.expire(self.now)
        self._forget_ended()

    @rule(client=clients, transceiver=transceivers)
    def check_arrives(self, client: Client, transceiver: tuple[str, int]) -> None:
        before = self.table.lookup(client, now=self.now)
        if self.table.open(client, transceiver, now=self.now):
            self.granted.setdefault(client, set()).add(transceiver)
            expected = before if client in self.confirmed else transceiver
            assert self.table.lookup(client, now=self.now) == expected
        else:
            assert before is None

    @rule(client=clients, transceiver=transceivers)
    def transceiver_answers(self, client: Client, transceiver: tuple[str, int]) -> None:
        self.table.confirm(client, transceiver, now=self.now)
        if self.table.lookup(client, now=self.now) == transceiver:
            self.confirmed[client] = transceiver

    @rule(client=clients, transceiver=transceivers)
    def transceiver_lets_go(self, client: Client, transceiver: tuple[str, int]) -> None:
        self.table.drop(client, transceiver)
        assert self.table.lookup(client, now=self.now) != transceiver
        if self.confirmed.get(client) == transceiver:
            del self.confirmed[client]
        self._forget_ended()

    @rule(client=clients, transceiver=transceivers, to=transceivers)
    def session_moves(self, client: Client, transceiver: tuple[str, int], to: tuple[str, int]) -> None:
        if self.table.move(client, transceiver, to=to):
            self.granted[client].add(to)
            if client in self.confirmed:
                self.confirmed[client] = to

    @rule(kept=st.sets(transceivers))
    def list_changes(self, kept: set[tuple[str, int]]) -> None:
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
