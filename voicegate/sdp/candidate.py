"""The candidates of an answer: where a client may reach us, the best first."""

from collections.abc import Sequence
from typing import Final

from voicegate.sdp.attribute import Candidate
from voicegate.wire.path import Address

__all__ = ["host_candidates"]

_HOST: Final = 126
"""Type preference of host candidates, over TCP as over UDP (RFC 8445 §5.1.2.2, RFC 6544 §4.2)."""

_PASSIVE: Final = 4
"""Direction preference of who is called (RFC 6544 §4.2); it puts TCP behind all of UDP."""

_FIRST_UDP: Final = 0xFFFF
_FIRST_TCP: Final = _PASSIVE << 13 | 0x1FFF
"""Local preferences of the first address; each further one has one less."""


def host_candidates(*, udp: Sequence[Address], tcp: Sequence[Address] = ()) -> tuple[Candidate, ...]:
    """Name addresses as candidates, each list in falling preference, and UDP before TCP.

    Over TCP we are called and never call: ``tcptype passive`` (RFC 6544 §4.5).
    """
    listed = [("udp", _FIRST_UDP - rank, address) for rank, address in enumerate(udp)]
    listed += [("tcp", _FIRST_TCP - rank, address) for rank, address in enumerate(tcp)]
    return tuple(
        Candidate(
            # No two can share a foundation: they differ in transport or in address (RFC 8445 §5.1.1.3).
            foundation=str(number),
            transport=transport,
            # RFC 8445 §5.1.2.1, for component 1.
            priority=_HOST << 24 | local_preference << 8 | 255,
            address=host,
            port=port,
            tcp_type="passive" if transport == "tcp" else None,
        )
        for number, (transport, local_preference, (host, port)) in enumerate(listed, start=1)
    )
