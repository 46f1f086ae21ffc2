"""Batches through the datapath on real sockets: each packet fares as if it had come alone."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datagram.test_batch import lay_out
from tests.relay.checks import DTLS, MEDIA, SECRET, check, foreign_check, success
from voicegate.datagram import address_of, batch, bind, encode_address, plain
from voicegate.errors import UsageError
from voicegate.ice.credentials import Keyring
from voicegate.relay import datapath as module
from voicegate.relay.counter import Counters, RelayStatistics
from voicegate.relay.datapath import Datapath
from voicegate.relay.flows import Client
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router
from voicegate.wire import hop
from voicegate.wire.path import Address, address_bytes

HOSTS = {"IPv4": "127.0.0.1", "IPv6": "::1"}


def address(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return host, port


def client_of(sock: socket.socket) -> tuple[bytes, int]:
    host, port = address(sock)
    return address_bytes(host), port


def take_all(sock: socket.socket) -> list[bytes]:
    """Receive what lies in a socket; on loopback it is there as soon as it was sent."""
    taken = []
    try:
        while True:
            taken.append(sock.recv(65_536))
    except BlockingIOError:
        return taken


class Relay:
    """A datapath with its sockets, two transceivers and some clients, moved by hand."""

    def __init__(self, stack: ExitStack, *, family: str, hop_offload: bool = True) -> None:
        def open_socket(host: str) -> socket.socket:
            return stack.enter_context(closing(bind((host, 0))))

        host = HOSTS[family]
        self.public = open_socket(host)
        self.hop = open_socket("127.0.0.1")
        self.transceivers = [open_socket("127.0.0.1"), open_socket("127.0.0.1")]
        self.clients = [open_socket(host) for _ in range(4)]
        for client in self.clients:
            # What others still send to a port that had another owner is not for us.
            client.connect(self.public.getsockname())
        self.counters = Counters()
        self.router = Router(keyring=Keyring([SECRET]), counters=self.counters, seed=bytes(16), now=0.0)
        self.router.set_transceivers({id_: address(sock) for id_, sock in enumerate(self.transceivers, 1)})
        self.datapath = Datapath(
            self.router,
            public=[self.public],
            hop=self.hop,
            counters=self.counters,
            hop_offload=hop_offload,
        )

    def turn(self) -> None:
        for _ in range(3):
            self.datapath.take_turn(clock=lambda: 0.0)

    def connect(self, client: socket.socket, id_: int) -> None:
        """Open and confirm a flow."""
        request = check(id_)
        client.sendto(request, address(self.public))
        self.turn()
        transceiver = self.transceivers[id_ - 1]
        (forwarded,) = take_all(transceiver)
        assert hop.decode(forwarded).payload == request
        host, port = client_of(client)
        self.answer(transceiver, client, success(request, host=host, port=port))
        self.turn()
        assert len(take_all(client)) == 1

    def answer(self, transceiver: socket.socket, client: socket.socket, payload: bytes) -> None:
        host, port = client_of(client)
        datagram = hop.encode(hop.HopType.DATA, host=host, port=port, payload=payload)
        transceiver.sendto(datagram, address(self.hop))

    def taken_by(self, transceiver: socket.socket) -> list[tuple[bytes, int, bytes]]:
        decoded = map(hop.decode, take_all(transceiver))
        return sorted((each.host, each.port, each.payload) for each in decoded)


@contextmanager
def open_relay(**settings: Any) -> Iterator[Relay]:
    with ExitStack() as stack:
        relay = Relay(stack, **settings)
        for client, id_ in zip(relay.clients[:3], (1, 1, 2), strict=True):
            relay.connect(client, id_)
        yield relay


def told(statistics: RelayStatistics) -> dict[str, int]:
    """Return what does not depend on how packets were batched."""
    kept = {"packets_to_transceivers", "bytes_to_transceivers", "packets_to_clients", "bytes_to_clients"}
    counts = {name: count for name, count in statistics.counts.items() if name in kept}
    return counts | {name: count for name, count in statistics.dropped.items() if count}


PACKETS = st.one_of(
    st.sampled_from([MEDIA, MEDIA[:2], DTLS, b"\x80\xc8" + bytes(20), b"\x80" + bytes(1100)]),
    st.sampled_from(
        [b"", b"\x80", b"\xff" * 20, b"\x00\x01", bytes(30), b"\x80" * (MAX_CLIENT_DATAGRAM + 9)]
    ),
    st.sampled_from([b"\x80" * MAX_CLIENT_DATAGRAM, foreign_check(), check(1, pwd="wrong" * 5)]),
    st.binary(max_size=60),
)


@pytest.mark.slow
@pytest.mark.parametrize("hop_offload", [True, False])
@pytest.mark.parametrize("family", HOSTS)
@settings(max_examples=40)
@given(sent=st.lists(st.tuples(st.integers(min_value=0, max_value=3), PACKETS), min_size=1, max_size=40))
def test_a_packet_in_a_batch_fares_as_one_that_comes_alone(
    family: str, hop_offload: bool, sent: list[tuple[int, bytes]]
) -> None:
    outcomes = []
    for few in (4, 10_000):
        with (
            pytest.MonkeyPatch.context() as patch,
            open_relay(family=family, hop_offload=hop_offload) as relay,
        ):
            patch.setattr(module, "_FEW", few)
            for number, packet in sent:
                relay.clients[number].sendto(packet, address(relay.public))
            relay.turn()
            ports = {client_of(client)[1]: number for number, client in enumerate(relay.clients)}
            # Refusals (session ids for a wrong password) come too, as often.
            forwarded = [
                sorted((ports[port], payload) for _, port, payload in relay.taken_by(transceiver))
                for transceiver in relay.transceivers
            ]
            assert not any(take_all(client) for client in relay.clients), "a relay answers nobody"
            outcomes.append((forwarded, told(relay.counters.snapshot())))
    assert outcomes[0] == outcomes[1]


@pytest.mark.slow
@pytest.mark.parametrize("hop_offload", [True, False])
@pytest.mark.parametrize("family", HOSTS)
@settings(max_examples=40)
@given(
    sent=st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=3),
            st.one_of(
                st.sampled_from([MEDIA, DTLS, b"\x80" + bytes(1300), b"", b"\x01\x01" + bytes(18), b"\xff"]),
                st.binary(max_size=60),
            ),
            st.sampled_from(
                ["data", "data", "data", "padded", "cut", "lies", "other version", "garbage", "pong"]
            ),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_a_hop_datagram_in_a_batch_fares_as_one_that_comes_alone(
    family: str, hop_offload: bool, sent: list[tuple[int, bytes, str]]
) -> None:
    outcomes = []
    for few in (4, 10_000):
        with (
            pytest.MonkeyPatch.context() as patch,
            open_relay(family=family, hop_offload=hop_offload) as relay,
        ):
            patch.setattr(module, "_FEW", few)
            for number, payload, how in sent:
                host, port = client_of(relay.clients[number])
                datagram = hop.encode(hop.HopType.DATA, host=host, port=port, payload=payload)
                spoilt = {
                    "data": datagram,
                    "padded": datagram + bytes(30),
                    "cut": datagram[:-1],
                    "lies": datagram[:2] + b"\xff\xff" + datagram[4:],
                    "other version": b"\x56\x20" + datagram[2:],
                    "garbage": payload,
                    "pong": b"\x56\x14" + datagram[2:],
                }[how]
                relay.transceivers[number % 2].sendto(spoilt, address(relay.hop))
            relay.turn()
            received = [sorted(take_all(client)) for client in relay.clients]
            outcomes.append((received, told(relay.counters.snapshot())))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("hop_offload", [True, False])
def test_a_run_of_padded_segments_is_taken_apart(hop_offload: bool) -> None:
    with open_relay(family="IPv4", hop_offload=hop_offload) as relay:
        sender = batch.SegmentSender(relay.transceivers[0], capacity=256)
        payloads = [MEDIA[: 10 + number % 40] + bytes([number]) for number in range(150)]
        clients = [relay.clients[number % 3] for number in range(len(payloads))]
        datagrams = [
            hop.encode(
                hop.HopType.DATA, host=client_of(client)[0], port=client_of(client)[1], payload=payload
            )
            for client, payload in zip(clients, payloads, strict=True)
        ]
        _memory, addresses, lengths = lay_out(datagrams)
        name = encode_address(address(relay.hop))
        sender.add(addresses, lengths, name=address_of(name))
        assert sender.flush() == 0
        assert sender.segmented >= 2
        relay.turn()
        for number, client in enumerate(relay.clients[:3]):
            assert take_all(client) == payloads[number::3]


def test_nothing_of_one_packet_is_sent_with_another() -> None:
    with open_relay(family="IPv4") as relay:
        # Long ones first, so that every slot holds something that padding could give away.
        for round_ in (b"\x80" + b"s" * 1000, b"\x80" + b"x" * 30):
            for number in range(60):
                length = len(round_) - number % 7
                relay.clients[number % 3].sendto(round_[:length], address(relay.public))
            relay.turn()
            if len(round_) > 99:
                for transceiver in relay.transceivers:
                    assert len(take_all(transceiver)) > 0
        taken = [datagram for transceiver in relay.transceivers for datagram in take_all(transceiver)]
        assert len(taken) == 60
        for datagram in taken:
            payload = hop.decode(datagram).payload
            assert b"s" not in payload
            assert not datagram[hop.HEADER_LENGTH + len(payload) :].strip(b"\0")


def test_what_no_transceiver_sent_goes_nowhere() -> None:
    with open_relay(family="IPv4") as relay, closing(bind(("127.0.0.1", 0))) as stranger:
        for number in range(20):
            sender = stranger if number % 2 else relay.transceivers[0]
            relay.answer(sender, relay.clients[0], MEDIA + bytes([number]))
        relay.turn()
        assert take_all(relay.clients[0]) == [MEDIA + bytes([number]) for number in range(0, 20, 2)]
        assert relay.counters.snapshot().dropped["foreign_hop_source"] == 10
        relay.router.set_transceivers({2: address(relay.transceivers[1])})
        for _ in range(10):
            relay.answer(relay.transceivers[0], relay.clients[0], MEDIA)
        relay.turn()
        assert not take_all(relay.clients[0])


def test_packets_for_clients_on_streams_go_there_and_theirs_come_in() -> None:
    class Streams:
        def __init__(self) -> None:
            self.sent: list[tuple[Client, bytes]] = []

        def send(self, client: Client, data: bytes) -> bool:
            self.sent.append((client, data))
            return True

    with open_relay(family="IPv4") as relay:
        client = (address_bytes("192.0.2.7"), 4711, True)
        relay.datapath.handle_frames([check(1), MEDIA], client, 0.0)
        taken = [hop.decode(datagram) for datagram in take_all(relay.transceivers[0])]
        assert [(each.host, each.port, each.is_stream) for each in taken] == [client] * 2
        answers = [MEDIA + bytes([number]) for number in range(10)]
        for streams in (None, Streams()):
            relay.datapath.streams = streams
            for answer in answers:
                datagram = hop.encode(0, host=client[0], port=client[1], payload=answer, is_stream=True)
                relay.transceivers[0].sendto(datagram, address(relay.hop))
            relay.turn()
        assert streams is not None
        assert streams.sent == [(client, answer) for answer in answers]
        assert relay.counters.snapshot().dropped["no_socket"] == 10


def test_packets_for_clients_of_a_family_without_a_socket_are_counted() -> None:
    with open_relay(family="IPv4") as relay:
        for count in (1, 9):
            for _ in range(count):
                datagram = hop.encode(0, host=address_bytes("::1"), port=4711, payload=MEDIA)
                relay.transceivers[0].sendto(datagram, address(relay.hop))
            relay.turn()
        assert relay.counters.snapshot().dropped["no_socket"] == 10


def test_two_public_sockets_of_one_family_are_refused() -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(bind(("127.0.0.1", 0)))) for _ in range(3)]
        router = Router(keyring=Keyring([SECRET]), counters=Counters(), seed=bytes(16), now=0.0)
        with pytest.raises(UsageError, match="one public socket per family"):
            Datapath(router, public=sockets[:2], hop=sockets[2], counters=Counters())


@pytest.mark.parametrize("family", HOSTS)
def test_it_works_the_same_without_the_kernels_batches(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("Receiver", "Sender", "SegmentSender"):
        monkeypatch.setattr(module, name, getattr(plain, name))
    with open_relay(family=family) as relay:
        for number in range(20):
            relay.clients[number % 3].sendto(MEDIA + bytes([number]), address(relay.public))
            relay.answer(relay.transceivers[0], relay.clients[0], MEDIA + bytes([number]))
        relay.turn()
        assert len(relay.taken_by(relay.transceivers[0])) == 14
        assert len(relay.taken_by(relay.transceivers[1])) == 6
        assert take_all(relay.clients[0]) == [MEDIA + bytes([number]) for number in range(20)]


def test_what_the_kernel_had_no_room_for_is_counted() -> None:
    with open_relay(family="IPv4") as relay:
        relay.public.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(200):
            relay.clients[0].sendto(MEDIA, address(relay.public))
        for _ in range(8):
            relay.turn()
        relay.datapath.tend()
        statistics = relay.counters.snapshot()
        arrived = len(take_all(relay.transceivers[0]))
        assert 0 < statistics.dropped["kernel_queue"] == 200 - arrived
        relay.datapath.tend()
        assert relay.counters.snapshot().dropped["kernel_queue"] == 200 - arrived
        # A worker that takes the same sockets over does not count them again.
        counters = Counters()
        successor = Datapath(relay.router, public=[relay.public], hop=relay.hop, counters=counters)
        successor.tend()
        assert not counters.snapshot().dropped["kernel_queue"]


def test_the_addresses_of_transceivers_that_come_and_go_take_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ADDRESSES_KEPT", 1)
    with open_relay(family="IPv4") as relay:
        for _ in range(2):
            for number in range(20):
                relay.clients[number % 3].sendto(MEDIA, address(relay.public))
                relay.answer(relay.transceivers[number % 2], relay.clients[0], MEDIA)
            relay.turn()
            assert len(relay.datapath._names) == len(relay.datapath._sources) == 2
            relay.datapath.tend()
            assert not relay.datapath._names
            assert not relay.datapath._sources
        assert len(take_all(relay.clients[0])) == 40
