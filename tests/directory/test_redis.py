"""The directory on a real Redis that is killed, stopped, emptied, and lied to."""

import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from tests.directory.conftest import PATIENT, QUICK, SECRET, Redis, scrape
from voicegate import Config
from voicegate.directory import (
    Directory,
    MemoryDirectory,
    RelayLease,
    Snapshot,
    TransceiverLease,
    Way,
    open_directory,
)
from voicegate.directory.ledger import Member
from voicegate.directory.redis import PREFIX, RedisDirectory
from voicegate.directory.row import LeaseRow, RelayText, Seal, TransceiverText
from voicegate.errors import UsageError
from voicegate.testing.redis import RedisServer, RedisTls, open_cluster, open_redis, open_sentinel

NEWS: Final = b"voicegate:news"
ONE: Final = TransceiverLease(hop=("10.0.0.1", 9000))
TWO: Final = TransceiverLease(hop=("10.0.0.2", 9000), max_calls=8)
RELAY: Final = RelayLease(udp=(("203.0.113.1", 3478),))
OTHER_RELAY: Final = RelayLease(udp=(("203.0.113.2", 3478),))
OTHER_SECRET: Final = b"the secret of another one"


async def eventually(condition: Callable[[], bool]) -> None:
    with trio.fail_after(120):
        while not condition():
            await trio.sleep(0.005)


async def eventually_found(directory: Directory, keys: list[bytes], expected: dict[bytes, int]) -> None:
    with trio.fail_after(120):
        while await directory.find_flows(keys) != expected:
            await trio.sleep(0.002)


def lists(
    directory: Directory,
    *,
    transceivers: Mapping[int, TransceiverLease] | None = None,
    relays: Mapping[str, RelayLease] | None = None,
) -> Callable[[], bool]:
    snapshot = Snapshot(transceivers=transceivers or {}, relays=relays or {})
    return lambda: directory.snapshot() == snapshot


def is_reachable(directory: Directory) -> bool:
    return scrape(directory)["voicegate_directory_reachable"] == 1


@asynccontextmanager
async def never_without(directory: Directory, member: int) -> AsyncIterator[None]:
    """Fail if the directory is without a transceiver for a moment."""
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            async for snapshot in directory.watch():
                assert member in snapshot.transceivers

        nursery.start_soon(watch)
        yield
        assert member in directory.snapshot().transceivers
        nursery.cancel_scope.cancel()


def sealed(member: Member, lease: TransceiverLease | RelayLease | None, *, at: float | None = None) -> bytes:
    """A row of this cluster, of a writer that nobody knows."""
    written_at = int(time.time() if at is None else at)
    if isinstance(lease, RelayLease):
        text = RelayText(lease=lease, written_at=written_at).encode()
    else:
        text = TransceiverText(lease=lease, written_at=written_at).encode()
    row = LeaseRow(owner=b"somebody", mark=b"somehow.", text=text)
    return Seal([SECRET]).encode_lease(PREFIX + member.encode(), row)


async def write_by_hand(server: RedisServer, member: bytes, row: bytes) -> None:
    """Write a row that outlives the test, and let readers know."""
    life_ms = 600_000
    await server.command("SET", PREFIX + member, row, "PX", life_ms)
    await server.command("ZADD", PREFIX + b"leases", int(1000 * time.time()) + life_ms, member)
    version = await server.command("HINCRBY", PREFIX + b"state", "version", 1)
    assert isinstance(version, int)
    await server.command("ZADD", PREFIX + b"changes", version, member)


async def let_run_out(server: RedisServer, member: bytes) -> None:
    """Let a lease run out now; nobody is told."""
    await server.command("PEXPIRE", PREFIX + member, 1)
    await server.command("ZADD", PREFIX + b"leases", int(1000 * time.time()), member)


# Away, slow, and empty


