"""Client secrets: what a browser gets instead of a key; they carry a session, and an end.

Attack: somebody makes one up, changes one, or uses it for ever. Wanted: only this cluster can make them, any
of its workers can read them without asking another, they end, and nobody reads what is in them, which may be
instructions that are a trade secret. Construction: ``ek_`` and the AES-SIV (RFC 5297) of compressed JSON,
under a key that HKDF (RFC 5869) makes of the cluster secret; the JSON names the key that asked for it, and is
worth nothing once the operator removes that key. To revoke single ones before their time, keep a list of
their session ids where `ClientSecrets.open` returns: that is the only place.
"""

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voicegate.errors import UsageError, WireError

__all__ = ["ClientSecret", "ClientSecrets", "SecretTooLargeError"]

SECRET_PREFIX: Final = "ek_"  # noqa: S105 - what anybody may know
"""Without it, openai-agents-js refuses to send one from a browser."""
MIN_SECONDS: Final = 10
MAX_SECONDS: Final = 7200
DEFAULT_SECONDS: Final = 600
MAX_SECRET: Final = 8192
"""Characters of one: it travels in a header, of which servers and proxies take 8 to 16 KiB."""
MAX_SESSION: Final = 64 * 1024
"""Bytes of the JSON in it; what is compressed so well is no session."""

_CONTEXT: Final = b"voicegate client secret 1"
_KEY_LENGTH: Final = 64
_ID_BYTES: Final = 16


class SecretTooLargeError(UsageError):
    """The session does not fit into a client secret."""


@attrs.frozen(kw_only=True)
class ClientSecret:
    """What a client secret says."""

    key: str
    """The name of the key that asked for it."""
    session_id: str
    """``sess_`` and letters, its own."""
    session: Mapping[str, Any]
    """The session, as it was asked for."""
    expires_at: int
    """When it is worth nothing any more, in Unix seconds; what was begun with it may go on."""


class ClientSecrets:
    """Makes and reads client secrets.

    Args:
        secrets: Of the cluster: the first one makes, all read.
        random: Returns so many random bytes.
    """

    def __init__(self, secrets: Sequence[bytes], *, random: Callable[[int], bytes]) -> None:
        self._ciphers = [AESSIV(_derive(secret)) for secret in secrets]
        self._random = random

    def make(self, *, key: str, session: Mapping[str, Any], expires_at: int) -> tuple[str, ClientSecret]:
        """Make one; returns it as the client sends it, and as `open` will.

        Errors: SecretTooLargeError.
        """
        secret = ClientSecret(
            key=key,
            session_id=f"sess_{self._random(_ID_BYTES).hex()}",
            session=session,
            expires_at=expires_at,
        )
        text = json.dumps(attrs.asdict(secret, recurse=False), separators=(",", ":")).encode()
        sealed = self._ciphers[0].encrypt(zlib.compress(text, 9), [_CONTEXT])
        value = SECRET_PREFIX + urlsafe_b64encode(sealed).decode().rstrip("=")
        if len(text) > MAX_SESSION or len(value) > MAX_SECRET:
            raise SecretTooLargeError(
                f"the session is too large for a client secret, which has up to {MAX_SECRET} characters"
            )
        return value, secret

    def open(self, value: str) -> ClientSecret:
        """Read one, whether it has ended or not.

        Errors: WireError when it is none of ours.
        """
        if not value.startswith(SECRET_PREFIX) or len(value) > MAX_SECRET or not value.isascii():
            raise WireError("no client secret")
        digits = value.removeprefix(SECRET_PREFIX)
        try:
            sealed = urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        except ValueError as error:
            raise WireError("a client secret in wrong letters") from error
        for cipher in self._ciphers:
            try:
                packed = cipher.decrypt(sealed, [_CONTEXT])
            except (InvalidTag, ValueError):
                continue
            # From here on it is our own hand.
            return ClientSecret(**json.loads(zlib.decompress(packed)))
        raise WireError("a client secret that this cluster did not make")


def _derive(secret: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_LENGTH, salt=None, info=_CONTEXT).derive(secret)
