"""The lite side of ICE for one call: answers checks, knows the client's paths, says which one media takes.

1. client -> us: Binding Request from any address: username, integrity, perhaps USE-CANDIDATE
2. us -> client: Binding success with the address we saw; from here on the path is validated
3. client -> us: DTLS, later SRTP, on a validated path; the first that authenticates confirms it

Where SPED was negotiated, DTLS may come in 1 and go in 2 already.

We never send a request (RFC 8445 §2.5), need no candidates of the client, and are always controlled. Of the
client's paths only the addresses that its checks came from are known: all are peer-reflexive.

Attack: somebody who sees a check copies it and sends it again from another address, to draw the media there
or to throw it away. Wanted: media leaves a working path only because the client itself moved. Construction: a
check validates a path and may nominate it, yet once anything authenticated by DTLS or SRTP has arrived, only
a further packet of that kind moves media, and only to the path it came on. So a copied check changes nothing,
and neither does one sent in the name of an address that the client once had.

Drain rule: one ``handle_*`` or command, then `poll_event` and `poll_transmit`, each to None, and
`poll_timeout`. An answer is put together when it is polled, so that with SPED it can carry what DTLS said to
the datagram in its check.

What is assumed and what is left out stands in ``docs/ice.md``.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.ice.credentials import Credentials
from voicegate.ice.sped import Sped, SpedState
from voicegate.ice.stun import (
    BINDING,
    AttributeType,
    ErrorCode,
    Message,
    MessageClass,
    binding_error,
    binding_success,
)
from voicegate.wire import Path, Transmit

__all__ = [
    "IceLiteAgent",
    "ConsentExpired",
    "EmbeddedDatagram",
    "Event",
    "IceStatistics",
    "PathClosed",
    "PathSelected",
    "PathValidated",
    "Refusal",
]

CONSENT_SECONDS: Final = 30.0
"""How long a check permits us to send to where it came from (RFC 7675 §5.1)."""
SILENCE_SECONDS: Final = 0.25
"""How long the selected path has to be without media before one that was not nominated later takes over.

Longer than packets overtake each other between two networks, shorter than anybody waits before saying
"hello?"."""
MAX_PATHS: Final = 8
"""Two networks, two IP versions, UDP and TCP; a client with more, as with two relays, keeps the ones it
checked last."""

_NEVER: Final = float("-inf")


class Refusal(StrEnum):
    """Why a datagram was not taken as a check."""

    MALFORMED = "malformed"
    INDICATION = "indication"
    """A keepalive (RFC 8445 §11): harmless, but without proof of anything."""
    RESPONSE = "response"
    """We never ask."""
    UNKNOWN_METHOD = "unknown_method"
    BAD_FINGERPRINT = "bad_fingerprint"
    """Also none at all (RFC 8445 §7.2.4 demands one)."""
    NO_CREDENTIALS = "no_credentials"
    """USERNAME or MESSAGE-INTEGRITY is missing."""
    UNKNOWN_UFRAG = "unknown_ufrag"
    """Not ours, or from before an ICE restart."""
    WRONG_PEER_UFRAG = "wrong_peer_ufrag"
    """Ours, but not from the client whose offer we answered."""
    BAD_INTEGRITY = "bad_integrity"
    UNKNOWN_ATTRIBUTE = "unknown_attribute"
    """Answered with error 420."""
    ROLE_CONFLICT = "role_conflict"
    """Answered with error 487."""


@attrs.frozen(kw_only=True)
class PathValidated:
    """A first good check came from there: DTLS and SRTP may now be taken from it."""

    path: Path


@attrs.frozen(kw_only=True)
class PathSelected:
    """Media now goes there."""

    path: Path
    previous: Path | None
    """Where it went before; None the first time and when that path was closed meanwhile."""


@attrs.frozen(kw_only=True)
class PathClosed:
    """No check came from there for `CONSENT_SECONDS`, or too many other paths are newer."""

    path: Path


@attrs.frozen(kw_only=True)
class ConsentExpired:
    """No check came from anywhere for `CONSENT_SECONDS` (RFC 7675 §5.1): the client is gone or never came."""


@attrs.frozen(kw_only=True)
class EmbeddedDatagram:
    """A DTLS datagram came inside a check: to be taken as if it had come by itself.

    The client repeats it until it is acknowledged; it comes as an event again only when our answer carries
    nothing of the flight that replies to it.
    """

    path: Path
    data: bytes = attrs.field(repr=False)


Event: TypeAlias = PathValidated | PathSelected | PathClosed | ConsentExpired | EmbeddedDatagram


@attrs.frozen(kw_only=True)
class IceStatistics:
    """What an agent has done since it was made."""

    checks_answered: int
    """With success."""
    refused: Mapping[Refusal, int]
    paths: int
    """Validated now."""
    embedded_in: int = 0
    """DTLS datagrams in checks, repetitions included."""
    embedded_out: int = 0
    """DTLS datagrams in answers, likewise."""
    embedded_refused: int = 0
    """What came in checks as DTLS and can't be."""


