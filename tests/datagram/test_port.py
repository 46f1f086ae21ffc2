import socket
from contextlib import closing

import pytest
import trio

from voicegate.datagram import BATCH_LIMIT, DatagramPort
from voicegate.errors import UsageError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_datagrams_are_taken_in_and_sent_in_batches(host: str) -> None:
    with (
        closing(DatagramPort((host, 0), datagram_limit=100)) as here,
        closing(DatagramPort((host, 0), datagram_limit=100)) as there,
    ):
        assert here.receive_batch() == []
        sent = [bytes((number,)) for number in range(BATCH_LIMIT + 1)]
        there.send_batch([(data, here.address) for data in sent])
        with trio.fail_after(120):
            await here.wait_readable()
        first, second = here.receive_batch(), here.receive_batch()
        assert len(first) == BATCH_LIMIT
        assert first + second == [(data, there.address) for data in sent]
        assert not here.errors
        assert not there.errors


def test_a_datagram_over_the_limit_shows() -> None:
    with closing(DatagramPort(("127.0.0.1", 0), datagram_limit=10)) as port:
        port.send_batch([(bytes(10), port.address), (bytes(500), port.address)])
        assert [len(data) for data, _ in port.receive_batch()] == [10, 11]


def test_what_the_kernel_refuses_is_counted_and_the_rest_is_sent() -> None:
    with closing(DatagramPort(("127.0.0.1", 0), datagram_limit=10)) as port:
        port.send_batch([(b"a", ("127.0.0.1", 0)), (bytes(70_000), port.address), (b"b", port.address)])
        assert port.receive_batch() == [(b"b", port.address)]
        assert port.errors == {"send EINVAL": 1, "send EMSGSIZE": 1}


def test_an_error_while_receiving_is_counted_and_ends_the_batch() -> None:
    port = DatagramPort(("127.0.0.1", 0), datagram_limit=10)
    port.close()
    assert port.receive_batch() == []
    assert port.errors == {"receive EBADF": 1}


def test_a_shared_address_is_shared_and_others_are_not() -> None:
    with closing(DatagramPort(("127.0.0.1", 0), datagram_limit=10, is_shared=True)) as port:
        DatagramPort(port.address, datagram_limit=10, is_shared=True).close()
        taken = f"127.0.0.1 port {port.address[1]}: Address already in use"
        with pytest.raises(UsageError, match=taken):
            DatagramPort(port.address, datagram_limit=10)


def test_an_ipv6_wildcard_leaves_ipv4_alone() -> None:
    with closing(DatagramPort(("::", 0), datagram_limit=10)) as six:
        assert six.family is socket.AF_INET6
        with closing(DatagramPort(("0.0.0.0", six.address[1]), datagram_limit=10)) as four:
            assert four.family is socket.AF_INET


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        (("localhost", 1), "not a literal IP address: 'localhost'"),
        (("192.0.2.1", 3478), "192.0.2.1 port 3478: Cannot assign requested address"),
        (("127.0.0.1", 70_000), "127.0.0.1 port 70000: .*0-65535"),
    ],
)
def test_an_address_that_cannot_be_bound_is_named(address: tuple[str, int], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        DatagramPort(address, datagram_limit=10)
