"""The process of an agent: one task per call, and one socket to the media process for all of them.

An agent that blocks this process delays the other agents in it and nobody else. The process ends with its
parent, at the end of the socket.
"""

import os
import socket
import sys
import traceback
from typing import Final

import trio

from voicegate.agents.base import load_agent
from voicegate.agents.process.hosting import CallHost
from voicegate.agents.process.link import Link
from voicegate.agents.process.message import AgentNamed, AgentReady, AgentRefused, CallOpened
from voicegate.call import Agent
from voicegate.errors import UsageError

__all__ = ["main", "run_host"]

_NICENESS: Final = 5
"""Where an agent and media share a core, media comes first."""


def main() -> None:
    """Host an agent in this process, on the socket whose descriptor is the first argument."""
    # A media process may keep to one core, where its agent is not wanted.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    os.nice(_NICENESS)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        # Else what an agent starts could hold this socket, and so this process, when all others are gone.
        sock.set_inheritable(False)
        trio.run(run_host, trio.socket.from_stdlib_socket(sock))


async def run_host(sock: trio.socket.SocketType) -> None:
    """Host an agent until the other end is gone."""
    link = Link(sock)
    async with trio.open_nursery() as nursery:
        await link.run(_Host(link, nursery).handle)
        nursery.cancel_scope.cancel()


class _Host:
    """The calls of this process."""

    def __init__(self, link: Link, nursery: trio.Nursery) -> None:
        self._link = link
        self._calls = CallHost(link, nursery)
        self._agent: Agent | None = None

    def handle(self, number: int, message: object) -> None:
        """Take a message of the media process."""
        match message:
            case _ if self._calls.handle(number, message):
                return
            case AgentNamed(name=name, path=path):
                self._load(name, path)
            case CallOpened() if self._agent is not None:
                self._calls.open(number, message, self._agent)
            case _:
                return  # The agent has left this call meanwhile.

    def _load(self, name: str, path: tuple[str, ...]) -> None:
        sys.path[:] = path
        try:
            self._agent = load_agent(name)
        except UsageError as error:
            self._link.post(0, AgentRefused(reason=str(error)))
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self._link.post(0, AgentRefused(reason=f"agent {name!r}: {error!r}"))
        else:
            self._link.post(0, AgentReady())
