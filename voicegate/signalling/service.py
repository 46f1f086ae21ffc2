"""What the HTTP surface asks of whoever owns the calls.

That may be in another process, hence each question may wait, and may be refused for that reason.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, Required, TypeAlias, TypedDict, Unpack

import attrs
from starlette.requests import HTTPConnection

from voicegate.access.grant import Grant
from voicegate.event_socket import EventSocket
from voicegate.ice import Credentials
from voicegate.sdp import Candidate
from voicegate.signalling.door import Door
from voicegate.signalling.fault import RequestRefused

if TYPE_CHECKING:
    from voicegate.ice import Credentials
    from voicegate.sdp import Candidate
    from voicegate.transceiver.task import ActiveCall

__all__ = [
    "JSON",
    "CallApi",
    "CallService",
    "CallTerms",
    "CreatedCall",
    "DrainState",
    "Handshake",
    "OfferRefused",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
"""A value as JSON has it."""

CallApi: TypeAlias = Literal["realtime", "live", "none"]
"""Whose events a call speaks with its client."""


class CallTerms(TypedDict, total=False):
    """What is known of a call that a client asks for, besides its offer."""

    session: Required[Mapping[str, JSON] | None]
    """The ``session`` object that came with the offer, as the client wrote it."""
    client: Required[str]
    """The IP address the offer came from, without a port."""
    regions: Sequence[str]
    """The regions, the one nearest to the client first; none, if it is not said."""
    data_channel_id: int | None
    """Of a data channel that the client has opened on its side and takes for opened on ours, 0 to 1023; None
    when it did not say so. Refused, with the code ``no_data_section`` and the param ``dcid``, when the offer
    has no data channels."""
    grant: Grant
    """What the client may do; everything, if it is not said."""
    api: CallApi
    """``realtime``, if it is not said."""
    model: str
    """What the client would talk to: a configured agent's name, or anything else for the default one."""


@attrs.frozen(kw_only=True)
class CreatedCall:
    """A call that now exists and waits for its client's first packet."""

    id: str
    """``rtc_...``, hard to guess, of letters, digits, ``_`` and ``-``. Knowing it is the right to hang up."""
    answer: str
    """The SDP answer, as it goes out."""


@attrs.frozen(kw_only=True)
class DrainState:
    """How far a service is with going away."""

    is_draining: bool
    """It takes no new calls."""
    seconds_left: float | None
    """Until the calls that are left end; None when nobody set them a time."""
    calls: int
    """Those that are left."""


class OfferRefused(RequestRefused):
    """The service will not make a call of this offer; the client reads why."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str = "invalid_offer",
        param: str | None = "sdp",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status, code=code, param=param, headers=headers)


class Handshake(Protocol):
    """A WebSocket that a client asks for and that is not answered yet; `RequestRefused` answers it, too."""

    @property
    def request(self) -> HTTPConnection:
        """Its head: path parameters, query, headers."""

    async def accept(self) -> EventSocket:
        """Open it. Whoever does so closes it, or leaves that to the end of the handler."""

    async def tunnel(self, door: Door, *, grant: Grant) -> None:
        """Have another process accept it, and carry bytes until either end closes.

        Errors: RequestRefused, when that process refuses or nobody is there; another one may then be asked.
        """


class CallService(Protocol):
    """The owner of all calls, as signalling sees it."""

    @property
    def agent_name(self) -> str:
        """What answers the calls, in a word for people; the page shows it."""

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Make a call of an SDP offer, text that starts with ``v=0``; nothing else is known of it.

        Errors: OfferRefused, for whatever the client should read. Anything else is our fault: status 500.
        """

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client; False when no such call is alive."""

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        """Accept a sideband: the call's events also go to, and come from, this socket, until either ends.

        Errors: RequestRefused, 404, when no such call is alive.
        """

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        """Accept a socket that is a session of its own, its audio in events, and serve it until it ends.

        Errors: OfferRefused, as for an offer.
        """

    def owner(self, call_id: str) -> Door | None:
        """Return the way to the process that has a call; None when it would be this one."""

    def local_call(self, call_id: str) -> "ActiveCall | None":
        """Return a call that goes on in this process."""

    def restart_ice(
        self, call: "ActiveCall", remote: "Credentials"
    ) -> "tuple[Credentials, Sequence[Candidate]]":
        """Begin an ICE restart of a call of this process with the client's new credentials.

        Returns our new ones, and where we are. The old ones serve until media takes a path of the new.
        """

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

    async def begin_drain(self, *, seconds: float) -> None:
        """Take no new calls from here on, tell those that go on, and end in ``seconds`` what is left of them.

        Said again, the seconds count anew.
        """

    async def end_drain(self) -> None:
        """Take calls again; what was told to those that go on is not taken back."""

    async def drain_state(self) -> DrainState:
        """Say whether there is a drain, and how far it is."""
