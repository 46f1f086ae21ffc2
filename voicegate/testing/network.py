"""A network of its own for the program under test: one address, a default route, and no way out.

Firefox never pairs its candidates with 127.0.0.1 and gathers none at all without a default route. Inside a
`Namespace` it finds both, on a loopback interface that leads nowhere.

A process holds the namespace open and makes sockets in it on request. A socket belongs for life to the
namespace it was made in, whoever uses it, so a test outside can connect to what is inside, and serve it.
"""

import os
import shutil
import socket
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from typing import Final

import trio

from voicegate.errors import VoicegateError

__all__ = ["Namespace", "NamespaceError", "open_namespace"]

_ADDRESS: Final = "10.77.0.1"

_PACKAGES: Final = {"ip": "iproute2", "nsenter": "util-linux", "unshare": "util-linux"}

_REQUEST: Final = struct.Struct("=ii")
"""Address family and socket type."""

_READY: Final = b"ready"

_REPLY_SECONDS: Final = 5.0
"""The holder answers within a millisecond; one that has not by then never will."""

_SETUP: Final = f"""
set -e
PATH=$PATH:/usr/sbin:/sbin
ip link set lo up
ip addr add {_ADDRESS}/24 dev lo
ip route add default dev lo
exec "$@"
"""

_HOLDER: Final = f"""
import socket, struct
control = socket.socket(fileno=0)
control.send({_READY!r})
while request := control.recv({_REQUEST.size}):
    with socket.socket(*struct.unpack({_REQUEST.format!r}, request)) as made:
        socket.send_fds(control, [b"made"], [made.fileno()])
"""


class NamespaceError(VoicegateError):
    """The namespace could not be made, or is gone."""


class Namespace:
    """A network namespace that lives as long as `open_namespace`'s block.

    It has the addresses 127.0.0.1 and `address`, both on its loopback interface.
    """

    address: Final = _ADDRESS
    """The address which programs inside take for that of a real network."""

    def __init__(self, control: socket.socket, enter: Sequence[str]) -> None:
        self._control = control
        self._enter = tuple(enter)

    def wrap(self, command: Sequence[str]) -> list[str]:
        """Turn a command line into one that runs the same command, under the same process id, inside."""
        return [*self._enter, *command]

    def make_socket(
        self,
        kind: socket.SocketKind = socket.SOCK_STREAM,
        family: socket.AddressFamily = socket.AF_INET,
    ) -> trio.socket.SocketType:
        """Make a socket that binds and connects inside, for use out here.

        Errors: NamespaceError when the namespace is gone.
        """
        try:
            self._control.send(_REQUEST.pack(family, kind))
            _, descriptors, _, _ = socket.recv_fds(self._control, 16, 1)
        except OSError as error:
            raise NamespaceError(f"the namespace is gone: {error}") from error
        if not descriptors:
            raise NamespaceError("the namespace is gone: its holder has exited")
        return trio.socket.from_stdlib_socket(socket.socket(fileno=descriptors[0]))

    async def open_tcp_stream(self, host: str, port: int) -> trio.SocketStream:
        """Connect, inside, to an IPv4 address; always a checkpoint.

        Errors: OSError when nothing listens there; NamespaceError when the namespace is gone.
        """
        made = self.make_socket()
        try:
            await made.connect((host, port))
        except BaseException:
            made.close()
            raise
        return trio.SocketStream(made)


@asynccontextmanager
async def open_namespace() -> AsyncIterator[Namespace]:
    """Make a network namespace, with the user's own rights where the kernel lets users have their own.

    Errors: NamespaceError when a tool or the permission is missing.
    Resources: the holder is gone when the block ends; processes started inside are the caller's.
    """
    own_user = [] if os.geteuid() == 0 else ["--user"]
    enter = [_find_tool("nsenter"), *own_user, *(["--preserve-credentials"] if own_user else []), "--net"]
    unshare = [_find_tool("unshare"), *own_user, *(["--map-root-user"] if own_user else []), "--net", "--"]
    _find_tool("ip")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(ours):
        with closing(theirs):
            holder = await trio.lowlevel.open_process(
                [*unshare, "sh", "-c", _SETUP, "holder", sys.executable, "-I", "-S", "-c", _HOLDER],
                stdin=theirs.fileno(),
                stderr=theirs.fileno(),
            )
        try:
            await _wait_ready(ours)
            ours.settimeout(_REPLY_SECONDS)
            yield Namespace(ours, [*enter, f"--target={holder.pid}", "--"])
        finally:
            holder.kill()
            with trio.CancelScope(shield=True):
                await holder.wait()


async def _wait_ready(control: socket.socket) -> None:
    """Wait for the holder's word; what comes instead of it is the standard error of a command that failed."""
    said = b""
    while True:
        await trio.lowlevel.wait_readable(control)
        message = control.recv(4096)
        if message == _READY:
            return
        if not message:
            reason = said.decode(errors="replace").strip()
            raise NamespaceError(f"no network namespace (root, or user namespaces, needed): {reason}")
        said += message


def _find_tool(name: str) -> str:
    """Find a tool that an ordinary user's PATH may not reach."""
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if found is None:
        raise NamespaceError(f"{name} is missing: apt install {_PACKAGES[name]}")
    return found