@pytest.mark.slow
async def test_what_was_known_stays_true_while_redis_is_dead_and_is_there_again_after_it(
    redis: Redis,
) -> None:
    # The writer has as long to come back before the reader may forget it.
    pace = attrs.evolve(QUICK, grace=2.0)
    async with redis.open() as writer, redis.open(pace=pace) as reader:
        writer.register(1, ONE)
        writer.register_relay("one", RELAY)
        await eventually(lists(reader, transceivers={1: ONE}, relays={"one": RELAY}))
        async with never_without(reader, 1):
            redis.server.kill()
            await eventually(lambda: not is_reachable(reader) and not is_reachable(writer))
            await trio.sleep(1.1 * pace.grace)
            assert await reader.find_flows([b"one"]) == {}
            writer.write_flows({b"one": 1})
            await redis.server.start()
            await eventually_found(reader, [b"one"], {b"one": 1})
            # It came back empty; the rows are written by themselves.
            await redis_has(redis.server, b"t:00000001")
        async with redis.open() as newcomer:
            await eventually(lists(newcomer, transceivers={1: ONE}, relays={"one": RELAY}))
        assert scrape(reader)['voicegate_directory_events_total{event="session"}'] >= 2


async def redis_has(server: RedisServer, member: bytes) -> None:
    with trio.fail_after(120):
        while True:
            # A replica that Sentinel makes the primary has its clients killed.
            with suppress(trio.BrokenResourceError):
                if await server.command("EXISTS", PREFIX + member) == 1:
                    return
            await trio.sleep(0.01)


@pytest.mark.slow
async def test_a_redis_that_answers_nothing_keeps_nobody_waiting(redis: Redis) -> None:
    pace = attrs.evolve(QUICK, answer=1.0, lookup=0.05)
    async with redis.open() as writer, redis.open(pace=pace) as reader:
        writer.register(1, ONE)
        writer.write_flows({b"one": 1})
        await eventually(lists(reader, transceivers={1: ONE}))
        await eventually_found(reader, [b"one"], {b"one": 1})
        redis.server.stop()
        try:
            assert await reader.find_flows([b"one"]) == {}
            await eventually(lambda: not is_reachable(reader))
            reader.register(2, TWO)
            reader.write_flows({b"two": 2})
            assert reader.snapshot().transceivers == {1: ONE, 2: TWO}
            await trio.sleep(2 * QUICK.grace)
            assert reader.snapshot().transceivers == {1: ONE, 2: TWO}
        finally:
            redis.server.resume()
        await eventually(lists(writer, transceivers={1: ONE, 2: TWO}))
        await eventually_found(writer, [b"two"], {b"two": 2})


@pytest.mark.slow
async def test_a_flushed_redis_is_filled_again_and_nobody_forgets_anything(redis: Redis) -> None:
    async with redis.open() as writer, redis.open(pace=PATIENT) as reader:
        writer.register(1, ONE)
        await eventually(lists(reader, transceivers={1: ONE}))
        async with never_without(reader, 1), never_without(writer, 1):
            for _ in range(3):
                await redis.server.flush()
                await redis_has(redis.server, b"t:00000001")
        # What changes after is seen as before.
        writer.register(1, TWO)
        await eventually(lists(reader, transceivers={1: TWO}))


@pytest.mark.slow
async def test_a_transceiver_that_died_is_forgotten_after_its_grace(redis: Redis) -> None:
    async with redis.open() as reader:
        await write_by_hand(redis.server, b"t:00000001", sealed(Member.transceiver(1), ONE))
        await eventually(lists(reader, transceivers={1: ONE}))
        began = trio.current_time()
        await let_run_out(redis.server, b"t:00000001")
        await eventually(lists(reader))
        assert trio.current_time() - began >= QUICK.grace


@pytest.mark.slow
async def test_a_directory_out_of_reach_opens_and_serves_itself(tmp_path: Path) -> None:
    # Bound and without a listener: nobody else's server comes up there meanwhile.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        redis = Redis(RedisServer(tmp_path, port=nobody.getsockname()[1], options={}))
        await check_out_of_reach(redis)


async def check_out_of_reach(redis: Redis) -> None:
    async with redis.open() as directory:
        directory.register(1, ONE)
        directory.register_relay("one", RELAY)
        assert directory.snapshot() == Snapshot(transceivers={1: ONE}, relays={"one": RELAY})
        assert await directory.find_flows([b"one"]) == {}
        with trio.move_on_after(0.1) as waiting:
            await directory.claim(1)
        assert waiting.cancelled_caught
        await eventually(lambda: 'voicegate_directory_faults_total{at="session"}' in scrape(directory))
        assert scrape(directory)["voicegate_directory_answer_age_seconds"] == -1


