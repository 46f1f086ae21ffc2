"""What a media process and the process of its agent say to each other.

A message is a header (type u8, call u32, length u32) and the fields of its class (`layout`). Call 0 is all of
them. Audio, fifty times a second and call, has layouts of its own:

- `AudioFrame`: position i64, sample rate u32, concealed ms u16, voice u8, level u8; the rest is samples
- `EncodedFrame`: timestamp u32, ticks u32, voice u8, level u8; the rest is payload
- `SpeechPushed`: interruptions u32, ticks u32, length u16 of the response id, that; the rest is sound
- `OutputReported`: received u64, clears u32, queued ms u32, heard ms u32

Voice is bits: 1 made up, 2 a level is given, 4 it is said whether this is voice, 8 it is.
What the conversation and the agent tell each other is the JSON of `voicegate.realtime.agent_event`.

1. To the agent: `AgentNamed`; from it: `AgentReady`, or `AgentRefused` and its end.
2. To the agent, for each call: `CallOpened`, then what happens in the call, at last `CallClosed`.
3. From it: what the agent wants done, at last `AgentReturned` or `AgentFailed`; nothing follows either.

Both ends are of one version, as one starts the other, so there is nothing to negotiate.
"""

from collections.abc import Callable
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, Literal, NamedTuple, get_args

import attrs

from voicegate.agents.process.layout import Kind, kind_of
from voicegate.call import (
    AudioFrame,
    Connected,
    EncodedFrame,
    GoingAway,
    Interrupted,
    MarkPlayed,
    SpeechStarted,
    SpeechStopped,
    TurnAnswered,
    TurnEnded,
    Wants,
)
from voicegate.datachannel import Channel
from voicegate.errors import UsageError, WireError
from voicegate.realtime.agent_event import AgentEvent, agent_event_from_json, agent_event_to_json
from voicegate.wire import Reader, Writer
from voicegate.wire.json_value import decode_object, encode_object

__all__ = [
    "UNCOUNTED",
    "AgentFailed",
    "AgentNamed",
    "AgentReady",
    "AgentRefused",
    "AgentReturned",
    "CallClosed",
    "CallOpened",
    "ChannelAdmitted",
    "ChannelAnnounced",
    "ChannelAsked",
    "ChannelDismissed",
    "ChannelMessage",
    "ChannelProgressed",
    "DetectionAsked",
    "HangUpAsked",
    "MessageReader",
    "MessagesTaken",
    "Order",
    "OutputCleared",
    "OutputCut",
    "OutputFilled",
    "OutputReported",
    "RateChosen",
    "ResponseDropped",
    "SpeechMarked",
    "SpeechPushed",
    "TransferAsked",
    "WantsChosen",
    "decode",
    "encode",
    "message_size",
]

MAX_LENGTH: Final = 16 * 1024 * 1024
"""Bytes of a message; what a client's data channel takes is mostly a sixty-fourth of it."""

_HEADER: Final = Struct("!BII")
_AUDIO: Final = Struct("!qIHBB")
_ENCODED: Final = Struct("!IIBB")
_SPEECH: Final = Struct("!IIH")
_REPORT: Final = Struct("!QIII")

UNCOUNTED: Final = 0xFFFF_FFFF
"""For `SpeechPushed.interruptions`, from an agent that doesn't count them."""

_MADE_UP: Final = 1
_HAS_LEVEL: Final = 2
_IS_JUDGED: Final = 4
_IS_VOICE: Final = 8


# To the agent


@attrs.frozen(kw_only=True)
class AgentNamed:
    """Which function is the agent, and where to look for modules."""

    name: str
    path: tuple[str, ...]
    """The parent's ``sys.path``."""


@attrs.frozen(kw_only=True)
class CallOpened:
    """A call for the agent."""

    call_id: str
    sample_rate: int
    codec: str
    clock_rate: int
    """Of RTP, in that codec."""
    metadata: str
    """JSON, which is the client's and so only read where a fault of it ends but this call."""
    has_channels: bool
    """Whether the client can have data channels."""
    is_restart: bool = False
    """Whether the call has been going on, with an agent that is lost."""


