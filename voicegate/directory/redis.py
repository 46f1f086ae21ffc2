"""The directory of a cluster, on Redis.

One session at a time: a connection, and the tasks that use it. Whatever goes wrong ends the session; the next
one begins after a pause that grows, and what is known stays as it is. Nothing waits for Redis but claims and
lookups of flows, and no lookup waits for long.
"""

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from random import uniform  # noqa: TID251 - jitter, no secret
from typing import Final

import attrs
import structlog
import trio

from voicegate.directory.address import Way
from voicegate.directory.announcer import Announcement, Announcer, Outcome
from voicegate.directory.base import FLOW_ROW_SECONDS, RelayLease, Snapshot, TransceiverLease
from voicegate.directory.board import Board
from voicegate.directory.flow_queue import FlowQueue
from voicegate.directory.ledger import (
    SKEW_SECONDS,
    Kind,
    Lease,
    Ledger,
    Member,
    Network,
    Refusal,
)
from voicegate.directory.memory import random_id, report_listed
from voicegate.directory.notice import Notices
from voicegate.directory.pace import Pace
from voicegate.directory.poll import Answer, Position
from voicegate.directory.row import OWNER_LENGTH, Seal, SealError, is_name
from voicegate.directory.script import ANNOUNCE, POLL
from voicegate.directory.store import Store, open_store
from voicegate.directory.url import DirectoryUrl
from voicegate.errors import UsageError, WireError
from voicegate.observability import Histogram, Metrics

__all__ = ["LOOKUP_LIMIT", "PREFIX", "Pace", "RedisDirectory", "open_redis_directory"]

PREFIX: Final = b"{voicegate}:"
"""What all keys of leases begin with; the braces keep them in one slot of a cluster."""

LOOKUP_LIMIT: Final = 64
"""Questions about flows that may be open at once; who asks more gets no answer."""

_CHANNEL: Final = b"voicegate:news"
_STATE: Final = PREFIX + b"state"
_CHANGES: Final = PREFIX + b"changes"
_LEASES: Final = PREFIX + b"leases"

_GOODBYE_MS: Final = 60_000
"""How long a goodbye stays: a reader that was away for longer finds the lease missing. An id that was claimed
is kept as long."""

_ROWS_AT_ONCE: Final = 100
"""Announced by one script, which keeps Redis for less than a millisecond."""
_READ_AT_ONCE: Final = 500
_CHANGES_AT_ONCE: Final = 500

_LATENCY_BOUNDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)

_log = structlog.get_logger("voicegate.directory")


@attrs.define(eq=False)
class _Lookup:
    """A question about flows, for as long as somebody waits."""

    found: Mapping[bytes, int] = attrs.field(factory=dict)
    done: trio.Event = attrs.field(factory=trio.Event)


