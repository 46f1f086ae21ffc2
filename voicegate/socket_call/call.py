"""A call that is nothing but a socket for events: one nursery and one cancel scope, whatever ends it.

1. The client is greeted, and heard once the agent has taken the conversation or begun anything else.
2. `_read` feeds the client's events to the session and lets the agent hear its voice; `_write` sends the
   session's events, and asks for more of the agent's audio when those are gone; `_keep_time` is the clock.
3. After any ending, what the session had to say is sent, for a moment, and the socket is closed.
"""

import os
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

import structlog
import trio

from voicegate.audio import Resampler
from voicegate.call import Agent, Call, Connected, EndCause, GoingAway
from voicegate.errors import UsageError
from voicegate.event_socket import EventSocket
from voicegate.realtime.action import (
    Action,
    CancelResponse,
    ClearInput,
    ClearOutput,
    CommitInput,
    DetectSpeech,
    EndCall,
    InputAppended,
    MuteInput,
    StopDetecting,
    TellAgent,
)
from voicegate.realtime.agent_event import AgentReport, ResponseEnded
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.notice import OutputDrained, ServerLeaving
from voicegate.realtime.session import RealtimeSession
from voicegate.socket_call.channels import NoChannels
from voicegate.socket_call.control import SAMPLE_RATE, SocketControl
from voicegate.socket_call.playback import Piece

__all__ = ["SocketCall", "run_socket_call"]

ENOUGH_BYTES: Final = 4 * 1024 * 1024
"""Of events that wait for the socket: with more, the client's events wait for it to read."""

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of these: a whole conversation, and then some. A client that lets so much wait does not read."""

_HEAD_START_SECONDS: Final = 0.25
"""For the agent to say what it wants, before the client is listened to: it may want to detect speech."""

_AHEAD_SECONDS: Final = 2.0
"""Audio that may come faster than it was spoken and is heard at once; the rest at `_FASTEST` at most, so that
agents in other processes, whose links drop what they are behind with, hear all of it."""

_FASTEST: Final = 25
"""Times real time: an agent that keeps up with 400 calls keeps up with this."""

_FRAME_SECONDS: Final = 0.02

_GOODBYE_SECONDS: Final = 1.0
"""For the last events to be sent, and for the socket to close in order."""

_SOURCE: Final = "socket"

_log = structlog.get_logger()

_CLOSE_CODES: Final = {
    EndCause.SERVER_STOPPED: 1001,
    EndCause.SERVER_DRAINED: 1001,
    EndCause.AGENT_FAILED: 1011,
    EndCause.INTERNAL_ERROR: 1011,
}
"""RFC 6455 §7.4.1; all other endings are normal."""

_POLICY_VIOLATION: Final = 1008


async def run_socket_call(
    socket: EventSocket,
    *,
    agent: Agent,
    session: Mapping[str, Any] | None,
    model: str,
    call_id: str,
    max_seconds: float,
    metadata: Mapping[str, Any] | None = None,
    client: str = "",
    expires_at: int | None = None,
    find_agent: Callable[[str], Agent] | None = None,
    task_status: trio.TaskStatus["SocketCall"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Let a client that speaks the Realtime API over a socket talk with an agent, until either has finished.

    Args:
        socket: Accepted already; closed when this returns.
        agent: What answers.
        session: What the session starts with besides the defaults, from the client's secret.
        model: What the client asked for, as the session shows it.
        call_id: Of the call.
        max_seconds: How long the call may take.
        metadata: For the agent.
        client: The IP address, for `SocketCall.describe`.
        expires_at: When the session says it ends, in seconds since 1970.
        find_agent: Finds an agent that another one transfers the call to by name.
        task_status: Told of the call as soon as there is one.

    Errors: UsageError when the session to start with cannot be.
    Cancellation: ends the call with `EndCause.SERVER_STOPPED`, after a second at most, and passes.
    """
    try:
        core = _open_session(model, session, expires_at)
    except EventRefused as refused:
        await socket.close(_POLICY_VIOLATION, str(refused)[:100])
        raise UsageError(f"a session that cannot be: {refused}") from refused
    call = SocketCall(
        socket,
        core,
        agent=agent,
        call_id=call_id,
        metadata=metadata if metadata is not None else session or {},
        client=client,
        find_agent=find_agent,
    )
    task_status.started(call)
    await call.run(max_seconds=max_seconds)


