"""What the HTTP surface asks of whoever owns the calls.

That may be in another process, hence each question may wait, and may be refused for that reason.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import attrs

from voicegate.signalling.fault import RequestRefused

__all__ = ["CallService", "CreatedCall", "JSON", "OfferRefused"]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""A value as JSON has it."""


@attrs.frozen(kw_only=True)
class CreatedCall:
    """A call that now exists and waits for its client's first packet."""

    id: str
    """``rtc_...``, hard to guess, of letters, digits, ``_`` and ``-``. Knowing it is the right to hang up."""
    answer: str
    """The SDP answer, as it goes out."""


class OfferRefused(RequestRefused):
    """The service will not make a call of this offer; the client reads why."""

    def __init__(
        self, message: str, *, status: int = 400, code: str = "invalid_offer", param: str | None = "sdp"
    ) -> None:
        super().__init__(message, status=status, code=code, param=param)


class CallService(Protocol):
    """The owner of all calls, as signalling sees it."""

    @property
    def agent_name(self) -> str:
        """What answers the calls, in a word for people; the page shows it."""

    async def create_call(
        self,
        offer: str,
        *,
        session: Mapping[str, JSON] | None,
        client: str,
        data_channel_id: int | None = None,
    ) -> CreatedCall:
        """Make a call of an SDP offer.

        Args:
            offer: The SDP text; it starts with ``v=0``, nothing else is known of it.
            session: The ``session`` object that came with the offer, as the client wrote it.
            client: The IP address the offer came from, without a port.
            data_channel_id: Of a data channel that the client has opened on its side and takes for opened on
                ours, 0 to 1023; None when it did not say so. Refused, with the code ``no_data_section`` and
                the param ``dcid``, when the offer has no data channels.

        Errors: OfferRefused, for whatever the client should read. Anything else is our fault: status 500.
        """

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client; False when no such call is alive."""

    async def sessions(self) -> Sequence[Mapping[str, JSON]]:
        """Each call as in `session`, newest last."""

    async def session(self, call_id: str) -> Mapping[str, JSON] | None:
        """Describe one call, alive or lately ended; None when it is unknown.

        Keys that the page reads: ``id``; ``state``, a word, ``"ended"`` when it is over; ``cause``, null
        while it is alive, then a short machine-readable reason; ``phases``, a mapping from the name of a
        set-up step to the milliseconds from the arrival of the offer until it was done. Usual besides:
        ``path``, ``codec``, ``counters``.
        """

    async def metrics(self) -> bytes:
        """Everything that is counted, in the Prometheus text format 0.0.4."""

    async def is_ready(self) -> bool:
        """Whether a call made now would work."""
