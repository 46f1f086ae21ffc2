"""How an association begins (RFC 9260 §5).

1. INIT               ->
2.                    <- INIT ACK, with a cookie
3. COOKIE ECHO, data  ->
4.                    <- COOKIE ACK

Both ends may begin at once. Then both INITs are answered, from the same tag and TSN as in the own INIT, and
whichever cookie comes home first makes the association; so the table of RFC 9260 §5.2.4 shrinks to one tag
of ours. With SNAP the INITs go through the signalling, and nothing of this happens.
"""

from collections.abc import Callable, Iterable
from typing import Final

import attrs

from voicegate.errors import WireError
from voicegate.sctp.chunk import ChunkType, encode_chunk
from voicegate.sctp.cookie import COOKIE_LIFETIME, Baker
from voicegate.sctp.failure import SctpError
from voicegate.sctp.init import Init
from voicegate.sctp.outbox import Outbox
from voicegate.sctp.parameter import CauseCode, Parameter, ParameterType, encode_parameters
from voicegate.sctp.round_trip import RoundTrip
from voicegate.sctp.statistic import DropReason

__all__ = ["Handshake", "make_init"]

_MAX_ATTEMPTS: Final = 16
"""Repetitions of INIT or COOKIE ECHO, some forty seconds of them; RFC 9260 §16 has eight, further apart."""
_KNOWN_PARAMETERS: Final = frozenset(
    int(known)
    for known in ParameterType
    if known < ParameterType.OUTGOING_RESET_REQUEST or known > ParameterType.ADD_INCOMING_STREAMS
)
_MAX_REPORTED: Final = 256
"""Bytes of unknown parameters told of; the answer is to fit into a packet."""


class Handshake:
    """INIT and cookies, both ways, with the timer T1."""

    def __init__(
        self, *, init: Init, random: Callable[[int], bytes], outbox: Outbox, round_trip: RoundTrip
    ) -> None:
        self._init = init
        self._outbox = outbox
        self._round_trip = round_trip
        self._baker = Baker(random)
        self._echo = b""
        self._attempt = 0
        self.has_answered = False
        """Whether the peer's INIT has come, which then leads the way."""
        self.deadline: float | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the peer was asked often enough."""
        return self._attempt > _MAX_ATTEMPTS

    def send_init(self, *, now: float) -> None:
        """Send INIT and wait."""
        self._outbox.send(self._init.encode(), tag=0)
        self._arm(now)

    def answer_init(self, remote: Init, *, now: float) -> None:
        """Answer an INIT with INIT ACK; nothing is remembered of it (RFC 9260 §5.1)."""
        self.has_answered = True
        cookie = self._baker.bake(remote, now=now)
        reports = [
            Parameter(ParameterType.UNRECOGNIZED_PARAMETER, unknown.encode())
            for unknown in self._unknown(remote.parameters)
        ]
        answer = attrs.evolve(
            self._init,
            type=ChunkType.INIT_ACK,
            parameters=(*self._init.parameters, Parameter(ParameterType.STATE_COOKIE, cookie), *reports),
        )
        self._outbox.send(answer.encode(), tag=remote.initiate_tag)

    def echo_cookie(self, remote: Init, *, now: float) -> None:
        """Take an INIT ACK: put COOKIE ECHO at the head of a packet.

        Errors: SctpError when there is no cookie.
        """
        cookie = remote.get(ParameterType.STATE_COOKIE)
        if cookie is None:
            raise SctpError("the peer's INIT ACK has no cookie", code=CauseCode.MISSING_PARAMETER)
        self._echo = encode_chunk(ChunkType.COOKIE_ECHO, cookie)
        self._outbox.add(self._echo)
        reports = encode_parameters(self._unknown(remote.parameters))
        if reports:
            cause = Parameter(CauseCode.UNRECOGNIZED_PARAMETERS, reports)
            error = encode_chunk(ChunkType.ERROR, cause.encode())
            if len(error) <= self._outbox.room:
                self._outbox.add(error)
        self._attempt = 0
        self._arm(now)

    def repeat_echo(self, *, now: float) -> None:
        """Put COOKIE ECHO at the head of a packet once more."""
        self._outbox.add(self._echo)
        self._arm(now)

    def read_cookie(self, data: bytes, *, now: float, is_established: bool) -> Init | None:
        """Return the INIT that a COOKIE ECHO brings back; None, perhaps with an ERROR, when it is refused.

        An old cookie does no harm to an association that it has made (RFC 9260 §5.2.4).
        """
        try:
            cookie = self._baker.read(data)
        except WireError:
            self._outbox.drop(DropReason.BAD_COOKIE)
            return None
        age = now - cookie.baked_at
        if not is_established and age > COOKIE_LIFETIME:
            self._outbox.drop(DropReason.STALE_COOKIE)
            staleness = min(int((age - COOKIE_LIFETIME) * 1e6), 0xFFFF_FFFF)
            cause = Parameter(CauseCode.STALE_COOKIE, staleness.to_bytes(4, "big"))
            self._outbox.send(encode_chunk(ChunkType.ERROR, cause.encode()), tag=cookie.remote.initiate_tag)
            return None
        return cookie.remote

    def expire(self, *, now: float) -> bool:
        """Let time pass; True when T1 has run out and something is to be repeated."""
        if self.deadline is None or now < self.deadline:
            return False
        self._attempt += 1
        return True

    def stop(self) -> None:
        """Be done."""
        self.deadline = None

    def _arm(self, now: float) -> None:
        self.deadline = now + self._round_trip.handshake_timeout(self._attempt)

    def _unknown(self, parameters: Iterable[Parameter]) -> list[Parameter]:
        """Return the unknown parameters that are to be told of (RFC 9260 §3.2.1)."""
        reported: list[Parameter] = []
        room = _MAX_REPORTED
        for parameter in parameters:
            if parameter.type in _KNOWN_PARAMETERS:
                continue
            self._outbox.drop(DropReason.UNKNOWN_PARAMETER)
            length = len(parameter.value) + 4
            if parameter.is_reported and length <= room:
                reported.append(parameter)
                room -= length
            if parameter.stops:
                break
        return reported


def make_init(*, random: Callable[[int], bytes], window: int, streams: int) -> Init:
    """Make our INIT."""
    tag = int.from_bytes(random(4), "big")
    return Init(
        initiate_tag=tag or 1,
        window=window,
        outbound_streams=streams,
        inbound_streams=streams,
        initial_tsn=int.from_bytes(random(4), "big"),
        parameters=(
            Parameter(ParameterType.FORWARD_TSN_SUPPORTED, b""),
            Parameter(
                ParameterType.SUPPORTED_EXTENSIONS, bytes((ChunkType.RECONFIGURATION, ChunkType.FORWARD_TSN))
            ),
        ),
    )
