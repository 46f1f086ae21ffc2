"""Calls whose media is at the other end of a link: one task for each, in which the agent runs."""

import json
import traceback
from typing import Final

import structlog
import trio

from voicegate.agents.process.message import (
    AgentFailed,
    AgentReturned,
    CallClosed,
    CallOpened,
    ChannelAdmitted,
    ChannelAnnounced,
    ChannelDismissed,
    ChannelMessage,
    ChannelProgressed,
    OutputCut,
    OutputFilled,
    OutputReported,
)
from voicegate.agents.process.remote import RemoteControl
from voicegate.agents.process.remote_channel import RemoteChannels
from voicegate.agents.process.sender import Sender
from voicegate.call import (
    Agent,
    AgentNotice,
    AudioFrame,
    Call,
    ChannelClosed,
    ChannelOpened,
    Connected,
    EncodedFrame,
    GoingAway,
    Interrupted,
    MarkPlayed,
    ResponseCancelled,
    SpeechStarted,
    SpeechStopped,
    TurnAnswered,
    TurnEnded,
)
from voicegate.errors import WireError

__all__ = ["CallHost"]

_TRACEBACK_LENGTH: Final = 16_384
"""Characters of a traceback that are passed on: its end, where the cause is."""

_PRE_ROLL_MS: Final = 1000


class CallHost:
    """The calls of one link.

    Args:
        link: To the media.
        nursery: For their tasks.
    """

    def __init__(self, link: Sender, nursery: trio.Nursery) -> None:
        self._link = link
        self._nursery = nursery
        self._calls: dict[int, _RemoteCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def open(self, number: int, opened: CallOpened, agent: Agent) -> None:
        """Let an agent have a call."""
        try:
            call = _RemoteCall(number, opened, self._link)
        except (ValueError, RecursionError) as error:
            self._link.post(number, _failure(ExceptionGroup("in what the client sent", [error])))
        else:
            self._calls[number] = call
            self._nursery.start_soon(self._run, call, agent)

    def handle(self, number: int, message: object) -> bool:
        """Take a message about a call; False if there is no such call, or not any more."""
        call = self._calls.get(number)
        if call is None:
            return False
        call.handle(message)
        return True

    def close(self) -> None:
        """End all calls: their media is lost."""
        for call in self._calls.values():
            call.handle(CallClosed())

    async def _run(self, call: "_RemoteCall", agent: Agent) -> None:
        try:
            await call.run(agent)
        finally:
            # After a restart of the link, another may have the number.
            if self._calls.get(call.number) is call:
                del self._calls[call.number]


class _RemoteCall:
    """One call, as its agent's end has it."""

    def __init__(self, number: int, opened: CallOpened, link: Sender) -> None:
        self.number: Final = number
        self._link = link
        self._channels = RemoteChannels(number, link, is_offered=opened.has_channels)
        self._control = RemoteControl(
            number, link, sample_rate=opened.sample_rate, codec=opened.codec, clock_rate=opened.clock_rate
        )
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
            case Connected() | GoingAway() | TurnEnded() | TurnAnswered() | MarkPlayed():
                self._call.push_event(message)
            case SpeechStarted(position_ms=position_ms, pre_roll=b""):
                self._handle(SpeechStarted(position_ms, self._control.pre_roll(_PRE_ROLL_MS) or bytes(2)))
            case SpeechStarted() | SpeechStopped():
                self._call.push_event(message)
                self._control.handle_speech(message)
            case Interrupted():
                self._control.handle_interrupted(message)
                self._call.push_event(message)
            case ResponseCancelled(response_id=response_id):
                self._control.handle_cancelled(response_id)
                self._call.push_event(message)
            case _ if isinstance(message, AgentNotice):
                self._call.push_event(message)
            case CallClosed():
                self._scope.cancel()
            case OutputCut() | OutputFilled():
                return  # `RemoteControl` knows, and never sends that much.
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
