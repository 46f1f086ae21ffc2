"""A DTLS 1.2 connection: protection of records, flights and their repetition, around a handshake."""

from typing import Final

from voicegate.dtls.alert import Alert, AlertDescription, AlertLevel
from voicegate.dtls.event import ApplicationData, HandshakeCompleted, KeysReady
from voicegate.dtls.failure import DtlsError, peer_alert
from voicegate.dtls.handshake import Fragment, HandshakeType, Message, Reassembler
from voicegate.dtls.outbox import Outbox
from voicegate.dtls.record import (
    HEADER_LENGTH,
    MAX_PLAINTEXT_LENGTH,
    MAX_SEQUENCE_NUMBER,
    ContentType,
    ProtocolVersion,
    Record,
    ReplayWindow,
    pack,
)
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.statistic import DropReason
from voicegate.dtls.timer import RetransmissionTimer
from voicegate.dtls.v12.client import ClientHandshake
from voicegate.dtls.v12.flight import Flight
from voicegate.dtls.v12.handshake import RecordCiphers
from voicegate.dtls.v12.server import ServerHandshake
from voicegate.dtls.v13.record import ProtectedRecord
from voicegate.errors import UsageError, WireError
from voicegate.wire import Reader

__all__ = ["Association"]

_CHANGE_CIPHER_SPEC: Final = b"\x01"

_MAX_HELD_RECORDS: Final = 8
"""Protected records that may wait for keys, and again for the handshake's end; what overtakes a flight on its
way is one or two."""

_MIN_RESEND_GAP: Final = 0.02
"""Repetitions of a flight this soon after our answer are copies made by the network, not by a timer."""

_MAX_DATA_SEQUENCE_NUMBER: Final = MAX_SEQUENCE_NUMBER - 2**16
"""What application data may use; the rest is for alerts and repetitions of the last flight."""


