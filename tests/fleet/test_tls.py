"""Mutual TLS between two machines, in memory: who has a secret in common is let in, and nobody else."""

import ssl
from collections.abc import Sequence

import pytest

from voicegate.fleet.tls import PeerTls

NEW, OLD, OTHER = (bytes([n]) * 32 for n in range(3))


def shake_hands(client: Sequence[bytes], server: Sequence[bytes]) -> None:
    """Connect one to the other; raises ssl.SSLError where either refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = PeerTls(client).client.wrap_bio(to_client, to_server)
    far = PeerTls(server).server.wrap_bio(to_server, to_client, server_side=True)
    left = [near, far, near, far]
    for side in left:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    # Only this shows that the server took what the client showed last.
    far.write(b"welcome")
    assert near.read() == b"welcome"
    assert (near.version(), far.version()) == ("TLSv1.3", "TLSv1.3")


@pytest.mark.parametrize("client", [[NEW], [OLD], [NEW, OLD], [OLD, NEW]])
@pytest.mark.parametrize("server", [[NEW], [OLD], [NEW, OLD], [OLD, NEW]])
def test_one_secret_in_common_is_enough(client: list[bytes], server: list[bytes]) -> None:
    if set(client) & set(server):
        shake_hands(client, server)
    else:
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(client, server)


def test_of_more_generations_any_will_do() -> None:
    for secret in (NEW, OLD, OTHER):
        shake_hands([NEW, OLD, OTHER], [secret])
        shake_hands([secret], [NEW, OLD, OTHER])


def test_another_cluster_is_refused_by_both_sides() -> None:
    for client, server in (([OTHER], [NEW, OLD]), ([NEW, OLD], [OTHER])):
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(client, server)


def test_a_client_that_shows_nothing_is_refused() -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    near = context.wrap_bio(to_client, to_server)
    far = PeerTls([NEW]).server.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far, near):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        far.do_handshake()
