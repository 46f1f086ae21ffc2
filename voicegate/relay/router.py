"""The relay's judgement: where each datagram goes, and which go nowhere.

1. A client's connectivity check (STUN Binding Request) carries our ufrag, which says the transceiver, and a
   MESSAGE-INTEGRITY that only somebody who has seen our answer can make. Verified, it opens a flow and is
   forwarded. Each check is verified, also on a known flow: a new call or an ICE restart may use the same
   addresses.
2. Everything else from a client (DTLS, SRTP, SRTCP) follows the flow of its source, or is dropped.
3. What transceivers send back names the client in its hop header, and leaves.

The router never answers a client, so it cannot amplify, and sends to listed transceivers only. Datagrams
are untrusted: nothing raises, each drop has a reason and a counter.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.ice.credentials import Keyring
from voicegate.ice.stun import Message
from voicegate.relay.flows import Client, FlowTable
from voicegate.wire import PacketKind, classify, hop
from voicegate.wire.path import Address, address_bytes, address_text

__all__ = [
    "Router",
    "DropReason",
    "MAX_CLIENT_DATAGRAM",
    "RouterStatistics",
    "ToClient",
    "ToTransceiver",
    "canonical",
]

MAX_CLIENT_DATAGRAM: Final = 2048
"""Bytes taken from a client at most: clients stay under their path's MTU, 1500 and usually 1200."""

_BINDING_REQUEST: Final = b"\x00\x01"
_BINDING_SUCCESS: Final = b"\x01\x01"

_REFUSALS_PER_SECOND: Final = 10.0
_REFUSAL_BURST: Final = 20
"""CHECK_REFUSED tells one call why it doesn't connect; more than this is an attack, not a call."""


class DropReason(Enum):
    """Why a datagram went nowhere; first those from clients, then those from the hop."""

    GARBAGE = "garbage"
    """Begins like no protocol of WebRTC, or is shorter than two bytes."""
    OVERSIZED = "oversized"
    """Longer than `MAX_CLIENT_DATAGRAM`."""
    MALFORMED_STUN = "malformed_stun"
    """Begins like STUN and isn't: truncated, or its lengths disagree."""
    NOT_BINDING_REQUEST = "not_binding_request"
    """STUN of another type. A transceiver is ICE-lite: it sends no requests, so nobody owes it a response,
    and an indication (a keepalive) says nothing that a check or media doesn't say better."""
    BAD_FINGERPRINT = "bad_fingerprint"
    """A check that was damaged on its way, or has no FINGERPRINT, which ICE demands (RFC 8445 §7.2.4)."""
    FOREIGN_UFRAG = "foreign_ufrag"
    """A check without a ufrag of ours."""
    BAD_INTEGRITY = "bad_integrity"
    """A check with a ufrag of ours by somebody who doesn't know the password."""
    UNKNOWN_TRANSCEIVER = "unknown_transceiver"
    """A verified check, or a FLOW_MOVED, that leads to a transceiver which isn't listed."""
    FLOW_LIMIT = "flow_limit"
    """A verified check for which the flow table has no room."""
    NO_FLOW = "no_flow"
    """DTLS, SRTP or SRTCP from a source that no verified check came from."""

    FOREIGN_HOP_SOURCE = "foreign_hop_source"
    """On the hop socket, but not from a listed transceiver."""
    MALFORMED_HOP = "malformed_hop"
    """From a transceiver, but not a hop datagram of our version."""
    UNEXPECTED_HOP_TYPE = "unexpected_hop_type"
    """From a transceiver, of a type that transceivers don't send."""
    FOREIGN_FLOW = "foreign_flow"
    """A transceiver disposing of a flow that doesn't lead to it."""


class ToTransceiver(NamedTuple):
    """A hop datagram to send to the hop address of a transceiver."""

    data: bytes
    address: Address


class ToClient(NamedTuple):
    """A packet to send to a client from the public address; ``host`` is 16 bytes."""

    data: bytes
    host: bytes
    port: int
    is_stream: bool


