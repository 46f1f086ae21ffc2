"""What a process announces of itself, sans-IO: rows to write, and what became of them.

Two may hold one transceiver id, after the store was emptied or a machine was copied. The first row stays;
the other holder is told, writes nothing, and takes over only when that row is gone. A relay's name goes to
whoever came last, for a relay that was killed comes back under its name before its lease has run out.
"""

from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Final

import attrs

from voicegate.directory.base import RelayLease, TransceiverLease
from voicegate.directory.ledger import Kind, Lease, Member, is_news
from voicegate.directory.row import LeaseRow, RelayText, Seal, TransceiverText
from voicegate.errors import WireError

__all__ = ["LOAD_STEPS", "Announcement", "Announcer", "Mode", "Outcome"]

LOAD_STEPS: Final = 8
"""Readers learn of the load when it has changed by this part of the most calls, or a transceiver is full, or
no longer: what they pay follows what changes, not how many there are."""


class Mode(Enum):
    """How to write a row; the values are those of the script."""

    KEEP = "keep"
    """Unless there is one of another writer."""
    TAKE = "take"
    """In the place of whatever is there."""
    LEAVE = "leave"
    """As one that says goodbye, unless there is one of another writer."""


class Outcome(Enum):
    """What became of a row."""

    WRITTEN = "written"
    CONFLICT = "conflict"
    """Somebody else holds it."""
    FORGED = "forged"
    """What is there nobody of the cluster wrote; it is replaced next."""


@attrs.frozen(kw_only=True)
class Announcement:
    """A row to write."""

    member: Member
    lease: Lease | None
    data: bytes
    mode: Mode
    replaced: bytes
    """What may be overwritten, whoever wrote it."""


@attrs.define
class _Entry:
    lease: Lease
    told_calls: int = 0
    is_taken: bool = False
    forged: bytes = b""


class Announcer:
    """Keeps what is to be announced.

    Args:
        seal: Of the cluster.
        owner: Tells our rows from those of others.
        prefix: What all keys of leases begin with.
    """

    def __init__(self, *, seal: Seal, owner: bytes, prefix: bytes) -> None:
        self._seal = seal
        self._owner = owner
        self._prefix = prefix
        self._entries: dict[Member, _Entry] = {}
        self._due: dict[Member, None] = {}
        self._leaving: dict[Member, None] = {}
        self._conflicts: set[Member] = set()

    def register(self, member: Member, lease: Lease) -> bool:
        """Announce a member, or what has changed about it; returns whether that should not wait."""
        entry = self._entries.get(member)
        self._leaving.pop(member, None)
        if entry is None:
            self._entries[member] = _Entry(lease)
        else:
            before, entry.lease = entry.lease, lease
            if not is_news(before, lease):
                return False
        self._due[member] = None
        return True

    def unregister(self, member: Member) -> bool:
        """Take a member off; returns whether it was there."""
        self._due.pop(member, None)
        if self._entries.pop(member, None) is None:
            return False
        if member in self._conflicts:
            self._conflicts.discard(member)
        else:
            self._leaving[member] = None
        return True

    @property
    def conflicts(self) -> AbstractSet[Member]:
        """Those that somebody else holds."""
        return self._conflicts

    def renew(self) -> None:
        """Let all rows be written again."""
        self._due.update(dict.fromkeys(self._entries))

    def leave(self) -> None:
        """Take off all."""
        for member in list(self._entries):
            self.unregister(member)

    def poll_rows(self, *, limit: int, wall_time: float) -> list[Announcement]:
        """Return rows that should be written now; each is polled again until its answer is handled."""
        leaving = [self._goodbye(member, wall_time) for member in [*self._leaving][:limit]]
        due = [self._row(member, wall_time) for member in [*self._due][: limit - len(leaving)]]
        return leaving + due

    def handle_answer(self, announcement: Announcement, found: bytes | None) -> Outcome:
        """Take what came of a row: None when it was written, or what was found in its place."""
        member = announcement.member
        if announcement.lease is None:
            self._leaving.pop(member, None)
            return Outcome.WRITTEN
        entry = self._entries.get(member)
        if entry is None:
            return Outcome.WRITTEN
        if found is None:
            entry.is_taken = True
            entry.forged = b""
            self._conflicts.discard(member)
            # It may have changed while it was written.
            if entry.lease is announcement.lease:
                self._due.pop(member, None)
            return Outcome.WRITTEN
        try:
            self._seal.decode_lease(self._prefix + member.encode(), found)
        except WireError:
            entry.forged = found
            return Outcome.FORGED
        self._conflicts.add(member)
        self._due.pop(member, None)
        return Outcome.CONFLICT

    def claim(self, transceiver_id: int, *, wall_time: float) -> Announcement:
        """Return the row that claims an id, for as long as goodbyes are kept."""
        return self._goodbye(Member.transceiver(transceiver_id), wall_time)

    def _row(self, member: Member, wall_time: float) -> Announcement:
        entry = self._entries[member]
        if isinstance(entry.lease, TransceiverLease):
            self._tell_load(entry, entry.lease)
            text = TransceiverText(lease=entry.lease, written_at=int(wall_time))
            mark, encoded = text.mark(told_calls=entry.told_calls), text.encode()
        else:
            relay = RelayText(lease=entry.lease, written_at=int(wall_time))
            mark, encoded = relay.mark(), relay.encode()
        is_first = isinstance(entry.lease, RelayLease) and not entry.is_taken
        return Announcement(
            member=member,
            lease=entry.lease,
            data=self._seal_row(member, mark, encoded),
            mode=Mode.TAKE if is_first else Mode.KEEP,
            replaced=entry.forged,
        )

    def _tell_load(self, entry: _Entry, lease: TransceiverLease) -> None:
        is_full, was_full = (calls >= lease.max_calls > 0 for calls in (lease.calls, entry.told_calls))
        step = max(1, lease.max_calls // LOAD_STEPS)
        if is_full != was_full or abs(lease.calls - entry.told_calls) >= step:
            entry.told_calls = lease.calls

    def _goodbye(self, member: Member, wall_time: float) -> Announcement:
        if member.kind is Kind.TRANSCEIVER:
            encoded = TransceiverText(lease=None, written_at=int(wall_time)).encode()
        else:
            encoded = RelayText(lease=None, written_at=int(wall_time)).encode()
        data = self._seal_row(member, bytes(8), encoded)
        return Announcement(member=member, lease=None, data=data, mode=Mode.LEAVE, replaced=b"")

    def _seal_row(self, member: Member, mark: bytes, text: bytes) -> bytes:
        row = LeaseRow(owner=self._owner, mark=mark, text=text)
        return self._seal.encode_lease(self._prefix + member.encode(), row)
