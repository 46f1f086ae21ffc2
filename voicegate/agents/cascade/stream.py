"""What the three models send, decoded as it arrives: server-sent events, words, replies and samples."""

import io
import wave
from typing import Final, NamedTuple, Protocol, TypeVar

from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.errors import WireError
from voicegate.wire.json_value import JSON, JSONObject, decode_object

__all__ = [
    "Decoder",
    "EventDecoder",
    "ObjectDecoder",
    "SampleDecoder",
    "Words",
    "WordsDecoder",
    "encode_wav",
]

MAX_EVENT: Final = 4 << 20
"""Bytes of one event: transcripts and pieces of replies have a few hundred."""

_CHUNK_BYTES: Final = 4800
"""A tenth of a second at 24 kHz: what arrives in one piece leaves in pieces that can be cancelled between."""

_RIFF: Final = b"RIFF"
_DATA: Final = b"data"
_MAX_HEADER: Final = 4096
"""Bytes of a WAV file before its samples; usually 44."""

Thing = TypeVar("Thing")


class Decoder(Protocol[Thing]):
    """Bytes in, in pieces as they come; things out.

    Errors: of all methods: WireError when the bytes are not what they should be.
    """

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to come, though the stream may be open still."""

    def push(self, data: bytes) -> list[Thing]:
        """Take more."""

    def finish(self) -> list[Thing]:
        """Take it that the stream has ended."""


class Words(NamedTuple):
    """What has been recognised."""

    text: str
    """All of it so far."""
    is_final: bool


class EventDecoder:
    """Server-sent events whose data are JSON objects, up to ``[DONE]``; other fields mean nothing here."""

    def __init__(self) -> None:
        self.is_done = False
        self._rest = b""
        self._data: list[bytes] = []

    def push(self, data: bytes) -> list[dict[str, JSON]]:
        """Take more bytes, and return the events that are whole."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_EVENT:
            raise WireError("an event does not end")
        events = (self._handle_line(line.removesuffix(b"\r")) for line in lines)
        return [event for event in events if event is not None]

    def finish(self) -> list[dict[str, JSON]]:
        """Return an event whose end is missing: some servers leave it out."""
        return self.push(b"\n\n")

    def _handle_line(self, line: bytes) -> dict[str, JSON] | None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            if sum(map(len, self._data)) > MAX_EVENT:
                raise WireError("an event does not end")
        if line or not self._data:
            return None
        data = b"\n".join(self._data)
        self._data = []
        if self.is_done or not data.strip():
            return None
        if data.strip() == b"[DONE]":
            self.is_done = True
            return None
        return _decode_json(data)


class ObjectDecoder:
    """One JSON object, which is all that is sent."""

    def __init__(self) -> None:
        self.is_done = False
        self._data = b""

    def push(self, data: bytes) -> list[dict[str, JSON]]:
        """Take more bytes."""
        self._data += data
        if len(self._data) > MAX_EVENT:
            raise WireError("the answer does not end")
        return []

    def finish(self) -> list[dict[str, JSON]]:
        """Return it."""
        return [_decode_json(self._data)]


class WordsDecoder:
    """A transcript: events as OpenAI or vLLM sends them, or the whole text at once."""

    def __init__(self, *, is_stream: bool) -> None:
        self.is_done = False
        self._decoder: EventDecoder | ObjectDecoder = EventDecoder() if is_stream else ObjectDecoder()
        self._text = ""

    def push(self, data: bytes) -> list[Words]:
        """Take more bytes, and return what the words are now."""
        return [words for event in self._decoder.push(data) for words in self._handle_event(event)]

    def finish(self) -> list[Words]:
        """Return the final words, if nothing has said that they are."""
        words = [each for event in self._decoder.finish() for each in self._handle_event(event)]
        if not self.is_done:
            self.is_done = True
            words.append(Words(self._text, is_final=True))
        return words

    def _handle_event(self, event: JSONObject) -> list[Words]:
        if self.is_done:
            return []
        if "error" in event:
            raise WireError(str(event["error"])[:200])
        if event.get("type") == "transcript.text.done" or isinstance(self._decoder, ObjectDecoder):
            self.is_done = True
            return [Words(str(event.get("text", self._text)), is_final=True)]
        delta = _text_delta(event)
        self._text += delta
        if len(self._text) > MAX_EVENT:
            raise WireError("the transcript does not end")
        return [Words(self._text, is_final=False)] if delta else []


class SampleDecoder:
    """16-bit samples, bare or as a WAV file.

    Args:
        sample_rate: what a WAV file must have.
    """

    def __init__(self, *, sample_rate: int) -> None:
        self.is_done = False
        self._sample_rate = sample_rate
        self._rest = b""
        self._is_begun = False

    def push(self, data: bytes) -> list[bytes]:
        """Take more bytes, and return whole samples."""
        self._rest += data
        if not self._is_begun and not self._begin():
            return []
        whole = len(self._rest) - len(self._rest) % SAMPLE_BYTES
        samples, self._rest = self._rest[:whole], self._rest[whole:]
        return [samples[start : start + _CHUNK_BYTES] for start in range(0, whole, _CHUNK_BYTES)]

    def finish(self) -> list[bytes]:
        """Return nothing: half a sample is none."""
        if not self._is_begun and len(self._rest) >= len(_RIFF):
            raise WireError("a WAV file ends in its header")
        return []

    def _begin(self) -> bool:
        """Step over the header of a WAV file; return False as long as there may be more of it."""
        if len(self._rest) < len(_RIFF):
            return False
        if self._rest.startswith(_RIFF):
            at = self._rest.find(_DATA, 12, _MAX_HEADER)
            if at < 0 or len(self._rest) < at + 8:
                if len(self._rest) > _MAX_HEADER:
                    raise WireError("a WAV file without samples")
                return False
            format_at = self._rest.find(b"fmt ", 12, at)
            header = self._rest[format_at + 8 : format_at + 24]
            channels, rate = (
                int.from_bytes(header[2:4], "little"),
                int.from_bytes(header[4:8], "little"),
            )
            bits = int.from_bytes(header[14:16], "little")
            if (channels, rate, bits) != (1, self._sample_rate, 16):
                raise WireError(
                    f"{channels} channels of {bits} bits at {rate} Hz, not {self._sample_rate} Hz"
                )
            self._rest = self._rest[at + 8 :]
        self._is_begun = True
        return True


def encode_wav(pcm: bytes, *, sample_rate: int) -> bytes:
    """Return a WAV file of 16-bit mono samples."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(SAMPLE_BYTES)
        file.setframerate(sample_rate)
        file.writeframes(pcm)
    return target.getvalue()


def _decode_json(data: bytes) -> dict[str, JSON]:
    try:
        return decode_object(data.decode(), limit=MAX_EVENT)
    except UnicodeDecodeError as error:
        raise WireError("not UTF-8") from error


def _text_delta(event: JSONObject) -> str:
    """Return the words that an event adds."""
    if event.get("type") == "transcript.text.delta":
        return str(event.get("delta", ""))
    match event.get("choices"):
        case [{"delta": {"content": str(text)}}, *_]:
            return text
        case _:
            return ""
