"""A call, as agent code sees it: audio and messages in and out, events; no packet, no peer connection.

An agent is ``async def agent(call: Call) -> None``. It runs in the call's own task: returning hangs up,
and being cancelled means that the call is over.

Layer: shell (Trio).
"""

from voicegate.audio import SpeechStarted, SpeechStopped, TurnEnded, TurnModel
from voicegate.call.call import Agent, Call
from voicegate.call.cause import EndCause
from voicegate.call.control import CallControl, OutputState
from voicegate.call.event import (
    CallEvent,
    ChannelClosed,
    ChannelOpened,
    Connected,
    GoingAway,
    Interrupted,
    Interruption,
    MarkPlayed,
    TurnAnswered,
)
from voicegate.call.frame import AudioFrame, AudioListener, EncodedFrame, Wants
from voicegate.call.input import AUDIO_IN_FRAMES, EVENT_LIMIT, EventInput
from voicegate.call.output import AudioOutput
from voicegate.call.response import Response, Said
from voicegate.realtime.agent_event import (
    AgentNotice,
    AgentReport,
    ClientEvent,
    ConversationTaken,
    DtmfReceived,
    FunctionCalled,
    InputCommitted,
    InputTranscribed,
    ItemAdded,
    ItemDeleted,
    ItemTruncated,
    McpCalled,
    ResponseBegan,
    ResponseCancelled,
    ResponseEnded,
    ResponseRequested,
    ServerEvent,
    SessionUpdated,
    TextAdded,
    TranscriptAdded,
)

__all__ = [
    "AUDIO_IN_FRAMES",
    "EVENT_LIMIT",
    "Agent",
    "AgentNotice",
    "AgentReport",
    "AudioFrame",
    "AudioListener",
    "AudioOutput",
    "Call",
    "CallControl",
    "CallEvent",
    "ChannelClosed",
    "ChannelOpened",
    "ClientEvent",
    "Connected",
    "ConversationTaken",
    "DtmfReceived",
    "EncodedFrame",
    "EndCause",
    "EventInput",
    "FunctionCalled",
    "GoingAway",
    "InputCommitted",
    "InputTranscribed",
    "Interrupted",
    "Interruption",
    "ItemAdded",
    "ItemDeleted",
    "ItemTruncated",
    "MarkPlayed",
    "McpCalled",
    "OutputState",
    "Response",
    "ResponseBegan",
    "ResponseCancelled",
    "ResponseEnded",
    "ResponseRequested",
    "Said",
    "ServerEvent",
    "SessionUpdated",
    "SpeechStarted",
    "SpeechStopped",
    "TextAdded",
    "TranscriptAdded",
    "TurnAnswered",
    "TurnEnded",
    "TurnModel",
    "Wants",
]
