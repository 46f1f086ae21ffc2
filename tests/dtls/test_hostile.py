"""Whatever arrives: nothing is raised, nothing grows."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dtls.pair import DTLS_1_2, DTLS_1_3, Line, drain_events, drain_transmits, make_connection
from voicegate.dtls import ConnectionState, DtlsConnection, ProtocolVersion, Role
from voicegate.dtls.handshake import Fragment, HandshakeType
from voicegate.dtls.record import ContentType, Record
from voicegate.dtls.v12 import association as v12
from voicegate.dtls.v13 import association as v13

pytestmark = pytest.mark.slow

mutations = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.sampled_from(["flip", "cut", "insert", "drop", "copy", "swap"]),
        st.integers(0, 1300),
        st.binary(min_size=1, max_size=8),
    ),
    max_size=4,
)
records = st.builds(
    lambda content_type, epoch, number, fragment: Record(
        content_type, 0xFEFD, epoch, number, fragment
    ).encode(),
    st.sampled_from(ContentType),
    st.integers(0, 2),
    st.integers(0, 100),
    st.binary(max_size=80)
    | st.builds(
        lambda type_, length, message_seq, offset, body: Fragment(
            type_, length, message_seq, offset, body
        ).encode(),
        st.sampled_from(HandshakeType),
        st.integers(0, 300),
        st.integers(0, 8),
        st.integers(0, 100),
        st.binary(max_size=200),
    ),
)
unified = st.builds(
    lambda flags, number, body: bytes([0x20 | flags]) + number + len(body).to_bytes(2, "big") + body,
    st.integers(0, 31),
    st.binary(min_size=1, max_size=2),
    st.binary(max_size=60),
)
datagrams = st.binary(max_size=100) | st.lists(records | unified, max_size=4).map(b"".join)

Versions = tuple[ProtocolVersion, ...]
VERSIONS = pytest.mark.parametrize("versions", [DTLS_1_2, DTLS_1_3], ids=["1.2", "1.3"])


def flights(versions: Versions) -> dict[Role, list[bytes]]:
    """Return what either end says in a whole connection."""
    line = Line(client=new_end(Role.CLIENT, versions), server=new_end(Role.SERVER, versions))
    line.run()
    assert line.client.is_completed
    line.client.send(b"up", now=line.now)
    line.server.send(b"down", now=line.now)
    line.run()
    line.client.close(now=line.now)
    line.run()
    return {role: [datagram for sender, datagram in line.sent if sender is role] for role in Role}


def mutate(sent: list[bytes], changes: list[tuple[int, str, int, bytes]]) -> list[bytes]:
    result = list(sent)
    for which, change, where, data in changes:
        index = which % len(result)
        datagram = result[index]
        where %= len(datagram) + 1
        match change:
            case "flip":
                result[index] = datagram[:where] + data + datagram[where + len(data) :]
            case "cut":
                result[index] = datagram[:where]
            case "insert":
                result[index] = datagram[:where] + data + datagram[where:]
            case "drop" if len(result) > 1:
                del result[index]
            case "copy":
                result.append(datagram)
            case _:
                result[index], result[0] = result[0], datagram
    return result


def new_end(role: Role, versions: Versions) -> DtlsConnection:
    """Make an end that goes just as the recorded one did, up to its fresh keys."""
    connection = make_connection(role, mtu=300, versions=versions)
    if role is Role.CLIENT:
        connection.start(now=0.0)
    return connection


RECORDED: dict[Versions, dict[Role, list[bytes]]] = {
    versions: flights(versions) for versions in (DTLS_1_2, DTLS_1_3)
}


def feed(connection: DtlsConnection, arriving: list[bytes]) -> None:
    """Give datagrams and time to an end, and watch it stay sound."""
    for step, datagram in enumerate(arriving):
        now = step * 0.06
        connection.handle_datagram(datagram, now=now)
        connection.handle_timeout(now=now)
        assert len(drain_transmits(connection)) <= 40
        drain_events(connection)
        held = sum(len(partial.body) for partial in connection._reassembler._partials.values())
        assert held <= 32 * 1024
        association = connection._association
        if isinstance(association, v12.Association):
            assert len(association._held) + len(association._early_data) <= 16
        elif isinstance(association, v13.Association):
            assert len(association._held) + len(association._early_data) <= 64
            assert len(association._receipt) <= 32
        timeout = connection.poll_timeout()
        assert timeout is None or timeout > now or connection.state is not ConnectionState.COMPLETED


@VERSIONS
@pytest.mark.parametrize("role", Role)
@given(arriving=st.lists(datagrams, max_size=12))
def test_any_datagrams_are_survived(role: Role, versions: Versions, arriving: list[bytes]) -> None:
    feed(new_end(role, versions), arriving)


@VERSIONS
@pytest.mark.parametrize("role", Role)
@given(changes=mutations)
def test_mutations_of_a_real_connection_are_survived(
    role: Role, versions: Versions, changes: list[tuple[int, str, int, bytes]]
) -> None:
    sender = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    feed(new_end(role, versions), mutate(RECORDED[versions][sender], changes))


@VERSIONS
@given(
    victim=st.sampled_from(Role),
    damages=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 300), st.integers(1, 255)), max_size=6),
)
def test_a_line_that_corrupts_datagrams_ends_in_completion_or_a_reported_failure(
    victim: Role, versions: Versions, damages: list[tuple[int, int, int]]
) -> None:
    line = Line(
        client=make_connection(Role.CLIENT, versions=versions),
        server=make_connection(Role.SERVER, versions=versions),
    )
    seen = 0

    def corrupt(connection: DtlsConnection) -> Callable[..., None]:
        original = connection.handle_datagram

        def handle(data: bytes, *, now: float) -> None:
            nonlocal seen
            damaged = bytearray(data)
            for which, where, flip in damages:
                if which == seen:
                    damaged[where % len(damaged)] ^= flip
            seen += 1
            original(bytes(damaged), now=now)

        return handle

    end = line.end(victim)
    end.handle_datagram = corrupt(end)  # type: ignore[method-assign]
    line.start()
    line.run(until=100.0)
    done = {ConnectionState.COMPLETED, ConnectionState.FAILED}
    assert line.client.state in done
    assert line.server.state in done


def test_after_the_end_no_time_and_no_datagram_brings_more_than_the_last_alert() -> None:
    line = Line()
    line.handshake()
    line.server.close(now=0.0)
    drain_transmits(line.server)
    repeated = []
    for step in range(200):
        line.server.handle_datagram(bytes([step % 256]) * 20, now=float(step))
        line.server.handle_timeout(now=float(step))
        repeated += drain_transmits(line.server)
    assert len(repeated) == 1
