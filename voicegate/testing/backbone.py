"""Hosts in network namespaces of their own, and between them a backbone with delays, losses and cuts.

Each host has one end of a veth pair, ``eth0``; the other ends belong to a small C program in a namespace of
its own, which carries IPv4 between them (``backbone.c`` says how). Everything is real but the distance:
sockets, routes, ARP, ICMP. Works for root, and for whoever the kernel lets have a user namespace.

Layer: shell (Trio).
"""

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import trio

from voicegate.errors import VoicegateError
from voicegate.testing.line_stream import LineStream

__all__ = ["Backbone", "BackboneError", "Host", "open_backbone"]

_SOURCE: Final = Path(__file__).with_suffix(".c")

_PACKAGES: Final = {
    "gcc": "gcc libc6-dev",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}

_PREFIX_BITS: Final = 8
"""All hosts are neighbours of each other, 10.0.0.0/8: the backbone answers ARP for all."""

_NEARBY_SECONDS: Final = 0.0003
"""One way inside a region, less than that of the backbone's own round of work."""


class BackboneError(VoicegateError):
    """The backbone could not be made, or refused a command."""


@attrs.define(kw_only=True, eq=False)
class Host:
    """A host of a backbone."""

    name: str
    region: str
    address: str
    pid: int
    """Of the process that holds its namespaces open; ``/proc/PID/net`` is this host's."""
    _enter: tuple[str, ...]

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Turn a command line into one that runs the same command, under the same process id, here."""
        return [*self._enter, f"--target={self.pid}", "--", *command]


class Backbone:
    """A running backbone; made by `open_backbone`. Hosts are named by strings, as are regions."""

    def __init__(self, pid: int, talk: trio.abc.Stream, enter: Sequence[str]) -> None:
        self.hosts: dict[str, Host] = {}
        self._pid = pid
        self._lines = LineStream(talk)
        self._enter = tuple(enter)
        self._turn = trio.Lock()

    async def add_host(self, name: str, *, region: str, address: str) -> Host:
        """Add a host with one IPv4 address, inside 10.0.0.0/8, on ``eth0``.

        Errors: BackboneError.
        """
        pid, number = map(int, await self._command("host", name, region))
        if all(host.region != region for host in self.hosts.values()):
            await self.set_delay(region, region, _NEARBY_SECONDS)
        host = Host(name=name, region=region, address=address, pid=pid, enter=self._enter)
        here = [*self._enter, f"--target={self._pid}", "--"]
        ours, mac = f"host{number}", f"02:76:67:00:00:{number:02x}"
        await _configure(
            here, f"link add {ours} type veth peer name eth0 address {mac} netns {pid}\nlink set {ours} up\n"
        )
        await _configure(
            host.wrap([]), f"link set lo up\nlink set eth0 up\naddr add {address}/{_PREFIX_BITS} dev eth0\n"
        )
        await self._command("open", name, ours)
        await self._command("address", name, address)
        self.hosts[name] = host
        return host

    async def set_delay(self, region: str, other: str, seconds: float) -> None:
        """Let packets between two regions, or inside one, take so long one way."""
        await self._command("delay", region, other, str(round(seconds * 1e6)))

    async def set_loss(self, region: str, other: str, probability: float) -> None:
        """Lose so many of the packets between two regions."""
        await self._command("loss", region, other, str(round(probability * 1e6)))

    async def set_tick(self, seconds: float) -> None:
        """Gather packets for so long, for a small machine to have less to do; so much may be added to delays.

        Errors: BackboneError for less than a microsecond, or a second and more.
        """
        await self._command("tick", str(round(seconds * 1e6)))

    async def cut(self, name: str, other: str) -> None:
        """Let nothing pass between two hosts, what is on its way included."""
        await self._command("partition", name, other)

    async def heal(self, name: str, other: str) -> None:
        """Undo `cut`."""
        await self._command("heal", name, other)

    async def take_down(self, name: str) -> None:
        """Let nothing pass to a host or from it."""
        await self._command("down", name)

    async def bring_up(self, name: str) -> None:
        """Undo `take_down`."""
        await self._command("up", name)

    async def move(self, name: str, address: str) -> None:
        """Give a host another address instead of its own, as a new lease of DHCP may."""
        host = self.hosts[name]
        # In this order: one that came later would be a secondary of the other's, and go with it.
        await _configure(
            host.wrap([]),
            f"addr del {host.address}/{_PREFIX_BITS} dev eth0\naddr add {address}/{_PREFIX_BITS} dev eth0\n",
        )
        await self._command("forget", host.address)
        await self._command("address", name, address)
        host.address = address

    async def count(self) -> Mapping[str, int]:
        """Return how many packets were forwarded, and how many dropped, by reason."""
        pairs = (word.partition("=") for word in await self._command("count"))
        return {name: int(value) for name, _equals, value in pairs}

    async def _command(self, *words: str) -> list[str]:
        async with self._turn:
            try:
                await self._lines.send(" ".join(words))
                answer = await self._lines.receive()
            except trio.BrokenResourceError:
                answer = None
        if answer is None:
            raise BackboneError("the backbone is gone (it needs root, or user namespaces)")
        verdict, *rest = answer.split()
        if verdict != "ok":
            raise BackboneError(f"{' '.join(words)}: {' '.join(rest)}")
        return rest


@asynccontextmanager
async def open_backbone() -> AsyncIterator[Backbone]:
    """Run a backbone without any hosts.

    Errors: BackboneError when a tool, the compiler or the permission is missing.
    Resources: the namespaces live as long as a process in them; those started on hosts are the caller's.
    """
    own_user = os.geteuid() != 0
    enter = [_find_tool("nsenter"), "--net", *(["--user", "--preserve-credentials"] if own_user else [])]
    unshare = [_find_tool("unshare"), "--net", *(["--user", "--map-root-user"] if own_user else []), "--"]
    ours, theirs = socket.socketpair()
    with TemporaryDirectory(prefix="voicegate-") as folder, closing(ours), closing(theirs):
        program = await _build(Path(folder))
        process = await trio.lowlevel.open_process(
            [*unshare, str(program)], stdin=theirs.fileno(), stdout=theirs.fileno(), process_group=0
        )
        theirs.close()
        try:
            backbone = Backbone(process.pid, trio.SocketStream(trio.socket.from_stdlib_socket(ours)), enter)
            await backbone.count()  # an answer means that it is in its namespace
            yield backbone
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def _build(folder: Path) -> Path:
    program = folder / "backbone"
    await _run([_find_tool("gcc"), "-O2", "-o", str(program), str(_SOURCE)])
    return program


async def _configure(enter: Sequence[str], batch: str) -> None:
    await _run([*enter, _find_tool("ip"), "-batch", "-"], stdin=batch.encode())


async def _run(command: Sequence[str], *, stdin: bytes = b"") -> None:
    done = await trio.run_process(
        command, stdin=stdin, check=False, capture_stdout=True, stderr=subprocess.STDOUT, process_group=0
    )
    if done.returncode:
        said = " ".join(done.stdout.decode(errors="replace").split())
        raise BackboneError(f"{Path(command[0]).name} failed: {said[:300]}")


def _find_tool(name: str) -> str:
    """Find a tool that an ordinary user's PATH may not reach."""
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if found is None:
        raise BackboneError(f"{name} is missing: apt install {_PACKAGES[name]}")
    return found
