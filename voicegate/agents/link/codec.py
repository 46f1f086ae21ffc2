"""The messages of an agent's process, as the link writes them: events as JSON text, sound as binary frames.

docs/link.md is their specification; the names of fields are those of the classes.
"""

from collections.abc import Iterator, Mapping
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, NamedTuple, Protocol, get_args

from voicegate.agents.process.message import (
    UNCOUNTED,
    AgentFailed,
    AgentReturned,
    CallClosed,
    CallOpened,
    ChannelAdmitted,
    ChannelAnnounced,
    ChannelAsked,
    ChannelDismissed,
    ChannelMessage,
    ChannelProgressed,
    DetectionAsked,
    HangUpAsked,
    MessagesTaken,
    Order,
    OutputCleared,
    OutputCut,
    OutputFilled,
    OutputReported,
    RateChosen,
    ResponseDropped,
    SpeechMarked,
    SpeechPushed,
    TransferAsked,
    WantsChosen,
)
from voicegate.audio.pcm import audioop
from voicegate.call import (
    AgentNotice,
    AgentReport,
    AudioFrame,
    Connected,
    EncodedFrame,
    GoingAway,
    Interrupted,
    Interruption,
    MarkPlayed,
    SpeechStarted,
    SpeechStopped,
    TurnAnswered,
    TurnEnded,
)
from voicegate.errors import UsageError, WireError
from voicegate.link import AudioFormat, Frame, FrameKind, encode_frame, read_frames
from voicegate.link.format import FORMATS, PCM_KINDS
from voicegate.link.frame import HAS_LEVEL, IS_JUDGED, IS_VOICE, MADE_UP, MAX_RESPONSE_ID_LENGTH
from voicegate.link.layout import Kind, kind_of
from voicegate.realtime.agent_event import agent_event_from_json, agent_event_to_json
from voicegate.wire.json_value import JSON, decode_object, encode_object

__all__ = ["Acknowledged", "AgentCodec", "Fault", "GatewayCodec"]

_PROGRESS: Final = Struct("!QIII")
_SAMPLE_BYTES: Final = 2
_UNCOUNTED_POSITION: Final = -1


class Fault(NamedTuple):
    """Something of the other end's that can't be taken, and changed nothing."""

    code: str
    message: str


class Acknowledged(NamedTuple):
    """How many messages the other end has received."""

    received: int


class _Rated(Protocol):
    @property
    def sample_rate(self) -> int: ...


# Events that are not quite their class


def _write_interrupted(event: Interrupted) -> JSON:
    heard_ms, dropped_ms = event.interruption
    return {"heard_ms": heard_ms, "dropped_ms": dropped_ms, "response_id": event.response_id}


def _read_interrupted(value: JSON) -> Interrupted:
    interruption: Interruption = _INTERRUPTION.read(value)
    return Interrupted(interruption, _NAMED.read(value).response_id)


class _Named(NamedTuple):
    response_id: str | None = None


class _Positioned(NamedTuple):
    position_ms: int


_INTERRUPTION: Final = kind_of(Interruption)
_NAMED: Final = kind_of(_Named)
_POSITIONED: Final = kind_of(_Positioned)

_BY_HAND: Final[Mapping[type, Kind]] = {
    Interrupted: Kind(_write_interrupted, _read_interrupted),
    # What was said before comes as sound anyway.
    SpeechStarted: Kind(
        _POSITIONED.write, lambda value: SpeechStarted(_POSITIONED.read(value).position_ms, b"")
    ),
}

_TO_AGENT: Final[Mapping[str, type]] = {
    "call.ended": CallClosed,
    "connected": Connected,
    "going_away": GoingAway,
    "speech.started": SpeechStarted,
    "speech.stopped": SpeechStopped,
    "turn.ended": TurnEnded,
    "turn.answered": TurnAnswered,
    "interrupted": Interrupted,
    "mark.played": MarkPlayed,
    "output.cleared": OutputCut,
    "output.filled": OutputFilled,
    "channel.admitted": ChannelAdmitted,
    "channel.opened": ChannelAnnounced,
    "channel.closed": ChannelDismissed,
    "channel.message": ChannelMessage,
    "channel.progress": ChannelProgressed,
    "error": Fault,
    "ack": Acknowledged,
}

