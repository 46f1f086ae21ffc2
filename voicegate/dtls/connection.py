"""One DTLS connection, seen from outside: datagrams and time in, datagrams and events out.

As server it puts the whole ClientHello together before it chooses the version; what follows is the
version's association. Left out: resumption, renegotiation, connection ids, and HelloVerifyRequest as
server, since datagrams come only from addresses that ICE has validated.

Drain rule: one ``handle_*`` or command, then `poll_transmit` and `poll_event` to None and `poll_timeout`,
before the next.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from voicegate.dtls.alert import Alert, AlertDescription, AlertLevel
from voicegate.dtls.certificate import Certificate, Fingerprint
from voicegate.dtls.config import HandshakeConfig
from voicegate.dtls.event import Closed, Event, HandshakeFailed
from voicegate.dtls.extension import ExtensionType, decode_versions
from voicegate.dtls.failure import DtlsError, FailureCause
from voicegate.dtls.handshake import Fragment, HandshakeType, Message, Reassembler
from voicegate.dtls.hello import ClientHello
from voicegate.dtls.outbox import Outbox
from voicegate.dtls.record import MAX_PLAINTEXT_LENGTH, ContentType, ProtocolVersion, Record
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.statistic import DropReason, Statistics
from voicegate.dtls.timer import RetransmissionTimer
from voicegate.dtls.v12.association import Association
from voicegate.dtls.v12.client import ClientHandshake
from voicegate.dtls.v12.server import ServerHandshake
from voicegate.errors import UsageError, WireError
from voicegate.wire import Reader

__all__ = ["DtlsConnection", "ConnectionState", "Role"]

_DEFAULT_SRTP_PROFILES: Final = (
    SrtpProfile.AEAD_AES_256_GCM,
    SrtpProfile.AEAD_AES_128_GCM,
    SrtpProfile.AES128_CM_SHA1_80,
)
_NEWEST_VERSION: Final = 0xFE00
"""The smallest version number that is DTLS at all."""

_MIN_MTU: Final = 128
"""Room for a fragment worth sending beside its headers."""

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
    ) -> None:
        """Make a connection that waits (server) or is to be started with `start` (client).

        ``srtp_profiles`` are in order of preference; ``mtu`` is bytes of UDP payload for handshake datagrams.

        Errors: UsageError when there is no fingerprint or profile, or the mtu is absurd.
        """
        if not remote_fingerprints or not srtp_profiles:
            raise UsageError("a DTLS connection needs the peer's fingerprint and an SRTP profile")
        if mtu < _MIN_MTU:
            raise UsageError(f"an mtu of {mtu} bytes")
        self._role = role
        self._config = HandshakeConfig(
            certificate=certificate,
            remote_fingerprints=tuple(remote_fingerprints),
            random=random,
            srtp_profiles=tuple(srtp_profiles),
        )
        self._mtu = mtu
        self._outbox = Outbox()
        self._reassembler = Reassembler()
        self._timer = RetransmissionTimer()
        self._handshake_deadline: float | None = now + _HANDSHAKE_TIMEOUT
        self._association: Association | None = None
        self._end: ConnectionState | None = None
        self._last_words: bytes | None = None

    # Input

    def start(self, *, now: float) -> None:
        """Send the ClientHello.

        Errors: UsageError for a server, or a second time.
        """
        if self._role is not Role.CLIENT or self.state is not ConnectionState.NEW:
            raise UsageError("only a new client can be started")
        self._associate(ClientHandshake(self._config)).start(now=now)

    def handle_datagram(self, data: bytes, *, now: float) -> None:
        """Take a datagram, of any content, from the ICE-validated path."""
        self._outbox.datagrams_received += 1
        if self._end is not None:
            self._handle_late_datagram(data)
            return
        reader = Reader(data)
        while reader.remaining and self._end is None:
            try:
                record = Record.read(reader)
            except WireError:
                self._outbox.drop(DropReason.MALFORMED_RECORD)
                return
            self._outbox.records_received += 1
            try:
                self._handle_record(record, now)
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

    def send(self, data: bytes, *, now: float) -> None:  # noqa: ARG002 - every command tells the time
        """Send application data, as one record in a datagram of its own.

        Errors: UsageError before completion, after the end, or for more than 16 KiB.
        """
        if self._completed is None or self._end is not None:
            raise UsageError(f"a {self.state.value} connection cannot send")
        if len(data) > MAX_PLAINTEXT_LENGTH:
            raise UsageError(f"a record cannot carry {len(data)} bytes")
        self._completed.send(data)

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
        deadlines = (self._handshake_deadline, self._timer.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def export_keying_material(self, label: str, length: int, context: bytes | None = None) -> bytes:
        """Derive bytes that both ends know and nobody else (RFC 5705).

        Errors: UsageError before completion.
        """
        if self._completed is None:
            raise UsageError("keys are exported after completion")
        return self._completed.handshake.master_secret.export(label.encode("ascii"), length, context)

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
        return self._completed is not None

    @property
    def version(self) -> int | None:
        """The version's code point, once completed."""
        return None if self._completed is None else self._completed.version

    @property
    def cipher_suite(self) -> int | None:
        """The cipher suite's code point, once completed."""
        return None if self._completed is None else self._completed.handshake.suite

    @property
    def srtp_profile(self) -> SrtpProfile | None:
        """What SRTP is to use, once completed."""
        return None if self._completed is None else self._completed.handshake.srtp_profile

    @property
    def peer_certificate(self) -> bytes | None:
        """The peer's certificate (DER), once completed."""
        return None if self._completed is None else self._completed.handshake.peer_certificate

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
    def _completed(self) -> Association | None:
        association = self._association
        return association if association is not None and association.is_completed else None

    def _handle_record(self, record: Record, now: float) -> None:
        if self._association is not None:
            self._association.handle_record(record, now=now)
            if self._association.is_completed:
                self._handshake_deadline = None
        elif self._role is Role.SERVER and record.epoch == 0 and record.content_type == ContentType.HANDSHAKE:
            self._await_client_hello(record, now)
        else:
            self._outbox.drop(DropReason.UNEXPECTED_RECORD)

    def _await_client_hello(self, record: Record, now: float) -> None:
        """Gather the ClientHello, then choose the version and let its association go on from there."""
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
        if message is not None:
            _require_version(message)
            self._associate(ServerHandshake(self._config)).handle_messages(now=now)

    def _associate(self, handshake: ServerHandshake | ClientHandshake) -> Association:
        self._association = Association(
            handshake, reassembler=self._reassembler, timer=self._timer, outbox=self._outbox, mtu=self._mtu
        )
        return self._association

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
        if self._last_words is not None and data[:1] != bytes([ContentType.ALERT]):
            self._outbox.transmit(self._last_words)
            self._last_words = None


def _require_version(message: Message) -> None:
    """See that the client's first message is a ClientHello that can do DTLS 1.2.

    Errors: DtlsError.
    """
    if message.type != HandshakeType.CLIENT_HELLO:
        raise DtlsError(
            f"handshake message {message.type} before any ClientHello",
            alert=AlertDescription.UNEXPECTED_MESSAGE,
        )
    try:
        hello = ClientHello.decode(message.body)
        data = hello.extension(ExtensionType.SUPPORTED_VERSIONS)
        if data is not None:
            is_able = ProtocolVersion.DTLS_1_2 in decode_versions(data)
        else:
            # The hello's own version is the newest that the client can do; newer is smaller.
            is_able = _NEWEST_VERSION <= hello.version <= ProtocolVersion.DTLS_1_2
    except WireError as error:
        raise DtlsError(
            f"the ClientHello is malformed: {error}", alert=AlertDescription.DECODE_ERROR
        ) from error
    if not is_able:
        raise DtlsError(
            "the client cannot do DTLS 1.2",
            alert=AlertDescription.PROTOCOL_VERSION,
            cause=FailureCause.NO_SHARED_PARAMETERS,
        )
