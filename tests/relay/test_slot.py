"""Real sockets, as a relay's workers inherit them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress

import attrs
import pytest
import structlog

from tests.relay.checks import SECRET
from voicegate.datagram import bind
from voicegate.errors import UsageError
from voicegate.relay.control import RelayConfig
from voicegate.relay.counter import Count, DropReason
from voicegate.relay.slot import Slot, open_slots
from voicegate.relay.stream import bind_stream

CONFIG = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def adopt(stack: ExitStack, number: int) -> socket.socket:
    """Open a socket by its number, as a worker does, but leave it to its owner."""
    sock = socket.socket(fileno=number)
    stack.callback(sock.detach)
    return sock


def take_all(sock: socket.socket) -> int:
    count = 0
    try:
        while True:
            sock.recv(1)
            count += 1
    except BlockingIOError:
        return count


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_workers_share_one_public_address(host: str, stack: ExitStack) -> None:
    slots = open_slots(attrs.evolve(CONFIG, public=[(host, 0)], hop=(host, 0), workers=3), stack)
    (public,) = {slot.public for slot in slots}
    assert len({slot.hop for slot in slots}) == 3
    for _ in range(200):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"a", public[0])
    config = [slot.worker_config(CONFIG, transceivers={}, has_directory=False) for slot in slots]
    received = [take_all(adopt(stack, each.public[0])) for each in config]
    assert sum(received) == 200
    assert all(received)


def test_workers_share_one_address_for_streams(stack: ExitStack) -> None:
    slots = open_slots(attrs.evolve(CONFIG, streams=[("127.0.0.1", 0)], workers=2), stack)
    (streams,) = {slot.streams for slot in slots}
    clients = [stack.enter_context(socket.create_connection(streams[0])) for _ in range(64)]
    accepted = []
    for slot in slots:
        config = slot.worker_config(CONFIG, transceivers={}, has_directory=False)
        listener, count = adopt(stack, config.streams[0]), 0
        try:
            while True:
                listener.accept()[0].close()
                count += 1
        except BlockingIOError:
            accepted.append(count)
    assert sum(accepted) == len(clients)
    assert all(accepted)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_relay_is_refused_where_one_is(workers: int, stack: ExitStack) -> None:
    config = attrs.evolve(CONFIG, workers=workers, streams=[("127.0.0.1", 0)])
    slot = open_slots(config, stack)[0]
    named = f"cannot bind UDP 127.0.0.1 port {slot.public[0][1]}: Address already in use"
    with pytest.raises(UsageError, match=named):
        open_slots(attrs.evolve(config, public=slot.public), stack)
    named = f"cannot bind TCP 127.0.0.1 port {slot.streams[0][1]}: Address already in use"
    with pytest.raises(UsageError, match=named):
        open_slots(attrs.evolve(config, streams=slot.streams), stack)


def test_what_somebody_would_share_is_in_use_all_the_same(stack: ExitStack) -> None:
    for open_socket in (bind, bind_stream):
        with closing(open_socket(("127.0.0.1", 0), is_shared=True)) as taken:
            address = taken.getsockname()
            with pytest.raises(UsageError, match=f"port {address[1]}: Address already in use"):
                open_slots(attrs.evolve(CONFIG, workers=2, public=[address], streams=[address]), stack)


def test_each_family_has_one_address_at_most(stack: ExitStack) -> None:
    both = attrs.evolve(CONFIG, public=[("127.0.0.1", 0), ("::1", 0)])
    assert [host for host, _ in open_slots(both, stack)[0].public] == ["127.0.0.1", "::1"]
    with pytest.raises(UsageError, match=r"::1 is not the only public address of its family"):
        open_slots(attrs.evolve(CONFIG, public=[("::1", 0), ("::1", 0)]), stack)


def test_hop_ports_follow_one_another_where_the_first_is_given(stack: ExitStack) -> None:
    with closing(bind(("127.0.0.1", 0))) as free:
        address = free.getsockname()
    slots = open_slots(attrs.evolve(CONFIG, hop=address, workers=2), stack)
    assert [slot.hop[1] - address[1] for slot in slots] == [0, 1]


def test_all_sockets_are_closed_when_one_cannot_be_bound() -> None:
    with closing(bind(("127.0.0.1", 0))) as taken, closing(bind(("127.0.0.1", 0))) as given_back:
        public = given_back.getsockname()
        given_back.close()
        with ExitStack() as stack, pytest.raises(UsageError, match="cannot bind UDP"):
            open_slots(attrs.evolve(CONFIG, public=[public], hop=taken.getsockname()), stack)
        with ExitStack() as stack:
            assert open_slots(attrs.evolve(CONFIG, public=[public]), stack)[0].public == (public,)


def test_buffers_that_the_system_cuts_are_told_once_with_the_remedy(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tuple((-1, usual, setting) for _, usual, setting in slot_options())
    monkeypatch.setattr("voicegate.relay.slot._BUFFER_OPTIONS", options)
    monkeypatch.setattr("voicegate.relay.slot._BUFFER_SIZE", 1 << 30)
    with structlog.testing.capture_logs() as logs:
        open_slots(attrs.evolve(CONFIG, workers=2), stack)
    (entry,) = logs
    assert entry["event"] == "socket_buffers_cut"
    assert entry["remedy"] == "sysctl -w net.core.rmem_max=1073741824 net.core.wmem_max=1073741824"
    assert 0 < entry["size"] < 1 << 30


def slot_options() -> tuple[tuple[int, int, str], ...]:
    from voicegate.relay.slot import _BUFFER_OPTIONS

    return _BUFFER_OPTIONS


def test_what_the_dead_counted_is_not_lost(stack: ExitStack) -> None:
    (slot,) = open_slots(CONFIG, stack)
    for _ in range(2):
        slot.counters.add(DropReason.GARBAGE)
        slot.counters.set(Count.FLOWS, 3)
        assert slot.statistics().counts["flows"] == 3
        slot.vacate()
    statistics = slot.statistics()
    assert statistics.dropped["garbage"] == 2
    assert statistics.counts["flows"] == 0
    assert slot.counters.get(DropReason.GARBAGE) == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_hop_ports_are_as_given_and_those_that_follow(host: str, stack: ExitStack) -> None:
    slots: list[Slot] = []
    while not slots:
        with closing(bind((host, 0))) as free:
            first = free.getsockname()[1]
        with suppress(UsageError):  # somebody has one of them
            slots = open_slots(attrs.evolve(CONFIG, hop=(host, first), workers=3), stack)
    assert [slot.hop for slot in slots] == [(host, first + number) for number in range(3)]


def test_hop_ports_beyond_the_last_are_a_mistake(stack: ExitStack) -> None:
    with pytest.raises(UsageError, match="65536"):
        open_slots(attrs.evolve(CONFIG, hop=("127.0.0.1", 65_535), workers=2), stack)
