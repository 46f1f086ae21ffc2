"""How a peer can end its association against its will."""

from voicegate.errors import PeerError
from voicegate.sctp.parameter import CauseCode

__all__ = ["SctpError"]


class SctpError(PeerError):
    """Ends the association; the code is what the ABORT tells the peer."""

    def __init__(self, detail: str, *, code: CauseCode = CauseCode.PROTOCOL_VIOLATION) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