@attrs.frozen(kw_only=True)
class RouterStatistics:
    """What a router has done since it was made."""

    flows: int
    """Flows now."""
    flows_opened: int
    flows_expired: int
    checks_verified: int
    packets_to_transceivers: int
    """Clients' packets forwarded, checks included."""
    packets_to_clients: int
    dropped: Mapping[str, int]
    """Datagrams by the value of `DropReason`; all reasons are there."""


class Router:
    """Decides on each datagram; owns the flow table.

    Args:
        keyring: The keys that ufrags and passwords are made with.
        now: Seconds, monotonic, as everywhere below.
        flows: The flow table.
    """

    def __init__(self, *, keyring: Keyring, now: float, flows: FlowTable | None = None) -> None:
        self._keyring = keyring
        self._flows = FlowTable() if flows is None else flows
        self._transceivers: dict[int, Address] = {}
        self._addresses: frozenset[Address] = frozenset()
        self._refusals = _TokenBucket(rate=_REFUSALS_PER_SECOND, capacity=_REFUSAL_BURST, filled_at=now)
        self._dropped = dict.fromkeys(DropReason, 0)
        self._checks_verified = 0
        self._packets_to_transceivers = 0
        self._packets_to_clients = 0

    def set_transceivers(self, transceivers: Mapping[int, Address]) -> None:
        """Replace the list of transceivers, id to hop address; flows to addresses not listed any more end.

        Errors: UsageError when an address isn't a literal one.
        """
        self._transceivers = {id_: canonical(address) for id_, address in transceivers.items()}
        self._addresses = frozenset(self._transceivers.values())
        self._flows.retain(self._addresses)

    def handle_client_datagram(
        self, data: bytes, host: bytes, port: int, *, is_stream: bool = False, now: float
    ) -> ToTransceiver | None:
        """Take a datagram from a client (``host`` is 16 bytes); return what to send on the hop for it."""
        client = (host, port, is_stream)
        kind = classify(data)
        if len(data) > MAX_CLIENT_DATAGRAM:
            self._drop(DropReason.OVERSIZED)
            return None
        if kind is PacketKind.STUN:
            return self._handle_check(data, client, now)
        if kind is PacketKind.UNKNOWN:
            self._drop(DropReason.GARBAGE)
            return None
        transceiver = self._flows.lookup(client, now=now)
        if transceiver is None:
            self._drop(DropReason.NO_FLOW)
            return None
        return self._forward(data, client, transceiver)

    def handle_hop_datagram(
        self, data: bytes, source: Address, *, now: float
    ) -> ToClient | ToTransceiver | None:
        """Take a datagram from the hop socket; return what to send for it, if anything."""
        if source not in self._addresses:
            self._drop(DropReason.FOREIGN_HOP_SOURCE)
            return None
        try:
            datagram = hop.decode(data)
        except WireError:
            self._drop(DropReason.MALFORMED_HOP)
            return None
        type_, host, port, is_stream, payload = datagram
        if type_ == hop.HopType.DATA:
            if payload.startswith(_BINDING_SUCCESS):
                self._flows.confirm((host, port, is_stream), source, now=now)
            self._packets_to_clients += 1
            return ToClient(payload, host, port, is_stream)
        return self._handle_hop_control(datagram, source)

    def handle_timeout(self, now: float) -> None:
        """End silent flows; call it about once a second."""
        self._flows.expire(now)

    def statistics(self) -> RouterStatistics:
        """Return the counters."""
        return RouterStatistics(
            flows=len(self._flows),
            flows_opened=self._flows.opened,
            flows_expired=self._flows.expired,
            checks_verified=self._checks_verified,
            packets_to_transceivers=self._packets_to_transceivers,
            packets_to_clients=self._packets_to_clients,
            dropped={reason.value: count for reason, count in self._dropped.items()},
        )

    # Internals

    def _handle_check(self, data: bytes, client: Client, now: float) -> ToTransceiver | None:
        if not data.startswith(_BINDING_REQUEST):
            self._drop(DropReason.NOT_BINDING_REQUEST)
            return None
        try:
            message = Message.decode(data)
        except WireError:
            self._drop(DropReason.MALFORMED_STUN)
            return None
        if not message.has_valid_fingerprint:
            self._drop(DropReason.BAD_FINGERPRINT)
            return None
        # USERNAME is the receiver's ufrag, a colon, the sender's (RFC 8445 §7.2.2).
        credentials = self._keyring.open((message.username or "").partition(":")[0])
        if credentials is None:
            self._drop(DropReason.FOREIGN_UFRAG)
            return None
        transceiver = self._transceivers.get(credentials.route.transceiver_id)
        if not message.has_valid_integrity(credentials.pwd.encode()):
            self._drop(DropReason.BAD_INTEGRITY)
            return self._refuse(client, transceiver, credentials.route.session_id, now)
        if transceiver is None:
            self._drop(DropReason.UNKNOWN_TRANSCEIVER)
            return None
        if not self._flows.open(client, transceiver, now=now):
            self._drop(DropReason.FLOW_LIMIT)
            return None
        self._checks_verified += 1
        return self._forward(data, client, transceiver)

    def _forward(self, data: bytes, client: Client, transceiver: Address) -> ToTransceiver:
        self._packets_to_transceivers += 1
        host, port, is_stream = client
        datagram = hop.encode(hop.HopType.DATA, host=host, port=port, payload=data, is_stream=is_stream)
        return ToTransceiver(datagram, transceiver)

    def _refuse(
        self, client: Client, transceiver: Address | None, session_id: bytes, now: float
    ) -> ToTransceiver | None:
        """Tell the session's owner, if it is known, that a check failed; but not too often."""
        if transceiver is None or not self._refusals.take(now):
            return None
        host, port, is_stream = client
        datagram = hop.encode(
            hop.HopType.CHECK_REFUSED, host=host, port=port, payload=session_id, is_stream=is_stream
        )
        return ToTransceiver(datagram, transceiver)

    def _handle_hop_control(self, datagram: hop.HopDatagram, source: Address) -> ToTransceiver | None:
        type_, host, port, is_stream, payload = datagram
        client = (host, port, is_stream)
        match type_:
            case hop.HopType.PING:
                pong = hop.encode(
                    hop.HopType.PONG, host=host, port=port, payload=payload, is_stream=is_stream
                )
                return ToTransceiver(pong, source)
            case hop.HopType.FLOW_GONE:
                if not self._flows.drop(client, source):
                    self._drop(DropReason.FOREIGN_FLOW)
            case hop.HopType.FLOW_MOVED:
                to = self._transceivers.get(int.from_bytes(payload, "big")) if len(payload) == 4 else None
                if to is None:
                    self._drop(DropReason.UNKNOWN_TRANSCEIVER)
                elif not self._flows.move(client, source, to=to):
                    self._drop(DropReason.FOREIGN_FLOW)
            case _:
                self._drop(DropReason.UNEXPECTED_HOP_TYPE)
        return None

    def _drop(self, reason: DropReason) -> None:
        self._dropped[reason] += 1


@attrs.define(kw_only=True)
class _TokenBucket:
    """Lets through ``capacity`` at once and ``rate`` per second in the long run."""

    rate: float
    capacity: float
    filled_at: float
    tokens: float = attrs.field(init=False)

    @tokens.default
    def _full(self) -> float:
        return self.capacity

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        self.tokens = min(self.capacity, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def canonical(address: Address) -> Address:
    """Write a hop address the one way that a socket reports it, so that addresses can be compared.

    Errors: UsageError when its host isn't a literal address or its port isn't one.
    """
    host, port = address
    try:
        text = address_text(address_bytes(host))
    except ValueError as error:
        raise UsageError(f"not a literal IP address: {host!r}") from error
    if not 0 < port <= 0xFFFF:
        raise UsageError(f"not a port to send to: {port}")
    return text, port
