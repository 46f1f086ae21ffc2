"""Who is let in: a caller's key or client secret in, what it may do out.

Attack: a key is found by timing how long its refusal takes. Construction: what is compared are digests, each
in constant time, and always all of them.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import attrs

from voicegate.access.grant import Grant
from voicegate.access.key import ApiKey
from voicegate.access.secret import SECRET_PREFIX, ClientSecret, ClientSecrets
from voicegate.errors import WireError

__all__ = ["Denial", "Gate"]


class Denial(Enum):
    """Why a caller is not let in."""

    MISSING = "missing"
    """There is no key."""
    UNKNOWN = "unknown"
    """It is none of ours, or not any more."""
    EXPIRED = "expired"
    """A client secret that has ended."""


class Gate:
    """Knows the keys. Without any it is open: whoever can reach it may do everything.

    Args:
        keys: Those that are let in.
        secrets: Of the cluster, for client secrets.
        random: Returns so many random bytes.
    """

    def __init__(
        self, keys: Sequence[ApiKey], *, secrets: Sequence[bytes], random: Callable[[int], bytes]
    ) -> None:
        self._keys = tuple(keys)
        self._secrets = ClientSecrets(secrets, random=random)

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for."""
        return not self._keys

    def check(self, token: str | None, *, now: float) -> Grant | Denial:
        """Return what a caller may do; ``now`` is in Unix seconds.

        An open gate takes every token, since clients of the API cannot do without one.
        """
        if token is not None and token.startswith(SECRET_PREFIX):
            opened = self._check_secret(token, now)
            return Grant() if opened is Denial.UNKNOWN and self.is_open else opened
        if self.is_open:
            return Grant()
        if not token:
            return Denial.MISSING
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        matches = [key for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return matches[0].grant if matches else Denial.UNKNOWN

    def make_secret(
        self, grant: Grant, session: Mapping[str, Any], *, expires_at: int
    ) -> tuple[str, ClientSecret]:
        """Make a client secret with the rights of a grant.

        Errors: SecretTooLargeError.
        """
        return self._secrets.make(key=grant.key, session=session, expires_at=expires_at)

    def _check_secret(self, token: str, now: float) -> Grant | Denial:
        try:
            secret = self._secrets.open(token)
        except WireError:
            return Denial.UNKNOWN
        if secret.expires_at <= now:
            return Denial.EXPIRED
        grants = {key.name: key.grant for key in self._keys} or {"": Grant()}
        if secret.key not in grants:
            return Denial.UNKNOWN
        return attrs.evolve(grants[secret.key], session=secret.session, is_ephemeral=True)
