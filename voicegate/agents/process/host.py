"""The process of an agent: one task per call, and one socket to the media process for all of them.

An agent that blocks this process delays the other agents in it and nobody else. The process ends with its
parent, at the end of the socket.
"""

import json
import os
import socket
import sys
import traceback
from typing import Final

import structlog
import trio

from voicegate.agents.base import load_agent
from voicegate.agents.process.link import Link
from voicegate.agents.process.message import (
    AgentFailed,
    AgentNamed,
    AgentReady,
    AgentRefused,
    AgentReturned,
    CallClosed,
    CallOpened,
    ChannelAdmitted,
    ChannelAnnounced,
    ChannelDismissed,
    ChannelMessage,
    ChannelProgressed,
    OutputReported,
)
from voicegate.agents.process.remote import RemoteControl
from voicegate.agents.process.remote_channel import RemoteChannels
from voicegate.call import (
    Agent,
    AudioFrame,
    Call,
    ChannelClosed,
    ChannelOpened,
    Connected,
    EncodedFrame,
    Interrupted,
    MarkPlayed,
    SpeechStarted,
    SpeechStopped,
    TurnAnswered,
    TurnEnded,
)
from voicegate.errors import UsageError, WireError

__all__ = ["main", "run_host"]

_NICENESS: Final = 5
"""Where an agent and media share a core, media comes first."""

_TRACEBACK_LENGTH: Final = 16_384
"""Characters of a traceback that are passed on: its end, where the cause is."""


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
        self._nursery = nursery
        self._agent: Agent | None = None
        self._calls: dict[int, _RemoteCall] = {}

    def handle(self, number: int, message: object) -> None:
        """Take a message of the media process."""
        if number in self._calls:
            self._calls[number].handle(message)
            return
        match message:
            case AgentNamed(name=name, path=path):
                self._load(name, path)
            case CallOpened() if self._agent is not None:
                self._open_call(number, message, self._agent)
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

    def _open_call(self, number: int, opened: CallOpened, agent: Agent) -> None:
        try:
            call = _RemoteCall(number, opened, self._link)
        except (ValueError, RecursionError) as error:
            self._link.post(number, _failure(ExceptionGroup("in what the client sent", [error])))
        else:
            self._calls[number] = call
            self._nursery.start_soon(self._run_call, call, agent)

    async def _run_call(self, call: "_RemoteCall", agent: Agent) -> None:
        try:
            await call.run(agent)
        finally:
            del self._calls[call.number]


class _RemoteCall:
    """One call, as the process of its agent has it."""

    def __init__(self, number: int, opened: CallOpened, link: Link) -> None:
        self.number: Final = number
        self._link = link
        self._channels = RemoteChannels(number, link, is_offered=opened.has_channels)
        self._control = RemoteControl(number, link, sample_rate=opened.sample_rate)
        self._call = Call(
            opened.call_id,
            control=self._control,
            metadata=json.loads(opened.metadata),
            link=self._channels,
        )
        self._scope = trio.CancelScope()

    async def run(self, agent: Agent) -> None:
        """Run the agent until it returns or the call is over, and tell what came of it."""
        result: AgentReturned | AgentFailed = AgentReturned()
        with structlog.contextvars.bound_contextvars(call=self._call.id):
            try:
                with self._scope:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._control.run)
                        await agent(self._call)
                        if self._control.is_leaving:
                            await trio.sleep_forever()  # until all that it said has been played
                        nursery.cancel_scope.cancel()
            # Also those that a nursery raises beside a Cancelled.
            except* (Exception, SystemExit) as failures:
                result = _failure(failures)
            finally:
                self._call.close()
                self._channels.close()
        self._link.post(self.number, result)

    def handle(self, message: object) -> None:
        """Take a message about this call; what the agent's own code makes of it ends this call only."""
        try:
            self._handle(message)
        except Exception as error:
            self._link.post(self.number, _failure(ExceptionGroup("in the agent's code", [error])))
            self._scope.cancel()

    def _handle(self, message: object) -> None:
        match message:
            case AudioFrame() | EncodedFrame():
                self._control.handle_frame(message)
            case OutputReported():
                self._control.handle_report(message)
            case Connected() | TurnEnded() | TurnAnswered() | MarkPlayed():
                self._call.push_event(message)
            case SpeechStarted() | SpeechStopped():
                self._call.push_event(message)
                self._control.handle_speech(message)
            case Interrupted():
                self._control.handle_interrupted(message)
                self._call.push_event(message)
            case CallClosed():
                self._scope.cancel()
            case _:
                self._handle_channel(message)

    def _handle_channel(self, message: object) -> None:
        match message:
            case ChannelAdmitted(channel=channel):
                self._channels.admit(channel)
            case ChannelAnnounced(number=number):
                self._call.push_event(ChannelOpened(self._channels.find(number)))
            case ChannelDismissed(number=number):
                self._call.push_event(ChannelClosed(self._channels.dismiss(number)))
            case ChannelMessage(number=number, data=data):
                self._channels.receive(number, data)
            case ChannelProgressed(number=number, acknowledged=acknowledged):
                self._channels.acknowledge(number, acknowledged)
            case _:
                raise WireError(f"{type(message).__name__} for a call")


def _failure(failures: BaseExceptionGroup[BaseException]) -> AgentFailed:
    """Return what is told about an exception: of a group, if there is but one in it, that one."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    text = "".join(traceback.format_exception(error))
    return AgentFailed(error=repr(error), traceback=text[-_TRACEBACK_LENGTH:])
