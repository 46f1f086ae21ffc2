"""The relay's judgement: where each datagram goes, and which go nowhere.

1. A client's connectivity check (STUN Binding Request) carries our ufrag, which says the transceiver, and a
   MESSAGE-INTEGRITY that only somebody who has seen our answer can make. Verified, it opens a flow and is
   forwarded. Each check is verified, also on a known flow: a new call or an ICE restart may use the same
   addresses. `Admission` says how many are looked at.
2. Everything else from a client (DTLS, SRTP, SRTCP) follows the flow of its source, or is dropped; then
   `Recovery` has it looked up in the directory, in case another relay, or this one before it was restarted,
   knew the source.
3. What transceivers send back names the client in its hop header, and leaves.

The router never answers a client, so it cannot amplify, and sends to listed transceivers only. Datagrams
are untrusted: nothing raises, each drop has a reason and a counter.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from voicegate.errors import UsageError, WireError
from voicegate.ice.credentials import Keyring, Route
from voicegate.ice.stun import Message
from voicegate.relay.admission import Admission, Standing, TokenBuckets
from voicegate.relay.counter import Count, Counters, DropReason, RelayStatistics
from voicegate.relay.flows import Client, FlowTable
from voicegate.relay.recovery import Recovery
from voicegate.wire import PacketKind, classify, hop
from voicegate.wire.path import Address, address_bytes, address_text

__all__ = [
    "Router",
    "MAX_CLIENT_DATAGRAM",
    "ToClient",
    "ToTransceiver",
    "canonical",
]

MAX_CLIENT_DATAGRAM: Final = 2048
"""Bytes taken from a client at most: clients stay under their path's MTU, 1500 and usually 1200."""

_BINDING_REQUEST: Final = b"\x00\x01"
_BINDING_SUCCESS: Final = b"\x01\x01"
_USERNAME: Final = b"\x00\x06"
_ID_LENGTH: Final = 4

_REFUSALS_PER_SECOND: Final = 10.0
_REFUSAL_BURST: Final = 20
"""CHECK_REFUSED tells one call why it doesn't connect; more than this is an attack, not a call."""


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