@pytest.mark.slow
async def test_a_claim_waits_for_redis(redis: Redis) -> None:
    redis.server.kill()
    async with redis.open() as directory, trio.open_nursery() as nursery:
        claimed: list[int] = []

        async def claim() -> None:
            claimed.append(await directory.claim(5))

        nursery.start_soon(claim)
        await eventually(lambda: 'voicegate_directory_faults_total{at="session"}' in scrape(directory))
        assert claimed == []
        await redis.server.start()
    assert [id_ >> 20 for id_ in claimed] == [5]


# News


@pytest.mark.slow
async def test_a_change_of_address_is_seen_though_every_message_gets_lost(redis: Redis) -> None:
    async with redis.open() as writer, redis.open() as reader:
        writer.register(1, ONE)
        await eventually(lists(reader, transceivers={1: ONE}))
        # Whoever waits for the message waits for the next one, too.
        for number in range(5):
            await redis.server.command("CLIENT", "KILL", "TYPE", "pubsub")
            lease = TransceiverLease(hop=("10.0.0.1", 9001 + number))
            writer.register(1, lease)
            await eventually(lists(reader, transceivers={1: lease}))


@pytest.mark.slow
async def test_a_change_of_address_is_seen_by_who_may_not_hear_of_it(redis: Redis) -> None:
    await redis.server.command("ACL", "SETUSER", "deaf", "on", ">secret", "~*", "+@all", "resetchannels")
    url = redis.server.url(user="deaf", password="secret")
    async with redis.open() as writer, redis.open(url=url) as reader:
        writer.register(1, ONE)
        await eventually(lists(reader, transceivers={1: ONE}))
        writer.register(1, TWO)
        await eventually(lists(reader, transceivers={1: TWO}))
        await eventually(lambda: 'voicegate_directory_faults_total{at="listening"}' in scrape(reader))


async def test_a_message_lets_readers_look_before_their_time(redis: Redis) -> None:
    async with redis.open() as writer, redis.open(pace=attrs.evolve(QUICK, poll=3600.0)) as reader:
        # Whoever can be reached need not listen yet.
        with trio.fail_after(120):
            while await redis.server.command("PUBSUB", "NUMSUB", NEWS) != [NEWS, 2]:
                await trio.sleep(0.005)
        writer.register(1, ONE)
        await eventually(lists(reader, transceivers={1: ONE}))


@pytest.mark.slow
async def test_two_thousand_transceivers_are_seen_and_then_only_what_changes(redis: Redis) -> None:
    leases = {
        number: TransceiverLease(
            hop=(f"10.0.{number // 250}.{number % 250}", 9000), region="eu", max_calls=100
        )
        for number in range(2000)
    }
    pace = attrs.evolve(QUICK, renewal=2.0, lease=30.0)
    async with redis.open(pace=pace) as writer, redis.open(pace=pace) as reader:
        for number, lease in leases.items():
            writer.register(number, lease)
        await eventually(lists(reader, transceivers=leases))
        await redis.server.command("CONFIG", "RESETSTAT")
        writer.register(7, ONE)
        await eventually(lists(reader, transceivers={**leases, 7: ONE}))
        async with redis.open(pace=pace) as newcomer:
            await eventually(lists(newcomer, transceivers={**leases, 7: ONE}))


@pytest.mark.slow
async def test_only_a_load_that_changed_a_lot_is_told(redis: Redis) -> None:
    async with redis.open() as writer, redis.open() as reader:
        lease = TransceiverLease(hop=("10.0.0.1", 9000), max_calls=80)
        writer.register(1, lease)
        await eventually(lists(reader, transceivers={1: lease}))
        for calls in (1, 9):
            writer.register(1, attrs.evolve(lease, calls=calls))
            await trio.sleep(2 * QUICK.renewal)
        assert await redis.server.command("HGET", PREFIX + b"state", "version") == b"1"
        writer.register(1, attrs.evolve(lease, calls=10))
        await eventually(lists(reader, transceivers={1: attrs.evolve(lease, calls=10)}))


# Lies


async def test_rows_of_another_cluster_are_refused_and_counted(redis: Redis) -> None:
    async with redis.open(secrets=[OTHER_SECRET]) as other, redis.open() as reader:
        other.register(1, ONE)
        other.register_relay("one", RELAY)
        other.write_flows({b"one": 1})
        await eventually(lambda: refused(reader, "seal") >= 2)
        await eventually_found(other, [b"one"], {b"one": 1})
        assert await reader.find_flows([b"one"]) == {}
        assert refused(reader, "flow_seal") == 1
        assert reader.snapshot() == Snapshot()


