"""What a connection tells its owner."""

import attrs

from voicegate.dtls.failure import FailureCause
from voicegate.dtls.srtp import SrtpProfile

__all__ = [
    "ApplicationData",
    "Closed",
    "Event",
    "HandshakeCompleted",
    "HandshakeFailed",
    "HandshakeStarted",
    "KeysReady",
]


@attrs.frozen
class HandshakeStarted:
    """The peer was heard: a first piece of its ClientHello, or of its answer to ours."""


@attrs.frozen(kw_only=True)
class KeysReady:
    """There are keys to send with; comes once, at the latest right before `HandshakeCompleted`.

    For a server of DTLS 1.3 that is half a round trip earlier, when the client is not proven yet.
    """

    version: int
    """Version code point, such as 0xFEFC."""
    cipher_suite: int
    """IANA code point."""
    srtp_profile: SrtpProfile


@attrs.frozen(kw_only=True)
class HandshakeCompleted:
    """Both Finished messages are verified, and the peer's certificate is the one its SDP announced."""

    version: int
    """Version code point, such as 0xFEFD."""
    cipher_suite: int
    """IANA code point."""
    srtp_profile: SrtpProfile


@attrs.frozen(kw_only=True)
class ApplicationData:
    """The payload of one application data record."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class HandshakeFailed:
    """The handshake is over, without keys."""

    cause: FailureCause
    alert: int | None
    """The alert sent, or received where ``is_remote``; None when there was none."""
    detail: str
    """One sentence for a log."""
    is_remote: bool
    """Whether it was the peer that gave up."""


@attrs.frozen(kw_only=True)
class Closed:
    """The connection, once completed (or closed by us before), is over."""

    alert: int | None
    """0 for close_notify, otherwise the fatal alert."""
    is_remote: bool
    """Whether it was the peer that ended it."""


Event = HandshakeStarted | KeysReady | HandshakeCompleted | ApplicationData | HandshakeFailed | Closed
