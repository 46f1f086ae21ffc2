"""How a handshake or a connection can end badly."""

from enum import Enum

from voicegate.dtls.alert import AlertDescription
from voicegate.errors import PeerError

__all__ = ["DtlsError", "FailureCause", "no_shared", "peer_alert"]


class FailureCause(Enum):
    """Why a handshake failed, in words an operator can act on."""

    NO_SHARED_PARAMETERS = "no shared parameters"
    """No version, cipher suite, group, signature algorithm or SRTP profile suits both sides."""
    PROTOCOL_VIOLATION = "protocol violation"
    """The peer sent a message that is malformed, out of place or contradicts another."""
    BAD_CERTIFICATE = "bad certificate"
    """The peer's certificate is absent, unreadable or holds a key of a kind that is not accepted."""
    FINGERPRINT_MISMATCH = "fingerprint mismatch"
    """The peer's certificate is not the one announced in the SDP."""
    AUTHENTICATION_FAILED = "authentication failed"
    """A signature or a Finished message does not verify."""
    PEER_ALERT = "peer alert"
    """The peer gave up and said so."""
    TIMED_OUT = "timed out"
    """The handshake was not over in time."""


class DtlsError(PeerError):
    """Ends the connection; the alert is what tells the peer, or told us, or None where nobody is told."""

    def __init__(
        self,
        detail: str,
        *,
        alert: int | None = AlertDescription.ILLEGAL_PARAMETER,
        cause: FailureCause = FailureCause.PROTOCOL_VIOLATION,
        is_remote: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.alert = alert
        self.cause = cause
        self.is_remote = is_remote


def no_shared(what: str) -> DtlsError:
    """Make the error for want of something both sides can do."""
    return DtlsError(
        f"no {what} in common",
        alert=AlertDescription.HANDSHAKE_FAILURE,
        cause=FailureCause.NO_SHARED_PARAMETERS,
    )


def peer_alert(description: int) -> DtlsError:
    """Make the error for an alert of the peer's that ends the connection."""
    return DtlsError(
        f"the peer sent alert {description}",
        alert=description,
        cause=FailureCause.PEER_ALERT,
        is_remote=True,
    )
