"""A call's conversation: one client session, between the client's connections, the agent and the media.

The session is a core (`voicegate.realtime`), and this is what drives it. Clients speak on the data channel
and on sidebands; the agent reports and is told; the media say what is heard, and do what is to be done. All
of it is made when the first of them has something to say: a call that nobody talks about pays nothing.
"""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final, Literal, Protocol, TypeAlias

import structlog
import trio

from voicegate.call import (
    AgentNotice,
    AgentReport,
    CallEvent,
    EndCause,
    SpeechStarted,
    SpeechStopped,
    TurnEnded,
)
from voicegate.datachannel import Channel
from voicegate.event_socket import EventSocket
from voicegate.realtime import ClientSession
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
from voicegate.realtime.live import LiveSession
from voicegate.realtime.notice import CallNotice, ServerLeaving, SpeechBegan, SpeechEnded, TurnOver
from voicegate.realtime.session import RealtimeSession
from voicegate.transceiver.call_id import live_id_of
from voicegate.transceiver.control import MediaControl
from voicegate.transceiver.event_channel import EventChannel
from voicegate.transceiver.sideband import Sideband
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["ApiName", "Conversation", "Surroundings", "open_session"]

ApiName: TypeAlias = Literal["realtime", "live", "none"]
"""What a client speaks on its data channel."""

_log = structlog.get_logger()

MAX_SIDEBANDS: Final = 8
"""An app's server has one, an observer another; each holds what its reader has not read."""

_CHANNEL: Final = "channel"
_ID_BYTES: Final = 12
"""Nobody guesses or meets an identifier twice."""
_TOO_MANY: Final = 1013


class Surroundings(Protocol):
    """The call around a conversation."""

    def tell(self, notice: AgentNotice) -> None:
        """Let the agent know."""

    def follow(self) -> None:
        """Look at once what the media have to tell, after they were told to do something."""

    def let_out(self, now: float) -> None:
        """Send what waits to be sent, and look at the deadline anew."""

    def end(self, cause: EndCause, detail: str) -> None:
        """End the call."""


