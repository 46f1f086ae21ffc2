"""A small world: regions with relays, transceivers, callers and distances, and one Redis, all of them real.

Each machine is a host of a `Backbone` and runs the program itself, ``voicegate relay`` or ``voicegate
transceiver`` with a configuration file, so that whatever can happen to a machine can be done to it here: it
is killed, stopped, restarted, cut off, or gets another address, while callers talk. `World` does it; what
becomes of the calls is read from the callers.

Layer: shell (Trio).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any, Final

import attrs
import trio

from voicegate.errors import VoicegateError
from voicegate.testing.backbone import Backbone, Host, open_backbone
from voicegate.testing.line_stream import LineStream

__all__ = ["REGIONS", "ROUND_TRIPS", "CallerState", "World", "WorldError", "open_world"]

REGIONS: Final = ("central", "west", "east")
"""Where there is something; Redis is in the first."""

ROUND_TRIPS: Final[Mapping[tuple[str, str], float]] = {
    ("central", "west"): 0.020,
    ("west", "east"): 0.080,
    ("central", "east"): 0.150,
}
"""Seconds there and back. The direct way from the first to the last is a detour, as it happens to be."""

MACHINES: Final = 2
"""Relays, and transceivers, in each region."""

_RELAY_PORT: Final = 3478

_START_SECONDS: Final = 240.0
"""For a program to be ready on a machine that does a lot else."""

_TICK: Final = 0.005
"""In which packets are gathered on each part of their way. Twelve machines that have two processors together
would otherwise each be woken for every packet."""

_END_SECONDS: Final = 5.0
"""For a program to end by itself before it is killed."""

_POLL_SECONDS: Final = 0.1

_EMPTY_SECONDS: Final = 0.1
"""In which something comes for every relay, many times."""

_RELAY: Final = """
udp = "{address}:3478"
tcp = "off"
http = "{address}:8080"
insecure_no_auth = true
directory = "{directory}"
hop = "0.0.0.0:7000"
region = "{region}"
relay_name = "{name}"
drain_seconds = {drain_seconds}
"""

_TRANSCEIVER: Final = """
http = "0.0.0.0:8080"
insecure_no_auth = true
agent = "echo"
directory = "{directory}"
hop = "0.0.0.0:7000"
peer = "0.0.0.0:7001"
region = "{region}"
max_calls = {max_calls}
drain_seconds = {drain_seconds}
"""

_REGION: Final = """
[regions.{name}]
location = [{latitude}, {longitude}]
"""

_LOCATIONS: Final = {"central": (50.1, 8.7), "west": (51.5, -0.1), "east": (39.0, -77.5)}


class WorldError(VoicegateError):
    """A machine did not do what it is for; what it said is part of the message."""


@attrs.frozen(kw_only=True)
class CallerState:
    """A call as its caller has it; times are `time.perf_counter`'s."""

    region: str
    """Where the caller is."""
    id: int
    call_id: str
    entry: str
    """The address of the relay that media goes to."""
    is_lost: bool
    """Somebody else has ended the call."""
    silence: float
    """Seconds without media, at most, since `World.listen_anew`."""
    resumed_at: float | None
    """When that ended."""
    silent_for: float
    """Seconds since the last media."""
    packets: int
    """Heard, since the call began."""
    round_trips: Mapping[str, float | None]
    """Of the checks, in seconds, by the relay's address."""


@attrs.define(kw_only=True, eq=False)
class _Program:
    """What runs on a host, and its process while it does."""

    name: str
    host: Host
    command: tuple[str, ...]
    log: Path
    process: trio.Process | None = None


