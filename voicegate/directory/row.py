"""What the rows of a shared directory say, and the seal that shows who wrote them.

Attack: whoever can write to the store sends media elsewhere, by a lease or a flow row made by hand, or by one
of another cluster. Wanted: a row counts only if a member of this cluster wrote it, for the very key it is
found under. Construction: each row has a MAC over its key and its content, under a key that HKDF (RFC 5869)
makes of the cluster secret. Left out: an old row put back under its own key, and the deletion of rows. Both
cost no more than a row that was lost: its writer renews it within seconds.

A lease::

     0  u8 format, 1
     1  8 bytes: who wrote it, a number that each process makes up
     9  8 bytes: the mark; rows of one mark say the same, but for load and time
    17  16 bytes: the MAC
    33  JSON; what it has more than is known here is skipped, so that later versions can add to it

A flow row is a MAC of 8 bytes, for there are many, and the transceiver id in 4.
"""

import hmac
import ipaddress
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import Struct
from typing import Any, Final, Self

import attrs
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voicegate.directory.base import Address, RelayLease, TransceiverLease
from voicegate.errors import WireError

__all__ = [
    "MAX_ADDRESSES",
    "MAX_NAME",
    "MAX_ROW",
    "OWNER_LENGTH",
    "LeaseRow",
    "RelayText",
    "Seal",
    "SealError",
    "TransceiverText",
    "is_name",
]

MAX_ROW: Final = 4096
"""Bytes of a lease; one with the most addresses and the longest names has less."""

MAX_ADDRESSES: Final = 16
"""Of each kind that a relay may announce; answers name three relays."""

MAX_NAME: Final = 253
"""Characters of the name of a relay or a region: as long as a host name can be."""

OWNER_LENGTH: Final = 8

_FORMAT: Final = 1
_MAC_LENGTH: Final = 16
_HEAD: Final = Struct(f"!B{OWNER_LENGTH}s8s{_MAC_LENGTH}s")
_FLOW: Final = Struct("!8sI")
_FLOW_MAC_LENGTH: Final = 8
_CONTEXT: Final = b"voicegate directory row 1"
_MAX_NUMBER: Final = 2**53
"""What each JSON library can count to."""


class SealError(WireError):
    """The row was written by another cluster, with a secret that is no longer valid, or by hand."""


@attrs.frozen(kw_only=True)
class LeaseRow:
    """A lease as it is stored, opened."""

    owner: bytes
    """Which process wrote it."""
    mark: bytes
    text: bytes
    """Its JSON."""


def is_name(text: str) -> bool:
    """Tell whether a relay or a region may be called so."""
    return 0 < len(text) <= MAX_NAME and text.isprintable()