class Association:
    """Runs one DTLS 1.2 connection, once it is settled that it is one.

    Errors: the `handle_*` methods raise DtlsError when the connection is over; anything less is counted.
    """

    version = ProtocolVersion.DTLS_1_2

    def __init__(
        self,
        handshake: ServerHandshake | ClientHandshake,
        *,
        reassembler: Reassembler,
        timer: RetransmissionTimer,
        outbox: Outbox,
        mtu: int,
    ) -> None:
        self.handshake = handshake
        self.flight: tuple[bytes, ...] = ()
        self._reassembler = reassembler
        self._timer = timer
        self._outbox = outbox
        self._mtu = mtu
        self._ciphers: RecordCiphers | None = None
        self._next_numbers = [0, 0]  # by epoch
        self._has_sent_finished = False
        self._replay_window = ReplayWindow()
        self._is_peer_proven = False  # a record of epoch 1 was authentic
        self._held: list[Record] = []
        self._early_data: list[bytes] = []
        self._flight: Flight | None = None
        self._flight_sent_at = 0.0
        self._has_refused_renegotiation = False

    # Input

    def start(self, *, now: float) -> None:
        """Send the client's first flight."""
        self._follow_handshake(now)

    def resume(self, *, next_number: int, now: float) -> None:
        """Go on as client from a first flight that was sent already, as an offer of DTLS 1.3."""
        self._next_numbers[0] = next_number
        self._flight, self._flight_sent_at = self.handshake.take_flight(), now
        self.handle_messages(now=now)

    def handle_record(self, record: Record, *, now: float) -> None:
        """Take one record as it came."""
        if record.epoch == 0:
            self._handle_plaintext(record.content_type, record.fragment, epoch=0, now=now)
        elif record.epoch != 1:
            self._outbox.drop(DropReason.UNKNOWN_EPOCH)
        elif self._ciphers is None:
            self._hold(record)
        elif not self._replay_window.accepts(record.sequence_number):
            self._outbox.drop(DropReason.REPLAYED)
        else:
            plaintext = self._ciphers.read.unprotect(record)
            if plaintext is None:
                self._outbox.drop(DropReason.BAD_MAC)
                return
            self._replay_window.add(record.sequence_number)
            self._is_peer_proven = True
            if len(plaintext) > MAX_PLAINTEXT_LENGTH:
                raise DtlsError(f"a record of {len(plaintext)} bytes", alert=AlertDescription.RECORD_OVERFLOW)
            self._handle_plaintext(record.content_type, plaintext, epoch=1, now=now)

    def handle_protected(self, record: ProtectedRecord, *, now: float) -> None:  # noqa: ARG002
        """Count a record of DTLS 1.3, which has no place here."""
        self._outbox.drop(DropReason.UNEXPECTED_RECORD)

    def finish_datagram(self, *, now: float) -> None:
        """Do nothing: DTLS 1.2 has no acknowledgements."""

    def handle_messages(self, *, now: float) -> None:
        """Take the messages that the reassembler has whole."""
        while not self.is_completed and (message := self._reassembler.pop()) is not None:
            try:
                self.handshake.handle_message(message)
            except WireError as error:
                raise DtlsError(
                    f"handshake message {message.type} is malformed: {error}",
                    alert=AlertDescription.DECODE_ERROR,
                ) from error
            self._follow_handshake(now)

    def handle_timeout(self, now: float) -> None:
        """Send the flight again if it is time."""
        flight, deadline = self._flight, self._timer.deadline
        if flight is not None and deadline is not None and now >= deadline:
            self._resend(flight, now)

    # Output

    def send(self, data: bytes, *, now: float) -> None:  # noqa: ARG002 - as in DTLS 1.3
        """Queue one record of application data; it has a datagram of its own."""
        if self._next_numbers[1] > _MAX_DATA_SEQUENCE_NUMBER:
            raise UsageError("this connection has used up its sequence numbers")
        self._outbox.transmit(self._protect(ContentType.APPLICATION_DATA, data))

    def seal_alert(self, alert: Alert) -> bytes:
        """Make the record of an alert, protected once our Finished is sent."""
        write = self._protect if self._has_sent_finished else self._write
        return write(ContentType.ALERT, alert.encode())

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        return self._timer.deadline

    def export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        """Export keying material (RFC 5705)."""
        return self.handshake.master_secret.export(label, length, context)

    @property
    def can_send(self) -> bool:
        """Whether there are keys for application data, which is to say whether all is over and good."""
        return self.handshake.is_completed

    @property
    def is_completed(self) -> bool:
        """Whether the handshake is over and good."""
        return self.handshake.is_completed

    @property
    def cipher_suite(self) -> int:
        """The cipher suite's code point."""
        return self.handshake.suite

    @property
    def srtp_profile(self) -> SrtpProfile:
        """What SRTP is to use."""
        return self.handshake.srtp_profile

    @property
    def peer_certificate(self) -> bytes:
        """The peer's certificate (DER)."""
        return self.handshake.peer_certificate

    # Internals

    def _handle_plaintext(self, content_type: int, data: bytes, *, epoch: int, now: float) -> None:
        match content_type:
            case ContentType.APPLICATION_DATA if epoch == 1:
                self._handle_data(data)
            case ContentType.HANDSHAKE:
                self._handle_handshake(data, epoch=epoch, now=now)
            case ContentType.ALERT:
                self._handle_alert(data, epoch=epoch)
            case ContentType.CHANGE_CIPHER_SPEC if epoch == 0 and data == _CHANGE_CIPHER_SPEC:
                pass  # Each record names its epoch, so this tells nothing new.
            case _:
                self._outbox.drop(DropReason.UNEXPECTED_RECORD)

    def _handle_handshake(self, data: bytes, *, epoch: int, now: float) -> None:
        if epoch == 0 and self.is_completed:
            self._outbox.drop(DropReason.UNPROTECTED)
            return
        reader = Reader(data)
        while reader.remaining:
            try:
                fragment = Fragment.read(reader)
            except WireError:
                self._outbox.drop(DropReason.MALFORMED_FRAGMENT)
                break
            if fragment.message_seq < self._reassembler.next_sequence:
                self._handle_repetition(fragment, now)
            elif self.is_completed:
                self._refuse_renegotiation(fragment)
            elif self._reassembler.push(fragment, epoch=epoch):
                self._outbox.hear()
            else:
                self._outbox.drop(DropReason.UNFITTING_FRAGMENT)
        self.handle_messages(now=now)

    def _handle_repetition(self, fragment: Fragment, now: float) -> None:
        """The peer sends its flight again: when it is the one that ours answered, ours was lost."""
        self._outbox.drop(DropReason.REPEATED_MESSAGE)
        flight = self._flight
        if (
            flight is not None
            and flight.answers == fragment.message_seq
            and fragment.is_last
            and now - self._flight_sent_at >= _MIN_RESEND_GAP
        ):
            self._resend(flight, now)

    def _refuse_renegotiation(self, fragment: Fragment) -> None:
        self._outbox.drop(DropReason.UNEXPECTED_RECORD)
        is_request = fragment.type in (HandshakeType.CLIENT_HELLO, HandshakeType.HELLO_REQUEST)
        if is_request and not self._has_refused_renegotiation:
            self._has_refused_renegotiation = True
            refusal = Alert(level=AlertLevel.WARNING, description=AlertDescription.NO_RENEGOTIATION)
            self._outbox.transmit(self.seal_alert(refusal))

    def _handle_alert(self, data: bytes, *, epoch: int) -> None:
        # Attack: anybody who can forge the client's address ends calls with an alert in the clear.
        # Wanted: a peer that refuses our flight is believed at once, but no established call can be killed.
        # Construction: plaintext alerts count until the peer has shown that it can protect its records.
        if epoch == 0 and self._is_peer_proven:
            self._outbox.drop(DropReason.UNPROTECTED)
            return
        try:
            alert = Alert.decode(data)
        except WireError:
            self._outbox.drop(DropReason.MALFORMED_RECORD)
            return
        if alert.level != AlertLevel.FATAL and alert.description != AlertDescription.CLOSE_NOTIFY:
            self._outbox.drop(DropReason.WARNING_ALERT)
            return
        raise peer_alert(alert.description)

    def _handle_data(self, data: bytes) -> None:
        if self.is_completed:
            self.flight = ()  # Whoever sends data has no need of our last flight any more.
            self._outbox.events.append(ApplicationData(data=data))
        elif len(self._early_data) < _MAX_HELD_RECORDS:
            self._early_data.append(data)
        else:
            self._outbox.drop(DropReason.TOO_EARLY)

    def _hold(self, record: Record) -> None:
        if len(self._held) < _MAX_HELD_RECORDS:
            self._held.append(record)
        else:
            self._outbox.drop(DropReason.TOO_EARLY)

    def _follow_handshake(self, now: float) -> None:
        """Do what a message has made possible: send a flight, read what waited for keys, be complete."""
        flight = self.handshake.take_flight()
        if self._ciphers is None and self.handshake.ciphers is not None:
            self._ciphers = self.handshake.ciphers
        if flight is not None:
            self._flight = flight
            self._send_flight(flight, now)
            self._timer.arm(now)
        if self.is_completed:
            self._complete()
        if self._ciphers is not None:
            held, self._held = self._held, []
            for record in held:
                self.handle_record(record, now=now)

    def _complete(self) -> None:
        self._timer.stop()
        if self._flight is not None and not self._flight.is_last:
            self._flight = None  # It was answered.
            self.flight = ()
        for event in (KeysReady, HandshakeCompleted):
            self._outbox.events.append(
                event(version=self.version, cipher_suite=self.cipher_suite, srtp_profile=self.srtp_profile)
            )
        self._outbox.events.extend(ApplicationData(data=data) for data in self._early_data)
        self._early_data.clear()

    def _resend(self, flight: Flight, now: float) -> None:
        self._outbox.retransmissions += 1
        self._send_flight(flight, now)
        if not flight.is_last:
            self._timer.back_off(now)

    def _send_flight(self, flight: Flight, now: float) -> None:
        self._flight_sent_at = now
        records = [
            self._write(ContentType.HANDSHAKE, piece, _record_version(message))
            for message in flight.messages
            for piece in message.fragments(self._mtu - HEADER_LENGTH)
        ]
        if flight.finished is not None:
            records.append(self._write(ContentType.CHANGE_CIPHER_SPEC, _CHANGE_CIPHER_SPEC))
            records.append(self._protect(ContentType.HANDSHAKE, flight.finished.encode()))
            self._has_sent_finished = True
        self.flight = tuple(pack(records, mtu=self._mtu))
        for datagram in self.flight:
            self._outbox.transmit(datagram)

    def _write(self, content_type: int, data: bytes, version: int = ProtocolVersion.DTLS_1_2) -> bytes:
        """Make a record in the clear."""
        number = self._next_numbers[0]
        self._next_numbers[0] += 1
        return Record(content_type, version, 0, number, data).encode()

    def _protect(self, content_type: int, data: bytes) -> bytes:
        """Make a protected record."""
        if self._ciphers is None:
            raise UsageError("there are no keys yet")
        number = self._next_numbers[1]
        self._next_numbers[1] += 1
        return self._ciphers.write.protect(content_type, 1, number, data).encode()


def _record_version(message: Message) -> int:
    """Before a version is settled records name the oldest, for old servers (RFC 5246 §E.1)."""
    if message.type == HandshakeType.CLIENT_HELLO:
        return ProtocolVersion.DTLS_1_0
    return ProtocolVersion.DTLS_1_2
