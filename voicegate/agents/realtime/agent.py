"""The agent that is a bridge: one call, one server at a time, and another connection when that one breaks."""

import os
from collections import deque
from math import inf
from typing import Final, TypeVar

import structlog
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection

from voicegate.agents.realtime.bridge import (
    AudioReceived,
    Bridge,
    EventReceived,
    ServerExpired,
    SpeechHeard,
)
from voicegate.agents.realtime.connection import connect
from voicegate.agents.realtime.options import RealtimeOptions
from voicegate.agents.realtime.voice import VoiceUp
from voicegate.call import (
    Agent,
    Call,
    ClientEvent,
    Interrupted,
    SessionUpdated,
)
from voicegate.errors import VoicegateError

__all__ = ["RealtimeServerError", "open_realtime_agent"]

_FIRST_BACK_OFF: Final = 0.1
"""Seconds before a broken connection is tried again. Doubles each time."""

_LAST_BACK_OFF: Final = 5.0

_STEADY_AFTER: Final = 10.0
"""Seconds of conversation that make the next break an accident again, and not one of a series."""

_MAX_UNSENT: Final = 4 * 1024 * 1024
"""Characters that wait for a server: more than a minute of audio. One that lets so much wait is broken."""

_MOST_SPEECH: Final = 32 * 1024 * 1024
"""Bytes that may wait here, eleven minutes; a server that is further ahead is not listened to meanwhile."""

_AHEAD_MS: Final = 20_000
"""Speech that the call may hold ahead of the client's ear; what a server has made beyond that waits here."""

_HOPELESS: Final = (400, 401, 403, 404)
"""HTTP statuses that will be the same next time."""

_log = structlog.get_logger()

FaultT = TypeVar("FaultT", bound=BaseException)


class RealtimeServerError(VoicegateError):
    """There is no server to talk with, for longer than a call waits, or it refuses us."""


def open_realtime_agent(url: str = "", options: RealtimeOptions | None = None) -> Agent:
    """Return an agent that lets the clients of its calls talk with a server of the Realtime API.

    Args:
        url: Of the server, ``ws://`` or ``wss://``; without, the options have it.
        options: How to reach it and what to ask for.

    Errors: UsageError when the address is none.
    """
    chosen = options or RealtimeOptions()
    address = chosen.address(url)

    async def realtime(call: Call) -> None:
        await _Conversation(call, address, chosen).run()

    return realtime