class World:
    """The machines: ``redis``, ``relay-REGION-N``, ``transceiver-REGION-N``; made by `open_world`."""

    def __init__(self, backbone: Backbone, folder: Path, *, drain_seconds: float, max_calls: int) -> None:
        self.backbone: Final = backbone
        self.relays: list[str] = []
        self.transceivers: list[str] = []
        self._folder = folder
        self._secret = token_hex(16)
        self._drain_seconds = drain_seconds
        self._max_calls = max_calls
        self._programs: dict[str, _Program] = {}
        self._members: dict[str, _Member] = {}

    # Machines

    async def start(self, name: str) -> None:
        """Start a machine's program; `wait_ready` waits for it."""
        program = self._programs[name]
        with program.log.open("ab") as log:
            program.process = await trio.lowlevel.open_process(
                program.host.wrap(program.command),
                stdin=subprocess.DEVNULL,
                stdout=log.fileno(),
                stderr=log.fileno(),
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )

    async def wait_ready(self, name: str) -> None:
        """Wait until a relay or a transceiver says that it is ready.

        Errors: WorldError, with its last words, when it has ended or takes too long.
        """
        program = self._programs[name]
        assert program.process is not None  # noqa: S101 - it was started
        url = f"http://{program.host.address}:8080/readyz"
        with trio.move_on_after(_START_SECONDS):
            while program.process.poll() is None:
                if (await self.fetch(url, region=program.host.region))[0] == 200:
                    return
                await trio.sleep(_POLL_SECONDS)
        raise WorldError(f"{name} is not ready: {self.last_words(name)}")

    async def _wait_acquainted(self, name: str) -> None:
        """Wait until a machine knows all others: answers of one that does not lead abroad."""
        host = self._programs[name].host
        known = f"transceivers {len(self.transceivers)}.0", f"relays {len(self.relays)}.0"
        with trio.fail_after(_START_SECONDS):
            while True:
                _, text = await self.fetch(f"http://{host.address}:8080/metrics", region=host.region)
                if all(f"\nvoicegate_directory_{each}\n" in text for each in known):
                    return
                await trio.sleep(_POLL_SECONDS)

    async def restart(self, name: str) -> None:
        """Start a machine's program and wait until it is ready."""
        await self.start(name)
        await self.wait_ready(name)

    async def kill(self, name: str) -> None:
        """Kill all of a machine's processes at once, as a power cut would."""
        self.signal(name, signal.SIGKILL)
        await self.wait_ended(name)
        # Workers are in groups of their own, and end a moment after whoever started them.
        while name in self.relays and await self._unread(name):  # noqa: ASYNC110 - of another process
            await trio.sleep(_POLL_SECONDS / 10)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a machine's program: to the first process only, unless it is to kill or stop."""
        process = self._programs[name].process
        if process is None or process.poll() is not None:
            return
        to_all = number in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
        with suppress(ProcessLookupError):
            (os.killpg if to_all else os.kill)(process.pid, number)

    async def wait_ended(self, name: str) -> int:
        """Wait until a machine's program has ended, and return its exit status."""
        process = self._programs[name].process
        return 0 if process is None else await process.wait()

    def is_running(self, name: str) -> bool:
        """Whether a machine's program runs."""
        process = self._programs[name].process
        return process is not None and process.poll() is None

    def host(self, name: str) -> Host:
        """Return where a machine's program runs."""
        return self._programs[name].host

    def name_of(self, address: str) -> str:
        """Return the name of the machine that has an address."""
        return next(name for name, each in self._programs.items() if each.host.address == address)

    async def calls_of(self, name: str) -> set[str]:
        """Return the ids of the calls that a transceiver has."""
        host = self.host(name)
        status, text = await self.fetch(f"http://{host.address}:8080/v1/sessions", region=host.region)
        if status != 200:
            raise WorldError(f"{name}: {status} {text}")
        return {each["id"] for each in json.loads(text)["sessions"] if each["state"] != "ended"}

    async def wait_reading(self, name: str) -> float:
        """Wait until a relay that was started takes in what callers send; return the `time.perf_counter`."""
        most, empty_at = 0, None
        while True:
            unread, now = sum(rows := await self._unread(name)), perf_counter()
            # What comes while the workers start waits in the socket, and grows less once it is read.
            if rows and unread < most:
                return now
            # Who looks too late to see that sees it empty, and callers do not leave it so for long.
            if rows and not unread:
                empty_at = empty_at or now
                if now - empty_at > _EMPTY_SECONDS:
                    return empty_at
            elif rows:
                empty_at = None
            most = unread
            await trio.sleep(0.002)

    async def _unread(self, name: str) -> list[int]:
        """Return how many bytes wait in each socket of a relay's public address."""
        host = self.host(name)
        local = f"{int.from_bytes(socket.inet_aton(host.address), sys.byteorder):08X}:{_RELAY_PORT:04X}"
        table = await trio.Path("/proc", str(host.pid), "net", "udp").read_text()
        rows = [row.split() for row in table.splitlines()[1:]]
        return [int(row[4].partition(":")[2], 16) for row in rows if row[1] == local]

    def last_words(self, name: str) -> str:
        """Return the end of what a machine's program has said."""
        said = self._programs[name].log.read_text(errors="replace")
        return " | ".join(said.splitlines()[-8:])

    # Callers

    def urls(self, region: str) -> list[str]:
        """Where callers of a region try to call: the transceivers by distance."""
        near = sorted(REGIONS, key=lambda other: _round_trip(region, other))
        hosts = [self.host(f"transceiver-{each}-{n + 1}") for each in near for n in range(MACHINES)]
        return [f"http://{host.address}:8080/?region={region}" for host in hosts]

    async def call(
        self, region: str, wanted: int, *, urls: Sequence[str] = (), max_paths: int = 3
    ) -> tuple[int, list[str]]:
        """Make calls from a region; return how many came about, and the words of all refusals.

        Args:
            region: Where the callers are.
            wanted: How many. Every second one begins with the second transceiver.
            urls: Where they try, one after the other; if not given, as `urls` says.
            max_paths: Of each caller.
        """
        listed = list(urls or self.urls(region))
        swapped = listed if urls else [listed[1], listed[0], *listed[2:]]
        made, refusals = 0, []
        for share, order in ((wanted - wanted // 2, listed), (wanted // 2, swapped)):
            answer = await self._members[region].ask("call", count=share, urls=order, max_paths=max_paths)
            made += len(answer["made"])
            refusals += answer["refusals"]
        return made, refusals

    async def call_everywhere(self, wanted: int, *, max_paths: int = 3) -> None:
        """Make calls, shared out among the regions. Errors: WorldError unless all come about."""
        shares = [wanted // len(REGIONS) + (n < wanted % len(REGIONS)) for n in range(len(REGIONS))]

        async def call(region: str, share: int) -> None:
            made, refusals = await self.call(region, share, max_paths=max_paths)
            if made < share:
                raise WorldError(f"{made} of {share} calls from {region} came about: {refusals[-3:]}")

        async with trio.open_nursery() as nursery:
            for region, share in zip(REGIONS, shares, strict=True):
                nursery.start_soon(call, region, share)

    async def hang_up(self, callers: Sequence[CallerState] | None = None) -> None:
        """Let callers say goodbye; all, if none are given."""
        for region, member in self._members.items():
            ids = None if callers is None else [each.id for each in callers if each.region == region]
            if ids is None or ids:
                await member.ask("hang_up", ids=ids)

    async def listen_anew(self) -> None:
        """Forget all silences so far."""
        for member in self._members.values():
            await member.ask("anew")

    async def read(self) -> list[CallerState]:
        """Return what there is to say of each caller who was ever connected."""
        states: list[CallerState] = []
        for region, member in self._members.items():
            answer = await member.ask("read")
            states += [
                CallerState(region=region, **each) for each in answer["callers"] if each["id"] is not None
            ]
        return states

    async def fetch(self, url: str, *, region: str = REGIONS[0], method: str = "GET") -> tuple[int, str]:
        """Ask a machine over HTTP, from where callers are; status 0 when it doesn't answer."""
        answer = await self._members[region].ask("fetch", url=url, method=method)
        return answer["status"], answer["text"]

    # Making it

    async def build(self, nursery: trio.Nursery) -> None:
        """Set all hosts up, and start what runs on them."""
        await self.backbone.set_tick(_TICK)
        for number, region in enumerate(REGIONS, 1):
            await self._add_callers(nursery, region, f"10.{number}.3.1")
        for (region, other), round_trip in ROUND_TRIPS.items():
            await self.backbone.set_delay(region, other, round_trip / 2)
        redis = await self.backbone.add_host("redis", region=REGIONS[0], address="10.1.4.1")
        command = [_find_redis(), "--bind", redis.address, "--save", "", "--protected-mode", "no"]
        self._add("redis", redis, [*command, "--dir", str(self._folder)])
        await self.start("redis")
        for number, region in enumerate(REGIONS, 1):
            for n in range(1, MACHINES + 1):
                await self._add_server("relay", f"{region}-{n}", region, f"10.{number}.1.{n}")
                await self._add_server("transceiver", f"{region}-{n}", region, f"10.{number}.2.{n}")
        for name in (*self.relays, *self.transceivers):
            await self.start(name)
        for name in (*self.relays, *self.transceivers):
            await self.wait_ready(name)
        for name in (*self.relays, *self.transceivers):
            await self._wait_acquainted(name)

    async def close(self) -> None:
        """End everything."""
        for name in self._programs:
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGKILL)
        for member in self._members.values():
            await member.close()
        for name in self._programs:
            await self.wait_ended(name)

    def _add(self, name: str, host: Host, command: Sequence[str]) -> None:
        log = self._folder / f"{name}.log"
        self._programs[name] = _Program(name=name, host=host, command=tuple(command), log=log)

    async def _add_server(self, role: str, where: str, region: str, address: str) -> None:
        name = f"{role}-{where}"
        host = await self.backbone.add_host(name, region=region, address=address)
        text = (_RELAY if role == "relay" else _TRANSCEIVER).format(
            name=name,
            address=address,
            region=region,
            directory=f"redis://{self.host('redis').address}:6379",
            drain_seconds=self._drain_seconds,
            max_calls=self._max_calls,
        )
        text += f'secrets = ["{self._secret}"]\n'
        if role == "transceiver":
            for each, (latitude, longitude) in _LOCATIONS.items():
                text += _REGION.format(name=each, latitude=latitude, longitude=longitude)
        path = self._folder / f"{name}.toml"
        path.write_text(text)
        self._add(name, host, [sys.executable, "-m", "voicegate", role, "--config", str(path)])
        (self.relays if role == "relay" else self.transceivers).append(name)

    async def _add_callers(self, nursery: trio.Nursery, region: str, address: str) -> None:
        host = await self.backbone.add_host(f"callers-{region}", region=region, address=address)
        member = _Member(region, self._folder / f"callers-{region}.log")
        await nursery.start(member.run, host.wrap([sys.executable, "-m", "voicegate.testing.world_crowd"]))
        self._members[region] = member


class _Member:
    """The process with the callers of a region."""

    def __init__(self, region: str, log: Path) -> None:
        self._region = region
        self._log = log
        self._numbers = count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._process: trio.Process | None = None
        self._lines: LineStream | None = None

    async def run(
        self, command: Sequence[str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hand answers to those who asked, until the process ends."""
        with self._log.open("wb") as log:
            self._process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log.fileno(),
                start_new_session=True,
            )
        assert self._process.stdio is not None  # noqa: S101 - both are pipes
        self._lines = LineStream(self._process.stdio)
        task_status.started()
        while (line := await self._lines.receive()) is not None:
            answer = json.loads(line)
            if (waiting := self._waiting.pop(answer["id"], None)) is not None:
                waiting.send_nowait(answer)
        for channel in self._waiting.values():
            channel.close()

    async def ask(self, what: str, **arguments: object) -> dict[str, Any]:
        assert self._lines is not None  # noqa: S101 - it runs
        number = next(self._numbers)
        sending, receiving = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = sending
        try:
            await self._lines.send(json.dumps({"id": number, "do": what, **arguments}))
            return await receiving.receive()
        except (trio.EndOfChannel, trio.BrokenResourceError):
            said = self._log.read_text(errors="replace").splitlines()[-8:]
            raise WorldError(f"the callers of {self._region} are gone: {' | '.join(said)}") from None

    async def close(self) -> None:
        """Let callers hang up, and end."""
        if self._process is None or self._process.stdin is None:
            return
        await self._process.stdin.aclose()
        with trio.move_on_after(_END_SECONDS):
            await self._process.wait()
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def open_world(
    folder: Path, *, drain_seconds: float = 10.0, max_calls: int = 200
) -> AsyncIterator[World]:
    """Build a world, and end it with the block.

    Args:
        folder: Where configurations and logs go.
        drain_seconds: How long calls of a machine that is told to end may go on.
        max_calls: Of each transceiver.

    Errors: WorldError when a machine does not start; BackboneError as `open_backbone` says.
    """
    async with open_backbone() as backbone, trio.open_nursery() as nursery:
        world = World(backbone, folder, drain_seconds=drain_seconds, max_calls=max_calls)
        try:
            await world.build(nursery)
            yield world
        finally:
            with trio.CancelScope(shield=True):
                await world.close()
            nursery.cancel_scope.cancel()


def _round_trip(region: str, other: str) -> float:
    pairs = dict(ROUND_TRIPS)
    return 0.0 if region == other else pairs.get((region, other)) or pairs[other, region]


def _find_redis() -> str:
    if (found := shutil.which("redis-server")) is None:
        raise WorldError("redis-server is missing: apt install redis-server")
    return found