_FROM_AGENT: Final[Mapping[str, type]] = {
    "call.finished": AgentReturned,
    "call.failed": AgentFailed,
    "listen": WantsChosen,
    "rate": RateChosen,
    "detect_speech": DetectionAsked,
    "mark": SpeechMarked,
    "interrupt": OutputCleared,
    "response.drop": ResponseDropped,
    "channel.open": ChannelAsked,
    "channel.close": ChannelDismissed,
    "channel.message": ChannelMessage,
    "channel.taken": MessagesTaken,
    "hangup": HangUpAsked,
    "transfer": TransferAsked,
    "ack": Acknowledged,
}

_ORDERS: Final = ("pause", "resume", "loop_back", "end_turn")

_KINDS: Final[Mapping[type, Kind]] = {
    owner: _BY_HAND.get(owner) or kind_of(owner) for owner in {*_TO_AGENT.values(), *_FROM_AGENT.values()}
}

_RATES: Final = {int(kind): rate for rate, kind in PCM_KINDS.items()}
_PCM: Final = {rate: int(kind) for rate, kind in PCM_KINDS.items()}


class _Vocabulary:
    """The events that one end writes, and those that it reads.

    Args:
        written: Classes of its own events, by type.
        read: Those of the other's.
        conversed: What the other says in the client's conversation.
        lone_call: Number of the only call, which events need not name; None if there may be more.
    """

    def __init__(
        self,
        written: Mapping[str, type],
        read: Mapping[str, type],
        conversed: object,
        lone_call: int | None,
    ) -> None:
        self._names = {owner: name for name, owner in written.items()}
        self._read = read
        self._conversed = frozenset(owner.type for owner in get_args(conversed))
        self._lone_call = lone_call

    def write(self, call: int, message: object) -> str:
        name = self._names.get(type(message))
        if name is not None:
            return self.compose(name, call, _KINDS[type(message)].write(message))
        if isinstance(message, Order):
            return self.compose(message.kind, call, {})
        if isinstance(message, AgentNotice | AgentReport):
            value = agent_event_to_json(message)
            return self.compose(message.type, call, value)
        raise UsageError(f"{type(message).__name__} has no place on the link")

    @staticmethod
    def compose(name: str, call: int, value: Mapping[str, JSON]) -> str:
        try:
            return encode_object(
                {"type": name, "call": call} | dict(value) if call else {"type": name} | dict(value)
            )
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"what {name} was given has no place in JSON") from error

    def read(self, text: str) -> tuple[int, str, dict[str, JSON]]:
        value = decode_object(text)
        call, name = value.get("call", self._lone_call), value.get("type")
        if not isinstance(name, str):
            raise WireError("an event without a type")
        if name in {"ack", "error"}:
            call = value.get("call", 0)
        if isinstance(call, bool) or not isinstance(call, int) or not 0 <= call < 2**32:
            raise WireError(f"{name!r}: it does not say for which call")
        return call, name, value

    def interpret(self, name: str, value: Mapping[str, JSON]) -> object:
        """Return what an event says.

        Errors: WireError.
        """
        if name in self._conversed:
            return agent_event_from_json(value)
        if name in _ORDERS and self._read is _FROM_AGENT:
            return Order(kind=name)  # type: ignore[arg-type]
        owner = self._read.get(name)
        if owner is None:
            return Fault("unknown_event", f"there is no {name[:64]!r}")
        try:
            return _KINDS[owner].read(value)
        except WireError as error:
            raise WireError(f"{name!r}: {error}") from error


class _Heard(NamedTuple):
    """How the sound of a call is written."""

    session: _Rated
    format: AudioFormat