def refused(directory: Directory, reason: str) -> float:
    return scrape(directory)[f'voicegate_directory_rows_refused_total{{reason="{reason}"}}']


@pytest.mark.slow
async def test_two_generations_of_the_secret_are_believed_and_the_first_one_writes(redis: Redis) -> None:
    async with (
        redis.open(secrets=[SECRET]) as old,
        redis.open(secrets=[OTHER_SECRET, SECRET]) as both,
        redis.open(secrets=[OTHER_SECRET]) as new,
    ):
        old.register(1, ONE)
        both.register(2, TWO)
        await eventually(lists(both, transceivers={1: ONE, 2: TWO}))
        await eventually(lists(new, transceivers={2: TWO}))
        await eventually(lambda: refused(old, "seal") > 0 and refused(new, "seal") > 0)
        assert old.snapshot().transceivers == {1: ONE}


@pytest.mark.parametrize(
    "row", [b"by hand", b"\x01" * 33 + b"{}", b"\xff" * 5000, sealed(Member.transceiver(2), TWO)]
)
async def test_a_row_made_by_hand_changes_nothing_and_is_replaced_by_its_owner(
    redis: Redis, row: bytes
) -> None:
    async with redis.open() as writer, redis.open(pace=PATIENT) as reader:
        writer.register(1, ONE)
        await eventually(lists(reader, transceivers={1: ONE}))
        async with never_without(reader, 1):
            await write_by_hand(redis.server, b"t:00000001", row)
            await eventually(lambda: refused(writer, "seal") > 0)
            with trio.fail_after(120):
                while await redis.server.command("GET", PREFIX + b"t:00000001") == row:
                    await trio.sleep(0.01)
        assert reader.snapshot().hops == {1: ONE.hop}


async def test_a_key_of_another_type_is_replaced_too(redis: Redis) -> None:
    async with redis.open() as writer, redis.open() as reader:
        await redis.server.command("RPUSH", PREFIX + b"t:00000001", "a", "list")
        writer.register(1, ONE)
        await eventually(lists(reader, transceivers={1: ONE}))


async def test_members_made_by_hand_are_refused(redis: Redis) -> None:
    async with redis.open() as reader:
        await eventually(lambda: is_reachable(reader))
        for member in (b"t:1", b"t:0000000G", b"x:1", b"r:", b"\xff", b"r:" + b"a" * 254, b"t:+0000001"):
            await write_by_hand(redis.server, member, b"")
        await eventually(lambda: refused(reader, "malformed") >= 7)
        assert reader.snapshot() == Snapshot()


@pytest.mark.parametrize(
    ("lease", "reason"),
    [
        (TransceiverLease(hop=("203.0.113.1", 9000)), "hop_address"),
        (TransceiverLease(hop=("::ffff:203.0.113.1", 9000)), "hop_address"),
        (TransceiverLease(hop=("10.0.0.1", 9000), peer=("203.0.113.1", 443)), "peer_address"),
    ],
)
async def test_a_transceiver_outside_of_the_networks_is_refused(
    redis: Redis, lease: TransceiverLease, reason: str
) -> None:
    async with redis.open() as writer, redis.open() as reader:
        writer.register(2, TWO)
        writer.register(1, lease)
        await eventually(lambda: refused(reader, reason) > 0)
        await eventually(lists(reader, transceivers={2: TWO}))


@pytest.mark.parametrize("host", ["224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::"])
async def test_a_relay_at_no_address_for_one_is_refused(redis: Redis, host: str) -> None:
    async with redis.open() as writer, redis.open() as reader:
        writer.register_relay("one", RelayLease(udp=((host, 3478),)))
        await eventually(lambda: refused(reader, "relay_address") > 0)
        assert reader.snapshot() == Snapshot()


async def test_poisoned_flow_rows_lead_nowhere(redis: Redis) -> None:
    async with redis.open() as directory:
        directory.write_flows({b"one": 1, b"two": 2})
        await eventually_found(directory, [b"one", b"two"], {b"one": 1, b"two": 2})
        row = await redis.server.command("GET", b"voicegate:f:one")
        assert isinstance(row, bytes)
        await redis.server.command("SET", b"voicegate:f:two", row)
        await redis.server.command("SET", b"voicegate:f:three", row[:-1] + b"\x07")
        await redis.server.command("SET", b"voicegate:f:four", b"four")
        await redis.server.command("RPUSH", b"voicegate:f:five", b"five")
        keys = [b"one", b"two", b"three", b"four", b"five"]
        assert await directory.find_flows(keys) == {b"one": 1}
        assert refused(directory, "flow_seal") == 2
        assert refused(directory, "flow_malformed") == 1


