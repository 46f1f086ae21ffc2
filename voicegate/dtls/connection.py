"""One DTLS connection, seen from outside: datagrams and time in, datagrams and events out.

As server it puts the whole ClientHello together before it chooses the version; as client it offers all it
may do and goes on in what the server chose. What follows is the version's association. Left out: resumption,
renegotiation, connection ids, early data of clients, and HelloVerifyRequest and cookies as server, since
datagrams come only from addresses that ICE has validated.

Drain rule: one ``handle_*`` or command, then `poll_transmit` and `poll_event` to None and `poll_timeout`,
before the next.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from voicegate.dtls.alert import Alert, AlertDescription, AlertLevel
from voicegate.dtls.association import Association
from voicegate.dtls.certificate import Certificate, Fingerprint
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.event import Closed, Event, HandshakeFailed
from voicegate.dtls.failure import DtlsError, FailureCause
from voicegate.dtls.handshake import Fragment, HandshakeType, Message, Reassembler
from voicegate.dtls.hello import ClientHello
from voicegate.dtls.key_share import AVAILABLE_GROUPS, Group, is_available
from voicegate.dtls.outbox import Outbox
from voicegate.dtls.record import MAX_PLAINTEXT_LENGTH, ContentType, ProtocolVersion, Record
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.statistic import DropReason, Statistics
from voicegate.dtls.timer import RetransmissionTimer
from voicegate.dtls.v12 import association as v12_association
from voicegate.dtls.v12 import client as v12_client
from voicegate.dtls.v12 import server as v12_server
from voicegate.dtls.v13 import association as v13_association
from voicegate.dtls.v13 import client as v13_client
from voicegate.dtls.v13 import server as v13_server
from voicegate.dtls.v13.record import PROTECTED_ALERT_LENGTH, ProtectedRecord, is_unified
from voicegate.errors import UsageError, WireError
from voicegate.wire import Reader

__all__ = ["DtlsConnection", "ConnectionState", "Role"]

_DEFAULT_SRTP_PROFILES: Final = (
    SrtpProfile.AEAD_AES_256_GCM,
    SrtpProfile.AEAD_AES_128_GCM,
    SrtpProfile.AES128_CM_SHA1_80,
)
_VERSIONS: Final = (ProtocolVersion.DTLS_1_3, ProtocolVersion.DTLS_1_2)

_MIN_MTU: Final = 128
"""Room for a fragment worth sending beside its headers."""

_MAX_SEEN: Final = 64
"""Records of a ClientHello whose copies are known; browsers need two."""

_HANDSHAKE_TIMEOUT: Final = 60.0
"""Seconds from the making of a connection to its completion; a backstop behind its owner's own watchdogs."""


class Role(Enum):
    """Who opens the handshake: with ``setup:passive`` in our SDP we are the server."""

    SERVER = "server"
    CLIENT = "client"


class ConnectionState(Enum):
    """A connection's life, in order."""

    NEW = "new"
    """Nothing was sent, nothing of use received."""
    HANDSHAKING = "handshaking"
    COMPLETED = "completed"
    """Both ends are proven; application data flows."""
    CLOSED = "closed"
    FAILED = "failed"
    """There never were keys, or not to be used."""


