"""What a connection asks of the association of either version."""

from typing import Protocol

from voicegate.dtls.alert import Alert
from voicegate.dtls.record import ProtocolVersion, Record
from voicegate.dtls.srtp import SrtpProfile
from voicegate.dtls.v13.record import ProtectedRecord

__all__ = ["Association"]


class Association(Protocol):
    """Runs one connection once it is settled, or may well be, that it is of this version.

    Errors: the `handle_*` methods raise DtlsError when the connection is over; anything less is counted.
    """

    version: ProtocolVersion

    # Input

    def handle_record(self, record: Record, *, now: float) -> None:
        """Take a record whose header is in the clear."""

    def handle_protected(self, record: ProtectedRecord, *, now: float) -> None:
        """Take a record with the unified header, which only DTLS 1.3 has."""

    def finish_datagram(self, *, now: float) -> None:
        """Send what the records of a datagram, taken together, call for."""

    def handle_timeout(self, now: float) -> None:
        """Let time pass; harmless when nothing is due."""

    def send(self, data: bytes, *, now: float) -> None:
        """Queue one record of application data; it has a datagram of its own."""

    # Output

    def seal_alert(self, alert: Alert) -> bytes:
        """Make the record of an alert, protected as soon as the peer can read it."""

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""

    def export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        """Export keying material."""

    @property
    def can_send(self) -> bool:
        """Whether there are keys for application data."""

    @property
    def is_completed(self) -> bool:
        """Whether the handshake is over and good."""

    @property
    def flight(self) -> tuple[bytes, ...]:
        """Our handshake datagrams that the peer has not answered yet, as last sent."""

    @property
    def cipher_suite(self) -> int:
        """The cipher suite's code point; from `can_send` on."""

    @property
    def srtp_profile(self) -> SrtpProfile:
        """What SRTP is to use; from `can_send` on."""

    @property
    def peer_certificate(self) -> bytes:
        """The peer's certificate (DER); from `is_completed` on."""