def conflicts_told(directory: Directory) -> float:
    return scrape(directory)['voicegate_directory_events_total{event="conflict"}']


@pytest.mark.slow
async def test_the_second_holder_of_an_id_is_told_and_nothing_is_misrouted(redis: Redis) -> None:
    async with redis.open() as reader, redis.open() as second:
        async with redis.open() as first:
            first.register(1, ONE)
            await eventually(lists(reader, transceivers={1: ONE}))
            second.register(1, TWO)
            await eventually(lambda: second.conflicts == {1})
            assert second.snapshot().transceivers == {1: ONE}
            second.register(1, attrs.evolve(TWO, is_draining=True))
            await eventually(lambda: conflicts_told(second) >= 3)
            assert first.conflicts == frozenset()
            for directory in (first, second, reader):
                assert directory.snapshot().transceivers == {1: ONE}
            assert scrape(second)["voicegate_directory_conflicts"] == 1
            second.unregister(1)
            assert second.conflicts == frozenset()
            await trio.sleep(2 * QUICK.renewal)
            assert reader.snapshot().transceivers == {1: ONE}
        await eventually(lists(reader))


@pytest.mark.slow
async def test_watchers_are_told_of_a_conflict_and_of_its_end(redis: Redis) -> None:
    async with redis.open() as second, redis.open() as reader:
        await write_by_hand(redis.server, b"t:00000001", sealed(Member.transceiver(1), TWO))
        async with second.watch() as snapshots:
            second.register(1, TWO)
            with trio.fail_after(120):
                while not second.conflicts:
                    await snapshots.receive()
                await let_run_out(redis.server, b"t:00000001")
                while second.conflicts:
                    await snapshots.receive()
        await eventually(lists(reader, transceivers={1: TWO}))


@pytest.mark.slow
async def test_a_relay_that_comes_back_takes_its_name_from_its_dead_self(redis: Redis) -> None:
    async with redis.open() as reader, redis.open() as old, redis.open() as new:
        old.register_relay("one", RELAY)
        await eventually(lists(reader, relays={"one": RELAY}))
        new.register_relay("one", OTHER_RELAY)
        await eventually(lists(reader, relays={"one": OTHER_RELAY}))
        # If it wasn't dead after all, it doesn't fight.
        await eventually(lists(old, relays={"one": OTHER_RELAY}))
        assert scrape(old)["voicegate_directory_conflicts"] == 1
        assert scrape(new)["voicegate_directory_conflicts"] == 0


@pytest.mark.slow
async def test_clocks_that_are_wrong_are_seen_and_change_nothing(redis: Redis) -> None:
    async with (
        redis.open(wall_clock=lambda: time.time() - 300) as late,
        redis.open(wall_clock=lambda: time.time() + 300) as early,
        redis.open() as reader,
    ):
        late.register(1, ONE)
        early.register(2, TWO)
        await eventually(lists(reader, transceivers={1: ONE, 2: TWO}))
        assert scrape(reader)['voicegate_directory_events_total{event="skew"}'] >= 2
        for directory, seconds in ((late, -300), (early, 300), (reader, 0)):
            assert scrape(directory)["voicegate_directory_skew_seconds"] == pytest.approx(seconds, abs=30)
        await trio.sleep(2 * QUICK.renewal)
        assert reader.snapshot().transceivers == {1: ONE, 2: TWO}


@pytest.mark.slow
async def test_each_kind_of_trouble_is_logged_once_a_minute(redis: Redis) -> None:
    with capture_logs() as logs:
        async with redis.open() as first, redis.open(wall_clock=lambda: time.time() + 300) as second:
            first.register(1, ONE)
            await eventually(lambda: 1 in second.snapshot().transceivers)
            second.register(1, TWO)
            await write_by_hand(redis.server, b"t:00000002", b"by hand")
            await eventually(lambda: bool(second.conflicts))
            await eventually(lambda: conflicts_told(second) >= 3)
            for times in range(1, 4):
                for directory in (first, second):
                    await eventually(lambda who=directory, times=times: refused(who, "malformed") >= times)  # type: ignore[misc]
                await write_by_hand(redis.server, b"t:00000002", b"by hand")
    said = [(log["event"], log.get("reason")) for log in logs if log["event"] != "directory_fault"]
    assert said.count(("directory_conflict", None)) == 1
    assert said.count(("directory_clock_differs", None)) == 1
    assert said.count(("directory_rows_refused", "malformed")) == 2  # one of each
    assert not any("secret" in str(log) or "10.0.0" in str(log) for log in logs)


