"""Checks and answers that carry DTLS: nearly an MTU long, with attributes that no relay knows."""

from typing import Final

import pytest

from tests.relay.checks import ALICE, SECRET, check, success
from tests.relay.peers import open_peer
from tests.relay.test_process import open_worker
from voicegate.ice.credentials import Keyring
from voicegate.ice.stun import AttributeType, Message, sign
from voicegate.relay.router import Router, ToClient, ToTransceiver
from voicegate.wire import hop

TRANSCEIVER: Final = ("10.0.0.1", 9000)
LENGTHS: Final = [1192, 1196, 1200]
"""Bytes of UDP payload; STUN messages are multiples of four."""


def filled(message: bytes, length: int) -> bytes:
    """Return a message made longer by DTLS and by an attribute of the future."""
    plain = Message.decode(message)
    extra: list[tuple[int, bytes]] = [(0xC0DE, b"?"), (AttributeType.DTLS_IN_STUN_ACK, bytes(8))]
    room = length - len(message) - 8 - 12 - 4
    extra.append((AttributeType.DTLS_IN_STUN_DATA, b"\x16\xfe\xfd".ljust(room, b".")))
    unsigned = Message(
        method=plain.method,
        message_class=plain.message_class,
        transaction_id=plain.transaction_id,
        attributes=(*plain.attributes[:-2], *extra),
    )
    opened = Keyring([SECRET]).open((Message.decode(check()).username or "").partition(":")[0])
    assert opened is not None
    signed = sign(unsigned, key=opened.pwd.encode())
    assert len(signed) == length
    return signed


@pytest.mark.parametrize("length", LENGTHS)
def test_a_router_forwards_them_whole_both_ways(length: int) -> None:
    router = Router(keyring=Keyring([SECRET]), now=0.0)
    router.set_transceivers({1: TRANSCEIVER})
    request, answer = filled(check(), length), filled(success(check()), length)
    forward = hop.encode(hop.HopType.DATA, host=ALICE, port=1000, payload=request)
    assert router.handle_client_datagram(request, ALICE, 1000, now=0.0) == ToTransceiver(forward, TRANSCEIVER)
    back = hop.encode(hop.HopType.DATA, host=ALICE, port=1000, payload=answer)
    assert router.handle_hop_datagram(back, TRANSCEIVER, now=0.0) == ToClient(answer, ALICE, 1000, False)
    assert not any(router.statistics().dropped.values())


@pytest.mark.parametrize("length", LENGTHS)
async def test_a_relay_process_forwards_them_whole_both_ways(length: int) -> None:
    async with open_worker() as worker:
        with open_peer() as client, open_peer() as transceiver:
            await worker.list_transceivers(transceiver)
            request = filled(check(), length)
            client.send(request, worker.public[0])
            data, hop_address = await transceiver.receive()
            assert hop.decode(data).payload == request
            answer = filled(success(check(), host=client.host, port=client.port), length)
            datagram = hop.encode(hop.HopType.DATA, host=client.host, port=client.port, payload=answer)
            transceiver.send(datagram, hop_address)
            assert await client.receive() == (answer, worker.public[0])