class Router:
    """Decides on each datagram; owns the flow table.

    Args:
        keyring: The keys that ufrags and passwords are made with.
        now: Seconds, monotonic, as everywhere below.
        flows: The flow table.
        counters: Where to count; private ones otherwise.
        seed: 16 bytes nobody can guess, which keep the hashes of addresses unguessable. The default is for
            tests.
    """

    def __init__(
        self,
        *,
        keyring: Keyring,
        now: float,
        flows: FlowTable | None = None,
        counters: Counters | None = None,
        seed: bytes = bytes(16),
    ) -> None:
        self.flows = FlowTable(seed=seed) if flows is None else flows
        """For whoever routes whole batches."""
        self._counters = Counters() if counters is None else counters
        self.recovery = Recovery(seed=seed, counters=self._counters, now=now)
        """For whoever asks the directory; its answers are for `handle_found`."""
        self._keyring = keyring
        self._admission = Admission(seed=seed, now=now)
        self._transceivers: dict[int, Address] = {}
        # One each, unless a machine that is gone is still listed where another has come.
        self._ids: dict[Address, tuple[int, ...]] = {}
        self._refusals = TokenBuckets(rate=_REFUSALS_PER_SECOND, capacity=_REFUSAL_BURST, now=now)

    def set_transceivers(self, transceivers: Mapping[int, Address]) -> None:
        """Replace the list of transceivers, id to hop address.

        Flows lead to ids: those to one that has moved follow it, and those to one that isn't listed end.

        Errors: UsageError when an address isn't a literal one.
        """
        self._transceivers = {id_: canonical(address) for id_, address in transceivers.items()}
        self._ids = {}
        for id_, address in self._transceivers.items():
            self._ids[address] = (*self._ids.get(address, ()), id_)
        self.flows.retain(self._transceivers)

    def is_transceiver(self, address: Address) -> bool:
        """Whether an address, as a socket reports it, is listed."""
        return address in self._ids

    def destination(self, number: int) -> Address:
        """Return the hop address behind a number of the flow table.

        Errors: UsageError when the number is nobody's.
        """
        return self._transceivers[self.flows.destination(number)]

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
        transceiver = self.flows.lookup(client, now=now)
        if transceiver is None:
            self.note_no_flow(client, now=now)
            return None
        return self._forward(data, client, transceiver)

    def handle_hop_datagram(
        self, data: bytes, source: Address, *, now: float
    ) -> ToClient | ToTransceiver | None:
        """Take a datagram from the hop socket; return what to send for it, if anything."""
        ids = self._ids.get(source)
        if ids is None:
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
                for id_ in ids:
                    self.flows.confirm((host, port, is_stream), id_, now=now)
            self._counters.add(Count.PACKETS_TO_CLIENTS)
            self._counters.add(Count.BYTES_TO_CLIENTS, len(payload))
            return ToClient(payload, host, port, is_stream)
        if type_ == hop.HopType.PING:
            pong = hop.encode(hop.HopType.PONG, host=host, port=port, payload=payload, is_stream=is_stream)
            return ToTransceiver(pong, source)
        self._handle_hop_control(datagram, ids, now)
        return None

    def note_no_flow(self, client: Client, *, now: float) -> None:
        """Note that a packet which is no check came from a source without a flow."""
        self._drop(DropReason.NO_FLOW)
        self.recovery.note(client, now=now)

    def handle_found(self, client: Client, transceiver_id: int | None, *, now: float) -> None:
        """Take the directory's answer: which transceiver this client's flow leads to, if it knows.

        A row is a hint by somebody who may be wrong or late: it opens a flow where there is none, to a listed
        transceiver only, and any check that is answered corrects it.
        """
        is_listed = transceiver_id in self._transceivers
        if transceiver_id is not None and not is_listed:
            self._counters.add(Count.LOOKUPS_UNLISTED)
        is_found = (
            transceiver_id is not None and is_listed and self.flows.restore(client, transceiver_id, now=now)
        )
        self.recovery.handle_answer(client, is_found, now=now)

    def rows(self, *, now: float, limit: int) -> list[tuple[Client, int | None]]:
        """Return what to write into the directory: transceiver ids by client, None to delete."""
        return self.flows.poll_rows(now=now, limit=limit)

    def handle_timeout(self, now: float) -> None:
        """End silent flows, a part of the table each time; call it once a second or more often."""
        self.flows.expire(now)
        self._count_flows()

    def statistics(self) -> RelayStatistics:
        """Return the counters."""
        self._count_flows()
        return self._counters.snapshot()

    # Internals

    def _handle_check(self, data: bytes, client: Client, now: float) -> ToTransceiver | None:
        if not data.startswith(_BINDING_REQUEST):
            self._drop(DropReason.NOT_BINDING_REQUEST)
            return None
        username = _first_username(data)
        standing = self._admission.admit(client, username, now=now)
        if standing is Standing.REFUSED:
            self._drop(DropReason.ADMISSION)
            return None
        route = self._verify(data)
        if isinstance(route, _Failure):
            if standing is Standing.STRANGER:
                self._admission.note_failed(client, now=now)
            return self._reject(route, client, now)
        if route.transceiver_id not in self._transceivers:
            self._drop(DropReason.UNKNOWN_TRANSCEIVER)
            return None
        if standing is Standing.STRANGER and not self._admission.admit_verified(
            client, username, route.session_id, now=now
        ):
            self._drop(DropReason.ADMISSION)
            return None
        if not self.flows.open(client, route.transceiver_id, now=now):
            self._drop(DropReason.FLOW_LIMIT)
            return None
        self._counters.add(Count.CHECKS_VERIFIED)
        return self._forward(data, client, route.transceiver_id)

    def _verify(self, data: bytes) -> "Route | _Failure":
        try:
            message = Message.decode(data)
        except WireError:
            return _Failure(DropReason.MALFORMED_STUN)
        if not message.has_valid_fingerprint:
            return _Failure(DropReason.BAD_FINGERPRINT)
        # USERNAME is the receiver's ufrag, a colon, the sender's (RFC 8445 §7.2.2).
        opened = self._keyring.open((message.username or "").partition(":")[0])
        if opened is None:
            return _Failure(DropReason.FOREIGN_UFRAG)
        if not message.has_valid_integrity(opened.pwd.encode()):
            return _Failure(DropReason.BAD_INTEGRITY, opened.route)
        return opened.route

    def _forward(self, data: bytes, client: Client, transceiver: int) -> ToTransceiver:
        self._counters.add(Count.PACKETS_TO_TRANSCEIVERS)
        self._counters.add(Count.BYTES_TO_TRANSCEIVERS, len(data))
        host, port, is_stream = client
        datagram = hop.encode(hop.HopType.DATA, host=host, port=port, payload=data, is_stream=is_stream)
        return ToTransceiver(datagram, self._transceivers[transceiver])

    def _reject(self, failure: "_Failure", client: Client, now: float) -> ToTransceiver | None:
        """Count a check that failed, and tell the session's owner, if it is known; but not too often."""
        reason, route = failure
        self._drop(reason)
        transceiver = None if route is None else self._transceivers.get(route.transceiver_id)
        if route is None or transceiver is None or not self._refusals.take(now=now):
            return None
        host, port, is_stream = client
        datagram = hop.encode(
            hop.HopType.CHECK_REFUSED, host=host, port=port, payload=route.session_id, is_stream=is_stream
        )
        return ToTransceiver(datagram, transceiver)

    def _handle_hop_control(self, datagram: hop.HopDatagram, ids: Sequence[int], now: float) -> None:
        """Take what a transceiver, which has one of these ids, says about a flow."""
        type_, host, port, is_stream, payload = datagram
        client = (host, port, is_stream)
        match type_:
            case hop.HopType.FLOW_GONE:
                if not any(self.flows.drop(client, id_) for id_ in ids):
                    self._drop(DropReason.FOREIGN_FLOW)
                elif self.flows.lookup(client, now=now) is None:
                    # The directory may say so for a moment yet, and would only lead there again.
                    self.recovery.note_absent(client, now=now)
            case hop.HopType.FLOW_MOVED:
                to = int.from_bytes(payload, "big")
                if len(payload) != _ID_LENGTH or to not in self._transceivers:
                    self._drop(DropReason.UNKNOWN_TRANSCEIVER)
                elif not any(self.flows.move(client, id_, to=to) for id_ in ids):
                    self._drop(DropReason.FOREIGN_FLOW)
            case _:
                self._drop(DropReason.UNEXPECTED_HOP_TYPE)

    def _count_flows(self) -> None:
        self._counters.set(Count.FLOWS, len(self.flows))
        self._counters.set(Count.FLOWS_OPENED, self.flows.opened)
        self._counters.set(Count.FLOWS_EXPIRED, self.flows.expired)
        self._counters.set(Count.FLOWS_DISOWNED, self.flows.disowned)

    def _drop(self, reason: DropReason) -> None:
        self._counters.add(reason)


class _Failure(NamedTuple):
    """Why a check isn't verified, and the session that it names, if that much is sure."""

    reason: DropReason
    route: Route | None = None


def _first_username(data: bytes) -> bytes:
    """Return the USERNAME of a check that begins with it, as all clients' do; b"" of any other."""
    return data[24 : 24 + int.from_bytes(data[22:24], "big")] if data[20:22] == _USERNAME else b""


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