# Coming and going


async def test_leaving_says_goodbye_and_leaves_no_connection(redis: Redis) -> None:
    async with redis.open() as reader:
        async with redis.open() as writer:
            writer.register(1, ONE)
            writer.register_relay("one", RELAY)
            writer.write_flows({b"one": 1})
            await eventually(lists(reader, transceivers={1: ONE}, relays={"one": RELAY}))
        await eventually(lists(reader))
        await eventually_found(reader, [b"one"], {b"one": 1})
    with trio.fail_after(120):
        while b"name=voicegate" in bytes(str(await redis.server.command("CLIENT", "LIST")), "ascii"):
            await trio.sleep(0.01)


async def test_cancelling_says_goodbye_too(redis: Redis) -> None:
    async with redis.open() as reader:
        with trio.CancelScope() as scope:
            async with redis.open() as writer:
                writer.register(1, ONE)
                await eventually(lists(reader, transceivers={1: ONE}))
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        await eventually(lists(reader))


@pytest.mark.slow
async def test_leaving_does_not_wait_for_a_redis_that_is_silent(redis: Redis) -> None:
    pace = attrs.evolve(QUICK, farewell=0.05)
    try:
        with trio.fail_after(120):
            async with redis.open(pace=pace) as writer:
                writer.register(1, ONE)
                await eventually(lambda: is_reachable(writer))
                redis.server.stop()
    finally:
        redis.server.resume()


@pytest.mark.slow
async def test_flow_rows_that_pile_up_are_given_up_from_the_oldest(redis: Redis) -> None:
    redis.server.kill()
    async with redis.open() as directory:
        for start in range(0, 70_000, 10_000):
            directory.write_flows({number.to_bytes(19, "big"): 1 for number in range(start, start + 10_000)})
        figures = scrape(directory)
        assert figures["voicegate_directory_flow_rows_waiting"] == 65_536
        assert figures['voicegate_directory_flow_rows_total{what="dropped"}'] == 70_000 - 65_536
        await redis.server.start()
        last, first = (number.to_bytes(19, "big") for number in (69_999, 0))
        await eventually_found(directory, [last, first], {last: 1})


async def test_a_name_that_is_none_is_the_callers_mistake(redis: Redis) -> None:
    async with redis.open() as directory:
        for name in ("", "a" * 254, "new\nline"):
            with pytest.raises(UsageError):
                directory.register_relay(name, RELAY)


# Other forms of Redis


async def works(first: RedisDirectory, second: RedisDirectory) -> None:
    id_ = await first.claim(3)
    first.register(id_, ONE)
    second.register_relay("one", RELAY)
    rows = {number.to_bytes(19, "big"): number for number in range(300)}
    first.write_flows(rows)
    for directory in (first, second):
        await eventually(lists(directory, transceivers={id_: ONE}, relays={"one": RELAY}))
    await eventually_found(second, list(rows), rows)
    first.write_flows(dict.fromkeys(rows))
    await eventually_found(second, list(rows), {})
    first.unregister(id_)
    await eventually(lists(second, relays={"one": RELAY}))


ACL: Final = (
    "user voicegate on >s:e/cret ~{voicegate}:* ~voicegate:f:* &voicegate:news +@connection +@scripting "
    "+@read +@write +publish +subscribe +unsubscribe +punsubscribe +time +ping -@dangerous"
)


@pytest.mark.slow
async def test_tls_with_a_user_of_few_rights(tls: RedisTls) -> None:
    options = {"user": ["default off", ACL.removeprefix("user ")]}
    async with open_redis(tls=tls, options=options, user=("voicegate", "s:e/cret")) as server:
        redis = Redis(server)
        url = server.url(user="voicegate", password="s%3Ae%2Fcret")
        async with redis.open(url=url) as first, redis.open(url=url) as second:
            await works(first, second)