class Seal:
    """Makes and checks rows.

    Args:
        secrets: Of the cluster: the first one makes, all check.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [
            HKDF(algorithm=SHA256(), length=32, salt=None, info=_CONTEXT).derive(secret) for secret in secrets
        ]

    def encode_lease(self, key: bytes, row: LeaseRow) -> bytes:
        """Return what to store under a key."""
        mac = _lease_mac(self._keys[0], key, row)
        return _HEAD.pack(_FORMAT, row.owner, row.mark, mac) + row.text

    def decode_lease(self, key: bytes, data: bytes) -> LeaseRow:
        """Open what was stored under a key.

        Errors: SealError when nobody of this cluster wrote it there; WireError when it is no row at all.
        """
        if not _HEAD.size <= len(data) <= MAX_ROW:
            raise WireError(f"a lease of {len(data)} bytes")
        format_, owner, mark, mac = _HEAD.unpack_from(data)
        if format_ != _FORMAT:
            raise WireError(f"a lease of format {format_}")
        row = LeaseRow(owner=owner, mark=mark, text=data[_HEAD.size :])
        if not any(hmac.compare_digest(mac, _lease_mac(each, key, row)) for each in self._keys):
            raise SealError("a lease that nobody of this cluster wrote")
        return row

    def encode_flow(self, key: bytes, transceiver_id: int) -> bytes:
        """Return what to store under the key of a flow."""
        return _FLOW.pack(_flow_mac(self._keys[0], key, transceiver_id), transceiver_id)

    def decode_flow(self, key: bytes, data: bytes) -> int:
        """Return the transceiver id that was stored under the key of a flow.

        Errors: as for leases.
        """
        if len(data) != _FLOW.size:
            raise WireError(f"a flow row of {len(data)} bytes")
        mac, transceiver_id = _FLOW.unpack(data)
        if not any(hmac.compare_digest(mac, _flow_mac(each, key, transceiver_id)) for each in self._keys):
            raise SealError("a flow row that nobody of this cluster wrote")
        return int(transceiver_id)


def _lease_mac(secret: bytes, key: bytes, row: LeaseRow) -> bytes:
    said = b"".join((b"lease", len(key).to_bytes(2, "big"), key, row.owner, row.mark, row.text))
    return hmac.digest(secret, said, "sha256")[:_MAC_LENGTH]


def _flow_mac(secret: bytes, key: bytes, transceiver_id: int) -> bytes:
    return hmac.digest(secret, b"flow" + transceiver_id.to_bytes(4, "big") + key, "sha256")[:_FLOW_MAC_LENGTH]


@attrs.frozen(kw_only=True)
class TransceiverText:
    """The JSON of a transceiver's lease."""

    lease: TransceiverLease | None
    """None: it has gone, or has only claimed its id so far."""
    written_at: int
    """By the clock of its writer, in Unix seconds. Nothing depends on it, but that a wrong clock is seen."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it.

        Errors: WireError.
        """
        table = _table(data)
        written_at = _number(table, "at")
        if table.get("gone") is True:
            return cls(lease=None, written_at=written_at)
        lease = TransceiverLease(
            hop=_address(table.get("hop")),
            peer=None if table.get("peer") is None else _address(table["peer"]),
            region=_name(table.get("region", "")),
            calls=_number(table, "calls"),
            max_calls=_number(table, "max_calls"),
            is_draining=table.get("is_draining") is True,
        )
        return cls(lease=lease, written_at=written_at)

    def encode(self) -> bytes:
        """Return the JSON."""
        return _encode(self.lease, self.written_at)

    def mark(self, *, told_calls: int) -> bytes:
        """Return the mark, the same as long as readers need not be told; they know of so many calls."""
        lease = self.lease
        return _mark(_encode(lease and attrs.evolve(lease, calls=told_calls), 0))


@attrs.frozen(kw_only=True)
class RelayText:
    """The JSON of a relay's lease."""

    lease: RelayLease | None
    """None: it has gone."""
    written_at: int
    """By the clock of its writer, in Unix seconds."""

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it.

        Errors: WireError.
        """
        table = _table(data)
        written_at = _number(table, "at")
        if table.get("gone") is True:
            return cls(lease=None, written_at=written_at)
        lease = RelayLease(
            udp=_addresses(table.get("udp")),
            tcp=_addresses(table.get("tcp", [])),
            region=_name(table.get("region", "")),
            is_draining=table.get("is_draining") is True,
        )
        return cls(lease=lease, written_at=written_at)

    def encode(self) -> bytes:
        """Return the JSON."""
        return _encode(self.lease, self.written_at)

    def mark(self) -> bytes:
        """Return the mark, the same as long as it says the same."""
        return _mark(_encode(self.lease, 0))


def _encode(lease: TransceiverLease | RelayLease | None, written_at: int) -> bytes:
    said: Mapping[str, Any] = {"gone": True} if lease is None else attrs.asdict(lease, recurse=False)
    return json.dumps({**said, "at": written_at}, separators=(",", ":"), ensure_ascii=False).encode()


def _mark(said: bytes) -> bytes:
    return blake2b(said, digest_size=8).digest()


def _table(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_ROW:
        raise WireError(f"a lease of {len(data)} bytes")
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError("a lease that is no JSON") from error
    if not isinstance(table, dict):
        raise WireError("a lease that is no table")
    return table


def _number(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name, 0)
    if type(value) is not int or not 0 <= value < _MAX_NUMBER:
        raise WireError(f"{name} is no number")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or (value and not is_name(value)):
        raise WireError("a region that is no name")
    return value


def _address(value: object) -> Address:
    match value:
        case [str(host), int(port)] if type(port) is int and 0 < port <= 0xFFFF:
            # A scope is meant for one machine, and means another on each.
            if "%" not in host and _is_literal(host):
                return host, port
    raise WireError("no address with a port")


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(value: object) -> tuple[Address, ...]:
    if not isinstance(value, list) or len(value) > MAX_ADDRESSES:
        raise WireError("no list of addresses")
    return tuple(map(_address, value))
