"""The three models of a cascade, over OpenAI-compatible HTTP.

Each method is an asynchronous context manager, which gives an iterator of what arrives. Leaving the block, or
being cancelled in it, closes the connection if more is to come, so that the model stops working.
"""

import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from voicegate.agents.cascade.options import CascadeOptions, Endpoint
from voicegate.agents.cascade.stream import (
    Decoder,
    EventDecoder,
    ObjectDecoder,
    SampleDecoder,
    Words,
    WordsDecoder,
    encode_wav,
)
from voicegate.errors import UsageError, VoicegateError, WireError
from voicegate.wire.json_value import JSON, JSONObject

try:
    import httpx2
except ImportError as error:  # pragma: no cover - comes with the test dependencies
    raise UsageError("the cascade needs httpx2: pip install 'voicegate-server[cascade]'") from error

__all__ = ["Backend", "BackendError", "Incoming", "open_backend"]

_TIMEOUT: Final = httpx2.Timeout(connect=5.0, write=10.0, read=30.0, pool=5.0)
"""Seconds. Nobody on a telephone waits longer for the next word."""

_LIMITS: Final = httpx2.Limits(max_connections=16, max_keepalive_connections=8, keepalive_expiry=60.0)
"""Of one call. Connections outlast the pauses of a conversation: TLS costs two round trips."""

_DRAIN_SECONDS: Final = 0.2
"""For a server to end what has said all, so that the connection can be used again."""

_MAX_ERROR: Final = 200
"""Characters of what a server says of an error."""

_FAULTS: Final = (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL)

Thing = TypeVar("Thing")


class BackendError(VoicegateError):
    """A model did not do what was asked."""


class Incoming(Generic[Thing]):
    """What arrives, as it arrives.

    Errors: BackendError when the server, or the connection to it, fails.
    """

    def __init__(self, name: str, decoder: Decoder[Thing], chunks: trio.MemoryReceiveChannel[bytes]) -> None:
        self._name = name
        self._decoder = decoder
        self._chunks = chunks
        self._ready: deque[Thing] = deque()
        self._has_ended = False
        self.fault: BackendError | None = None
        """Why it ended, if not because it was over."""

    def __aiter__(self) -> "Incoming[Thing]":
        return self

    async def __anext__(self) -> Thing:
        while not self._ready:
            if self._has_ended or self._decoder.is_done:
                raise StopAsyncIteration
            try:
                self._ready.extend(await self._read())
            except WireError as error:
                raise BackendError(f"{self._name}: {error}") from error
        return self._ready.popleft()

    async def _read(self) -> list[Thing]:
        try:
            return self._decoder.push(await self._chunks.receive())
        except trio.EndOfChannel:
            if self.fault is not None:
                raise self.fault from None
            self._has_ended = True
            return self._decoder.finish()

    @property
    def is_done(self) -> bool:
        """Whether all has been said, though the server may not have ended it."""
        return self._decoder.is_done


@attrs.define
class _Head:
    """How an answer begins."""

    status: int
    content_type: str