class Conversation:
    """What is said about a call, beside its audio.

    Args:
        channel: Where the client speaks the API; None when it does not.
        open_session: Makes the session.
    """

    def __init__(
        self,
        control: MediaControl,
        channel: EventChannel | None,
        *,
        open_session: Callable[[float], ClientSession],
        surroundings: Surroundings,
    ) -> None:
        self.is_open = False
        """Whether there is a session that wants to know what happens."""
        self.is_taken = False
        """Whether the agent takes part in it."""
        self._control = control
        self._channel = channel
        self._is_attached = False
        self._open_session = open_session
        self._surroundings = surroundings
        self._session: ClientSession | None = None
        self._sidebands: dict[str, Sideband] = {}
        self._numbers = count(1)
        self._is_pumping = False
        self._is_over = False
        self._deadline: float | None = None
        self._leaves_at: float | None = None
        """When the server ends the call, as far as clients are told."""

    # The client's data channel

    def claims(self, channel: Channel) -> bool:
        """Tell whether a channel of the client's is for events, so that the agent knows nothing of it."""
        return self._channel is not None and self._channel.claims(channel)

    def reserve(self, channel: Channel) -> None:
        """Keep the agent from a channel that was agreed on and is not open yet."""
        if self._channel is not None:
            self._channel.reserve(channel)

    def open_channel(self, channel: Channel, *, now: float) -> None:
        """Speak on a channel that is open now."""
        if self._channel is not None:
            self._channel.open(channel)
            self._feed(lambda: self._attach_channel(self._require(now), now), now)

    def close_channel(self, channel: Channel, *, now: float) -> bool:
        """Give up a channel that was closed; False when it is none of ours."""
        if self._channel is None or not self._channel.close(channel):
            return False
        if self._session is not None:
            self._is_attached = False
            self._feed(partial(self._session.detach, _CHANNEL), now)
        return True

    def progress(self, *, now: float) -> None:
        """Take what the client said, and send what there is room for now."""
        if self._channel is None:
            return
        while (text := self._channel.poll_text()) is not None:
            self.handle_text(text, source=_CHANNEL, now=now)
        if self._channel.flush(now=now):
            self._surroundings.let_out(now)

    @property
    def has_unsent(self) -> bool:
        """Whether the client has not got all yet."""
        return self._channel is not None and self._channel.has_unsent

    def describe(self) -> dict[str, JSON]:
        """Return what ``GET /v1/sessions/{id}`` shows."""
        return {
            "is_taken": self.is_taken,
            "has_channel": self._channel is not None and self._channel.is_open,
            "sidebands": len(self._sidebands),
            "events_dropped": 0 if self._channel is None else self._channel.dropped,
        }

    # Sidebands

    async def attach(self, socket: EventSocket) -> None:
        """Let a socket speak the session, too, until either end is over.

        Cancellation: closes the socket.
        """
        if self._is_over or len(self._sidebands) >= MAX_SIDEBANDS:
            await socket.close(_TOO_MANY, "the call is over" if self._is_over else "too many are attached")
            return
        name = f"sideband-{next(self._numbers)}"
        sideband = self._sidebands[name] = Sideband(socket)
        now = trio.current_time()
        self._feed(lambda: self._attach(self._require(now), name, now), now)
        try:
            await sideband.run(lambda text: self.handle_text(text, source=name, now=trio.current_time()))
        finally:
            del self._sidebands[name]
            now = trio.current_time()
            self._feed(lambda: self._require(now).detach(name), now)

    # What happens

    def handle_text(self, text: str, *, source: str, now: float) -> None:
        """Take an event of the client's."""
        self._feed(lambda: self._require(now).handle_text(text, source=source, now=now), now)

    def handle_report(self, report: AgentReport, *, now: float) -> None:
        """Take what the agent says beside its audio."""
        self.is_taken = self.is_taken or report.type == "conversation.taken"
        self._feed(lambda: self._require(now).handle_report(report, now=now), now)

    def release_agent(self, *, now: float) -> None:
        """Take it that the agent has gone, and with it what it wanted to know of the user's turns."""
        self.is_taken = False
        if self._session is not None:
            self._feed(partial(self._session.release_agent, now=now), now)
        self._control.forget_turns()

    def expect_output(self, response_id: str | None, *, now: float) -> None:
        """Take it that a response has audio, which is still to be played."""
        if self._session is not None:
            self._feed(partial(self._session.add_output, response_id, b"", now=now), now)

    def handle_event(self, event: CallEvent, *, now: float) -> None:
        """Take what the agent has been told of the user's speech."""
        match event:
            case SpeechStarted(position_ms=position_ms):
                self.handle_notice(SpeechBegan(position_ms), now=now)
            case SpeechStopped(position_ms=position_ms):
                self.handle_notice(SpeechEnded(position_ms), now=now)
            case TurnEnded(position_ms=position_ms):
                self.handle_notice(TurnOver(position_ms), now=now)
            case _:
                pass

    def handle_notice(self, notice: CallNotice, *, now: float) -> None:
        """Take what the media have seen; it is forgotten where nobody has asked for a session."""
        if self._session is not None:
            self._feed(partial(self._session.handle_notice, notice, now=now), now)

    def handle_timeout(self, *, now: float) -> None:
        """Let the session do what is due."""
        if self._session is not None and self._deadline is not None and self._deadline <= now:
            self._feed(partial(self._session.handle_timeout, now=now), now)

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        return self._deadline

    def leave(self, *, seconds: float, now: float) -> None:
        """Tell all clients that the server goes away, and those that come later."""
        self._leaves_at = now + seconds
        self.handle_notice(ServerLeaving(seconds), now=now)

    def stay(self) -> None:
        """Tell nobody any more."""
        self._leaves_at = None

    def expire(self, *, now: float) -> None:
        """Tell all clients that the session has lasted as long as it may."""
        if self._session is not None:
            self._feed(self._session.expire, now)

    def close(self) -> None:
        """Part from all: the call is over."""
        self._is_over, self.is_open, self._deadline = True, False, None
        for sideband in self._sidebands.values():
            sideband.close("the call is over")

    # Internals

    def _require(self, now: float) -> ClientSession:
        """Return the session, which begins here if nobody has asked for it before."""
        if self._session is None:
            self._session = self._open_session(now)
            self.is_open = not self._is_over
            self._control.follow_output()
            # Also a channel that is still to come is attached: it is to hear all that has been said.
            self._attach_channel(self._session, now)
        return self._session

    def _attach_channel(self, session: ClientSession, now: float) -> None:
        if self._channel is not None and not self._is_attached:
            self._is_attached = True
            self._attach(session, _CHANNEL, now)

    def _attach(self, session: ClientSession, name: str, now: float) -> None:
        session.attach(name)
        if self._leaves_at is not None:
            seconds = round(max(0.0, self._leaves_at - now), 3)
            session.handle_notice(ServerLeaving(seconds, name), now=now)

    def _feed(self, step: Callable[[], object], now: float) -> None:
        """Do a step of the session's and all that comes of it; its faults, which are ours, end the call."""
        if self._is_over:
            return
        try:
            step()
            if not self._is_pumping:
                self._is_pumping = True
                self._pump(now)
                self._is_pumping = False
        except Exception as fault:
            _log.exception("session failed")
            self.close()
            self._surroundings.end(EndCause.INTERNAL_ERROR, repr(fault))

    def _pump(self, now: float) -> None:
        session = self._session
        if session is None:
            return
        while True:
            while (event := session.poll_event()) is not None:
                self._deliver(*event, now=now)
            action = session.poll_action()
            if action is None:
                break
            self._act(action)
        deadline = session.poll_timeout()
        has_sent = self._channel is not None and self._channel.flush(now=now)
        if has_sent or deadline != self._deadline:
            self._deadline = deadline
            self._surroundings.let_out(now)

    def _deliver(self, text: str, source: str | None, *, now: float) -> None:
        if source in {None, _CHANNEL} and self._channel is not None and self._is_attached:
            self._send_on_channel(self._channel, text, now)
        for name, sideband in self._sidebands.items():
            if source in {None, name}:
                sideband.send(text)

    def _send_on_channel(self, channel: EventChannel, text: str, now: float) -> None:
        if not channel.send(text):
            _log.info("client reads too slowly", is_open=channel.is_open)
            channel.give_up(now=now)
            self._is_attached = False
            if self._session is not None:
                self._session.detach(_CHANNEL)

    def _act(self, action: Action) -> None:
        control = self._control
        match action:
            case TellAgent(notice=notice):
                self._surroundings.tell(notice)
            case ClearOutput():
                control.interrupt()
                self._surroundings.follow()
            case CancelResponse(response_id=response_id):
                control.refuse_response(response_id)
            case DetectSpeech(silence_ms=silence_ms, threshold=threshold, barge_in=barge_in):
                control.follow_turns(silence_ms=silence_ms, threshold=threshold, barge_in=barge_in)
            case StopDetecting():
                control.leave_turns()
            case CommitInput():
                control.commit()
                self._surroundings.follow()
            case ClearInput():
                control.forget_input()
            case MuteInput(is_muted=is_muted):
                control.mute_input(is_muted=is_muted)
            case InputAppended():
                pass  # The audio of a call comes on its track.
            case EndCall(code=code, message=message):
                cause = EndCause.MAX_DURATION if code == "session_expired" else EndCause.CLIENT_HANGUP
                self._surroundings.end(cause, message)


def open_session(
    api: ApiName,
    *,
    call_id: str,
    model: str,
    session: JSONObject | None,
    random: Callable[[int], bytes],
    expires_at: int,
    now: float,
    unix_now: float,
) -> ClientSession:
    """Begin the session of a call; one without an API of its own has a Realtime session for its sidebands."""
    if api == "live":
        return LiveSession(
            session_id=live_id_of(call_id),
            model=model,
            session=session,
            random=random,
            expires_at=expires_at,
            now=now,
        )
    return RealtimeSession(
        session_id=f"sess_{random(_ID_BYTES).hex()}",
        transport="webrtc",
        model=model,
        session=session,
        random=random,
        expires_at=expires_at,
        now=now,
        unix_now=unix_now,
    )