class RedisDirectory:
    """A directory that many machines share; made by `open_redis_directory`.

    Args:
        url: Where Redis is.
        seal: Of the cluster.
        hop_networks: Where hop and peer addresses may be.
        pace: How often things are done.
        wall_clock: Unix seconds, of which nothing depends but a warning.
    """

    def __init__(
        self,
        url: DirectoryUrl,
        *,
        seal: Seal,
        hop_networks: Sequence[Network],
        pace: Pace,
        wall_clock: Callable[[], float],
    ) -> None:
        self._url = url
        self._ssl_context = url.ssl_context()
        self._seal = seal
        self._pace = pace
        self._wall_clock = wall_clock
        owner = os.urandom(OWNER_LENGTH)
        self._announcer = Announcer(seal=seal, owner=owner, prefix=PREFIX)
        self._ledger = Ledger(
            seal=seal, owner=owner, prefix=PREFIX, hop_networks=hop_networks, grace=pace.grace
        )
        self._board = Board(self._ledger.snapshot)
        self._flows = FlowQueue()
        self._notices = Notices(_log)
        self._latency = Histogram(_LATENCY_BOUNDS)
        self._store: Store | None = None
        self._session: trio.Nursery | None = None
        self._flows_fail_since: float | None = None
        self._position = Position()
        # Each is set to make its task look at once, and exchanged by it.
        self._to_announce = trio.Event()
        self._to_poll = trio.Event()
        self._to_write = trio.Event()
        self._opened = trio.Event()
        self._scope = trio.CancelScope(shield=True)
        self._answered_at: float | None = None
        self._lookups = 0
        self._counts: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._skew = 0.0

    # The directory

    async def claim(self, cluster: int) -> int:
        """Return a transceiver id that nobody has. Waits while the directory is out of reach."""
        await trio.lowlevel.checkpoint()
        while True:
            while self._store is None:
                await self._opened.wait()
            made_up = random_id(cluster)
            row = self._announcer.claim(made_up, wall_time=self._wall_clock())
            key = PREFIX + row.member.encode()
            try:
                if await self._store.claim(key, row.data, life_ms=_GOODBYE_MS):
                    return made_up
            except* Exception as errors:
                self._note_fault("claim", errors)
                await trio.sleep(self._jittered(self._pace.first_pause))

    def register(self, transceiver_id: int, lease: TransceiverLease) -> None:
        """Announce a transceiver, or what has changed about it."""
        self._register(Member.transceiver(transceiver_id), lease)

    def unregister(self, transceiver_id: int) -> None:
        """Take a transceiver off; nothing happens when it isn't there."""
        self._unregister(Member.transceiver(transceiver_id))

    def register_relay(self, name: str, lease: RelayLease) -> None:
        """Announce a relay, or what has changed about it.

        Errors: UsageError for a name that is none.
        """
        if not is_name(name):
            raise UsageError("a relay's name has up to 253 printable characters")
        self._register(Member.relay(name), lease)

    def unregister_relay(self, name: str) -> None:
        """Take a relay off; nothing happens when it isn't there."""
        self._unregister(Member.relay(name))

    def snapshot(self) -> Snapshot:
        """Return the present snapshot."""
        return self._ledger.snapshot()

    def watch(self) -> trio.abc.ReceiveChannel[Snapshot]:
        """Open a channel of snapshots, which never ends by itself."""
        return self._board.watch()

    @property
    def conflicts(self) -> frozenset[int]:
        """The transceiver ids, of those registered here, that somebody else holds."""
        return frozenset(
            member.transceiver_id for member in self._announcer.conflicts if member.kind is Kind.TRANSCEIVER
        )

    def write_flows(self, rows: Mapping[bytes, int | None]) -> None:
        """Note the transceiver ids that flows lead to, by the keys of their clients; None deletes a row."""
        if rows:
            self._flows.add(rows)
            self._to_write.set()

    async def find_flows(self, keys: Collection[bytes]) -> Mapping[bytes, int]:
        """Return the transceiver ids of those flows that are known; none when the answer takes long."""
        await trio.lowlevel.checkpoint()
        store = self._store
        if store is None or self._session is None or not keys or self._lookups >= LOOKUP_LIMIT:
            return {}
        # Who no longer waits does not interrupt: to coredis, a connection cancelled while it was made is in
        # use for ever.
        lookup = _Lookup()
        self._lookups += 1
        self._session.start_soon(self._look_up, store, keys, lookup)
        with trio.move_on_after(self._pace.lookup):
            await lookup.done.wait()
        return lookup.found

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        report_listed(metrics, self.snapshot())
        age = -1.0 if self._answered_at is None else trio.current_time() - self._answered_at
        for name, description, value in (
            ("reachable", "Whether the directory answers", float(self._store is not None)),
            ("answer_age_seconds", "Time since its last answer; -1: none yet", age),
            ("skew_seconds", "This machine's clock minus the directory's", self._skew),
            (
                "conflicts",
                "Own transceivers and relays that somebody else holds",
                len(self._announcer.conflicts),
            ),
            ("flow_rows_waiting", "Flow rows that are not written yet", len(self._flows)),
        ):
            metrics.gauge(f"directory_{name}", description, value)
        refused = {reason.value: self._ledger.refused[reason] for reason in Refusal}
        metrics.counter("directory_rows_refused", "Rows that are not believed", refused, label="reason")
        events = {
            "session": self._counts["session"],
            "conflict": self._counts["conflict"],
            "skew": self._ledger.skewed + self._counts["skew"],
            "full_read": self._counts["full_read"],
        }
        metrics.counter("directory_events", "What happened", events, label="event")
        metrics.counter("directory_faults", "What failed, by what was done", self._faults, label="at")
        flows = {
            "written": self._counts["flow_written"],
            "dropped": self._flows.dropped + self._counts["flow_dropped"],
            "found": self._counts["flow_found"],
            "missed": self._counts["flow_missed"],
        }
        metrics.counter("directory_flow_rows", "Flow rows", flows, label="what")
        metrics.histogram("directory_answer_seconds", "Time until Redis answers", self._latency)

    # Its sessions

    async def run(self) -> None:
        """Keep a session open; runs until `leave`."""
        pause = self._pace.first_pause
        with self._scope:
            while True:
                began = trio.current_time()
                try:
                    async with open_store(
                        self._url, self._ssl_context, latency=self._latency, patience=self._pace.answer
                    ) as store:
                        await self._run_session(store)
                # Whatever a store throws at us, beside a cancellation or not, calls go on.
                except* Exception as errors:
                    self._note_fault("session", errors)
                self._ledger.handle_silence()
                if trio.current_time() - began > self._pace.last_pause:
                    pause = self._pace.first_pause
                await trio.sleep(self._jittered(pause))
                pause = min(2 * pause, self._pace.last_pause)

    async def leave(self) -> None:
        """Say goodbye, for a short time, and end."""
        with trio.move_on_after(self._pace.farewell, shield=True):
            self._announcer.leave()
            if self._store is not None:
                try:
                    await self._write_flow_rows(self._store)
                    await self._announce(self._store)
                except* Exception as errors:
                    self._note_fault("farewell", errors)
        self._scope.cancel()

    async def _run_session(self, store: Store) -> None:
        await self._poll(store)
        self._counts["session"] += 1
        self._announcer.renew()
        self._position.expect_reread(
            now=trio.current_time(),
            after=self._pace.reread * uniform(0.0, 0.1),  # noqa: S311
        )
        self._flows_fail_since = None
        async with trio.open_nursery() as nursery:
            self._store, self._session = store, nursery
            self._opened.set()
            nursery.start_soon(self._keep_polling, store)
            nursery.start_soon(self._keep_announcing, store)
            nursery.start_soon(self._keep_writing, store)
            nursery.start_soon(self._keep_listening, store)
            nursery.start_soon(self._keep_place)
            try:
                await trio.sleep_forever()
            finally:
                # In here and not around it: a nursery that has ended takes no lookup any more.
                self._store = self._session = None
                self._opened = trio.Event()

    async def _keep_place(self) -> None:
        """End the session when this machine has got another address: to the old one no answer will come."""
        way, known = Way(*self._url.hosts[0]), None
        while True:
            # A name that cannot be looked up just now is no news of this machine.
            with suppress(UsageError):
                here = await way.local_address()
                if here != (known := known or here):
                    raise ConnectionAbortedError("this machine has another address")
            await trio.sleep(self._pace.look)

    async def _keep_polling(self, store: Store) -> None:
        while True:
            with trio.move_on_after(self._jittered(self._pace.poll)):
                await self._to_poll.wait()
                # A thousand readers got the same message just now.
                await trio.sleep(uniform(0.0, self._pace.spread))  # noqa: S311
            self._to_poll = trio.Event()
            await self._poll(store)

    async def _keep_announcing(self, store: Store) -> None:
        while True:
            self._to_announce = trio.Event()
            await self._announce(store)
            with trio.move_on_after(self._jittered(self._pace.renewal)) as scope:
                await self._to_announce.wait()
            if scope.cancelled_caught:
                self._announcer.renew()

    async def _keep_writing(self, store: Store) -> None:
        self._to_write.set()  # the session before may have ended over some
        while True:
            await self._to_write.wait()
            await trio.sleep(self._pace.flows)
            self._to_write = trio.Event()
            try:
                await self._write_flow_rows(store)
            except* Exception as errors:
                self._note_fault("flows", errors)
                self._judge_flows(has_failed=True)
                self._to_write.set()
                await trio.sleep(self._jittered(self._pace.last_pause / 5))
            else:
                self._judge_flows(has_failed=False)

    async def _keep_listening(self, store: Store) -> None:
        while True:
            try:
                async with store.subscribe(_CHANNEL) as messages:
                    async for _ in messages:
                        self._to_poll.set()
            except* Exception as errors:
                self._note_fault("listening", errors)
            await trio.sleep(self._jittered(self._pace.last_pause / 5))

    # Reading

    async def _poll(self, store: Store) -> None:
        arguments: list[bytes | int] = [
            os.urandom(8).hex().encode(),
            self._position.version,
            _CHANGES_AT_ONCE,
        ]
        began = self._wall_clock()
        answer = Answer.decode(await store.run(POLL, [_STATE, _CHANGES, _LEASES], arguments))
        self._note_time(answer.time, (began + self._wall_clock()) / 2)
        now = self._answered_at = trio.current_time()
        self._ledger.handle_answer(now=now)
        is_emptied = self._position.is_of_another_epoch(answer)
        if self._position.must_read_all(answer, now=now):
            self._counts["full_read"] += 1
            listed = _members(await store.list_sorted(_LEASES), self._ledger)
            wanted = self._ledger.handle_list(listed, now=now)
        else:
            wanted = _members(answer.changed, self._ledger)
        wanted += self._ledger.poll_missing(now=now)
        for start in range(0, len(wanted), _READ_AT_ONCE):
            members = wanted[start : start + _READ_AT_ONCE]
            rows = await store.read([PREFIX + member.encode() for member in members])
            self._ledger.handle_rows(dict(zip(members, rows, strict=True)), now=now, server_time=answer.time)
        # Only now: what was interrupted is asked for again.
        self._position.handle_answer(
            answer, now=now, reread=self._jittered(self._pace.reread), limit=_CHANGES_AT_ONCE
        )
        self._tell_news()
        self._warn()
        if answer.is_partial(limit=_CHANGES_AT_ONCE):
            self._to_poll.set()
        if is_emptied:
            self._announcer.renew()
            self._to_announce.set()

    async def _look_up(self, store: Store, keys: Collection[bytes], lookup: _Lookup) -> None:
        try:
            lookup.found = await self._find_flows(store, keys)
        except* Exception as errors:
            self._note_fault("lookup", errors)
            self._judge_flows(has_failed=True)
        else:
            self._judge_flows(has_failed=False)
        finally:
            self._lookups -= 1
            lookup.done.set()

    async def _find_flows(self, store: Store, keys: Collection[bytes]) -> Mapping[bytes, int]:
        stored = {store.flow_key(key): key for key in keys}
        found: dict[bytes, int] = {}
        for key, row in (await store.read_flows(stored)).items():
            try:
                found[stored[key]] = self._seal.decode_flow(key, row)
            except SealError:
                self._ledger.refused[Refusal.FLOW_SEAL] += 1
            except WireError:
                self._ledger.refused[Refusal.FLOW_MALFORMED] += 1
        self._counts["flow_found"] += len(found)
        self._counts["flow_missed"] += len(stored) - len(found)
        self._warn()
        return found

    # Writing

    def _register(self, member: Member, lease: Lease) -> None:
        if self._announcer.register(member, lease):
            self._to_announce.set()
        if member not in self._announcer.conflicts:
            self._ledger.list_own(member, lease)
            self._tell_news()

    def _unregister(self, member: Member) -> None:
        is_others = member in self._announcer.conflicts
        if self._announcer.unregister(member):
            self._to_announce.set()
            if not is_others:
                self._ledger.list_own(member, None)
            self._tell_news()

    async def _announce(self, store: Store) -> None:
        while rows := self._announcer.poll_rows(limit=_ROWS_AT_ONCE, wall_time=self._wall_clock()):
            keys = [_STATE, _CHANGES, _LEASES, *(PREFIX + row.member.encode() for row in rows)]
            arguments: list[bytes | int] = [int(1000 * self._pace.lease), _GOODBYE_MS, _CHANNEL]
            for row in rows:
                arguments += [row.member.encode(), row.data, row.mode.value.encode(), row.replaced]
            answers = await store.run(ANNOUNCE, keys, arguments)
            if not isinstance(answers, list) or len(answers) != len(rows):
                raise WireError("no answer to an announcement")
            before = frozenset(self._announcer.conflicts)
            for row, found in zip(rows, answers, strict=True):
                self._handle_announced(row, found)
            self._tell_news()
            if before != self._announcer.conflicts:
                self._board.tell_news()

    def _handle_announced(self, row: Announcement, found: bytes | None) -> None:
        was_conflict = row.member in self._announcer.conflicts
        match self._announcer.handle_answer(row, found):
            case Outcome.CONFLICT:
                if not was_conflict:
                    self._ledger.yield_own(row.member)
                    self._ledger.handle_rows(
                        {row.member: found},
                        now=trio.current_time(),
                        server_time=self._wall_clock() - self._skew,
                    )
                self._counts["conflict"] += 1
                self._notices.warn(
                    "directory_conflict", kind=row.member.kind.name.lower(), id=row.member.name
                )
            case Outcome.FORGED:
                self._ledger.refused[Refusal.SEAL] += 1
            case Outcome.WRITTEN if was_conflict and row.lease is not None:
                self._ledger.list_own(row.member, row.lease)

    async def _write_flow_rows(self, store: Store) -> None:
        while rows := self._flows.take():
            sealed = {}
            for key, transceiver_id in rows.items():
                stored = store.flow_key(key)
                sealed[stored] = (
                    b"" if transceiver_id is None else self._seal.encode_flow(stored, transceiver_id)
                )
            try:
                written = await store.write_flows(sealed, life_ms=int(1000 * FLOW_ROW_SECONDS))
            except BaseException:
                self._flows.put_back(rows)
                raise
            self._counts["flow_written"] += written
            self._counts["flow_dropped"] += len(rows) - written

    # What is noticed

    def _judge_flows(self, *, has_failed: bool) -> None:
        """End the session once nothing about flows works any more.

        One failure is not worth it: leases may do well, on another node.
        """
        now = trio.current_time()
        if not has_failed:
            self._flows_fail_since = None
        elif self._flows_fail_since is None:
            self._flows_fail_since = now
        elif now - self._flows_fail_since > self._pace.last_pause:
            raise ConnectionAbortedError("nothing about flows works")

    def _tell_news(self) -> None:
        if self._ledger.poll_news():
            self._board.tell_news()

    def _note_time(self, theirs: float, ours: float) -> None:
        self._skew = ours - theirs
        if abs(self._skew) > SKEW_SECONDS:
            self._counts["skew"] += 1
            self._notices.warn("directory_clock_differs", seconds=round(self._skew))

    def _note_fault(self, where: str, error: BaseException) -> None:
        # What breaks while we leave was about to be closed.
        if self._scope.cancel_called:
            return
        self._faults[where] += 1
        # By its type alone: what libraries say may have addresses in it, or more.
        self._notices.warn("directory_fault", at=where, error=_innermost(error))

    def _warn(self) -> None:
        for reason, count in self._ledger.refused.items():
            self._notices.warn_of_more("directory_rows_refused", count, reason=reason.value)
        self._notices.warn_of_more("directory_writers_clock_differs", self._ledger.skewed)

    def _jittered(self, seconds: float) -> float:
        return seconds * uniform(0.8, 1.2)  # noqa: S311