class _Conversation:
    """One call on its bridge."""

    def __init__(self, call: Call, address: str, options: RealtimeOptions) -> None:
        self._call = call
        self._address = address
        self._options = options
        self._bridge = Bridge(options)
        self._voice = VoiceUp(options)
        self._unsent: deque[str] = deque()
        self._unsent_characters = 0
        self._speech: deque[AudioReceived | EventReceived] = deque()
        self._speech_bytes = 0
        self._relieved = trio.Event()
        self._stirred = trio.Event()
        self._due_changed = trio.Event()
        self._spoken = trio.Event()
        self._expired: str | None = None
        self._link_scope = trio.CancelScope()

    async def run(self) -> None:
        """Talk until the call is over.

        Errors: RealtimeServerError.
        """
        call = self._call
        call.use_rate(self._options.output_rate)
        call.converse(raw=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear)
            nursery.start_soon(self._follow_call)
            nursery.start_soon(self._speak)
            nursery.start_soon(self._keep_time)
            await self._keep_connected()

    # The server

    async def _keep_connected(self) -> None:
        back_off = _FIRST_BACK_OFF
        lost_at = trio.current_time()
        while True:
            began_at = trio.current_time()
            fault = await self._connect_once()
            now = trio.current_time()
            if self._voice.was_open:
                self._voice.was_open = False
                lost_at = now
                if now - began_at > _STEADY_AFTER:
                    back_off = _FIRST_BACK_OFF
            self._bridge.disconnected(fault)
            self._unsent.clear()
            self._unsent_characters = 0
            self._settle()
            _log.warning("realtime server lost", cause=fault, retry_in=back_off)
            if now - lost_at > self._options.patience:
                self._give_up(f"no server for {self._options.patience:g} s: {fault}")
            await trio.sleep(back_off)
            back_off = min(2 * back_off, _LAST_BACK_OFF)

    async def _connect_once(self) -> str:
        """Talk with a server until that ends; return why."""
        options = self._options
        fault, is_hopeless = "it did not read", False
        with trio.CancelScope() as self._link_scope:
            try:
                async with connect(
                    self._address, headers=self._headers(), subprotocols=options.subprotocols
                ) as socket:
                    await self._talk(socket)
            except* ConnectionRejected as rejected:
                status = _first(rejected).status_code
                fault = f"refused with status {status}"
                is_hopeless = status in _HOPELESS
            except* (HandshakeError, ConnectionClosed, OSError, trio.TooSlowError) as failed:
                fault = repr(_first(failed))
        if is_hopeless:
            self._give_up(f"the server is no use: {fault}")
        return self._expired or fault

    async def _talk(self, socket: WebSocketConnection) -> None:
        self._bridge.connected(now=trio.current_time())
        self._expired = None
        self._settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, socket)
            while True:
                message = await socket.get_message()
                if isinstance(message, str):
                    self._bridge.handle_text(message)
                    self._settle()
                while self._speech_bytes > _MOST_SPEECH:
                    await self._relieved.wait()

    async def _send(self, socket: WebSocketConnection) -> None:
        while True:
            while self._unsent:
                text = self._unsent.popleft()
                self._unsent_characters -= len(text)
                await socket.send_message(text)
            stirred = self._stirred = trio.Event()
            await stirred.wait()

    def _headers(self) -> list[tuple[bytes, bytes]]:
        options = self._options
        headers = dict(options.headers)
        if options.key:
            headers["Authorization"] = f"Bearer {options.key}"
        if options.dialect == "beta":
            headers["OpenAI-Beta"] = "realtime=v1"
        if options.traceparent:
            trace = os.urandom(16).hex()
            headers["traceparent"] = f"00-{trace}-{os.urandom(8).hex()}-01"
            _log.info("realtime server traced", trace=trace)
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    def _give_up(self, why: str) -> None:
        error = {"type": "server_error", "code": "upstream_lost", "message": why, "param": None}
        self._call.emit({"type": "error", "error": {**error, "event_id": None}})
        raise RealtimeServerError(why)

    # The call

    async def _hear(self) -> None:
        """Pass on the user's voice, and silence for a while when none comes: servers wait for it."""
        voice, frames = self._voice, self._call.audio_in
        while True:
            with trio.move_on_after(voice.wait_seconds(now=trio.current_time())) as waited:
                voice.hear(await frames.receive(), now=trio.current_time())
            if waited.cancelled_caught:
                voice.handle_timeout(now=trio.current_time())
            while (batch := voice.poll()) is not None:
                pcm, position_ms = batch
                self._bridge.add_audio(pcm, position_ms=position_ms)
            self._settle()

    async def _follow_call(self) -> None:
        bridge = self._bridge
        async for event in self._call.events:
            match event:
                case SessionUpdated(session=session) if not bridge.has_session:
                    bridge.use_session(session)
                case ClientEvent(event=asked):
                    bridge.handle_client_event(asked, now=trio.current_time())
                case Interrupted():
                    self._drop_speech()
                case _:
                    pass
            self._voice.is_open_ended = bridge.detects_turns
            self._settle()

    async def _speak(self) -> None:
        """Let the call have the server's speech and events in order, no more than it can keep."""
        call = self._call
        while True:
            while self._speech:
                item = self._speech[0]
                if isinstance(item, EventReceived):
                    self._speech.popleft()
                    call.emit(item.event)
                elif (excess_ms := call.audio_out.queued_ms - _AHEAD_MS) <= 0:
                    self._speech.popleft()
                    self._relieve(len(item.pcm))
                    call.audio_out.send_nowait(item.pcm, response_id=item.response_id)
                else:
                    with trio.move_on_after(excess_ms / 1000):
                        await self._wait_spoken()
            await self._wait_spoken()

    async def _wait_spoken(self) -> None:
        spoken = self._spoken = trio.Event()
        await spoken.wait()

    def _drop_speech(self) -> None:
        """Forget audio that the call does not have yet."""
        self._speech = deque(item for item in self._speech if isinstance(item, EventReceived))
        self._relieve(self._speech_bytes)
        self._spoken.set()

    def _relieve(self, size: int) -> None:
        self._speech_bytes -= size
        self._relieved.set()
        self._relieved = trio.Event()

    # The bridge

    def _settle(self) -> None:
        """Move all that the bridge has to say to where it belongs."""
        bridge = self._bridge
        while (event := bridge.poll_event()) is not None:
            match event:
                case AudioReceived() | EventReceived():
                    self._speech.append(event)
                    self._speech_bytes += len(event.pcm) if isinstance(event, AudioReceived) else 0
                    self._spoken.set()
                case SpeechHeard():
                    self._drop_speech()  # The call's session stops what it has when it reads of this.
                case ServerExpired(reason=reason):
                    self._expired = reason
                    self._link_scope.cancel()
        while (text := bridge.poll_transmit()) is not None:
            self._unsent.append(text)
            self._unsent_characters += len(text)
        if self._unsent_characters > _MAX_UNSENT:
            self._link_scope.cancel()
        self._voice.was_open = self._voice.was_open or bridge.is_open
        self._stirred.set()
        self._due_changed.set()

    async def _keep_time(self) -> None:
        while True:
            changed = self._due_changed = trio.Event()
            due = self._bridge.poll_timeout()
            with trio.move_on_at(inf if due is None else due):
                await changed.wait()
                continue
            self._bridge.handle_timeout(now=trio.current_time())
            self._settle()


def _first(group: BaseExceptionGroup[FaultT]) -> FaultT:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
