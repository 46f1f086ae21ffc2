"""What a member of the cluster knows from the rows of the directory, sans-IO.

What was known once stays true while the directory is slow, away, or came back empty: a lease is given up only
when its writer says so, or when the directory has answered all the time and the row was not there for
`GRACE_SECONDS`. A row that cannot be believed counts as one that is not there.
"""

import ipaddress
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs

from voicegate.directory.base import Address, RelayLease, Snapshot, TransceiverLease, differs
from voicegate.directory.row import OWNER_LENGTH, RelayText, Seal, SealError, TransceiverText, is_name
from voicegate.errors import WireError

__all__ = [
    "GRACE_SECONDS",
    "LEASE_SECONDS",
    "MEMBER_LIMIT",
    "SKEW_SECONDS",
    "Kind",
    "Lease",
    "Ledger",
    "Member",
    "Network",
    "Refusal",
    "is_news",
]

GRACE_SECONDS: Final = 30.0
"""How long a lease may be missing: as long as a call lives whose client is not heard (RFC 7675 §5.1)."""

LEASE_SECONDS: Final = 15.0
"""Life of a lease that is not renewed; as it is renewed each third of that, two renewals may be lost."""

SKEW_SECONDS: Final = 60.0
"""A clock that is wrong by more is worth a word. Nothing depends on it."""

MEMBER_LIMIT: Final = 65_536
"""Transceivers and relays that are known at most, in some 50 MB; a store full of rows is no reason to die."""

Lease: TypeAlias = TransceiverLease | RelayLease

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


_ID_DIGITS: Final = 8


class Kind(Enum):
    """What a lease is of; the value begins its key."""

    TRANSCEIVER = "t"
    RELAY = "r"


@attrs.frozen
class Member:
    """Whose lease it is."""

    kind: Kind
    name: str
    """Of a transceiver, its id in 8 hexadecimal digits."""

    @classmethod
    def transceiver(cls, transceiver_id: int) -> "Member":
        """Return the member that is a transceiver."""
        return cls(Kind.TRANSCEIVER, f"{transceiver_id:08x}")

    @classmethod
    def relay(cls, name: str) -> "Member":
        """Return the member that is a relay."""
        return cls(Kind.RELAY, name)

    @classmethod
    def decode(cls, data: bytes) -> "Member":
        """Read it as `encode` wrote it.

        Errors: WireError.
        """
        try:
            kind, _, name = data.decode().partition(":")
            member = cls(Kind(kind), name)
            is_id = member.kind is Kind.RELAY or cls.transceiver(int(name, 16)) == member
        except ValueError as error:
            raise WireError("no member of a cluster") from error
        if not is_id or not is_name(name) or (member.kind is Kind.TRANSCEIVER and len(name) != _ID_DIGITS):
            raise WireError("no member of a cluster")
        return member

    def encode(self) -> bytes:
        """Return it as part of a key."""
        return f"{self.kind.value}:{self.name}".encode()

    @property
    def transceiver_id(self) -> int:
        """Of a transceiver."""
        return int(self.name, 16)


class Refusal(Enum):
    """Why a row is not believed."""

    SEAL = "seal"
    MALFORMED = "malformed"
    HOP_ADDRESS = "hop_address"
    PEER_ADDRESS = "peer_address"
    RELAY_ADDRESS = "relay_address"
    TOO_MANY = "too_many"
    FLOW_SEAL = "flow_seal"
    FLOW_MALFORMED = "flow_malformed"