def _members(names: Sequence[bytes], ledger: Ledger) -> list[Member]:
    members = []
    for name in names:
        try:
            members.append(Member.decode(name))
        except WireError:
            ledger.refused[Refusal.MALFORMED] += 1
    return members


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return type(error).__name__


@asynccontextmanager
async def open_redis_directory(
    url: str,
    *,
    secrets: Sequence[bytes],
    hop_networks: Sequence[Network],
    pace: Pace | None = None,
    wall_clock: Callable[[], float] = time.time,  # noqa: TID251 - what is checked against the clock of the directory
) -> AsyncIterator[RedisDirectory]:
    """Open a directory on Redis, whether it can be reached or not.

    Leaving it says goodbye for all that was registered, for `Pace.farewell` at most.

    Errors: UsageError for what is wrong with the URL, or the files that it names.

    Args:
        url: See `voicegate.directory.url`.
        secrets: Of the cluster: rows are sealed with the first, and believed with any.
        hop_networks: Where hop and peer addresses may be.
        pace: How often things are done.
        wall_clock: Returns Unix seconds.
    """
    directory = RedisDirectory(
        DirectoryUrl.parse(url),
        seal=Seal(secrets),
        hop_networks=hop_networks,
        pace=pace or Pace(),
        wall_clock=wall_clock,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(directory.run)
        try:
            yield directory
        finally:
            await directory.leave()
