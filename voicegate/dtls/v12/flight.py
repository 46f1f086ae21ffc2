"""A flight: what one side sends before it waits for the other (RFC 6347 §4.2.4)."""

import attrs

from voicegate.dtls.handshake import Message

__all__ = ["Flight"]


@attrs.frozen(kw_only=True)
class Flight:
    """Messages that are sent, and sent again, together; records around them are new each time."""

    answers: int
    """message_seq that ended the peer's flight before this one, or -1; if it comes again, ours was lost."""
    messages: tuple[Message, ...] = ()
    """In the clear."""
    finished: Message | None = None
    """Behind a ChangeCipherSpec and protected."""
    is_last: bool = False
    """Nothing answers this one, so no timer repeats it."""
