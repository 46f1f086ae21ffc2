"""Relays under load, for moments: what is counted hangs together; no time is judged."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from voicegate.bench import generator as generator_module
from voicegate.bench import relay as relay_module
from voicegate.bench.compiler import build
from voicegate.bench.contender import Contender, open_contenders
from voicegate.bench.generator import Generator, open_generator
from voicegate.bench.profile import open_profile
from voicegate.bench.program import open_program
from voicegate.bench.relay import Bisection, count_steps, measure_relays
from voicegate.bench.server import BenchError
from voicegate.bench.traffic import (
    OURS,
    OURS_PLAIN,
    REFERENCE_C,
    REFERENCE_GO,
    SATURATION,
    Direction,
    Load,
    RelayConditions,
)
from voicegate.wire import hop
from voicegate.wire.path import address_bytes

PROCESSOR = max(os.sched_getaffinity(0))
FLOWS = 20
PACED = Load(direction=Direction.TO_TRANSCEIVER, flows=FLOWS, rate=500)
SECONDS = 0.2


@pytest.mark.parametrize("highest", [1200.0, 3000.0, 15_000.0])
def test_a_search_closes_in_on_the_highest_rate(highest: float) -> None:
    bisection = Bisection(low=1000, high=16_000)
    for _ in range(6):
        bisection.note(is_passed=bisection.rate <= highest)
    assert bisection.low <= highest <= bisection.high
    assert bisection.high / bisection.low < 1.05


def test_steps_are_runs_searches_profiles_and_memory() -> None:
    conditions = RelayConditions(
        flows=(5,), rates=(SATURATION, 100), references=(), repeats=3, has_search=False, memory_flows=0
    )
    assert count_steps(conditions) == 3 * (2 * 2 * 2 + 1)
    assert count_steps(RelayConditions()) == 3 * (3 * 2 * 4 * 4 + 3) + 3 * 2 * 4 + 1
    with_profile = RelayConditions(profile=Path())
    assert count_steps(with_profile) == count_steps(RelayConditions()) + 2 * 4


@pytest.mark.slow
async def test_all_relays_forward_all_packets_to_whom_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "_SEARCH_STEPS", 2)
    conditions = RelayConditions(
        flows=(40,), rates=(SATURATION, 500), seconds=SECONDS, repeats=1, memory_flows=1000
    )
    steps: list[None] = []
    with trio.fail_after(240):
        measurement = await measure_relays(conditions, advance=lambda: steps.append(None))
    assert len(steps) == count_steps(conditions)
    assert [(point.load, point.relay) for point in measurement.points] == [
        (load, relay) for load in conditions.loads for relay in conditions.relays
    ]
    for point in measurement.points:
        (run,) = point.runs
        assert run.touched == point.load.flows
        assert run.sent >= run.received > 0
        assert (run.misrouted, run.damaged) == (0, 0)
        assert 0 < run.cpu < run.seconds * 1.5  # of one processor
        assert 0 < run.p50 <= run.p99 <= run.max
    assert list(measurement.direct) == [500]
    assert {ceiling.relay for ceiling in measurement.ceilings} == set(conditions.relays)
    assert len(measurement.ceilings) == 2 * 4
    assert measurement.memory is not None
    assert measurement.memory.flows == 1000


@pytest.mark.slow
async def test_each_relay_takes_thousands_of_flows(tmp_path: Path) -> None:
    flows = 2000
    names = (OURS, REFERENCE_C, REFERENCE_GO, OURS_PLAIN)
    with trio.fail_after(120):
        async with (
            open_generator(tmp_path, processor=PROCESSOR) as generator,
            open_contenders(
                names, transceiver=generator.transceiver, flows=flows, folder=tmp_path, processor=PROCESSOR
            ) as contenders,
        ):
            for contender in contenders:
                await generator.open_flows(contender, flows)
                for direction in Direction:
                    load = Load(direction=direction, flows=flows, rate=5000)
                    run = await generator.run(contender, load, seconds=0.5)
                    assert (run.misrouted, run.damaged) == (0, 0)


PERF = """#!/bin/sh
for last; do :; done
case $1 in
  record) echo samples >"$last"; exec sleep 60 ;;
  report) cat "$last"; echo "# Samples: 3 of event" ;;
esac
"""


@pytest.fixture
def install_perf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in the place of perf, which most systems forbid to most."""

    def install(script: str) -> None:
        program = tmp_path / "perf"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


