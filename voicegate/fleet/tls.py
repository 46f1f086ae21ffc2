"""Mutual TLS among the machines of a cluster: who has its secret is a member, and nobody else.

What is shown and trusted is made by `voicegate.access.cluster_identity`. Names are not checked: every member
is as good as any other, wherever it is.
"""

import os
import ssl
from collections.abc import Sequence
from typing import Final

from voicegate.access import ClusterIdentity

__all__ = ["PeerTls"]


class PeerTls:
    """Both sides of a connection between two machines.

    Args:
        secrets: Of the cluster: the first one is shown, all are trusted.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        identity = ClusterIdentity.of(secrets)
        self.client: Final = _context(ssl.PROTOCOL_TLS_CLIENT, identity)
        """For whoever connects."""
        self.server: Final = _context(ssl.PROTOCOL_TLS_SERVER, identity)
        """For whoever listens."""
        # Nobody comes back with one.
        self.server.num_tickets = 0


def _context(protocol: int, identity: ClusterIdentity) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity.trusted)
    # Python's ssl wants a file; this one has no name in any folder, and is gone when it is closed.
    file = os.memfd_create("voicegate", os.MFD_CLOEXEC)
    try:
        os.write(file, (identity.key + identity.chain).encode())
        context.load_cert_chain(f"/proc/self/fd/{file}")
    finally:
        os.close(file)
    return context