class GatewayCodec:
    """What the gateway writes and reads.

    Args:
        lone_call: as `_Vocabulary` has it.
    """

    def __init__(self, *, lone_call: int | None) -> None:
        self._events = _Vocabulary(_TO_AGENT, _FROM_AGENT, AgentReport, lone_call)
        self._calls: dict[int, _Heard] = {}

    def open(self, call: int, session: _Rated, form: AudioFormat) -> None:
        """Learn of a call, and how its sound is written."""
        self._calls[call] = _Heard(session, form)

    def close(self, call: int) -> None:
        """Forget a call."""
        del self._calls[call]

    def encode(self, call: int, message: object) -> bytes | str:
        """Write a message about a call.

        Errors: UsageError for what has no place on the link.
        """
        if isinstance(message, AudioFrame):
            return self._encode_audio(call, message)
        if isinstance(message, OutputReported):
            return encode_frame(call, FrameKind.PROGRESS, _PROGRESS.pack(*message))
        if isinstance(message, EncodedFrame):
            payload, ticks, timestamp, level, is_voice = message
            flags = _flags(level, is_voice) | (0 if payload else MADE_UP)
            return encode_frame(call, FrameKind.PACKET, payload, timestamp, flags, level or 0, 0, ticks)
        if isinstance(message, CallOpened):
            return self._encode_opened(call, message)
        return self._events.write(call, message)

    def read(self, message: bytes | str) -> Iterator[tuple[int, object]]:
        """Read a message of the agent's: what it says about which call, in turn; or a `Fault` of it."""
        call = 0
        try:
            if isinstance(message, str):
                call, name, value = self._events.read(message)
                yield call, self._events.interpret(name, value)
                return
            for frame in read_frames(message):
                call = frame.call
                yield call, self._interpret(frame)
        except WireError as error:
            yield call, Fault("bad_event" if isinstance(message, str) else "bad_frame", str(error))

    def _encode_audio(self, call: int, frame: AudioFrame) -> bytes:
        pcm, rate, position, is_concealed, concealed_ms, level, is_voice = frame
        flags = _flags(level, is_voice) | (MADE_UP if is_concealed else 0)
        heard = self._calls[call]
        kind = _PCM[rate]
        if heard.format.law is not None and rate == heard.format.sample_rate:
            kind = heard.format.kind
            pcm = (audioop.lin2ulaw if kind == FrameKind.PCMU else audioop.lin2alaw)(pcm, _SAMPLE_BYTES)
        return encode_frame(call, kind, pcm, position, flags, level or 0, min(concealed_ms, 0xFFFF))

    def _encode_opened(self, call: int, opened: CallOpened) -> str:
        heard = self._calls[call]
        return self._events.compose(
            "call.started",
            call,
            {
                "id": opened.call_id,
                "format": heard.format.name,
                "codec": opened.codec,
                "metadata": decode_object(opened.metadata),
                "has_channels": opened.has_channels,
                "is_restart": opened.is_restart,
            },
        )

    def _interpret(self, frame: Frame) -> object:
        heard = self._calls.get(frame.call)
        if heard is None:
            return frame  # Whoever knows which calls there have been will say so.
        position, name = frame.position, frame.response_id
        counted = position if 0 <= position < UNCOUNTED else UNCOUNTED
        if frame.kind == FrameKind.PACKET:
            if not frame.ticks:
                return Fault("bad_frame", "a packet that does not say how many ticks it takes")
            return SpeechPushed(counted, frame.ticks, name, frame.data)
        if frame.kind == _PCM[heard.session.sample_rate]:
            return SpeechPushed(counted, 0, name, frame.data)
        if frame.kind == heard.format.kind and heard.session.sample_rate == heard.format.sample_rate:
            expand = audioop.ulaw2lin if frame.kind == FrameKind.PCMU else audioop.alaw2lin
            return SpeechPushed(counted, 0, name, expand(frame.data, _SAMPLE_BYTES))
        wanted = heard.format.name if heard.format.law else f"pcm16/{heard.session.sample_rate}"
        return Fault("wrong_format", f"sound of kind {frame.kind}, in a call of {wanted}")


