"""Ways to the HTTP surface of another process, and what it means that nobody is behind one."""

from pathlib import Path
from typing import Protocol

import attrs
import trio

from voicegate.signalling.fault import RequestRefused

__all__ = ["Door", "UnixDoor"]


class Door(Protocol):
    """Where another process takes requests, which believes what we say of whom they are for."""

    async def connect(self) -> trio.abc.Stream:
        """Open a connection.

        Errors: OSError and trio.BrokenResourceError when nobody is there.
        """

    def absent(self) -> RequestRefused | None:
        """Return what a client is told when nobody is there; None when its calls are gone, too."""

    def late(self) -> RequestRefused:
        """Return what a client is told when an answer takes too long."""


@attrs.frozen
class UnixDoor:
    """To a process of the same machine, by the private socket it listens on (`serve_privately`)."""

    path: Path

    async def connect(self) -> trio.abc.Stream:
        """Open a connection."""
        return await trio.open_unix_socket(str(self.path))

    def absent(self) -> None:
        """Return nothing: a process of this machine that is gone has taken its calls along."""

    def late(self) -> RequestRefused:
        """Return what a client is told when an answer takes too long."""
        return RequestRefused("A worker of this server does not answer.", status=504, code="worker_timeout")
