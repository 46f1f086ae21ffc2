import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transceiver.harness import CLIENT_CERTIFICATE, Harness, seeded
from voicegate.errors import UsageError
from voicegate.testing.client import ClientCore, ClientState


def new_client() -> ClientCore:
    return ClientCore(random=seeded(1), certificate=CLIENT_CERTIFICATE)


def test_a_client_without_an_answer_does_nothing() -> None:
    client = new_client()
    client.handle_datagram(b"\x00\x01" + bytes(18), now=0.0)
    client.handle_timeout(now=10.0)
    assert client.poll_timeout() is None
    assert client.poll_transmit() is None
    with pytest.raises(UsageError, match="no answer"):
        client.say(bytes(2))
    client.close(now=10.0)
    assert client.state is ClientState.CLOSED
    assert client.poll_transmit() is None


def test_a_client_is_silent_after_it_hung_up() -> None:
    call = Harness.connected()
    call.client.close(now=call.now)
    while call.client.poll_transmit() is not None:
        pass
    call.client.close(now=call.now)
    call.client.handle_datagram(call.sent[-1][1].data, now=call.now)
    assert call.client.poll_timeout() is None
    assert call.client.poll_transmit() is None


@pytest.mark.slow
@given(datagrams=st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_from_the_server_are_survived(datagrams: list[bytes]) -> None:
    call = Harness.make()
    for data in (*datagrams, *(bytes([first]) + data for first in (0, 22, 128) for data in datagrams)):
        call.client.handle_datagram(data, now=call.now)
    assert call.client.state is ClientState.CHECKING
    call.connect()


def test_only_an_authentic_success_is_an_answer() -> None:
    call = Harness.make()
    forged = call.make_check(nominates=False)
    call.client.handle_datagram(forged, now=call.now)
    call.client.handle_datagram(b"\x01\x01" + forged[2:], now=call.now)
    assert call.client.state is ClientState.CHECKING
