"""The process of an agent, started, talked to, replaced and ended; to calls it is an agent like any other."""

import itertools
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
import trio

from voicegate.agents.process.link import Link
from voicegate.agents.process.message import AgentNamed, AgentReady, AgentRefused
from voicegate.agents.process.session import AgentProcessError, Session
from voicegate.agents.process.sessions import Sessions
from voicegate.call import Agent, Call
from voicegate.errors import UsageError, WireError

__all__ = ["Conversation", "run_agent_process"]

_START_DEADLINE: Final = 60.0
"""Seconds for an agent to be imported: some load a model then."""

_GOODBYE_SECONDS: Final = 1.0
"""For agents whose calls are over to leave in order, before their process is killed."""

_FIRST_BACK_OFF: Final = 0.1
"""Seconds before a process is replaced that died soon after its predecessor had. Doubles each time."""

_LAST_BACK_OFF: Final = 5.0
"""Seconds at which doubling ends."""

_STEADY_AFTER: Final = 30.0
"""Seconds of life that make a death an accident again, and not the next of a series."""

_PATIENCE: Final = 30.0
"""Seconds that a call waits for a process to be replaced."""

_log = structlog.get_logger(__name__)


async def run_agent_process(
    name: str, *, task_status: trio.TaskStatus[Agent] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep a process for the agent ``package.module:function``, for ever; ``started`` with what takes calls.

    When the process dies, its calls end, and it is started anew for later ones.

    Errors: UsageError, with what the process says, when the agent can't be had.
    Cancellation: agents have a second to leave in order; then the process is killed.
    Resources: one child process and one socket; gone when this returns.
    """
    process = _AgentProcess(name)
    back_off = 0.0
    while True:
        began_at = trio.current_time()
        fault = await process.run_once(task_status)
        if not process.was_ready:
            raise UsageError(fault)
        if trio.current_time() - began_at > _STEADY_AFTER:
            back_off = 0.0
        _log.error("agent_process_died", agent=name, cause=fault, restart_in=back_off)
        await trio.sleep(back_off)
        back_off = min(max(2 * back_off, _FIRST_BACK_OFF), _LAST_BACK_OFF)


class _AgentProcess:
    """An agent in whatever process it has at the moment."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.was_ready = False
        self._conversation: Conversation | None = None
        self._ready = trio.Event()

    async def __call__(self, call: Call) -> None:
        """Have a call answered; a call that comes while the process is being replaced waits.

        Errors: AgentProcessError.
        """
        with trio.move_on_after(_PATIENCE):
            while self._conversation is None:
                await self._ready.wait()
        if self._conversation is None:
            raise AgentProcessError(f"the agent's process did not come back within {_PATIENCE:g} s")
        await self._conversation.answer(call)

    async def run_once(self, task_status: trio.TaskStatus[Agent]) -> str:
        """Run a process until it is gone; return what was wrong."""
        async with _open_process() as (process, sock):
            conversation = Conversation(self.__name__, sock)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._introduce, conversation, task_status)
                fault = await conversation.run()
                nursery.cancel_scope.cancel()
            self._conversation = None
            self._ready = trio.Event()
            sock.close()
            with trio.move_on_after(_GOODBYE_SECONDS):
                await process.wait()
            fault = fault or f"the agent's process ended with exit status {process.returncode}"
            conversation.close(fault)
            return fault

    async def _introduce(self, conversation: "Conversation", task_status: trio.TaskStatus[Agent]) -> None:
        with trio.move_on_after(_START_DEADLINE):
            await conversation.ready.wait()
            self._conversation = conversation
            self._ready.set()
            if not self.was_ready:
                self.was_ready = True
                task_status.started(self)
            return
        conversation.link.fail(f"agent {self.__name__!r} was not imported within {_START_DEADLINE:g} s")


class Conversation:
    """All that is said to one process and by it."""

    def __init__(self, name: str, sock: trio.socket.SocketType) -> None:
        self.sessions: Final = Sessions()
        self.link: Final = Link(sock, self.sessions.report)
        self.ready: Final = trio.Event()
        self._numbers = itertools.count(1)
        self.link.post(0, AgentNamed(name=name, path=tuple(map(str, sys.path))))

    async def run(self) -> str | None:
        """Talk until the other end is gone; return what was wrong with it, if that is known."""
        return await self.link.run(self._handle)

    async def answer(self, call: Call) -> None:
        """Have a call answered."""
        await self.sessions.run(Session(next(self._numbers), call, self.link))

    def close(self, fault: str) -> None:
        """End all calls that are still here."""
        self.sessions.close(fault)

    def _handle(self, number: int, message: object) -> None:
        if number:
            if self.sessions.handle(number, message):  # else it is over meanwhile
                self.link.stir()
            return
        match message:
            case AgentReady():
                self.ready.set()
            case AgentRefused(reason=reason):
                self.link.fail(reason)
            case _:
                raise WireError(f"{type(message).__name__} for no call")


@asynccontextmanager
async def _open_process() -> AsyncIterator[tuple[trio.Process, trio.socket.SocketType]]:
    """Start a process with one end of a socket; once our end is closed it has a moment to leave by itself."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "voicegate.agents.process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Out of reach of the terminal's Ctrl-C from its first instruction on: calls end first.
                process_group=0,
            )
        try:
            yield process, trio.socket.from_stdlib_socket(ours)
        finally:
            ours.close()
            with trio.CancelScope(shield=True):
                with trio.move_on_after(_GOODBYE_SECONDS):
                    await process.wait()
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
