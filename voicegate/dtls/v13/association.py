"""A DTLS 1.3 connection: protection of records, flights and their acknowledgement, around a handshake.

Epoch 0 is in the clear, epoch 2 carries the handshake, epoch 3 the data, and each KeyUpdate begins one more.
"""

from typing import Final

from voicegate.dtls.alert import Alert, AlertDescription
from voicegate.dtls.event import ApplicationData, HandshakeCompleted, KeysReady
from voicegate.dtls.failure import DtlsError, peer_alert
from voicegate.dtls.handshake import Fragment, HandshakeType, Message, Reassembler
from voicegate.dtls.hello import ClientHello
from voicegate.dtls.outbox import Outbox
from voicegate.dtls.record import MAX_PLAINTEXT_LENGTH, ContentType, ProtocolVersion, Record
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.statistic import DropReason
from voicegate.dtls.timer import RetransmissionTimer
from voicegate.dtls.v13.client import ClientHandshake
from voicegate.dtls.v13.epoch import Epochs
from voicegate.dtls.v13.flight import Flight
from voicegate.dtls.v13.handshake import APPLICATION_EPOCH, HANDSHAKE_EPOCH
from voicegate.dtls.v13.key_schedule import export
from voicegate.dtls.v13.message import Ack, KeyUpdate, RecordNumber
from voicegate.dtls.v13.receipt import Receipt
from voicegate.dtls.v13.record import ProtectedRecord
from voicegate.dtls.v13.server import ServerHandshake
from voicegate.errors import UsageError, WireError
from voicegate.wire import Reader

__all__ = ["Association"]

_MAX_HELD_RECORDS: Final = 32
_MAX_HELD_LENGTH: Final = 64 * 1024
"""Records that may wait for keys, and data that may wait for the handshake's end: when the client's last
flight is lost, what it sends in the next two round trips comes first, up to a window of its data channels."""

_MIN_RESEND_GAP: Final = 0.02
"""Repetitions of a flight this soon after our answer are copies made by the network, not by a timer."""

_ACK_DELAY: Final = 0.25
"""What part of the first retransmission wait an incomplete flight is given (RFC 9147 §7.1); what the peer
misses any sooner is still on its way."""

# RFC 9147 §4.5.3 allows 2^24.5 records under one key with AES-GCM, and 2^36 forgeries with all three ciphers.
KEY_UPDATE_AT: Final = 2**23
"""Records of one epoch after which there are to be new keys; leaves as many for the update to be answered."""
MAX_RECORDS: Final = 2**24
MAX_FORGERIES: Final = 2**36