@attrs.frozen(kw_only=True)
class _Generation:
    """The credentials between two ICE restarts."""

    number: int
    local: Credentials
    remote_ufrag: str
    remote_pwd: str = attrs.field(repr=False)
    """Unused while we never ask; part of what a call has to take along when it moves."""

    @property
    def key(self) -> bytes:
        """What checks and their answers are signed with (RFC 8445 §7.2.2)."""
        return self.local.pwd.encode("ascii")


@attrs.define(kw_only=True)
class _PathState:
    """A validated path; times in seconds."""

    path: Path
    generation: int
    validated_at: float
    checked_at: float
    nominated_at: float = _NEVER
    """Of the latest check with USE-CANDIDATE."""
    confirmed_at: float = _NEVER
    """Of the latest packet that DTLS or SRTP authenticated."""
    is_timed: bool = False
    """Whether the round trip was measured here."""

    @property
    def rank(self) -> tuple[int, float, bool, float]:
        """What decides while there is no media yet: TCP comes later, and is what clients take last."""
        return self.generation, self.nominated_at, not self.path.is_stream, self.validated_at


class _Answer(NamedTuple):
    """What a check gets; an error where ``error`` says which."""

    request: Message
    path: Path
    key: bytes
    error: ErrorCode | None


class IceLiteAgent:
    """ICE for one call; the constructor starts the consent clock.

    Args:
        local: What our answer says.
        remote_ufrag: From the client's offer.
        remote_pwd: From the client's offer.
        now: Seconds on the clock that all methods use.
        is_sped: Whether offer and answer agreed on SPED; otherwise DTLS in checks is passed over.
    """

    def __init__(
        self, *, local: Credentials, remote_ufrag: str, remote_pwd: str, now: float, is_sped: bool = False
    ) -> None:
        self._current = _Generation(number=0, local=local, remote_ufrag=remote_ufrag, remote_pwd=remote_pwd)
        self._next: _Generation | None = None
        # In the order of their latest checks: the first is the next to expire.
        self._paths: dict[Path, _PathState] = {}
        self._selected: _PathState | None = None
        self.selected_path: Path | None = None
        """Where media goes."""
        self._has_authenticated = False
        self._consent_until: float | None = now + CONSENT_SECONDS
        self._round_trip: float | None = None
        self._sped = Sped() if is_sped else None
        self._answers: deque[_Answer] = deque()
        self._events: deque[Event] = deque()
        self._checks_answered = 0
        self._refused: Counter[Refusal] = Counter()

    # Input

    def handle_datagram(self, data: bytes, *, path: Path, now: float) -> None:
        """Take a datagram that `classify` calls STUN. Only an authenticated check is ever answered."""
        try:
            request = Message.decode(data)
        except WireError:
            self._refused[Refusal.MALFORMED] += 1
            return
        generation = self._authenticate(request)
        if isinstance(generation, Refusal):
            self._refused[generation] += 1
            return
        error = None
        if request.unknown_required:
            self._refused[Refusal.UNKNOWN_ATTRIBUTE] += 1
            error = ErrorCode.UNKNOWN_ATTRIBUTE
        elif request.get(AttributeType.ICE_CONTROLLED) is not None:
            # A lite agent facing a full one is controlled (RFC 8445 §6.1.1), whatever the tiebreakers say. We
            # answer as if ours were the lower, so the client changes its role (RFC 8445 §7.2.5.1).
            self._refused[Refusal.ROLE_CONFLICT] += 1
            error = ErrorCode.ROLE_CONFLICT
        else:
            self._checks_answered += 1
            self._note_check(path, generation, is_nomination=request.has_use_candidate, now=now)
            if self._sped is not None and (embedded := self._sped.handle_message(request)) is not None:
                self._events.append(EmbeddedDatagram(path=path, data=embedded))
        self._answers.append(_Answer(request, path, generation.key, error))

    def handle_timeout(self, *, now: float) -> None:
        """Close the paths whose consent ran out."""
        for state in list(self._paths.values()):
            if now < state.checked_at + CONSENT_SECONDS:
                break
            self._close_path(state)
        if self._consent_until is not None and now >= self._consent_until:
            self._consent_until = None
            self._events.append(ConsentExpired())

    def confirm_path(self, path: Path, *, now: float) -> bool:
        """Note that a packet from ``path`` was authenticated by DTLS or SRTP, and was no replay.

        Returns whether media moved there. Costs next to nothing on the selected path.
        """
        selected = self._selected
        if selected is not None and (path is selected.path or path == selected.path):
            selected.confirmed_at = now
            self._has_authenticated = True
            return False
        state = self._paths.get(path)
        if state is None:
            return False
        self._has_authenticated = True
        state.confirmed_at = now
        if selected is not None and not _supersedes(state, selected, now):
            return False
        self._select(state)
        return True

    def note_datagram(self, path: Path, *, now: float) -> None:
        """Note that a DTLS datagram came by itself, for `round_trip`."""
        state = self._paths.get(path)
        # Later a path may be new to us while the client goes on sending there, answer or not.
        if state is None or state.is_timed or self._has_authenticated:
            return
        state.is_timed = True
        sample = now - state.validated_at
        self._round_trip = sample if self._round_trip is None else min(sample, self._round_trip)

    def embed(self, datagrams: Sequence[bytes]) -> None:
        """Say which DTLS datagrams answers are to carry: the flight as last sent, () once it is answered.

        What the client has acknowledged of it is left out, and what is longer than `MAX_EMBEDDED_LENGTH`.
        """
        if self._sped is not None:
            self._sped.embed(datagrams)

    def note_dtls(self, data: bytes) -> None:
        """Note a DTLS datagram of the handshake that came by itself, for SPED to acknowledge."""
        if self._sped is not None:
            self._sped.note_datagram(data)

    def end_sped(self) -> None:
        """Embed nothing any more: our handshake is done, or we don't want to."""
        if self._sped is not None:
            self._sped.end()

    def restart(self, *, local: Credentials, remote_ufrag: str, remote_pwd: str, now: float) -> None:
        """Begin an ICE restart (RFC 8445 §9): new credentials count at once, the old ones until media moves.

        The restart itself shows that the client is alive, so it gets the full time for its first check.

        Errors: UsageError when ``local`` is not new.
        """
        newest = self._next or self._current
        if local.ufrag in (self._current.local.ufrag, newest.local.ufrag):
            raise UsageError("an ICE restart needs a new ufrag")
        self._next = _Generation(
            number=newest.number + 1, local=local, remote_ufrag=remote_ufrag, remote_pwd=remote_pwd
        )
        self._consent_until = now + CONSENT_SECONDS

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        return self._encode(self._answers.popleft()) if self._answers else None

    def poll_event(self) -> Event | None:
        """Return what happened next."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` wants to be called."""
        for state in self._paths.values():
            return state.checked_at + CONSENT_SECONDS
        return self._consent_until

    def is_validated(self, path: Path) -> bool:
        """Whether a check authenticated this path: nothing else may be taken from any other."""
        return path in self._paths

    @property
    def local(self) -> Credentials:
        """What the client's checks are to be signed with: ours since the last restart."""
        return (self._next or self._current).local

    @property
    def remote(self) -> Credentials:
        """The client's own since the last restart."""
        newest = self._next or self._current
        return Credentials(ufrag=newest.remote_ufrag, pwd=newest.remote_pwd)

    @property
    def ufrags(self) -> tuple[str, ...]:
        """Ours that a check may name: two while a restart is going on."""
        return tuple(each.local.ufrag for each in (self._current, self._next) if each is not None)

    @property
    def is_sped_active(self) -> bool:
        """Whether the client uses SPED, and we still do."""
        return self._sped is not None and self._sped.state is SpedState.CONFIRMED

    @property
    def round_trip(self) -> float | None:
        """An upper bound of the round trip to the client in seconds, the smallest seen; None without any.

        A lite agent can't measure. But a client sends DTLS on a path only after our first answer there, and
        browsers do so at once, so the first DTLS datagram on a path is one round trip, and a little, behind
        that answer.
        """
        return self._round_trip

    def statistics(self) -> IceStatistics:
        """Return the counts."""
        sped = self._sped
        return IceStatistics(
            checks_answered=self._checks_answered,
            refused=dict(self._refused),
            paths=len(self._paths),
            embedded_in=sped.received if sped is not None else 0,
            embedded_out=sped.sent if sped is not None else 0,
            embedded_refused=sped.refused if sped is not None else 0,
        )

    # Internals

    def _authenticate(self, request: Message) -> _Generation | Refusal:
        """Return whose check it is (RFC 8489 §9.1.3, RFC 8445 §7.3)."""
        if request.message_class is not MessageClass.REQUEST:
            is_indication = request.message_class is MessageClass.INDICATION
            return Refusal.INDICATION if is_indication else Refusal.RESPONSE
        if request.method != BINDING:
            return Refusal.UNKNOWN_METHOD
        if not request.has_valid_fingerprint:
            return Refusal.BAD_FINGERPRINT
        username = request.username
        if username is None or request.get(AttributeType.MESSAGE_INTEGRITY) is None:
            # Against RFC 8489 §9.1.3, which wants a 400: who hasn't proved anything gets no answer.
            return Refusal.NO_CREDENTIALS
        local_ufrag, _colon, remote_ufrag = username.partition(":")
        for generation in (self._current, self._next):
            if generation is not None and generation.local.ufrag == local_ufrag:
                break
        else:
            return Refusal.UNKNOWN_UFRAG
        # Stricter than RFC 8445 §7.3, which looks at the first half only: we have the offer before any check.
        if remote_ufrag != generation.remote_ufrag:
            return Refusal.WRONG_PEER_UFRAG
        return generation if request.has_valid_integrity(generation.key) else Refusal.BAD_INTEGRITY

    def _encode(self, answer: _Answer) -> Transmit:
        request, path, key, error = answer
        if error is not None:
            unknown = request.unknown_required
            return Transmit(binding_error(request, code=error, key=key, unknown=unknown), path)
        extra = self._sped.answer(request) if self._sped is not None else ()
        return Transmit(binding_success(request, host=path.host, port=path.port, key=key, extra=extra), path)

    def _note_check(self, path: Path, generation: _Generation, *, is_nomination: bool, now: float) -> None:
        state = self._paths.pop(path, None)
        if state is None:
            self._make_room()
            state = _PathState(path=path, generation=generation.number, validated_at=now, checked_at=now)
            self._events.append(PathValidated(path=path))
        elif generation.number > state.generation:
            # A restart flushes what was nominated before it (RFC 8445 §9).
            state.generation = generation.number
            state.nominated_at = _NEVER
            self._retire_credentials()
        self._paths[path] = state
        state.checked_at = now
        if is_nomination:
            state.nominated_at = now
        self._consent_until = now + CONSENT_SECONDS
        if not self._has_authenticated and (self._selected is None or state.rank > self._selected.rank):
            self._select(state)

    def _select(self, state: _PathState) -> None:
        self._events.append(PathSelected(path=state.path, previous=self.selected_path))
        self._selected, self.selected_path = state, state.path
        self._retire_credentials()

    def _retire_credentials(self) -> None:
        """Forget the credentials from before a restart once media takes a path of the new ones."""
        selected = self._selected
        if self._next is not None and selected is not None and selected.generation == self._next.number:
            self._current, self._next = self._next, None

    def _make_room(self) -> None:
        if len(self._paths) >= MAX_PATHS:
            self._close_path(next(state for state in self._paths.values() if state is not self._selected))

    def _close_path(self, state: _PathState) -> None:
        del self._paths[state.path]
        self._events.append(PathClosed(path=state.path))
        if state is self._selected:
            self._selected = self.selected_path = None
            # With media flowing, the next packet of the client shows where it is; nothing is sent on
            # suspicion.
            if self._paths and not self._has_authenticated:
                self._select(max(self._paths.values(), key=lambda other: other.rank))


def _supersedes(state: _PathState, selected: _PathState, now: float) -> bool:
    """Tell whether an authenticated packet on ``state`` takes the media away from ``selected``.

    Packets of the path that the client has just left still arrive for a while and must not pull it back. So
    the new path has to be what the client wants now: of a later ICE restart, or nominated later. Or the
    client doesn't know that it moved, as when a NAT gives it another address, and Firefox nominates only
    once: then the checks come from the new path, and media has stopped on the old one.
    """
    if selected.confirmed_at == _NEVER:
        return True
    if state.generation != selected.generation:
        return state.generation > selected.generation
    if state.nominated_at > selected.nominated_at:
        return True
    return state.checked_at > selected.checked_at and now - selected.confirmed_at >= SILENCE_SECONDS