@attrs.frozen(kw_only=True)
class CallClosed:
    """The call is over, whatever its agent still does."""


class OutputReported(NamedTuple):
    """What became of the agent's speech."""

    received: int
    """Ticks of `SpeechPushed` that have arrived since the last `OutputCleared`, of any fate."""
    clears: int
    """`OutputCleared` so far; a report from before the last one is out of date."""
    queued_ms: int
    """Audio that has arrived and was not sent to the client yet."""
    heard_ms: int
    """How much of the present speech the client has received."""


@attrs.frozen(kw_only=True)
class OutputCut:
    """What became of an `OutputCleared`."""

    heard_ms: int
    dropped_ms: int


@attrs.frozen(kw_only=True)
class OutputFilled:
    """So much waits to be played that the agent should send no more; or, after that, that it may again."""

    is_full: bool
    queued_ms: int


@attrs.frozen(kw_only=True)
class ChannelAdmitted:
    """There is a data channel, by whose number it will be spoken of."""

    channel: Channel


@attrs.frozen(kw_only=True)
class ChannelAnnounced:
    """The client has opened or confirmed it."""

    number: int


@attrs.frozen(kw_only=True)
class ChannelDismissed:
    """It is closed."""

    number: int


@attrs.frozen(kw_only=True)
class ChannelProgressed:
    """The client has acknowledged so many bytes of it so far."""

    number: int
    acknowledged: int


# From the agent


@attrs.frozen(kw_only=True)
class AgentReady:
    """It was found, and calls can come."""


@attrs.frozen(kw_only=True)
class AgentRefused:
    """It can't be."""

    reason: str


@attrs.frozen(kw_only=True)
class AgentReturned:
    """It has finished with a call."""


@attrs.frozen(kw_only=True)
class AgentFailed:
    """It raised in a call."""

    error: str
    traceback: str = ""


class SpeechPushed(NamedTuple):
    """Sound to be played."""

    interruptions: int
    """`Interrupted` events that the agent had seen: what crosses with one is dropped; or `UNCOUNTED`."""
    ticks: int
    """Of a packet, its length on the RTP clock; 0 for PCM."""
    response_id: str | None
    data: bytes


@attrs.frozen(kw_only=True)
class SpeechMarked:
    """A mark behind all sound so far."""

    interruptions: int = UNCOUNTED
    name: str


@attrs.frozen(kw_only=True)
class OutputCleared:
    """`Call.interrupt`."""


@attrs.frozen(kw_only=True)
class ResponseDropped:
    """`AudioOutput.cancel_response`."""

    response_id: str


@attrs.frozen(kw_only=True)
class WantsChosen:
    """What the agent takes of the client's voice."""

    wants: Wants


@attrs.frozen(kw_only=True)
class Order:
    """What needs no more than its name."""

    kind: Literal["pause", "resume", "loop_back", "end_turn"]


@attrs.frozen(kw_only=True)
class RateChosen:
    """`Call.use_rate`."""

    sample_rate: int


@attrs.frozen(kw_only=True)
class DetectionAsked:
    """`Call.detect_speech`."""

    silence_ms: int = 600
    barge_in: bool = True
    detector: Literal["webrtc", "silero"] = "webrtc"


@attrs.frozen(kw_only=True)
class HangUpAsked:
    """`Call.hangup`."""

    after: Literal["now", "drain"] = "now"


@attrs.frozen(kw_only=True)
class TransferAsked:
    """`Call.transfer`."""

    agent: str
    """A name that the operator has configured."""


@attrs.frozen(kw_only=True)
class ChannelAsked:
    """`Call.open_channel`; its id is the agent's own number for it, above all that streams can have."""

    channel: Channel


@attrs.frozen(kw_only=True)
class MessagesTaken:
    """The agent has received messages of so many bytes."""

    size: int


# Either way; of a channel, from the agent, ChannelDismissed asks for it


@attrs.frozen(kw_only=True)
class ChannelMessage:
    """A message on a data channel."""

    number: int
    data: str | bytes


# The codec