class AgentCodec:
    """What the agent's end writes and reads.

    Args:
        lone_call: as `_Vocabulary` has it.
    """

    def __init__(self, *, lone_call: int | None) -> None:
        self._events = _Vocabulary(_FROM_AGENT, _TO_AGENT, AgentNotice, lone_call)
        self._rates: dict[int, int] = {}

    def encode(self, call: int, message: object) -> bytes | str:
        """Write a message about a call.

        Errors: UsageError for what has no place on the link.
        """
        if isinstance(message, SpeechPushed):
            interruptions, ticks, name, data = message
            if name is not None and len(name.encode(errors="surrogatepass")) > MAX_RESPONSE_ID_LENGTH:
                raise UsageError(f"a response id of more than {MAX_RESPONSE_ID_LENGTH} bytes")
            kind = FrameKind.PACKET if ticks else _PCM[self._rates[call]]
            try:
                return encode_frame(call, kind, data, interruptions, ticks=ticks, response_id=name or None)
            except struct_error as error:
                raise UsageError("sound that has no place on the link") from error
        if isinstance(message, RateChosen):
            self._rates[call] = message.sample_rate
        if isinstance(message, AgentReturned | AgentFailed):
            self._rates.pop(call, None)
        return self._events.write(call, message)

    def read(self, message: bytes | str) -> Iterator[tuple[int, object]]:
        """Read a message of the gateway's: what it says about which call, in turn.

        Errors: WireError.
        """
        if isinstance(message, str):
            call, name, value = self._events.read(message)
            if name == "call.started":
                yield call, self._read_opened(call, value)
            elif not isinstance(event := self._events.interpret(name, value), Fault) or name == "error":
                yield call, event
            return
        for frame in read_frames(message):
            event = _read_heard(frame)
            if event is not None:
                yield frame.call, event

    def _read_opened(self, call: int, value: Mapping[str, JSON]) -> CallOpened:
        started: _Started = _STARTED.read(value)
        form = FORMATS.get(started.format)
        if form is None:
            raise WireError(f"format {started.format[:64]!r} is unknown")
        self._rates[call] = form.sample_rate
        return CallOpened(
            call_id=started.id,
            sample_rate=form.sample_rate,
            codec=started.codec,
            clock_rate=48_000 if started.codec == "opus" else 8000,  # RFC 3551 §4.5.2: G.722's, too
            metadata=encode_object(started.metadata),
            has_channels=started.has_channels,
            is_restart=started.is_restart,
        )


class _Started(NamedTuple):
    id: str
    format: str
    codec: str = "opus"
    metadata: Mapping[str, Any] = {}
    has_channels: bool = False
    is_restart: bool = False


_STARTED: Final = kind_of(_Started)


def _flags(level: int | None, is_voice: bool | None) -> int:
    return (
        (0 if level is None else HAS_LEVEL)
        | (0 if is_voice is None else IS_JUDGED)
        | (IS_VOICE if is_voice else 0)
    )


def _read_heard(frame: Frame) -> AudioFrame | EncodedFrame | OutputReported | None:
    flags = frame.flags
    level = frame.level if flags & HAS_LEVEL else None
    is_voice = flags & IS_VOICE != 0 if flags & IS_JUDGED else None
    if frame.kind in _RATES:
        return AudioFrame(
            frame.data,
            _RATES[frame.kind],
            frame.position,
            flags & MADE_UP != 0,
            frame.made_up_ms,
            level,
            is_voice,
        )
    if frame.kind == FrameKind.PACKET:
        return EncodedFrame(frame.data, frame.ticks, frame.position, level, is_voice)
    if frame.kind == FrameKind.PROGRESS and len(frame.data) == _PROGRESS.size:
        return OutputReported(*_PROGRESS.unpack(frame.data))
    return None
