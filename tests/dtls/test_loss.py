"""Handshakes over lines that lose, repeat, delay and reorder."""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dtls.pair import DTLS_1_2, DTLS_1_3, Fate, Line, make_connection
from voicegate.dtls import (
    ApplicationData,
    DropReason,
    HandshakeCompleted,
    HandshakeStarted,
    KeysReady,
    ProtocolVersion,
    Role,
)

fates = st.lists(st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.3]), max_size=2), max_size=12)
"""For each of the first datagrams: when its copies arrive."""


def scripted(script: Sequence[list[float]], *, delay: float) -> Fate:
    """Treat the first datagrams as written, the others well."""
    rest = iter(script)
    return lambda _datagram: next(rest, [delay])


def noisy(seed: int, *, loss: float) -> Fate:
    random = Random(seed)

    def fate(_datagram: bytes) -> list[float]:
        copies = 0 if random.random() < loss else random.choice([1, 1, 1, 2])
        return [0.02 + random.random() * 0.1 for _ in range(copies)]

    return fate


def check(line: Line) -> None:
    """Both ends completed, once, with the same keys, and can talk."""
    for events in (line.client_events, line.server_events):
        kinds = [type(event) for event in events]
        assert kinds == [HandshakeStarted, KeysReady, HandshakeCompleted]
    exports = {end.export_keying_material("label", 20) for end in (line.client, line.server)}
    assert len(exports) == 1
    line.upward = line.downward = scripted([], delay=0.0)
    line.client.send(b"up", now=line.now)
    line.server.send(b"down", now=line.now)
    line.run()
    assert line.server_events[-1] == ApplicationData(data=b"up")
    assert line.client_events[-1] == ApplicationData(data=b"down")


VERSIONS = pytest.mark.parametrize(
    ("client", "server"),
    [(DTLS_1_2, DTLS_1_2), (DTLS_1_3, DTLS_1_3), (DTLS_1_3, DTLS_1_2), (DTLS_1_2, DTLS_1_3)],
    ids=["1.2", "1.3", "1.2 server", "1.2 client"],
)


@VERSIONS
@given(fates, fates, st.sampled_from([200, 400, 1200]))
@settings(max_examples=60)
@pytest.mark.slow
def test_a_handshake_outlives_any_beginning_of_losses_copies_and_delays(
    client: tuple[ProtocolVersion, ...],
    server: tuple[ProtocolVersion, ...],
    upward: list[list[float]],
    downward: list[list[float]],
    mtu: int,
) -> None:
    line = Line(
        client=make_connection(Role.CLIENT, mtu=mtu, versions=client),
        server=make_connection(Role.SERVER, mtu=mtu, versions=server),
        upward=scripted(upward, delay=0.01),
        downward=scripted(downward, delay=0.01),
    )
    line.start()
    line.run()
    check(line)


@VERSIONS
@pytest.mark.parametrize("seed", range(20))
def test_a_handshake_gets_through_a_line_that_loses_a_third(
    client: tuple[ProtocolVersion, ...], server: tuple[ProtocolVersion, ...], seed: int
) -> None:
    line = Line(
        client=make_connection(Role.CLIENT, mtu=300, versions=client),
        server=make_connection(Role.SERVER, mtu=300, versions=server),
        upward=noisy(seed, loss=0.33),
        downward=noisy(~seed, loss=0.33),
    )
    line.start()
    line.run()
    check(line)


def test_without_loss_nothing_is_sent_twice_and_nothing_dropped() -> None:
    line = Line()
    line.handshake()
    assert len(line.sent) == 4
    for end in (line.client, line.server):
        assert end.statistics().retransmissions == 0
        assert end.statistics().dropped == {}


def test_a_lost_last_flight_is_sent_again_when_the_client_repeats_its_own() -> None:
    line = Line(downward=scripted([[0.0], []], delay=0.0))
    line.start()
    line.run()
    assert line.server.statistics().retransmissions == 1
    assert line.client.statistics().retransmissions == 1
    check(line)


def test_a_client_waits_two_round_trips_of_ice_before_it_repeats() -> None:
    client = make_connection(Role.CLIENT)
    client.set_round_trip(0.2)
    client.start(now=5.0)
    assert client.poll_timeout() == 5.4
    assert make_connection(Role.SERVER).poll_timeout() == 60.0


def test_copies_made_by_the_network_do_not_set_off_a_repetition() -> None:
    line = Line(upward=lambda _datagram: [0.01, 0.011], downward=lambda _datagram: [0.01, 0.011])
    line.handshake()
    assert line.server.statistics().retransmissions == 0
    assert line.client.statistics().retransmissions == 0
    assert line.server.statistics().dropped[DropReason.REPEATED_MESSAGE] > 0


def test_a_finished_that_overtakes_its_keys_is_kept() -> None:
    # Three datagrams, the last with the Finished; it comes first.
    line = Line(client=make_connection(Role.CLIENT, mtu=300))
    delays = iter([[0.0], [0.03], [0.02], [0.01]])
    line.upward = lambda _datagram: next(delays)
    line.start()
    line.run()
    assert line.client.statistics().retransmissions == 0
    check(line)


def test_data_that_overtakes_the_last_flight_is_delivered_after_it() -> None:
    line = Line(downward=scripted([[0.0], [0.05]], delay=0.0))
    line.start()
    line.run(until=0.01)
    assert line.server.is_completed
    line.server.send(b"early", now=line.now)
    line.run()
    assert isinstance(line.client_events[-2], HandshakeCompleted)
    assert line.client_events[-1] == ApplicationData(data=b"early")


def test_only_so_much_early_data_is_held() -> None:
    line = Line(downward=scripted([[0.0], [0.05]], delay=0.0))
    line.start()
    line.run(until=0.01)
    for number in range(12):
        line.server.send(bytes([number]), now=line.now)
    line.run()
    received = [event.data for event in line.client_events if isinstance(event, ApplicationData)]
    assert received == [bytes([number]) for number in range(8)]
    assert line.client.statistics().dropped[DropReason.TOO_EARLY] == 4