class Association:
    """Runs one DTLS 1.3 connection; as client, until the server has chosen 1.2 instead.

    Errors: the `handle_*` methods raise DtlsError when the connection is over; anything less is counted.
    """

    version = ProtocolVersion.DTLS_1_3

    def __init__(
        self,
        handshake: ServerHandshake | ClientHandshake,
        *,
        reassembler: Reassembler,
        timer: RetransmissionTimer,
        outbox: Outbox,
        mtu: int,
        seen: frozenset[int] = frozenset(),
    ) -> None:
        """Begin; ``seen`` are the numbers of the records that the client's hello came in."""
        self.handshake = handshake
        self.declined: ClientHello | None = None
        """Our hello, when the server has chosen DTLS 1.2 of what it offers."""
        self.next_plain_number = 0
        self.flight: tuple[bytes, ...] = ()
        self._reassembler = reassembler
        self._timer = timer
        self._outbox = outbox
        self._mtu = mtu
        self._epochs = Epochs()
        self._is_peer_proven = False  # a protected record was authentic
        self._is_settled = False  # the events of completion are out
        self._held: list[ProtectedRecord] = []
        self._early_data: list[bytes] = []
        self._flight: Flight | None = None
        self._flight_sent_at = 0.0
        self._is_updating = False  # the flight is a KeyUpdate of ours
        self._owes_update = False
        self._seen = seen
        self._receipt = Receipt()

    # Input

    def start(self, *, now: float) -> None:
        """Send the client's first flight."""
        self._follow_handshake(now)

    def handle_record(self, record: Record, *, now: float) -> None:
        """Take a record in the clear."""
        if record.epoch:
            self._outbox.drop(DropReason.UNKNOWN_EPOCH)
        elif self._is_peer_proven or record.content_type == ContentType.ACK:
            # Nobody is believed who, without keys, says that something has arrived.
            self._outbox.drop(DropReason.UNPROTECTED)
        else:
            self._handle_content(
                record.content_type, record.fragment, RecordNumber(0, record.sequence_number), now
            )

    def handle_protected(self, record: ProtectedRecord, *, now: float) -> None:
        """Take a protected record."""
        reading = self._epochs.reading(record.epoch_bits)
        if reading is None:
            self._hold(record)
            return
        opened = reading.unprotect(record)
        if isinstance(opened, DropReason):
            self._outbox.drop(opened)
            if reading.failures >= MAX_FORGERIES:
                raise DtlsError(
                    "more forged records than a key endures", alert=AlertDescription.BAD_RECORD_MAC
                )
            return
        number, content_type, data = opened
        if len(data) > MAX_PLAINTEXT_LENGTH:
            raise DtlsError(f"a record of {len(data)} bytes", alert=AlertDescription.RECORD_OVERFLOW)
        self._is_peer_proven = True
        if content_type == ContentType.APPLICATION_DATA and self._is_settled:
            self._outbox.events.append(ApplicationData(data=data))
        else:
            self._handle_content(content_type, data, RecordNumber(reading.epoch, number), now)

    def handle_messages(self, *, now: float) -> None:
        """Take the messages that the reassembler has whole."""
        while (message := self._reassembler.peek()) is not None:
            if isinstance(self.handshake, ClientHandshake) and self.handshake.is_declined_by(message):
                self.declined = self.handshake.hello
                return
            self._reassembler.pop()
            try:
                if self.is_completed:
                    self._handle_post_handshake(message, now)
                else:
                    self.handshake.handle_message(message)
            except WireError as error:
                raise DtlsError(
                    f"handshake message {message.type} is malformed: {error}",
                    alert=AlertDescription.DECODE_ERROR,
                ) from error
            self._follow_handshake(now)

    def finish_datagram(self, *, now: float) -> None:
        """Acknowledge, once for all records of a datagram."""
        if self._receipt.is_owed:
            self._acknowledge()
            if self._owes_update and self._flight is None:
                self.update_keys(now=now)

    def handle_timeout(self, now: float) -> None:
        """Send the flight again, or say what is missing of the peer's, if it is time."""
        due_at = self._receipt.due_at
        if due_at is not None and now >= due_at:
            self._acknowledge()
        deadline = self._timer.deadline
        if deadline is None or now < deadline:
            return
        if self._flight is not None:
            self._resend(self._flight, now)
        else:
            self._acknowledge()
        self._timer.back_off(now)

    def send(self, data: bytes, *, now: float) -> None:
        """Queue one record of application data; it has a datagram of its own."""
        writing = self._epochs.writing()
        if writing.next_number >= KEY_UPDATE_AT:
            if writing.next_number >= MAX_RECORDS:
                raise UsageError("this connection has used up its keys, and the peer acknowledges no others")
            if not self._is_updating:
                self.update_keys(now=now)
        self._outbox.transmit(writing.protect(ContentType.APPLICATION_DATA, data))

    def update_keys(self, *, now: float, is_requested: bool = False) -> None:
        """Announce new keys for what we send, used once the peer knows; perhaps ask it to do the same.

        While the peer has a flight to acknowledge, that is put off until it has.
        """
        self._owes_update = self._flight is not None
        # Who asks for an update 65 000 times gets no more.
        if self._owes_update or not self.handshake.has_numbers:
            return
        update = KeyUpdate(is_requested=is_requested)
        message = self.handshake.number(
            HandshakeType.KEY_UPDATE, update.encode(), epoch=self._epochs.newest_write
        )
        self._is_updating = True
        self._begin_flight(Flight([message], answers=-1, mtu=self._mtu), now)

    # Output

    def seal_alert(self, alert: Alert) -> bytes:
        """Make the record of an alert, protected with the newest keys."""
        if self._epochs.newest_write:
            return self._epochs.writing().protect(ContentType.ALERT, alert.encode())
        return self._write_plain(ContentType.ALERT, alert.encode())

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        deadlines = (self._timer.deadline, self._receipt.due_at)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        """Export keying material; no context is the same as an empty one (RFC 8446 §7.5)."""
        return export(
            self.handshake.suite.hash_name, self.handshake.exporter_secret, label, length, context or b""
        )

    @property
    def can_send(self) -> bool:
        """Whether there are keys for application data."""
        return self._epochs.newest_write >= APPLICATION_EPOCH

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

    # Internals: what comes in

    def _handle_content(self, content_type: int, data: bytes, number: RecordNumber, now: float) -> None:
        match content_type:
            case ContentType.APPLICATION_DATA if number.epoch >= APPLICATION_EPOCH:
                self._keep_early(data)
            case ContentType.HANDSHAKE:
                self._handle_handshake(data, number, now)
            case ContentType.ACK:
                self._handle_ack(data, now)
            case ContentType.ALERT:
                self._handle_alert(data)
            case _:
                self._outbox.drop(DropReason.UNEXPECTED_RECORD)

    def _handle_handshake(self, data: bytes, number: RecordNumber, now: float) -> None:
        reader = Reader(data)
        is_kept = True  # Only what is kept whole may be acknowledged (RFC 9147 §7.1).
        while reader.remaining:
            try:
                fragment = Fragment.read(reader)
            except WireError:
                self._outbox.drop(DropReason.MALFORMED_FRAGMENT)
                is_kept = False
                break
            if fragment.message_seq < self._reassembler.next_sequence:
                self._handle_repetition(fragment, number, now)
            elif self._epochs.newest_write and not number.epoch:
                self._outbox.drop(DropReason.UNPROTECTED)
                is_kept = False
            elif self._reassembler.push(fragment, epoch=number.epoch):
                self._outbox.hear()
            else:
                self._outbox.drop(DropReason.UNFITTING_FRAGMENT)
                is_kept = False
        # Of the flight that is coming in, that is: a hello that comes again is not of it.
        if is_kept and (number.epoch or not self._epochs.newest_write):
            self._receipt.note(number)
        self.handle_messages(now=now)
        self._settle_answered(number.epoch, now)
        is_partial = len(self._receipt) > 0 and self._epochs.newest_write > 0 and not self.is_completed
        if is_partial and self._receipt.due_at is None:
            self._receipt.due_at = now + _ACK_DELAY * self._timer.first_wait

    def _handle_repetition(self, fragment: Fragment, number: RecordNumber, now: float) -> None:
        """The peer sends something again: what we sent upon it was lost."""
        if not number.epoch and number.sequence_number in self._seen:
            # A copy made by the network, or carried by another check; what is sent again has a new number.
            self._outbox.drop(DropReason.REPLAYED)
            return
        self._outbox.drop(DropReason.REPEATED_MESSAGE)
        flight = self._flight
        if flight is None or flight.answers < fragment.message_seq:
            self._receipt.is_owed |= self.is_completed
        elif (
            flight.answers == fragment.message_seq
            and fragment.is_last
            and now - self._flight_sent_at >= _MIN_RESEND_GAP
        ):
            self._resend(flight, now)

    def _settle_answered(self, epoch: int, now: float) -> None:
        """Stop repeating a flight once the peer's next has begun to arrive (RFC 9147 §7.1).

        From then on it is told what is missing: the timer is for acknowledgements.
        """
        is_server = isinstance(self.handshake, ServerHandshake)
        is_answered = epoch == HANDSHAKE_EPOCH if is_server else self._epochs.newest_write > 0
        if is_answered and not self.is_completed and self._flight is not None:
            self._end_flight()
            self._timer.arm(now)

    def _handle_ack(self, data: bytes, now: float) -> None:
        try:
            numbers = Ack.decode(data).record_numbers
        except WireError:
            self._outbox.drop(DropReason.MALFORMED_RECORD)
            return
        flight = self._flight
        if flight is None:
            return
        flight.acknowledge(numbers)
        if flight.is_acknowledged:
            self._end_flight()
            self._finish_update(now)
        elif now - self._flight_sent_at >= _ACK_DELAY * self._timer.first_wait:
            self._resend(flight, now)

    def _handle_alert(self, data: bytes) -> None:
        # Alerts in the clear count until the peer's first authentic record, as in DTLS 1.2.
        try:
            alert = Alert.decode(data)
        except WireError:
            self._outbox.drop(DropReason.MALFORMED_RECORD)
            return
        # The level says nothing any more (RFC 8446 §6).
        if alert.description == AlertDescription.USER_CANCELED:
            self._outbox.drop(DropReason.WARNING_ALERT)
            return
        raise peer_alert(alert.description)

    def _handle_post_handshake(self, message: Message, now: float) -> None:
        if message.epoch != self._epochs.newest_read:
            raise DtlsError("a message under old keys", alert=AlertDescription.UNEXPECTED_MESSAGE)
        self._receipt.is_owed = True
        # Tickets are acknowledged and thrown away: nothing is resumed here.
        if message.type == HandshakeType.NEW_SESSION_TICKET and isinstance(self.handshake, ClientHandshake):
            return
        if message.type != HandshakeType.KEY_UPDATE:
            raise DtlsError(
                f"handshake message {message.type} after the handshake",
                alert=AlertDescription.UNEXPECTED_MESSAGE,
            )
        self._owes_update |= KeyUpdate.decode(message.body).is_requested
        self._epochs.advance_read()
        self._release_held(now)

    def _keep_early(self, data: bytes) -> None:
        length = sum(map(len, self._early_data)) + len(data)
        if len(self._early_data) < _MAX_HELD_RECORDS and length <= _MAX_HELD_LENGTH:
            self._early_data.append(data)
        else:
            self._outbox.drop(DropReason.TOO_EARLY)

    def _hold(self, record: ProtectedRecord) -> None:
        """Keep a record of the next epoch, or of those of the handshake, until there are keys."""
        is_due = (
            record.epoch_bits == self._epochs.newest_read + 1 & 3
            if self.is_completed
            else record.epoch_bits >= 2
        )
        if not is_due:
            self._outbox.drop(DropReason.UNKNOWN_EPOCH)
            return
        length = sum(len(held.ciphertext) for held in self._held) + len(record.ciphertext)
        if len(self._held) < _MAX_HELD_RECORDS and length <= _MAX_HELD_LENGTH:
            self._held.append(record)
        else:
            self._outbox.drop(DropReason.TOO_EARLY)

    def _release_held(self, now: float) -> None:
        held, self._held = self._held, []
        for record in held:
            self.handle_protected(record, now=now)

    # Internals: what goes out

    def _follow_handshake(self, now: float) -> None:
        """Do what a message has made possible: take keys, send a flight, be complete, read what waited."""
        is_newer = self._take_keys()
        outgoing = self.handshake.take_flight()
        if outgoing is not None:
            self._begin_flight(Flight(outgoing.messages, answers=outgoing.answers, mtu=self._mtu), now)
        if is_newer and self.can_send:
            self._outbox.events.append(
                KeysReady(
                    version=self.version, cipher_suite=self.cipher_suite, srtp_profile=self.srtp_profile
                )
            )
        if self.is_completed and not self._is_settled:
            self._complete()
        if is_newer:
            self._release_held(now)

    def _take_keys(self) -> bool:
        """Make ciphers of secrets that the handshake has made; tell whether there were any."""
        is_server = isinstance(self.handshake, ServerHandshake)
        is_newer = False
        for epoch, (client, server) in self.handshake.secrets.items():
            if epoch > self._epochs.newest_write:
                read, write = (client, server) if is_server else (server, client)
                self._epochs.add(epoch, self.handshake.suite, read=read, write=write)
                is_newer = True
        return is_newer

    def _complete(self) -> None:
        self._is_settled = True
        if isinstance(self.handshake, ServerHandshake):
            self._receipt.is_owed = True
            self._end_flight()
        self._outbox.events.append(
            HandshakeCompleted(
                version=self.version, cipher_suite=self.cipher_suite, srtp_profile=self.srtp_profile
            )
        )
        self._outbox.events.extend(ApplicationData(data=data) for data in self._early_data)
        self._early_data.clear()

    def _begin_flight(self, flight: Flight, now: float) -> None:
        self._flight = flight
        self._send_flight(flight, now)
        self._timer.arm(now)
        # A flight is an acknowledgement of the one that it answers (RFC 9147 §7.1).
        if not self._is_updating:
            self._receipt.clear()

    def _end_flight(self) -> None:
        self._flight = None
        self.flight = ()
        self._timer.stop()

    def _finish_update(self, now: float) -> None:
        """Our KeyUpdate has arrived, so its new keys may be used (RFC 9147 §8)."""
        if self._is_updating:
            self._is_updating = False
            self._epochs.advance_write()
        if self._owes_update:
            self.update_keys(now=now)

    def _resend(self, flight: Flight, now: float) -> None:
        self._outbox.retransmissions += 1
        self._send_flight(flight, now)

    def _send_flight(self, flight: Flight, now: float) -> None:
        self._flight_sent_at = now
        datagrams = []
        for parcels in flight.datagrams():
            datagram = b""
            for parcel in parcels:
                if parcel.epoch:
                    writing = self._epochs.writing(parcel.epoch)
                    flight.note(RecordNumber(parcel.epoch, writing.next_number), parcel)
                    datagram += writing.protect(ContentType.HANDSHAKE, parcel.data)
                else:
                    flight.note(RecordNumber(0, self.next_plain_number), parcel)
                    datagram += self._write_plain(ContentType.HANDSHAKE, parcel.data)
            datagrams.append(datagram)
            self._outbox.transmit(datagram)
        self.flight = tuple(datagrams)

    def _acknowledge(self) -> None:
        """Say which records of the flight that is coming in have come, under the newest keys."""
        ack = self._receipt.acknowledge().encode()
        self._outbox.transmit(self._epochs.writing().protect(ContentType.ACK, ack))
        if self.is_completed:
            self._receipt.clear()  # All of it has come; only what comes again is acknowledged again.

    def _write_plain(self, content_type: int, data: bytes) -> bytes:
        # Until the server has chosen, records name the oldest version, for old servers.
        is_first = isinstance(self.handshake, ClientHandshake) and content_type == ContentType.HANDSHAKE
        version = ProtocolVersion.DTLS_1_0 if is_first else ProtocolVersion.DTLS_1_2
        number = self.next_plain_number
        self.next_plain_number += 1
        return Record(content_type, version, 0, number, data).encode()
