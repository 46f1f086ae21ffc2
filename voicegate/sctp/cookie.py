"""The state cookie: the peer's INIT, given to the peer to keep until it comes back (RFC 9260 §5.1.3).

f64 when it was baked; the INIT, without what of it is not used; HMAC-SHA-256 over both.
"""

import hmac
from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple

import attrs

from voicegate.errors import WireError
from voicegate.sctp.init import Init
from voicegate.sctp.parameter import Parameter, ParameterType

__all__ = ["Baker", "COOKIE_LIFETIME", "Cookie"]

COOKIE_LIFETIME: Final = 60.0
"""Seconds (RFC 9260 §16)."""
_KEY_LENGTH: Final = 32
_TAG_LENGTH: Final = 32
_TIME: Final = Struct("!d")
_KEPT: Final = (ParameterType.FORWARD_TSN_SUPPORTED, ParameterType.SUPPORTED_EXTENSIONS)
_MAX_KEPT: Final = 32
"""Bytes of a parameter that are kept; there are not half as many extensions to list."""


class Cookie(NamedTuple):
    """What was baked in."""

    baked_at: float
    remote: Init


class Baker:
    """Makes cookies, and knows its own."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._key = random(_KEY_LENGTH)

    def bake(self, remote: Init, *, now: float) -> bytes:
        """Make the cookie for an INIT."""
        parameters = ((kind, remote.get(kind)) for kind in _KEPT)
        kept = tuple(Parameter(kind, value[:_MAX_KEPT]) for kind, value in parameters if value is not None)
        body = _TIME.pack(now) + attrs.evolve(remote, parameters=kept).encode()
        return body + self._tag(body)

    def read(self, data: bytes) -> Cookie:
        """Take a cookie apart; its age is the caller's business.

        Errors: WireError for one that is not ours.
        """
        body, tag = data[:-_TAG_LENGTH], data[-_TAG_LENGTH:]
        if not hmac.compare_digest(self._tag(body), tag):
            raise WireError("a cookie of unknown origin")
        (baked_at,) = _TIME.unpack_from(body)
        return Cookie(baked_at, Init.decode(body[_TIME.size :]))

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")