def encode(call: int, message: object) -> bytes:
    """Write a message about a call, header and all.

    Errors: UsageError for one that is too long, or of no type that is known here.
    """
    entry = _BY_CLASS.get(type(message))
    if entry is None:
        raise UsageError(f"{type(message).__name__} has no place on the link")
    try:
        body = entry[1](message)
    except (struct_error, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"what {type(message).__name__} was given has no place on the link") from error
    if len(body) > MAX_LENGTH:
        raise UsageError(f"{len(body)} bytes in a message to or from an agent, {MAX_LENGTH} possible")
    return _HEADER.pack(entry[0], call, len(body)) + body


def decode(data: bytes) -> tuple[int, object]:
    """Read one whole message, with the call it is about.

    Errors: WireError.
    """
    reader = MessageReader()
    reader.feed(data)
    message = reader.poll()
    if message is None or reader.pending:
        raise WireError("not exactly one message")
    return message


def message_size(data: str | bytes) -> int:
    """Return how many bytes a message on a data channel is."""
    return len(data) if isinstance(data, bytes) else len(data.encode(errors="surrogatepass"))


class MessageReader:
    """Messages out of a stream of bytes, however it is cut: `feed` it, then `poll` until None."""

    def __init__(self) -> None:
        self._data = b""
        self._start = 0
        self._later: list[bytes] = []
        self._wanted = _HEADER.size
        self.pending = 0
        """Bytes that were fed and belong to no message polled so far."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._later.append(data)
        self.pending += len(data)

    def poll(self) -> tuple[int, object] | None:
        """Return the next message that is complete, with the call it is about.

        Errors: WireError; the rest of the stream can't be understood then.
        """
        if self.pending < self._wanted:
            return None
        if self._start + self._wanted > len(self._data):
            # Only when all of a message is there, so that a long one isn't copied once per piece.
            self._data = b"".join((self._data[self._start :], *self._later))
            self._start = 0
            self._later.clear()
        code, call, length = _HEADER.unpack_from(self._data, self._start)
        if length > MAX_LENGTH:
            raise WireError(f"a message of {length} bytes, at most {MAX_LENGTH} are sent")
        self._wanted = _HEADER.size + length
        if self.pending < self._wanted:
            return None
        if self._start + self._wanted > len(self._data):
            return self.poll()
        body = self._data[self._start + _HEADER.size : self._start + self._wanted]
        read = _BY_CODE.get(code)
        if read is None:
            raise WireError(f"message type {code} is unknown")
        self._start += self._wanted
        self.pending -= self._wanted
        self._wanted = _HEADER.size
        return call, read(body)


def _write_audio(frame: AudioFrame) -> bytes:
    pcm, rate, position, is_concealed, concealed_ms, level, is_voice = frame
    voice = _voice(level, is_voice) | (_MADE_UP if is_concealed else 0)
    return _AUDIO.pack(position, rate, concealed_ms, voice, level or 0) + pcm


def _read_audio(body: bytes) -> AudioFrame:
    if len(body) < _AUDIO.size:
        raise WireError("a frame without a header")
    position, rate, concealed_ms, voice, level = _AUDIO.unpack_from(body)
    return AudioFrame(
        body[_AUDIO.size :], rate, position, voice & _MADE_UP != 0, concealed_ms, *_heard(voice, level)
    )


def _write_encoded(frame: EncodedFrame) -> bytes:
    payload, ticks, timestamp, level, is_voice = frame
    return _ENCODED.pack(timestamp, ticks, _voice(level, is_voice), level or 0) + payload


def _read_encoded(body: bytes) -> EncodedFrame:
    if len(body) < _ENCODED.size:
        raise WireError("a frame without a header")
    timestamp, ticks, voice, level = _ENCODED.unpack_from(body)
    return EncodedFrame(body[_ENCODED.size :], ticks, timestamp, *_heard(voice, level))


def _voice(level: int | None, is_voice: bool | None) -> int:
    return (
        (0 if level is None else _HAS_LEVEL)
        | (0 if is_voice is None else _IS_JUDGED)
        | (_IS_VOICE if is_voice else 0)
    )


def _heard(voice: int, level: int) -> tuple[int | None, bool | None]:
    return level if voice & _HAS_LEVEL else None, voice & _IS_VOICE != 0 if voice & _IS_JUDGED else None


_NO_RESPONSE: Final = 0xFFFF


def _write_speech(speech: SpeechPushed) -> bytes:
    interruptions, ticks, response_id, data = speech
    if response_id is None:
        return _SPEECH.pack(interruptions, ticks, _NO_RESPONSE) + data
    name = response_id.encode(errors="surrogatepass")
    if len(name) >= _NO_RESPONSE:
        raise UsageError(f"a response id of {len(name)} bytes, {_NO_RESPONSE - 1} possible")
    return _SPEECH.pack(interruptions, ticks, len(name)) + name + data


def _read_speech(body: bytes) -> SpeechPushed:
    if len(body) < _SPEECH.size:
        raise WireError("sound without a header")
    interruptions, ticks, length = _SPEECH.unpack_from(body)
    if length == _NO_RESPONSE:
        return SpeechPushed(interruptions, ticks, None, body[_SPEECH.size :])
    end = _SPEECH.size + length
    if end > len(body):
        raise WireError("a response id that is cut off")
    try:
        response_id = body[_SPEECH.size : end].decode(errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise WireError("a response id that is not UTF-8") from error
    return SpeechPushed(interruptions, ticks, response_id, body[end:])


def _write_report(report: OutputReported) -> bytes:
    return _REPORT.pack(*report)


def _read_report(body: bytes) -> OutputReported:
    if len(body) != _REPORT.size:
        raise WireError(f"a report of {len(body)} bytes")
    return OutputReported(*_REPORT.unpack(body))


def _write_event(event: AgentEvent) -> bytes:
    return encode_object(agent_event_to_json(event)).encode()


def _read_event(body: bytes) -> AgentEvent:
    try:
        return agent_event_from_json(decode_object(body.decode()))
    except UnicodeDecodeError as error:
        raise WireError("an event that is not UTF-8") from error


def _by_fields(kind: Kind) -> tuple[Callable[[Any], bytes], Callable[[bytes], object]]:
    def write(message: object) -> bytes:
        writer = Writer()
        kind.write(writer, message)
        return writer.finish()

    def read(body: bytes) -> object:
        reader = Reader(body)
        message: object = kind.read(reader)
        reader.finish()
        return message

    return write, read


_CLASSES: Final[tuple[type, ...]] = (
    AudioFrame, EncodedFrame, SpeechPushed, OutputReported,
    AgentNamed, AgentReady, AgentRefused, CallOpened, CallClosed, AgentReturned, AgentFailed,
    Connected, SpeechStarted, SpeechStopped, TurnEnded, TurnAnswered, Interrupted, MarkPlayed,
    SpeechMarked, OutputCleared, ResponseDropped, WantsChosen, Order, RateChosen, DetectionAsked,
    ChannelAdmitted, ChannelAnnounced, ChannelAsked, ChannelDismissed, ChannelProgressed, ChannelMessage,
    MessagesTaken, HangUpAsked, TransferAsked, OutputCut, OutputFilled, *get_args(AgentEvent), GoingAway,
)  # fmt: skip
"""The message types, numbered from 0 in this order."""

_BY_HAND: Final[dict[type, tuple[Callable[[Any], bytes], Callable[[bytes], object]]]] = {
    AudioFrame: (_write_audio, _read_audio),
    EncodedFrame: (_write_encoded, _read_encoded),
    SpeechPushed: (_write_speech, _read_speech),
    OutputReported: (_write_report, _read_report),
    **dict.fromkeys(get_args(AgentEvent), (_write_event, _read_event)),
}

_CODECS: Final = {owner: _BY_HAND.get(owner) or _by_fields(kind_of(owner)) for owner in _CLASSES}
_BY_CLASS: Final = {owner: (code, _CODECS[owner][0]) for code, owner in enumerate(_CLASSES)}
_BY_CODE: Final = {code: _CODECS[owner][1] for code, owner in enumerate(_CLASSES)}
