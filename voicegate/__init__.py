"""voicegate: a media server for talking with AI.

Clients speak WebRTC to it; your code is an ``async def agent(call)`` that hears and speaks plain audio.

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(voicegate.serve, agent, voicegate.Config()))
        print(server.url)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from voicegate.errors import PeerError, UsageError, VoicegateError, WireError

if TYPE_CHECKING:
    from voicegate.call import (
        Agent,
        AudioFrame,
        AudioListener,
        AudioOutput,
        Call,
        CallEvent,
        ChannelClosed,
        ChannelOpened,
        ClientEvent,
        Connected,
        DtmfReceived,
        EncodedFrame,
        EndCause,
        EventInput,
        GoingAway,
        InputCommitted,
        Interrupted,
        Interruption,
        ItemAdded,
        ItemDeleted,
        ItemTruncated,
        MarkPlayed,
        Response,
        ResponseCancelled,
        ResponseRequested,
        Said,
        SessionUpdated,
        SpeechStarted,
        SpeechStopped,
        TurnAnswered,
        TurnEnded,
        TurnModel,
    )
    from voicegate.channel import DataChannel, Message
    from voicegate.config import Address, Config, SetUp
    from voicegate.server import Server, serve

__all__ = [
    "Address",
    "Agent",
    "AudioFrame",
    "AudioListener",
    "AudioOutput",
    "Call",
    "CallEvent",
    "ChannelClosed",
    "ChannelOpened",
    "ClientEvent",
    "Config",
    "Connected",
    "DataChannel",
    "DtmfReceived",
    "EncodedFrame",
    "EndCause",
    "EventInput",
    "GoingAway",
    "InputCommitted",
    "Interrupted",
    "Interruption",
    "ItemAdded",
    "ItemDeleted",
    "ItemTruncated",
    "MarkPlayed",
    "Message",
    "PeerError",
    "Response",
    "ResponseCancelled",
    "ResponseRequested",
    "Said",
    "Server",
    "SessionUpdated",
    "SetUp",
    "SpeechStarted",
    "SpeechStopped",
    "TurnAnswered",
    "TurnEnded",
    "TurnModel",
    "UsageError",
    "VoicegateError",
    "WireError",
    "serve",
]

# Loaded at first use, so that `import voicegate.dtls` in a fuzzer brings in neither Trio nor a web server.
_MODULES = {
    **dict.fromkeys(
        (
            "Agent",
            "AudioFrame",
            "AudioListener",
            "AudioOutput",
            "Call",
            "CallEvent",
            "ChannelClosed",
            "ChannelOpened",
            "ClientEvent",
            "Connected",
            "DtmfReceived",
            "EncodedFrame",
            "EndCause",
            "EventInput",
            "GoingAway",
            "InputCommitted",
            "Interrupted",
            "Interruption",
            "ItemAdded",
            "ItemDeleted",
            "ItemTruncated",
            "MarkPlayed",
            "Response",
            "ResponseCancelled",
            "ResponseRequested",
            "Said",
            "SessionUpdated",
            "SpeechStarted",
            "SpeechStopped",
            "TurnAnswered",
            "TurnEnded",
            "TurnModel",
        ),
        "voicegate.call",
    ),
    **dict.fromkeys(("DataChannel", "Message"), "voicegate.channel"),
    **dict.fromkeys(("Address", "Config", "SetUp"), "voicegate.config"),
    **dict.fromkeys(("Server", "serve"), "voicegate.server"),
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
