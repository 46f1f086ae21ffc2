"""API keys as an operator lists them: hashed, so that who reads the configuration cannot use them.

A key is 32 random bytes, so its plain SHA-256 cannot be turned back by trying; slow hashes are for what
people make up.
"""

import hashlib
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import attrs
from attrs.validators import and_, ge, gt, instance_of, matches_re, min_len, optional

from voicegate.access.grant import Grant
from voicegate.errors import UsageError

__all__ = ["ApiKey", "hash_key", "new_key"]

KEY_PREFIX: Final = "vg_"
"""What our keys begin with, so that scanners for leaked keys can know them."""

MIN_KEY_LENGTH: Final = 16
"""Characters of a key given in plain; a shorter one could be found by trying."""

_KEY_BYTES: Final = 32
_SECONDS_PER_MINUTE: Final = 60


@attrs.frozen(kw_only=True)
class ApiKey:
    """A key that is let in, and what it may do."""

    name: str = attrs.field(validator=and_(instance_of(str), min_len(1)))
    """For people: in logs and sessions, and to count its calls by."""
    hash: str = attrs.field(
        validator=and_(instance_of(str), matches_re(r"sha256:[0-9a-f]{64}", re.ASCII)), repr=False
    )
    """``sha256:`` and 64 digits, as `hash_key` makes it."""
    calls: int | None = attrs.field(default=None, validator=optional(and_(instance_of(int), ge(1))))
    """Calls at once."""
    minutes: float | None = attrs.field(
        default=None, validator=optional(and_(instance_of((int, float)), gt(0)))
    )
    """The longest call."""
    agent: str | None = attrs.field(default=None, validator=optional(instance_of(str)))
    """The agent that answers its calls, whatever model a client names."""

    @classmethod
    def of(cls, value: "ApiKey | Mapping[str, Any]") -> Self:
        """Read a table of a configuration.

        Errors: UsageError naming what is wrong.
        """
        if isinstance(value, cls):
            return value
        known = [field.name for field in attrs.fields(cls)]
        if not isinstance(value, Mapping) or not {"name", "hash"} <= set(value) <= set(known):
            raise UsageError(f"keys: each is a table of {', '.join(known)}; name and hash are needed")
        try:
            return cls(**value)
        except (TypeError, ValueError) as error:
            # What the hash is meant to be says more than the pattern that it does not match.
            cause = "hash is what `voicegate key new` prints" if "sha256" in str(error) else error.args[0]
            raise UsageError(f"keys: {value['name']!r}: {cause}") from error

    @classmethod
    def of_plain(cls, key: str, *, name: str) -> Self:
        """Take a key that is given as it is.

        Errors: UsageError when it could be guessed; it does not repeat the key.
        """
        if len(key) < MIN_KEY_LENGTH:
            raise UsageError(f"keys: {name} is shorter than {MIN_KEY_LENGTH} characters")
        return cls(name=name, hash=hash_key(key))

    @property
    def digest(self) -> bytes:
        """The hash, as bytes to compare with."""
        return bytes.fromhex(self.hash.partition(":")[2])

    @property
    def grant(self) -> Grant:
        """What it allows."""
        return Grant(
            key=self.name,
            agent=self.agent,
            max_calls=self.calls,
            max_seconds=None if self.minutes is None else self.minutes * _SECONDS_PER_MINUTE,
        )


def hash_key(key: str) -> str:
    """Return what stands in a configuration for a key."""
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def new_key(random: Callable[[int], bytes]) -> str:
    """Make up a key."""
    return KEY_PREFIX + urlsafe_b64encode(random(_KEY_BYTES)).decode().rstrip("=")
