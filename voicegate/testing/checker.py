"""The connectivity checks of our test client on one path: those of a full ICE agent that controls.

Layer: core (sans-IO).
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from voicegate.errors import WireError
from voicegate.ice import Credentials, stun
from voicegate.ice.sped import Sped, SpedState

__all__ = ["CHECK_INTERVAL", "KEEPALIVE_INTERVAL", "Checker"]

CHECK_INTERVAL: Final = 0.05
"""Seconds between checks until the first answer, as browsers do."""
KEEPALIVE_INTERVAL: Final = 2.5
"""Seconds between checks afterwards, as libwebrtc does on a stable path."""
_PRIORITY: Final = 0x6E7F00FF
_RECENT: Final = 4
"""Round trips that count: one that a busy machine made long is no news of the path."""
_MAX_UNANSWERED: Final = 16
"""Checks whose answers still measure a round trip."""


class Checker:
    """Checks until there is an answer, nominates, and then keeps the path alive.

    With ``sped``, each check carries what that has to say, until it is off or complete. Without ``nominates``
    the first answer is no reason to nominate: there are other paths, and somebody else who chooses.
    """

    def __init__(
        self,
        *,
        local: Credentials,
        random: Callable[[int], bytes],
        keepalive_interval: float,
        sped: Sped | None,
        nominates: bool = True,
    ) -> None:
        self.is_reached = False
        """Whether a check was answered."""
        self.round_trip = 0.0
        """From the first check to the first answer."""
        self.began_at = 0.0
        self.round_trips: Final = deque[float](maxlen=_RECENT)
        """From check to answer, the latest few."""
        self._local = local
        self._remote: Credentials | None = None
        self._random = random
        self._keepalive_interval = keepalive_interval
        self._sped = sped
        self._nominates = nominates
        self._unanswered: dict[bytes, float] = {}
        self._check_at: float | None = None
        self._transmits: deque[bytes] = deque()

    def start(self, remote: Credentials, *, now: float) -> None:
        """Begin, with what the answer says."""
        self._remote = remote
        self.began_at = self._check_at = now

    def stop(self) -> None:
        """Check no more."""
        self._check_at = None

    def handle_datagram(self, data: bytes, *, now: float) -> bytes | None:
        """Take an answer; return the DTLS datagram in it. All that is no authentic success is passed over."""
        if self._remote is None:
            return None
        try:
            message = stun.Message.decode(data)
        except WireError:
            return None
        if message.message_class is not stun.MessageClass.SUCCESS or not message.has_valid_integrity(
            self._remote.pwd.encode()
        ):
            return None
        embedded = self._sped.handle_message(message) if self._sped is not None else None
        if (sent_at := self._unanswered.pop(message.transaction_id, None)) is not None:
            self.round_trips.append(now - sent_at)
        if not self.is_reached:
            self.is_reached = True
            self.round_trip = now - self.began_at
            self._check_at = now + self._keepalive_interval
            if self._nominates:
                self.check(nominates=True, now=now)
        return embedded

    def check(self, *, nominates: bool, now: float) -> None:
        """Check at once, besides all that is due anyway; without effect before the answer is known."""
        if self._remote is not None:
            self._check(self._remote, nominates=nominates, now=now)

    def handle_timeout(self, *, now: float) -> None:
        """Check, if it is time."""
        if self._remote is not None and self._check_at is not None and now >= self._check_at:
            self._check(self._remote, nominates=False, now=now)
            self._check_at = now + (self._keepalive_interval if self.is_reached else CHECK_INTERVAL)

    def poll_transmit(self) -> bytes | None:
        """Return the next check."""
        return self._transmits.popleft() if self._transmits else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        return self._check_at

    def _check(self, remote: Credentials, *, nominates: bool, now: float) -> None:
        sped = self._sped
        is_embedding = sped is not None and sped.state in {SpedState.TENTATIVE, SpedState.CONFIRMED}
        transaction_id = self._random(12)
        self._unanswered[transaction_id] = now
        if len(self._unanswered) > _MAX_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        self._transmits.append(
            stun.binding_request(
                transaction_id=transaction_id,
                username=f"{remote.ufrag}:{self._local.ufrag}",
                key=remote.pwd.encode(),
                priority=_PRIORITY,
                ice_controlling=1,
                has_use_candidate=nominates,
                extra=sped.next_attributes() if sped is not None and is_embedding else (),
            )
        )