class DtlsConnection:
    """A DTLS association with one peer.

    Errors: nothing that arrives raises; what the peer does wrong is counted or becomes `HandshakeFailed`.
    """

    def __init__(
        self,
        *,
        role: Role,
        certificate: Certificate,
        remote_fingerprints: Sequence[Fingerprint],
        random: Callable[[int], bytes],
        now: float,
        srtp_profiles: Sequence[SrtpProfile] = _DEFAULT_SRTP_PROFILES,
        mtu: int = 1200,
        versions: Sequence[ProtocolVersion] = _VERSIONS,
        groups: Sequence[Group] = AVAILABLE_GROUPS,
    ) -> None:
        """Make a connection that waits (server) or is to be started with `start` (client).

        ``srtp_profiles``, ``versions`` and ``groups`` (of DTLS 1.3) are in order of preference; ``mtu`` is
        bytes of UDP payload for handshake datagrams.

        Errors: UsageError when there is no fingerprint or profile, or the mtu, a version or a group is not
        one that we can do.
        """
        if not remote_fingerprints or not srtp_profiles:
            raise UsageError("a DTLS connection needs the peer's fingerprint and an SRTP profile")
        if not versions or not set(versions) <= set(_VERSIONS):
            raise UsageError("a DTLS connection needs versions that there are")
        if not groups or not all(map(is_available, groups)):
            raise UsageError("a DTLS connection needs groups that this build can do")
        if mtu < _MIN_MTU:
            raise UsageError(f"an mtu of {mtu} bytes")
        self._role = role
        self._config = HandshakeConfig(
            certificate=certificate,
            remote_fingerprints=tuple(remote_fingerprints),
            random=random,
            srtp_profiles=tuple(srtp_profiles),
            versions=tuple(versions),
            groups=tuple(groups),
        )
        self._mtu = mtu
        self._outbox = Outbox()
        self._reassembler = Reassembler()
        self._timer = RetransmissionTimer()
        self._handshake_deadline: float | None = now + _HANDSHAKE_TIMEOUT
        self._association: Association | None = None
        self._offer: v13_association.Association | None = None
        """As client: what may yet turn out to be the association, or give way to DTLS 1.2."""
        self._seen: set[int] = set()
        """Numbers of the records that the ClientHello came in, so that copies of them are known."""
        self._end: ConnectionState | None = None
        self._last_words: bytes | None = None

    # Input

    def start(self, *, now: float) -> None:
        """Send the ClientHello.

        Errors: UsageError for a server, or a second time.
        """
        if self._role is not Role.CLIENT or self.state is not ConnectionState.NEW:
            raise UsageError("only a new client can be started")
        if ProtocolVersion.DTLS_1_3 in self._config.versions:
            self._offer = self._begin_1_3(v13_client.ClientHandshake(self._config))
            self._offer.start(now=now)
        else:
            self._begin_1_2(v12_client.ClientHandshake(self._config)).start(now=now)

    def handle_datagram(self, data: bytes, *, now: float) -> None:
        """Take a datagram, of any content, from the ICE-validated path."""
        self._outbox.datagrams_received += 1
        if self._end is not None:
            self._handle_late_datagram(data)
            return
        try:
            self._handle_records(data, now)
            if self._association is not None:
                self._association.finish_datagram(now=now)
                if self._association.is_completed:
                    self._handshake_deadline = None
        except DtlsError as error:
            self._finish(error)

    def handle_timeout(self, *, now: float) -> None:
        """Let time pass; harmless when nothing is due."""
        if self._end is not None:
            return
        if self._handshake_deadline is not None and now >= self._handshake_deadline:
            what = "the handshake was not over" if self._outbox.has_heard else "the peer was not heard"
            self._finish(DtlsError(f"{what} in time", alert=None, cause=FailureCause.TIMED_OUT))
        elif self._association is not None:
            self._association.handle_timeout(now)

    def set_round_trip(self, seconds: float) -> None:
        """Learn ICE's estimate of the round trip; later flights wait twice that before they repeat."""
        self._timer.set_round_trip(seconds)

    def send(self, data: bytes, *, now: float) -> None:
        """Send application data, as one record in a datagram of its own.

        Errors: UsageError before `KeysReady`, after the end, or for more than 16 KiB.
        """
        association = self._keyed
        if association is None or self._end is not None:
            raise UsageError(f"a {self.state.value} connection cannot send")
        if len(data) > MAX_PLAINTEXT_LENGTH:
            raise UsageError(f"a record cannot carry {len(data)} bytes")
        association.send(data, now=now)

    def close(self, *, now: float) -> None:  # noqa: ARG002 - every command tells the time
        """Say close_notify, if there is anybody to hear it, and end; harmless after the end."""
        if self._end is None:
            self._end = ConnectionState.CLOSED
            self._say(AlertLevel.WARNING, AlertDescription.CLOSE_NOTIFY)
            self._outbox.events.append(Closed(alert=AlertDescription.CLOSE_NOTIFY, is_remote=False))

    # Output

    def poll_transmit(self) -> bytes | None:
        """Return the next datagram to send."""
        transmits = self._outbox.transmits
        return transmits.popleft() if transmits else None

    def poll_event(self) -> Event | None:
        """Return the next event."""
        events = self._outbox.events
        return events.popleft() if events else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        if self._end is not None:
            return None
        wanted = None if self._association is None else self._association.poll_timeout()
        deadlines = (self._handshake_deadline, wanted)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def export_keying_material(self, label: str, length: int, context: bytes | None = None) -> bytes:
        """Derive bytes that both ends know and nobody else (RFC 5705, RFC 8446 §7.5).

        Errors: UsageError before `KeysReady`.
        """
        if self._keyed is None:
            raise UsageError("keys are exported once there are keys")
        return self._keyed.export(label.encode("ascii"), length, context)

    @property
    def state(self) -> ConnectionState:
        """Where in its life the connection is."""
        if self._end is not None:
            return self._end
        if self.is_completed:
            return ConnectionState.COMPLETED
        return ConnectionState.NEW if self._association is None else ConnectionState.HANDSHAKING

    @property
    def is_completed(self) -> bool:
        """Whether the handshake was completed; stays so after the end."""
        return self._association is not None and self._association.is_completed

    @property
    def can_send(self) -> bool:
        """Whether `send` is allowed: from `KeysReady` to the end."""
        return self._keyed is not None and self._end is None

    @property
    def flight(self) -> tuple[bytes, ...]:
        """The handshake datagrams that the peer has not answered yet, as last sent."""
        return () if self._association is None or self._end is not None else self._association.flight

    @property
    def version(self) -> int | None:
        """The version's code point, once there are keys."""
        return None if self._keyed is None else self._keyed.version

    @property
    def cipher_suite(self) -> int | None:
        """The cipher suite's code point, once there are keys."""
        return None if self._keyed is None else self._keyed.cipher_suite

    @property
    def srtp_profile(self) -> SrtpProfile | None:
        """What SRTP is to use, once there are keys."""
        return None if self._keyed is None else self._keyed.srtp_profile

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), once completed."""
        association = self._association
        return association.peer_certificate if association is not None and self.is_completed else None

    def statistics(self) -> Statistics:
        """Return the counters."""
        outbox = self._outbox
        return Statistics(
            datagrams_received=outbox.datagrams_received,
            records_received=outbox.records_received,
            datagrams_sent=outbox.datagrams_sent,
            retransmissions=outbox.retransmissions,
            dropped=dict(outbox.dropped),
        )

    # Internals

    @property
    def _keyed(self) -> Association | None:
        association = self._association
        return association if association is not None and association.can_send else None

    def _handle_records(self, data: bytes, now: float) -> None:
        reader = Reader(data)
        while reader.remaining:
            try:
                if is_unified(data[reader.position]):
                    protected = ProtectedRecord.read(reader)
                    self._outbox.records_received += 1
                    if self._association is not None:
                        self._association.handle_protected(protected, now=now)
                    else:
                        self._outbox.drop(DropReason.UNEXPECTED_RECORD)
                    continue
                record = Record.read(reader)
            except WireError:
                self._outbox.drop(DropReason.MALFORMED_RECORD)
                return
            self._outbox.records_received += 1
            self._handle_record(record, now)

    def _handle_record(self, record: Record, now: float) -> None:
        if self._association is not None:
            self._association.handle_record(record, now=now)
            offer = self._offer
            if offer is not None and offer.declined is not None:
                self._offer = None
                # On in DTLS 1.2, which the server chose from our offer of both.
                self._begin_1_2(v12_client.ClientHandshake(self._config, offer.declined)).resume(
                    next_number=offer.next_plain_number, now=now
                )
        elif self._role is Role.SERVER and record.epoch == 0 and record.content_type == ContentType.HANDSHAKE:
            self._await_client_hello(record, now)
        else:
            self._outbox.drop(DropReason.UNEXPECTED_RECORD)

    def _await_client_hello(self, record: Record, now: float) -> None:
        """Gather the ClientHello, then choose the version and let its association go on from there."""
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(record.sequence_number)
        reader = Reader(record.fragment)
        while reader.remaining:
            try:
                fragment = Fragment.read(reader)
            except WireError:
                self._outbox.drop(DropReason.MALFORMED_FRAGMENT)
                break
            if self._reassembler.push(fragment, epoch=0):
                self._outbox.hear()
            else:
                self._outbox.drop(DropReason.UNFITTING_FRAGMENT)
        message = self._reassembler.peek()
        if message is None:
            return
        if _choose_version(message, self._config.versions) is ProtocolVersion.DTLS_1_3:
            self._begin_1_3(v13_server.ServerHandshake(self._config)).handle_messages(now=now)
        else:
            self._begin_1_2(v12_server.ServerHandshake(self._config)).handle_messages(now=now)

    def _begin_1_3(
        self, handshake: v13_server.ServerHandshake | v13_client.ClientHandshake
    ) -> v13_association.Association:
        self._association = association = v13_association.Association(
            handshake,
            reassembler=self._reassembler,
            timer=self._timer,
            outbox=self._outbox,
            mtu=self._mtu,
            seen=frozenset(self._seen),
        )
        return association

    def _begin_1_2(
        self, handshake: v12_server.ServerHandshake | v12_client.ClientHandshake
    ) -> v12_association.Association:
        self._association = association = v12_association.Association(
            handshake, reassembler=self._reassembler, timer=self._timer, outbox=self._outbox, mtu=self._mtu
        )
        return association

    def _finish(self, error: DtlsError) -> None:
        """End, for whatever reason the error gives; tell the peer unless it was the one to tell us."""
        was_completed = self.is_completed
        is_close = error.is_remote and error.alert == AlertDescription.CLOSE_NOTIFY
        self._end = ConnectionState.CLOSED if was_completed else ConnectionState.FAILED
        self._outbox.transmits.clear()
        if is_close:
            # Answered in kind, and what was pending is discarded (RFC 5246 §7.2.1).
            self._say(AlertLevel.WARNING, AlertDescription.CLOSE_NOTIFY)
        elif error.alert is not None and not error.is_remote:
            self._say(AlertLevel.FATAL, error.alert)
        if was_completed:
            self._outbox.events.append(Closed(alert=error.alert, is_remote=error.is_remote))
        else:
            self._outbox.events.append(
                HandshakeFailed(
                    cause=error.cause, alert=error.alert, detail=error.detail, is_remote=error.is_remote
                )
            )

    def _say(self, level: AlertLevel, description: int) -> None:
        """Send the last alert, and keep it in case it is lost."""
        alert = Alert(level=level, description=description)
        if self._association is not None:
            self._last_words = self._association.seal_alert(alert)
        elif self._outbox.has_heard:
            # Before there is an association nothing else was sent, so the number is free.
            record = Record(ContentType.ALERT, ProtocolVersion.DTLS_1_2, 0, 0, alert.encode())
            self._last_words = record.encode()
        if self._last_words is not None:
            self._outbox.transmit(self._last_words)

    def _handle_late_datagram(self, data: bytes) -> None:
        """Repeat our last alert, once, for a peer that goes on as if it had not heard it."""
        self._outbox.drop(DropReason.AFTER_END)
        is_alert = data[:1] == bytes([ContentType.ALERT]) or len(data) == PROTECTED_ALERT_LENGTH
        if self._last_words is not None and not is_alert:
            self._outbox.transmit(self._last_words)
            self._last_words = None


def _choose_version(message: Message, versions: Sequence[ProtocolVersion]) -> ProtocolVersion:
    """See that the client's first message is a ClientHello, and choose from the versions that it offers.

    Errors: DtlsError.
    """
    if message.type != HandshakeType.CLIENT_HELLO:
        raise DtlsError(
            f"handshake message {message.type} before any ClientHello",
            alert=AlertDescription.UNEXPECTED_MESSAGE,
        )
    try:
        offered = ClientHello.decode(message.body).versions
    except WireError as error:
        raise DtlsError(
            f"the ClientHello is malformed: {error}", alert=AlertDescription.DECODE_ERROR
        ) from error
    for version in versions:
        if version in offered:
            return version
    raise DtlsError(
        "no DTLS version in common",
        alert=AlertDescription.PROTOCOL_VERSION,
        cause=FailureCause.NO_SHARED_PARAMETERS,
    )