class Ledger:
    """Takes rows as they are read, and tells what is known.

    Args:
        seal: Of the cluster.
        owner: Marks our own rows, which are known without reading.
        prefix: What all keys of leases begin with.
        hop_networks: Where hop and peer addresses may be.
        grace: See `GRACE_SECONDS`.
    """

    def __init__(
        self,
        *,
        seal: Seal,
        owner: bytes,
        prefix: bytes,
        hop_networks: Sequence[Network],
        grace: float = GRACE_SECONDS,
    ) -> None:
        if len(owner) != OWNER_LENGTH:
            raise ValueError("an owner has 8 bytes")
        self._seal = seal
        self._owner = owner
        self._prefix = prefix
        self._networks = tuple(hop_networks)
        self._grace = grace
        self._known: dict[Member, Lease] = {}
        self._own: dict[Member, Lease] = {}
        self._missing: dict[Member, float] = {}
        """Since when rows of known members were not there."""
        self._answering_since: float | None = None
        self.refused: Counter[Refusal] = Counter()
        self.skewed = 0
        """Rows whose writers have a wrong clock."""
        self._snapshot = Snapshot()
        self._is_changed = self._is_news = False

    # Input

    def list_own(self, member: Member, lease: Lease | None) -> None:
        """List what we announce ourselves, whatever rows say; None: no longer."""
        before = self._own.get(member)
        if lease is None:
            others = self._known.pop(member, None)
            self._own.pop(member, None)
            self._note(before is not None or others is not None)
        elif lease != before:
            self._own[member] = lease
            self._note(is_news(before or self._known.get(member), lease), is_changed=True)

    def yield_own(self, member: Member) -> None:
        """List a member as others announce it, though we do, too."""
        if self._own.pop(member, None) is not None:
            self._note(True)

    def handle_answer(self, *, now: float) -> None:
        """Note that the directory answers."""
        if self._answering_since is None:
            self._answering_since = now

    def handle_silence(self) -> None:
        """Note that it doesn't: what is missing may only be unread."""
        self._answering_since = None

    def handle_rows(self, rows: Mapping[Member, bytes | None], *, now: float, server_time: float) -> None:
        """Take rows as they were read; None for one that is not there.

        Args:
            rows: By member.
            now: Seconds, monotonic.
            server_time: Of the directory, in Unix seconds.
        """
        for member, data in rows.items():
            lease: Lease | None = None
            is_there = False
            if data is not None:
                try:
                    owner, lease = self._open(member, data, server_time)
                except _RefusedError as refused:
                    self.refused[refused.reason] += 1
                else:
                    if owner == self._owner:
                        continue
                    is_there = True
            if not is_there:
                self._miss(member, now)
            elif lease is None:
                self._forget(member)
            else:
                self._learn(member, lease)

    def handle_list(self, listed: Collection[Member], *, now: float) -> list[Member]:
        """Take the list of all members that have leases; returns those whose rows should be read."""
        for member in self._known.keys() - set(listed):
            self._miss(member, now)
        return [member for member in listed if member not in self._own]

    # Output

    def poll_missing(self, *, now: float) -> list[Member]:
        """Return those that are forgotten if their rows are still missing when they are read now."""
        return [member for member in self._missing if self._is_due(member, now)]

    def poll_news(self) -> bool:
        """Return whether anything has changed since, that watchers are woken for."""
        is_news, self._is_news = self._is_news, False
        return is_news

    def snapshot(self) -> Snapshot:
        """Return what is known; it is put together when it is asked for, not at each change."""
        if self._is_changed:
            listed = {**self._known, **self._own}
            transceivers = {
                m.transceiver_id: lease for m, lease in listed.items() if isinstance(lease, TransceiverLease)
            }
            relays = {m.name: lease for m, lease in listed.items() if isinstance(lease, RelayLease)}
            self._snapshot = Snapshot(
                transceivers=MappingProxyType(transceivers), relays=MappingProxyType(relays)
            )
            self._is_changed = False
        return self._snapshot

    # Internals

    def _note(self, is_news: bool, *, is_changed: bool = False) -> None:
        self._is_changed |= is_news or is_changed
        self._is_news |= is_news

    def _learn(self, member: Member, lease: Lease) -> None:
        self._missing.pop(member, None)
        before = self._known.get(member)
        if before is None and len(self._known) >= MEMBER_LIMIT:
            self.refused[Refusal.TOO_MANY] += 1
        elif lease != before:
            self._known[member] = lease
            if member not in self._own:
                self._note(is_news(before, lease), is_changed=True)

    def _miss(self, member: Member, now: float) -> None:
        if member in self._known:
            self._missing.setdefault(member, now)
            if self._is_due(member, now):
                self._forget(member)

    def _is_due(self, member: Member, now: float) -> bool:
        since = self._answering_since
        return since is not None and now >= max(since, self._missing[member]) + self._grace

    def _forget(self, member: Member) -> None:
        self._missing.pop(member, None)
        if self._known.pop(member, None) is not None and member not in self._own:
            self._note(True)

    def _open(self, member: Member, data: bytes, server_time: float) -> tuple[bytes, Lease | None]:
        try:
            row = self._seal.decode_lease(self._prefix + member.encode(), data)
            text = (TransceiverText if member.kind is Kind.TRANSCEIVER else RelayText).decode(row.text)
        except SealError:
            raise _RefusedError(Refusal.SEAL) from None
        except WireError:
            raise _RefusedError(Refusal.MALFORMED) from None
        self._check(text.lease)
        # A row may have waited to be read for as long as it lives.
        late = server_time - text.written_at
        if text.lease is not None and not -SKEW_SECONDS <= late <= SKEW_SECONDS + LEASE_SECONDS:
            self.skewed += 1
        return row.owner, text.lease

    def _check(self, lease: Lease | None) -> None:
        match lease:
            case TransceiverLease():
                if not self._is_ours(lease.hop):
                    raise _RefusedError(Refusal.HOP_ADDRESS)
                if lease.peer is not None and not self._is_ours(lease.peer):
                    raise _RefusedError(Refusal.PEER_ADDRESS)
            case RelayLease():
                if not all(_is_unicast(host) for host, _ in (*lease.udp, *lease.tcp)):
                    raise _RefusedError(Refusal.RELAY_ADDRESS)
            case None:
                pass

    def _is_ours(self, address: Address) -> bool:
        host = ipaddress.ip_address(address[0])
        if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
            host = host.ipv4_mapped
        return not host.is_unspecified and any(host in network for network in self._networks)


class _RefusedError(Exception):
    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason = reason


def is_news(before: Lease | None, lease: Lease) -> bool:
    """Tell whether watchers are woken for it."""
    if isinstance(lease, TransceiverLease) and not isinstance(before, RelayLease):
        return differs(before, lease)
    return before != lease


def _is_unicast(host: str) -> bool:
    address = ipaddress.ip_address(host)
    is_broadcast = host == "255.255.255.255"
    return not (address.is_multicast or address.is_unspecified or is_broadcast)
