"""The way between machines: HTTP as on private sockets, in mutual TLS.

Threat notes. Attack: somebody who can reach the port, but has no secret, asks for calls, names a grant of
their own, opens connections by the thousand or lets them trickle; or a member leads requests in a circle.
Wanted: nothing but a closed connection for them, and an end to every circle. Construction: no byte is read as
HTTP before both sides have shown a certificate of the cluster (`voicegate.fleet.tls`), within
`ADMIT_SECONDS`; connections are limited in number, heads and bodies in time and size, as everywhere; and what
arrives here reaches the machine's own calls only, whoever believes them to be elsewhere.
"""

import ssl
from collections.abc import Sequence
from typing import Final

import attrs
import trio

from voicegate.directory import Address
from voicegate.errors import UsageError
from voicegate.fleet.count import FleetCounts
from voicegate.fleet.tls import PeerTls
from voicegate.signalling import CallService, RequestRefused, serve_trusted

__all__ = ["ABSENT", "LATE", "PeerDoor", "run_peer_listener"]

ADMIT_SECONDS: Final = 5.0
"""For a peer to show who it is."""
CONNECT_SECONDS: Final = 1.0
"""For a peer to be there: three round trips around the world, and some patience."""

ABSENT: Final = "peer_unreachable"
LATE: Final = "peer_timeout"


@attrs.frozen
class PeerDoor:
    """To another machine of the cluster."""

    address: Address
    tls: PeerTls = attrs.field(eq=False, repr=False)
    counts: FleetCounts = attrs.field(factory=FleetCounts, eq=False, repr=False)

    async def connect(self) -> trio.abc.Stream:
        """Open a connection."""
        with trio.move_on_after(CONNECT_SECONDS):
            stream = trio.SSLStream(
                await trio.open_tcp_stream(*self.address), self.tls.client, https_compatible=True
            )
            try:
                await stream.do_handshake()
            except BaseException as error:
                if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                    self.counts.add_stranger("impostor")
                await trio.aclose_forcefully(stream)
                raise
            return stream
        raise trio.BrokenResourceError("the peer does not answer")

    def absent(self) -> RequestRefused:
        """Return what a client is told when nobody is there: the call may go on all the same."""
        return RequestRefused("The machine that has this call is out of reach.", status=502, code=ABSENT)

    def late(self) -> RequestRefused:
        """Return what a client is told when an answer takes too long."""
        return RequestRefused("The machine that has this call does not answer.", status=504, code=LATE)


async def run_peer_listener(
    service: CallService,
    address: Address,
    secrets: Sequence[bytes],
    *,
    counts: FleetCounts | None = None,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a machine's own calls to the other machines, for ever; ``nursery.start`` returns where.

    Args:
        service: The machine's own calls; no `FleetCalls`, which would lead requests on.
        address: To listen on; port 0 takes any that is free.
        secrets: Of the cluster: the first one is shown, all are trusted.
        counts: Takes what is counted; whoever has them reports them.
        task_status: Told once connections are accepted.

    Errors: UsageError naming the address when it can not be listened on.
    """
    host, port = address
    try:
        listener, *_ = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise UsageError(f"Cannot listen on {host}:{port} for peers: {error.strerror}") from error
    async with listener:
        task_status.started(listener.socket.getsockname()[:2])
        porter = _Porter(PeerTls(secrets), counts or FleetCounts())
        await serve_trusted(service, listener, admit=porter.admit)


class _Porter:
    """Lets members in."""

    def __init__(self, tls: PeerTls, counts: FleetCounts) -> None:
        self._tls = tls
        self._counts = counts

    async def admit(self, stream: trio.SocketStream) -> trio.abc.Stream:
        admitted = trio.SSLStream(stream, self._tls.server, server_side=True, https_compatible=True)
        with trio.move_on_after(ADMIT_SECONDS):
            try:
                await admitted.do_handshake()
            except (OSError, trio.BrokenResourceError):
                self._counts.add_stranger("untrusted")
                raise
            return admitted
        self._counts.add_stranger("late")
        raise trio.BrokenResourceError("nobody of this cluster would wait so long")
