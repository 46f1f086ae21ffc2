"""ICE credentials that carry their route, so that a relay with an empty memory can place the first packet.

Attack: somebody invents, guesses or alters a ufrag to reach a transceiver, fill a relay's flow table, or
learn where sessions live. Wanted: a ufrag that tells nothing to whoever holds it, can't be made or altered
without the key, and a password that every relay can derive from the ufrag alone, yet nobody else.
Construction: the ufrag is the AES-SIV (RFC 5297) of a route, which is authenticated and deterministic and
needs no nonce; the password is an HMAC of the ufrag under a separate key.

Token, 14 bytes: u8 version, u8 generation (ICE restarts), u32 transceiver id, 8 bytes session id.

The secrets are given, never made here. Left out: expiry. A route lives as long as its session and is refused
by the transceiver afterwards.
"""

import hmac
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Sequence
from struct import Struct
from typing import Final, NamedTuple

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voicegate.errors import UsageError

__all__ = ["Keyring", "Credentials", "OpenedUfrag", "Route"]

MIN_SECRET_LENGTH: Final = 16
"""A shorter cluster secret could be found by trying: every ufrag is a chance to test a guess offline."""
MAX_SECRETS: Final = 2
"""The current and the previous one: keys rotate under live calls, one step at a time."""
UFRAG_LENGTH: Final = 48
PWD_LENGTH: Final = 32

OPENED_LIMIT: Final = 16_384
"""Opened ufrags kept, so that a call's checks, one every few seconds, cost AES and HMAC once: several for
each call that a core can carry, in 8 MB. Forged ones open to nothing and displace nobody."""

_TOKEN: Final = Struct("!BBI8s")
_VERSION: Final = 1
_CLUSTER_SHIFT: Final = 20
_SESSION_ID_LENGTH: Final = 8
_SEALED_LENGTH: Final = 16 + _TOKEN.size
_PWD_DIGEST_LENGTH: Final = PWD_LENGTH * 5 // 8
_SIV_KEY_LENGTH: Final = 64
_PWD_KEY_LENGTH: Final = 32

# int(text, 32) reads the digits 0-9a-v; base32 (RFC 4648 §6) writes the same values as a-z2-7. Whatever else
# a stranger may send, int() would partly take too (signs, underscores, capitals), so all of it becomes one
# bad sign.
_BAD_DIGIT: Final = b"!"
_DIGITS: Final = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz234567", b"0123456789abcdefghijklmnopqrstuv")
_FROM_BASE32: Final = bytes(
    _DIGITS[byte] if byte in b"abcdefghijklmnopqrstuvwxyz234567" else _BAD_DIGIT[0] for byte in range(256)
)


class Route(NamedTuple):
    """What a ufrag says to those who can open it."""

    transceiver_id: int
    """32 bits, the cluster in the high 12."""
    session_id: bytes
    """8 bytes."""
    generation: int = 0
    """How many ICE restarts the session has had, modulo 256."""

    @property
    def cluster(self) -> int:
        """The cluster that the transceiver belongs to, 12 bits."""
        return self.transceiver_id >> _CLUSTER_SHIFT


@attrs.frozen(kw_only=True)
class Credentials:
    """The ufrag and password of one side of one ICE session (RFC 8445 §5.3)."""

    ufrag: str
    pwd: str = attrs.field(repr=False)


class OpenedUfrag(NamedTuple):
    """A ufrag that was ours."""

    route: Route
    pwd: str


class _Keys(NamedTuple):
    """What one cluster secret gives."""

    siv: AESSIV
    pwd: bytes


class Keyring:
    """The cluster's secrets: the first mints, all of them open.

    Raises:
        UsageError: For no secret, more than two, or one shorter than 16 bytes.
    """

    __slots__ = ("_keys", "_opened")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise UsageError(f"a keyring holds one or two secrets, not {len(secrets)}")
        if min(map(len, secrets)) < MIN_SECRET_LENGTH:
            raise UsageError(f"a cluster secret has at least {MIN_SECRET_LENGTH} bytes")
        self._keys = tuple(
            _Keys(
                siv=AESSIV(_derive(secret, b"voicegate ice ufrag v1", _SIV_KEY_LENGTH)),
                pwd=_derive(secret, b"voicegate ice pwd v1", _PWD_KEY_LENGTH),
            )
            for secret in secrets
        )
        self._opened: OrderedDict[str, OpenedUfrag] = OrderedDict()

    def mint(self, route: Route) -> Credentials:
        """Make the credentials of a route, always the same ones.

        Errors: UsageError for a field out of range.
        """
        if len(route.session_id) != _SESSION_ID_LENGTH:
            raise UsageError(f"a session id of {len(route.session_id)} bytes")
        if not (0 <= route.transceiver_id <= 0xFFFF_FFFF and 0 <= route.generation <= 0xFF):
            raise UsageError(f"route out of range: {route}")
        token = _TOKEN.pack(_VERSION, route.generation, route.transceiver_id, route.session_id)
        keys = self._keys[0]
        ufrag = _base32(keys.siv.encrypt(token, None))
        return Credentials(ufrag=ufrag, pwd=_password(keys, ufrag))

    def open(self, ufrag: str) -> OpenedUfrag | None:
        """Return the route and password of a ufrag that this cluster minted, None for anything else."""
        opened = self._opened.get(ufrag)
        if opened is None and (opened := self._decrypt(ufrag)) is not None:
            if len(self._opened) >= OPENED_LIMIT:
                self._opened.popitem(last=False)
            self._opened[ufrag] = opened
        return opened

    def _decrypt(self, ufrag: str) -> OpenedUfrag | None:
        if len(ufrag) != UFRAG_LENGTH or not ufrag.isascii():
            return None
        digits = ufrag.encode("ascii").translate(_FROM_BASE32)
        if _BAD_DIGIT in digits:
            return None
        sealed = int(digits, 32).to_bytes(_SEALED_LENGTH, "big")
        for keys in self._keys:
            try:
                token = keys.siv.decrypt(sealed, None)
            except InvalidTag:
                continue
            version, generation, transceiver_id, session_id = _TOKEN.unpack(token)
            if version != _VERSION:
                return None
            return OpenedUfrag(Route(transceiver_id, session_id, generation), _password(keys, ufrag))
        return None


def _derive(secret: bytes, label: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=label).derive(secret)


def _password(keys: _Keys, ufrag: str) -> str:
    return _base32(hmac.digest(keys.pwd, ufrag.encode("ascii"), "sha256")[:_PWD_DIGEST_LENGTH])


def _base32(data: bytes) -> str:
    """Write a multiple of five bytes in lower case, free of the ``/`` and ``+`` that some stacks refuse."""
    return b32encode(data).decode("ascii").lower()