@pytest.mark.slow
async def test_a_failover_of_sentinels_is_followed() -> None:
    async with open_sentinel() as sentinels:
        redis = Redis(sentinels.primary)
        url = sentinels.url
        async with redis.open(url=url) as first, redis.open(url=url, pace=PATIENT) as second:
            await works(first, second)
            first.register(1, ONE)
            await eventually(lists(second, transceivers={1: ONE}, relays={"one": RELAY}))
            async with never_without(second, 1):
                sentinels.primary.kill()
                await redis_has(sentinels.replica, b"t:00000001")
                await eventually(lambda: is_reachable(first) and is_reachable(second))
                first.register(7, TWO)
                await eventually(lambda: second.snapshot().transceivers == {1: ONE, 7: TWO})


@pytest.mark.slow
async def test_a_cluster_of_redis_serves_as_one_does() -> None:
    async with open_cluster() as cluster:
        redis = Redis(cluster.nodes[0])
        async with redis.open(url=cluster.url) as first, redis.open(url=cluster.url) as second:
            await works(first, second)


@pytest.mark.slow
async def test_lookups_that_nobody_waits_for_use_no_connection_up() -> None:
    """Of coredis's pools, one is never given back that is cancelled while it is made."""
    async with open_cluster() as cluster:
        redis = Redis(cluster.nodes[0])
        rows = {number.to_bytes(19, "big"): number for number in range(300)}
        async with redis.open(url=cluster.url) as directory:
            await eventually(lambda: is_reachable(directory))
            directory.write_flows(rows)
            for moment in range(100):
                with trio.move_on_after(moment / 10_000):
                    await directory.find_flows(list(rows))
            await eventually_found(directory, list(rows), rows)


@pytest.mark.slow
async def test_once_nothing_about_flows_works_everything_begins_anew(redis: Redis) -> None:
    """Leases are in one slot, flows in many: elsewhere in a cluster, something may be wrong with us."""
    pace = attrs.evolve(QUICK, last_pause=0.2)
    async with redis.open(pace=pace) as directory:
        directory.write_flows({b"one": 1})
        await eventually_found(directory, [b"one"], {b"one": 1})
        sessions = scrape(directory)['voicegate_directory_events_total{event="session"}']
        directory._store._client.mget = broken  # type: ignore[union-attr, method-assign]

        async def is_anew() -> bool:
            await directory.find_flows([b"one"])
            return scrape(directory)['voicegate_directory_events_total{event="session"}'] > sessions

        async def ask_until_anew() -> None:
            while not await is_anew():
                await trio.lowlevel.checkpoint()

        # At every moment somebody asks, also while the session ends.
        with trio.fail_after(120):
            async with trio.open_nursery() as askers:
                for _ in range(30):
                    askers.start_soon(ask_until_anew)
        await eventually_found(directory, [b"one"], {b"one": 1})


@pytest.mark.slow
async def test_flows_that_ended_a_session_are_written_by_the_next(redis: Redis) -> None:
    async with redis.open(pace=attrs.evolve(QUICK, last_pause=0.2)) as directory:
        await eventually(lambda: is_reachable(directory))
        store = directory._store
        store.write_flows = broken  # type: ignore[union-attr, method-assign]
        directory.write_flows({b"one": 1})
        await eventually(lambda: directory._store not in {store, None})
        await eventually_found(directory, [b"one"], {b"one": 1})


async def broken(*_: object, **__: object) -> NoReturn:
    raise ConnectionError


# As it is configured


async def test_without_a_url_the_directory_is_of_this_process() -> None:
    async with open_directory(Config(), secrets=[SECRET]) as directory:
        assert isinstance(directory, MemoryDirectory)


async def test_with_a_url_it_is_on_redis(redis: Redis) -> None:
    config = Config(directory=redis.server.url(), secrets=[SECRET])
    async with (
        open_directory(config, secrets=config.secrets) as first,
        open_directory(config, secrets=config.secrets) as second,
    ):
        assert isinstance(first, RedisDirectory)
        first.register(1, ONE)
        await eventually(lists(second, transceivers={1: ONE}))


async def test_the_address_towards_redis_is_the_one_to_announce(redis: Redis) -> None:
    assert await Way("127.0.0.1", redis.server.port).local_address() == "127.0.0.1"
    assert await Way("localhost", 1, family=socket.AF_INET).local_address() == "127.0.0.1"
    assert await Way("localhost", redis.server.port).local_address() in ("127.0.0.1", "::1")
    with pytest.raises(UsageError, match="no address"):
        await Way("no such name", 1).local_address()
