"""Why a call ended."""

from enum import Enum

__all__ = ["EndCause"]


class EndCause(Enum):
    """Why a call ended; the values are what the API and the metrics show."""

    CLIENT_HANGUP = "client_hangup"
    """The client hung up over HTTP."""
    CLIENT_CLOSED = "client_closed"
    """The client said goodbye on the media path (DTLS close_notify)."""
    AGENT_FINISHED = "agent_finished"
    AGENT_FAILED = "agent_failed"
    """The agent raised; the traceback is in the log."""
    SERVER_STOPPED = "server_stopped"
    SERVER_DRAINED = "server_drained"
    """The server goes away; the call was told how long it may go on, and that is over."""
    NO_STUN = "no_stun_seen"
    """No connectivity check arrived: UDP is blocked, or the advertised address is wrong."""
    BAD_INTEGRITY = "bad_integrity"
    """Checks named this call but carried a wrong password: the client did not apply this answer."""
    NO_CLIENT_HELLO = "ice_up_no_client_hello"
    """ICE worked, but the client never started DTLS."""
    DTLS_TIMEOUT = "dtls_timeout"
    """DTLS started and never finished: large datagrams are lost, or the client vanished."""
    DTLS_FAILED = "dtls_failed"
    FINGERPRINT_MISMATCH = "fingerprint_mismatch"
    """The client's certificate is not the one its offer promised."""
    CONSENT_EXPIRED = "consent_expired"
    """The client vanished: no check for 30 s (RFC 7675 §5.1)."""
    MAX_DURATION = "max_duration"
    INTERNAL_ERROR = "internal_error"
    """A fault of voicegate's own; the traceback is in the log."""
