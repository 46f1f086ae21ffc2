"""The flow table: which transceiver the packets of a client go to.

A flow is opened by a verified connectivity check and starts unconfirmed; it is confirmed when the
transceiver answers that check. A confirmed flow is never overwritten by a check alone: where the check
leads becomes its challenger, and takes the flow over when it has answered, or when the present transceiver
lets go.

Attacks: a caller with valid credentials opens flows without end; he sends his check from a forged address,
to move somebody else's media to his own call. Wanted: bounded memory, room for others, and no move before
a transceiver agreed. Construction: limits in all and per source, a short life while unconfirmed, the
challenger. Left out: proof that the client is at its address; a forged check that is answered moves media
until the victim's next check.
"""

from collections.abc import Container
from typing import Final, TypeAlias

import attrs

from voicegate.wire.path import Address

__all__ = [
    "FlowTable",
    "CONFIRMED_LIFETIME",
    "Client",
    "FLOW_LIMIT",
    "SOURCE_LIMIT",
    "UNCONFIRMED_LIFETIME",
]

Client: TypeAlias = tuple[bytes, int, bool]
"""A client as the relay sees it: 16-byte address, port, whether over TCP or TLS. Plain, as it is built per
packet."""

FLOW_LIMIT: Final = 16_384
"""Flows in one worker: some 5 MB, milliseconds to look through, several for each call a core can carry."""

SOURCE_LIMIT: Final = FLOW_LIMIT // 4
"""Flows of one source (IPv4 address, or IPv6 /64, which any subscriber has), so that one alone can't take
the table. Not less, since an office, a mobile operator's NAT and a load generator are one source each."""

CONFIRMED_LIFETIME: Final = 60.0
"""Seconds without a packet from the client. Twice the 30 s of consent (RFC 7675 §5.1), so that the
transceiver, which knows more, decides first; clients check every 2.5 s (libwebrtc) to 5 s (RFC 7675 §5.1)."""

UNCONFIRMED_LIFETIME: Final = 10.0
"""Seconds for the transceiver's first answer: it takes milliseconds, and clients repeat their checks."""

_MAPPED_PREFIX: Final = bytes(10) + b"\xff\xff"


@attrs.define(kw_only=True, eq=False)
class _Flow:
    """One entry; ``last_seen`` in seconds."""

    transceiver: Address
    last_seen: float
    is_confirmed: bool = False
    challenger: Address | None = None

    def is_expired(self, now: float) -> bool:
        """Tell whether nothing has come for too long."""
        return now - self.last_seen > (CONFIRMED_LIFETIME if self.is_confirmed else UNCONFIRMED_LIFETIME)


class FlowTable:
    """Client to transceiver, bounded and expiring."""

    def __init__(self, *, flow_limit: int = FLOW_LIMIT, source_limit: int = SOURCE_LIMIT) -> None:
        self.opened = 0
        """Flows ever opened."""
        self.expired = 0
        """Flows ever ended by silence."""
        self._flow_limit = flow_limit
        self._source_limit = source_limit
        self._flows: dict[Client, _Flow] = {}
        self._per_source: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def lookup(self, client: Client, *, now: float) -> Address | None:
        """Return the transceiver that a packet of this client goes to, and keep a confirmed flow alive.

        An unconfirmed flow carries packets too, but they don't prolong it: only its check proved anything.
        """
        flow = self._flows.get(client)
        if flow is None:
            return None
        if flow.is_confirmed:
            flow.last_seen = now
        return flow.transceiver

    def open(self, client: Client, transceiver: Address, *, now: float) -> bool:
        """Note that a verified check of this client leads to this transceiver; False for want of room."""
        flow = self._flows.get(client)
        if flow is None:
            return self._insert(client, _Flow(transceiver=transceiver, last_seen=now))
        if flow.transceiver == transceiver or not flow.is_confirmed:
            flow.transceiver = transceiver
            flow.last_seen = now
        else:
            flow.challenger = transceiver
        return True

    def confirm(self, client: Client, transceiver: Address, *, now: float) -> None:
        """Note that this transceiver answered a check of this client."""
        flow = self._flows.get(client)
        if flow is None or transceiver not in (flow.transceiver, flow.challenger):
            return
        if transceiver == flow.challenger:
            flow.transceiver = transceiver
            flow.challenger = None
        flow.is_confirmed = True
        flow.last_seen = now

    def move(self, client: Client, transceiver: Address, *, to: Address) -> bool:
        """Re-point a flow; only the transceiver that it leads to may. False when it doesn't lead there."""
        flow = self._flows.get(client)
        if flow is None or flow.transceiver != transceiver:
            return False
        flow.transceiver = to
        if flow.challenger == to:
            flow.challenger = None
        return True

    def drop(self, client: Client, transceiver: Address) -> bool:
        """Take this transceiver off a flow, which ends unless a challenger waits.

        Returns:
            False when the flow doesn't lead to it.
        """
        flow = self._flows.get(client)
        if flow is None:
            return False
        if flow.challenger == transceiver:
            flow.challenger = None
            return True
        if flow.transceiver != transceiver:
            return False
        if flow.challenger is None:
            self._remove(client)
        else:
            flow.transceiver, flow.challenger, flow.is_confirmed = flow.challenger, None, False
        return True

    def retain(self, transceivers: Container[Address]) -> None:
        """Take all transceivers but these off their flows: an address given up may be anybody's next."""
        for client, flow in list(self._flows.items()):
            for address in (flow.challenger, flow.transceiver):
                if address is not None and address not in transceivers:
                    self.drop(client, address)

    def expire(self, now: float) -> None:
        """End flows that have been silent for too long."""
        silent = [client for client, flow in self._flows.items() if flow.is_expired(now)]
        for client in silent:
            self._remove(client)
        self.expired += len(silent)

    def _insert(self, client: Client, flow: _Flow) -> bool:
        source = _source(client)
        count = self._per_source.get(source, 0)
        if len(self._flows) >= self._flow_limit or count >= self._source_limit:
            return False
        self._flows[client] = flow
        self._per_source[source] = count + 1
        self.opened += 1
        return True

    def _remove(self, client: Client) -> None:
        del self._flows[client]
        source = _source(client)
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]


def _source(client: Client) -> bytes:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 one."""
    host = client[0]
    return host if host.startswith(_MAPPED_PREFIX) else host[:8]