async def test_a_profile_is_taken_while_it_is_open_and_then_told(
    tmp_path: Path, install_perf: Callable[[str], None]
) -> None:
    install_perf(PERF)
    with trio.fail_after(60):
        async with open_profile([os.getpid()], tmp_path / "profile.txt"):
            assert (tmp_path / "profile.data").exists()
    assert "3 of event" in (tmp_path / "profile.txt").read_text()


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\necho Total Lost Samples: 0\n"])
async def test_a_profile_without_samples_is_refused(
    tmp_path: Path, install_perf: Callable[[str], None], script: str
) -> None:
    install_perf(script)
    with trio.fail_after(60), pytest.raises(BenchError, match="wants root"):
        async with open_profile([os.getpid()], tmp_path / "profile.txt"):
            pass


Meddle = Callable[[int, bytes], list[bytes]]


def obey(number: int, data: bytes) -> list[bytes]:
    return [data]


def lose(number: int, data: bytes) -> list[bytes]:
    return [] if number % 10 == 0 else [data]


def damage(number: int, data: bytes) -> list[bytes]:
    return [data[:-1] + b"?" if number % 10 == 0 else data]


def shorten(number: int, data: bytes) -> list[bytes]:
    return [data[:-1] if number % 10 == 0 else data]


def misroute(number: int, data: bytes) -> list[bytes]:
    return [data[:23] + bytes([(data[23] + 1) % FLOWS]) + data[24:] if number % 10 == 0 else data]


@asynccontextmanager
async def forward(generator: Generator, meddle: Meddle) -> AsyncIterator[Contender]:
    """Run a relay in this process, towards the transceiver, that does as it likes with hop datagrams."""

    async def run(public: trio.socket.SocketType) -> None:
        number = 0
        while True:
            data, (host, port) = await public.recvfrom(2048)
            number += 1
            wrapped = hop.encode(hop.HopType.DATA, host=address_bytes(host), port=port, payload=data)
            for datagram in meddle(number, wrapped):
                await public.sendto(datagram, ("127.0.0.1", generator.transceiver))

    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as public:
        await public.bind(("127.0.0.1", 0))
        port = public.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, public)
            yield Contender(name="made up", public=port, hop=port, processes=[os.getpid()])
            nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("meddle", "wrong"),
    [(obey, ""), (lose, "lost"), (damage, "damaged"), (shorten, "damaged"), (misroute, "misrouted")],
)
async def test_what_a_relay_does_wrong_is_counted(tmp_path: Path, meddle: Meddle, wrong: str) -> None:
    found: set[str] | None = None
    with trio.fail_after(120):
        async with (
            open_generator(tmp_path, processor=PROCESSOR) as generator,
            forward(generator, meddle) as contender,
        ):
            while found is None or "lost" in found - {wrong}:  # by us: a stall, and the generator has gone on
                run = await generator.run(contender, PACED, seconds=SECONDS)
                counts = {"lost": run.sent - run.received, "damaged": run.damaged, "misrouted": run.misrouted}
                if meddle is shorten:
                    del counts["lost"]  # it is that too
                found = {name for name, count in counts.items() if count}
    assert found == ({wrong} if wrong else set())


@pytest.mark.slow
async def test_a_relay_that_forwards_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator_module, "_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(generator_module, "_ATTEMPTS", 1)
    checks = tmp_path / "checks"
    checks.write_bytes(b"\0\4stun" * FLOWS)
    nobody = Contender(name="nobody", public=9, hop=9, processes=[], checks=checks)
    async with open_generator(tmp_path, processor=PROCESSOR) as generator:
        with trio.fail_after(60), pytest.raises(BenchError, match="nobody opened 0 of 20 flows"):
            await generator.open_flows(nobody, FLOWS)
        with trio.fail_after(60), pytest.raises(BenchError, match="nobody forwarded packets of 0 of 20"):
            await generator.run(nobody, PACED, seconds=SECONDS)


@pytest.mark.slow
async def test_a_generator_that_does_not_understand_ends(tmp_path: Path) -> None:
    command = [str(await build("load.c", tmp_path))]
    async with open_program("the load generator", command, processor=PROCESSOR) as (program, said):
        assert said["transceiver"] > 0
        with pytest.raises(BenchError, match="the load generator ended with exit status 2"):
            await program.ask("nonsense")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["relay.c", "relay.go", "load.c"])
async def test_programs_end_with_their_input(tmp_path: Path, source: str) -> None:
    command = [str(await build(source, tmp_path))]
    if source != "load.c":
        command += ["0", "0", "9"]
    async with open_program(source, command, processor=PROCESSOR) as (program, _):
        with trio.fail_after(20):
            await program.close()


async def test_what_a_compiler_complains_of_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "gcc"
    compiler.write_text("#!/bin/sh\necho no room left\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BenchError, match=r"load\.c cannot be compiled: no room left"):
        await build("load.c", tmp_path)