def _open_session(model: str, session: Mapping[str, Any] | None, expires_at: int | None) -> RealtimeSession:
    return RealtimeSession(
        session_id=f"sess_{os.urandom(12).hex()}",
        transport="websocket",
        model=model,
        session=session,
        random=os.urandom,
        expires_at=expires_at,
        now=trio.current_time(),
    )


class SocketCall:
    """One such call, and what is known of it from outside."""

    def __init__(
        self,
        socket: EventSocket,
        session: RealtimeSession,
        *,
        agent: Agent,
        call_id: str,
        metadata: Mapping[str, Any],
        client: str,
        find_agent: Callable[[str], Agent] | None,
    ) -> None:
        self.id: Final = call_id
        self.cause: EndCause | None = None
        self.detail = ""
        self._client = client
        self._created_at = trio.current_time()
        self._ended_at: float | None = None
        self._socket = socket
        self._session = session
        self._agent = agent
        self._find_agent = find_agent
        self._next_agent: Agent | None = None
        self._agent_scope = trio.CancelScope()
        self._channels = NoChannels()
        self.control: Final = SocketControl(
            clock=trio.current_time,
            stir=self._stir,
            end=self.end,
            report=self._report,
            transfer=self._transfer,
        )
        self._metadata = metadata
        self._scope = trio.CancelScope()
        self._stay_scope = trio.CancelScope()
        """Ends when the server goes away, if it does."""
        self._call = self._open_call()
        self._write_scope = trio.CancelScope(shield=True)
        # Events for the client
        self._outbox: deque[str] = deque()
        self._outbox_bytes = 0
        self._resampler = Resampler(SAMPLE_RATE, SAMPLE_RATE)
        self._speaking: str | None = None
        self._resampled_for: tuple[int, int] = (SAMPLE_RATE, SAMPLE_RATE)
        self._is_closing = False
        self._is_settling = False
        self._stirred = trio.Event()
        self._sent = trio.Event()
        # Time
        self._due: float | None = None
        self._due_changed = trio.Event()
        self._agent_began = trio.Event()
        self._heard_until = 0.0

    # The life

    async def run(self, *, max_seconds: float) -> None:
        """Run until the call ends, for whatever reason; the one place where an agent's failure is caught."""
        with structlog.contextvars.bound_contextvars(call=self.id):
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    try:
                        await self._converse(max_seconds)
                    finally:
                        self._close()
            except* Exception as failures:
                _log.exception("call failed")
                self.end(EndCause.INTERNAL_ERROR, ", ".join(map(repr, failures.exceptions)))
            finally:
                with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                    code = _CLOSE_CODES.get(self.cause or EndCause.SERVER_STOPPED, 1000)
                    await self._socket.close(code, self.detail[:100])

    async def _converse(self, max_seconds: float) -> None:
        with self._scope:
            self._session.attach(_SOURCE)
            self._settle()
            with trio.move_on_after(max_seconds), self._stay_scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read)
                    nursery.start_soon(self._keep_time)
                    await self._run_agents()
            if self._stay_scope.cancelled_caught:
                self.end(EndCause.SERVER_DRAINED, "the server goes away")
                return
            self._session.expire()
            self._settle()
            self.end(EndCause.MAX_DURATION, f"{max_seconds:.0f} s are over")

    def _open_call(self) -> Call:
        call = Call(self.id, control=self.control, metadata=self._metadata, link=self._channels)
        call.push_event(Connected(0.0))
        if self._stay_scope.deadline < inf:
            seconds = self._stay_scope.deadline - trio.current_time()
            call.push_event(GoingAway(round(max(0.0, seconds), 3)))
        return call

    async def _run_agents(self) -> None:
        agent = self._agent
        try:
            while True:
                with trio.CancelScope() as self._agent_scope:
                    await agent(self._call)
                if self._next_agent is None:
                    break
                agent, self._next_agent = self._next_agent, None
                self.control.resume()
                await self._call.audio_out.drain()
                self._call.close()
                self._session.release_agent(now=trio.current_time())
                self._settle()
                self.control.forget_agent()
                self._call = self._open_call()
        except* Exception as failures:  # also those that a nursery of the agent's raises beside a Cancelled
            _log.exception("agent failed")
            self.end(EndCause.AGENT_FAILED, ", ".join(map(repr, failures.exceptions)))
        else:
            if self.control.is_hanging_up:
                await trio.sleep_forever()  # until all that it said has been played
            self.end(EndCause.AGENT_FINISHED, "the agent returned")

    def leave(self, *, seconds: float) -> None:
        """Tell both ends that the server goes away, and end the call when so many seconds are over."""
        now = trio.current_time()
        self._stay_scope.deadline = now + seconds
        self._call.push_event(GoingAway(seconds))
        self._session.handle_notice(ServerLeaving(seconds), now=now)
        self._settle()

    def stay(self) -> None:
        """Go on, as if nothing had been said."""
        self._stay_scope.deadline = inf

    def end(self, cause: EndCause, detail: str) -> None:
        """End the call; the first cause given is the one that counts."""
        if self.cause is None:
            self.cause, self.detail = cause, detail
        self._scope.cancel()

    def _close(self) -> None:
        self.end(EndCause.SERVER_STOPPED, "the server was stopped")
        self._ended_at = trio.current_time()
        self._is_closing = True
        self._stirred.set()
        self._write_scope.deadline = self._ended_at + _GOODBYE_SECONDS
        self._call.close()
        self._channels.close()
        self.control.set_listener(None)
        _log.info("call ended", cause=self.cause and self.cause.value, detail=self.detail)

    def _transfer(self, agent: Agent | str) -> None:
        if isinstance(agent, str):
            if self._find_agent is None:
                raise UsageError(f"no agent {agent!r} is configured")
            agent = self._find_agent(agent)
        self._next_agent = agent
        self._agent_scope.cancel()

    # The tasks

    async def _read(self) -> None:
        with trio.move_on_after(_HEAD_START_SECONDS):
            await self._agent_began.wait()
        while (text := await self._socket.receive()) is not None:
            self._session.handle_text(text, source=_SOURCE, now=trio.current_time())
            self._settle()
            await self._hear()
            while self._outbox_bytes > ENOUGH_BYTES:
                await self._sent.wait()
        self.end(EndCause.CLIENT_CLOSED, "the client closed its socket")

    async def _hear(self) -> None:
        """Let the agent hear what has come."""
        while self.control.next_frame():
            self._settle()
            now = trio.current_time()
            self._heard_until = max(now, self._heard_until) + _FRAME_SECONDS
            if self._heard_until > now + _AHEAD_SECONDS:
                await trio.sleep(_FRAME_SECONDS / _FASTEST)

    async def _write(self) -> None:
        with self._write_scope:
            try:
                while self._outbox or not self._is_closing:
                    if self._outbox:
                        await self._send(self._outbox.popleft())
                    elif not self._take_item():
                        stirred = self._stirred = trio.Event()
                        await stirred.wait()
            except trio.BrokenResourceError:
                self.end(EndCause.CLIENT_CLOSED, "the client was gone")

    async def _send(self, text: str) -> None:
        await self._socket.send(text)
        self._outbox_bytes -= len(text)
        self._sent.set()
        self._sent = trio.Event()

    def _take_item(self) -> bool:
        """Turn the next of what the agent has said into events; return whether there was anything."""
        item = self.control.next_item()
        if item is None:
            return False
        self._settle()  # The session hears that speech begins before there is any of it.
        now = trio.current_time()
        if isinstance(item, Piece):
            if item.response_id != self._speaking:
                self._finish_output()
                self._speaking = item.response_id
            self._session.add_output(item.response_id, self._resample(item.pcm), now=now)
        else:
            if isinstance(item, ResponseEnded):
                self._finish_output()
            self._session.handle_report(item, now=now)
        self._settle()
        return True

    async def _keep_time(self) -> None:
        while True:
            changed = self._due_changed = trio.Event()
            with trio.move_on_at(inf if self._due is None else self._due):
                await changed.wait()
                continue
            self.control.handle_timeout()
            self._session.handle_timeout(now=trio.current_time())
            self._settle()

    # Between the session, the control and the agent

    def _report(self, report: AgentReport) -> None:
        self._session.handle_report(report, now=trio.current_time())

    def _stir(self) -> None:
        """See to what a command of the agent's has brought about."""
        self._agent_began.set()
        if self.control.playback.is_overrun:
            self.end(EndCause.CLIENT_CLOSED, "the client does not read")
        if not self._is_settling:
            self._settle()

    def _settle(self) -> None:
        """Move all that is to be said to where it belongs."""
        self._is_settling = True
        control, session, now = self.control, self._session, trio.current_time()
        is_moving = True
        while is_moving:
            is_moving = False
            while (notice := control.poll_notice()) is not None:
                if isinstance(notice, OutputDrained):
                    self._finish_output()
                session.handle_notice(notice, now=now)
            while (action := session.poll_action()) is not None:
                is_moving = True
                self._do(action)
            while (event := control.poll_event()) is not None:
                is_moving = True
                self._call.push_event(event)
        while (out := session.poll_event()) is not None:
            self._outbox.append(out.text)
            self._outbox_bytes += len(out.text)
        self._is_settling = False
        if self._outbox_bytes > MOST_BYTES:
            self.end(EndCause.CLIENT_CLOSED, "the client does not read")
        self._stirred.set()
        dues = [at for at in (control.poll_timeout(), session.poll_timeout()) if at is not None]
        due = min(dues, default=None)
        if due != self._due:
            self._due = due
            self._due_changed.set()

    def _do(self, action: Action) -> None:
        control = self.control
        match action:
            case TellAgent(notice=notice):
                self._call.push_event(notice)
            case InputAppended(pcm=pcm, rate=rate):
                control.hearing.handle_audio(pcm, rate=rate)
            case CommitInput():
                control.commit_input()
            case ClearInput():
                control.clear_input()
            case DetectSpeech(silence_ms=silence_ms, barge_in=barge_in):
                control.detect(silence_ms=silence_ms, barge_in=barge_in)
            case StopDetecting():
                control.hearing.stop_detecting()
            case ClearOutput():
                control.interrupt()
            case CancelResponse(response_id=response_id):
                control.cancel_response(response_id)
            case MuteInput():
                pass  # Only of calls whose audio comes on a track.
            case EndCall(code=code, message=message):
                is_time = code == "session_expired"
                self.end(EndCause.MAX_DURATION if is_time else EndCause.CLIENT_CLOSED, message)

    def _finish_output(self) -> None:
        """Send what resampling still holds back."""
        if rest := self._resampler.flush():
            self._session.add_output(self._speaking, rest, now=trio.current_time())

    def _resample(self, pcm: bytes) -> bytes:
        """Return samples at the rate of what the client wants."""
        rates = self.control.sample_rate, self._session.output_rate
        if rates != self._resampled_for:
            self._resampled_for = rates
            self._resampler = Resampler(*rates)
        return self._resampler.process(pcm)

    # What is known from outside

    def describe(self) -> dict[str, Any]:
        """Return what ``GET /v1/sessions/{id}`` shows."""
        now = trio.current_time() if self._ended_at is None else self._ended_at
        playback = self.control.playback
        return {
            "id": self.id,
            "state": "connected" if self._ended_at is None else "ended",
            "cause": self.cause.value if self.cause else None,
            "detail": self.detail,
            "duration_ms": round((now - self._created_at) * 1000),
            "phases": {},
            "path": {"client": self._client, "transport": "websocket"},
            "codec": "PCM",
            "counters": {
                "audio_in_dropped": self._call.audio_in_dropped,
                "audio_out_dropped": playback.dropped_samples,
                "audio_out_discarded": playback.discarded_samples,
            },
        }