class Backend:
    """The models, for one call.

    Errors: of all methods: BackendError, from the block's beginning or from the iterator.
    """

    def __init__(self, options: CascadeOptions, client: httpx2.AsyncClient) -> None:
        self._options = options
        self._client = client
        self._keys = options.read_keys()

    @asynccontextmanager
    async def transcribe(self, pcm: bytes, *, language: str | None) -> AsyncIterator[Incoming[Words]]:
        """Recognise what was said; a server that cannot stream gives the whole text at once."""
        endpoint = self._options.transcription
        fields: dict[str, str] = {"model": endpoint.model, "response_format": "json", "stream": "true"}
        if language is not None:
            fields["language"] = language
        fields |= {key: str(value) for key, value in endpoint.extra.items()}
        file = ("speech.wav", encode_wav(pcm, sample_rate=self._options.sample_rate), "audio/wav")

        def decoder(content_type: str) -> WordsDecoder:
            return WordsDecoder(is_stream=content_type == "text/event-stream")

        request = {"data": fields, "files": {"file": file}}
        async with self._post(
            "transcription", endpoint, "audio/transcriptions", decoder, request
        ) as incoming:
            yield incoming

    @asynccontextmanager
    async def chat(self, body: JSONObject) -> AsyncIterator[Incoming[dict[str, JSON]]]:
        """Have the model reply: the chunks of its stream."""
        endpoint = self._options.chat

        def decoder(content_type: str) -> EventDecoder:
            if content_type != "text/event-stream":
                raise BackendError(f"chat: {content_type or 'nothing'} instead of an event stream")
            return EventDecoder()

        async with self._post("chat", endpoint, "chat/completions", decoder, {"json": body}) as incoming:
            yield incoming

    @asynccontextmanager
    async def speak(self, text: str, *, voice: str, speed: float) -> AsyncIterator[Incoming[bytes]]:
        """Say a sentence: whole 16-bit samples, at the options' rate."""
        endpoint = self._options.speech
        body: dict[str, JSON] = {"model": endpoint.model, "input": text, "voice": voice}
        body["response_format"] = "pcm"
        if speed != 1.0:
            body["speed"] = speed
        body |= endpoint.extra

        def decoder(_content_type: str) -> SampleDecoder:
            return SampleDecoder(sample_rate=self._options.sample_rate)

        async with self._post("speech", endpoint, "audio/speech", decoder, {"json": body}) as incoming:
            yield incoming

    @asynccontextmanager
    async def _post(
        self,
        name: str,
        endpoint: Endpoint,
        path: str,
        make_decoder: Callable[[str], Decoder[Thing]],
        request: dict[str, Any],
    ) -> AsyncIterator[Incoming[Thing]]:
        """Send a request, and read in a task of its own.

        The client's nested generators are cleaned up in time only when they run to their end or are cancelled
        in their midst, not when they are left.
        """
        key = self._keys[name]
        request["url"] = f"{endpoint.base_url}/{path}"
        request["headers"] = {"authorization": f"Bearer {key}"} if key else {}
        raised: BaseException | None = None
        async with trio.open_nursery() as nursery:
            try:
                reader = _Reader(name)
                head = await nursery.start(reader.run, self._client, request)
                await reader.check(head)
                incoming = Incoming(name, make_decoder(head.content_type), reader.chunks)
                reader.incoming = incoming
                yield incoming
                if incoming.is_done:
                    with trio.move_on_after(_DRAIN_SECONDS):
                        await reader.ended.wait()
            except BaseException as error:  # to be raised bare, outside of the nursery
                raised = error
            nursery.cancel_scope.cancel()
        if raised is not None:
            raise raised


class _Reader:
    """Reads one answer."""

    def __init__(self, name: str) -> None:
        self.ended = trio.Event()
        self.incoming: Incoming[Any] | None = None
        self._name = name
        self._sender, self.chunks = trio.open_memory_channel[bytes](0)

    async def run(
        self,
        client: httpx2.AsyncClient,
        request: dict[str, Any],
        *,
        task_status: trio.TaskStatus[_Head] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        has_begun = False
        try:
            async with client.stream("POST", **request) as response:
                content_type = str(response.headers.get("content-type", "")).partition(";")[0].strip()
                task_status.started(_Head(response.status_code, content_type))
                has_begun = True
                async for chunk in response.aiter_bytes():
                    # Cancelled here, it would leave the client's generators; the next read is cancelled, too.
                    with suppress(trio.Cancelled):
                        await self._sender.send(chunk)
        except _FAULTS as error:
            fault = BackendError(f"{self._name}: {type(error).__name__}: {error}"[:_MAX_ERROR])
            if not has_begun:
                raise fault from error
            if self.incoming is not None:
                self.incoming.fault = fault
        finally:
            self._sender.close()
            self.ended.set()

    async def check(self, head: _Head) -> None:
        """Refuse an answer that tells of an error."""
        if head.status != httpx2.codes.OK:
            raise BackendError(f"{self._name}: {head.status}: {await self._read_error()}")

    async def _read_error(self) -> str:
        decoder = ObjectDecoder()
        try:
            async for chunk in self.chunks:
                decoder.push(chunk)
            (answer,) = decoder.finish()
        except WireError as error:
            return str(error)
        fault = answer.get("error", answer)
        message = fault.get("message", fault) if isinstance(fault, dict) else fault
        return " ".join(str(message).split())[:_MAX_ERROR]


@asynccontextmanager
async def open_backend(
    options: CascadeOptions, *, trust: ssl.SSLContext | bool = True
) -> AsyncIterator[Backend]:
    """Have connections to the models for the length of a call.

    Args:
        options: Where they are.
        trust: Whose certificates to trust; to load that takes a while, so calls should share it.
    """
    async with httpx2.AsyncClient(timeout=_TIMEOUT, limits=_LIMITS, verify=trust) as client:
        yield Backend(options, client)
