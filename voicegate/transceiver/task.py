"""One call's life: a nursery and a cancel scope around the agent, and the one place that drains a core."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from typing import Any, Final, ParamSpec, Protocol
from weakref import WeakMethod, proxy

import attrs
import structlog
import trio

from voicegate.call import (
    Agent,
    AgentNotice,
    AgentReport,
    Call,
    ChannelClosed,
    ChannelOpened,
    Connected,
    DtmfReceived,
    EndCause,
    GoingAway,
    TurnAnswered,
)
from voicegate.datachannel import Channel
from voicegate.datachannel import ChannelClosed as CoreChannelClosed
from voicegate.datachannel import ChannelOpened as CoreChannelOpened
from voicegate.dtls import ProtocolVersion
from voicegate.realtime import ClientSession
from voicegate.realtime.notice import InputDtmf
from voicegate.transceiver.channels import CallChannels
from voicegate.transceiver.control import MediaControl
from voicegate.transceiver.conversation import Conversation
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.event import (
    DataProgressed,
    Ended,
    KeyPressed,
    MediaReady,
    PathAdded,
    PathRemoved,
    Phase,
    State,
)
from voicegate.transceiver.event_channel import EventChannel
from voicegate.transceiver.feed import CallFeed
from voicegate.wire import Path, Transmit
from voicegate.wire.path import address_text

__all__ = ["ActiveCall", "CallTerms", "Exchange"]

_log = structlog.get_logger()

_VERSION_NAMES: Final[dict[int, str]] = {ProtocolVersion.DTLS_1_2: "1.2", ProtocolVersion.DTLS_1_3: "1.3"}

LAST_WORDS_SECONDS: Final = 0.5
"""For the client to acknowledge why its session is over, before its channels are closed."""

P = ParamSpec("P")


class Exchange(Protocol):
    """What a call needs of the engine that feeds it."""

    def send(self, transmit: Transmit) -> None:
        """Send a datagram with the present batch."""

    def open_path(self, path: Path, call: "ActiveCall") -> None:
        """Lead datagrams from a path to a call from now on."""

    def close_path(self, path: Path, call: "ActiveCall") -> None:
        """Lead them there no longer; a path that has gone over to another call stays with that one."""

    def touch(self, call: "ActiveCall") -> None:
        """Send at once what a command of the agent's has brought about."""

    def note_answer(self, answer: TurnAnswered) -> None:
        """Take note of how long a user waited for an answer."""


@attrs.frozen(kw_only=True)
class CallTerms:
    """What a call is to be, besides its core."""

    agent: Agent
    metadata: Mapping[str, Any]
    """For the agent: the ``session`` object of the client's."""
    has_events: bool
    """Whether the client speaks an API on its data channel; otherwise the agent has all channels."""
    open_session: Callable[[float], ClientSession]
    """Makes the client's session, of whichever API, if it comes to one."""
    find_agent: Callable[[str], Agent]
    """Returns what an operator has given a name; raises UsageError for others."""
    max_seconds: float
    """How long it may last."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    """What it is known by outside, besides its id."""


class ActiveCall:
    """A call on this transceiver: its core, its agent, and what is known of it from outside."""

    def __init__(
        self,
        call_id: str,
        core: CallCore,
        terms: CallTerms,
        *,
        exchange: Exchange,
        now: float,
    ) -> None:
        self.id: Final = call_id
        self.core: Final = core
        self.paths: set[Path] = set()
        """Paths that were this call's own; a newer call from the same address may have taken one over."""
        self.ufrags: tuple[str, ...] = ()
        """By which the engine knows checks for this call."""
        self.cause: EndCause | None = None
        self.detail = ""
        self._terms = terms
        self._created_at = now
        self._ended_at: float | None = None
        self._exchange = exchange
        self._agent = terms.agent
        self._next_agent: Agent | None = None
        self._is_draining = False
        # What belongs to the call knows it weakly, so that an ended one is gone at once, uncollected.
        self._channels = CallChannels(core, _weakly(self._touch))
        self.control: Final = self._open_control()
        self.feed: Final = CallFeed(core, self.control)
        """What the engine handles with every packet."""
        self.conversation: Final = Conversation(
            self.control,
            EventChannel(core) if terms.has_events and core.channels else None,
            open_session=terms.open_session,
            surroundings=proxy(self),
        )
        self._share_channels()
        self._call = self._open_call()
        self._dropped_before = 0
        """Frames that agents before this one were too slow to take."""
        self._reached = trio.Event()
        self._scope = trio.CancelScope()
        self._stay_scope = trio.CancelScope()
        """Ends when the server goes away, if it does."""
        self._agent_scope = trio.CancelScope()

    def _open_control(self) -> MediaControl:
        media = self.core.media
        return MediaControl(
            media.downlink,
            media.uplink,
            media.codec,
            clock=trio.current_time,
            end=_weakly(self.end),
            report=_weakly(self._report),
            expect=_weakly(self._expect),
            transfer=_weakly(self._transfer),
        )

    def _share_channels(self) -> None:
        """Give each channel that was agreed on with the offer to whom it is for."""
        for channel in self.core.channels.channels.values() if self.core.channels else ():
            if self.conversation.claims(channel):
                self.conversation.reserve(channel)
            else:
                self._channels.admit(channel)

    # The life

    async def run(self) -> None:
        """Run the agent from the client's first authenticated check until the call ends, for whatever reason.

        The one place where an agent's failure is caught: it ends this call and no other.
        Cancellation: ends the call with `EndCause.SERVER_STOPPED` and passes.
        """
        with structlog.contextvars.bound_contextvars(call=self.id, **self._terms.labels):
            try:
                with self._scope:
                    with trio.move_on_after(self._terms.max_seconds), self._stay_scope:
                        await self._reached.wait()
                        await self._run_agents()
                    if self._stay_scope.cancelled_caught:
                        self.end(EndCause.SERVER_DRAINED, "the server goes away")
                    if self.cause is None:
                        self.conversation.expire(now=trio.current_time())
                    self.end(EndCause.MAX_DURATION, f"{self._terms.max_seconds:.0f} s are over")
                if self.is_connected:
                    await self._wait_for_last_words()
            finally:
                self.end(EndCause.SERVER_STOPPED, "the server was stopped")
                self._close()

    async def _run_agents(self) -> None:
        """Run one agent after the other, each with a `voicegate.call.Call` of its own."""
        while True:
            with trio.CancelScope() as self._agent_scope:
                await self._run_agent()
            if self._next_agent is None:
                return
            self._agent, self._next_agent = self._next_agent, None
            self.control.resume()
            await self._call.audio_out.drain()
            self._dropped_before = self.audio_in_dropped
            self._call.close()
            self.conversation.release_agent(now=trio.current_time())
            self._call = self._open_call()
            self._announce()

    async def _run_agent(self) -> None:
        try:
            await self._agent(self._call)
        except* Exception as failures:  # also those that a nursery of the agent's raises beside a Cancelled
            _log.exception("agent failed")
            self.end(EndCause.AGENT_FAILED, ", ".join(map(repr, failures.exceptions)))
        else:
            if self._next_agent is not None:
                return
            if self.control.is_hanging_up:
                await trio.sleep_forever()  # until all that it said has been played
            self.end(EndCause.AGENT_FINISHED, "the agent returned")

    async def _wait_for_last_words(self) -> None:
        with trio.move_on_after(LAST_WORDS_SECONDS), suppress(trio.ClosedResourceError):
            while self.conversation.has_unsent:
                await self._channels.wait_progress()

    def _transfer(self, agent: Agent | str) -> None:
        self._next_agent = self._terms.find_agent(agent) if isinstance(agent, str) else agent
        self._agent_scope.cancel()

    def _open_call(self) -> Call:
        return Call(self.id, control=self.control, metadata=self._terms.metadata, link=self._channels)

    def _announce(self) -> None:
        """Tell an agent that comes later what the first was told."""
        if self.is_connected and (setup_ms := self.phase_ms(Phase.DTLS_COMPLETED)) is not None:
            self._call.push_event(Connected(setup_ms))
        for channel in self._channels.channels.values():
            self._call.push_event(ChannelOpened(channel))
        if self._stay_scope.deadline < inf:
            seconds = self._stay_scope.deadline - trio.current_time()
            self._call.push_event(GoingAway(round(max(0.0, seconds), 3)))

    def leave(self, *, seconds: float) -> None:
        """Tell everybody that the server goes away, and end the call when so many seconds are over."""
        now = trio.current_time()
        self._stay_scope.deadline = now + seconds
        self._call.push_event(GoingAway(seconds))
        self.conversation.leave(seconds=seconds, now=now)

    def stay(self) -> None:
        """Go on, as if nothing had been said."""
        self._stay_scope.deadline = inf
        self.conversation.stay()

    def end(self, cause: EndCause, detail: str) -> None:
        """End the call; the first cause given is the one that counts."""
        if self.cause is None:
            self.cause, self.detail = cause, detail
        self._scope.cancel()

    def _close(self) -> None:
        now = trio.current_time()
        self._ended_at = now
        self.core.close(now=now)
        self.conversation.close()
        self._call.close()
        self._channels.close()
        self.control.set_listener(None)
        _log.info("call ended", cause=self.cause and self.cause.value, detail=self.detail, **self._phases())

    # The core's input and output: a fault in here, which would be ours, ends this call and no other

    def handle_datagram(self, data: bytes, *, path: Path, now: float) -> None:
        """Feed the core a datagram."""
        try:
            self.core.handle_datagram(data, path=path, now=now)
        except Exception as fault:
            self.contain(fault)

    def handle_timeout(self, *, now: float) -> None:
        """Feed the core the time."""
        try:
            self.core.handle_timeout(now=now)
            self.conversation.handle_timeout(now=now)
        except Exception as fault:
            self.contain(fault)

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        core, session = self.core.poll_timeout(), self.conversation.poll_timeout()
        return session if core is None else core if session is None else min(core, session)

    def _touch(self) -> None:
        self._exchange.touch(self)

    def contain(self, fault: Exception) -> None:
        """End the call for a fault of ours in the media loop."""
        _log.exception("call failed in the media loop", call=self.id)
        self.core.state = State.CLOSED
        self.end(EndCause.INTERNAL_ERROR, repr(fault))

    # The core's output

    def drain(self, *, now: float) -> None:
        """Move all that the core has to say to where it belongs."""
        self._is_draining = True
        try:
            self._drain_transmits()
            while (frame := self.core.poll_audio()) is not None:
                self.control.handle_frame(frame, now=now)
            self._follow()
            self._drain_events(now)
            self._drain_transmits()
        except Exception as fault:
            self.contain(fault)
        self._is_draining = False

    def follow(self) -> None:
        """Hand on what the media have to tell."""
        try:
            self._follow()
        except Exception as fault:
            self.contain(fault)

    def _drain_transmits(self) -> None:
        while (transmit := self.core.poll_transmit()) is not None:
            self._exchange.send(transmit)

    def _drain_events(self, now: float) -> None:
        exchange = self._exchange
        while (event := self.core.poll_event()) is not None:
            match event:
                case PathAdded(path=path):
                    self.paths.add(path)
                    exchange.open_path(path, self)
                    self._reached.set()
                case PathRemoved(path=path):
                    self.paths.discard(path)
                    exchange.close_path(path, self)
                case MediaReady():
                    self._call.push_event(Connected((now - self._created_at) * 1000))
                    _log.info("call connected", call=self.id, **self._phases())
                case KeyPressed(key=key, duration_ms=duration_ms):
                    self._hand_on_key(key, duration_ms, now)
                case CoreChannelOpened(channel=channel):
                    self._take_channel(channel, now)
                case CoreChannelClosed(channel=channel):
                    if not self.conversation.close_channel(channel, now=now):
                        self._call.push_event(ChannelClosed(self._channels.dismiss(channel)))
                case DataProgressed():
                    self.conversation.progress(now=now)
                    self._channels.progress()
                case Ended(cause=cause, detail=detail):
                    self.end(cause, detail)

    def _hand_on_key(self, key: str, duration_ms: int, now: float) -> None:
        # A session tells the agent that takes part in it; any other hears of it all the same.
        self.conversation.handle_notice(InputDtmf(key, duration_ms), now=now)
        if not self.conversation.is_taken:
            self._call.push_event(DtmfReceived(digit=key, duration_ms=duration_ms))

    def _take_channel(self, channel: Channel, now: float) -> None:
        if channel.id not in self._channels.channels and self.conversation.claims(channel):
            self.conversation.open_channel(channel, now=now)
        else:
            self._call.push_event(ChannelOpened(self._channels.admit(channel)))

    # What the conversation asks for

    def _report(self, event: AgentReport) -> None:
        self.conversation.handle_report(event, now=trio.current_time())

    def _expect(self, response_id: str | None) -> None:
        self.conversation.expect_output(response_id, now=trio.current_time())

    def tell(self, notice: AgentNotice) -> None:
        """Let the agent know."""
        self._call.push_event(notice)

    def _follow(self) -> None:
        while (event := self.control.poll_event()) is not None:
            if isinstance(event, TurnAnswered):
                self._exchange.note_answer(event)
            self._call.push_event(event)
            if self.conversation.is_open:
                self.conversation.handle_event(event, now=trio.current_time())
        if self.conversation.is_open:
            while (notice := self.control.poll_notice()) is not None:
                self.conversation.handle_notice(notice, now=trio.current_time())

    def let_out(self, now: float) -> None:
        """Send what waits to be sent, and look at the deadline anew."""
        self.core.flush(now=now)
        if not self._is_draining:
            self._touch()

    # What is known from outside

    @property
    def is_connected(self) -> bool:
        """Whether media can flow."""
        return self.core.state is State.CONNECTED

    @property
    def audio_in_dropped(self) -> int:
        """Frames that agents were too slow to take."""
        return self._dropped_before + self._call.audio_in_dropped

    def phase_ms(self, phase: Phase) -> float | None:
        """Return the milliseconds from the offer to a milestone, None when it was not reached."""
        reached = self.core.phases.get(phase)
        return None if reached is None else round((reached - self._created_at) * 1000, 3)

    def _phases(self) -> dict[str, float]:
        return {phase.value: ms for phase in Phase if (ms := self.phase_ms(phase)) is not None}

    def describe(self) -> dict[str, Any]:
        """Return what ``GET /v1/sessions/{id}`` shows."""
        statistics = self.core.statistics()._asdict()
        path, security = self.core.path, self.core.security
        now = trio.current_time() if self._ended_at is None else self._ended_at
        return {
            "id": self.id,
            "state": "ended" if self._ended_at is not None else self.core.state.value,
            "cause": self.cause.value if self.cause else None,
            "detail": self.detail,
            "duration_ms": round((now - self._created_at) * 1000),
            "phases": self._phases(),
            "path": None
            if path is None
            else {
                "client": address_text(path.host),
                "port": path.port,
                "relay": f"{path.relay[0]}:{path.relay[1]}",
                "transport": "tcp" if path.is_stream else "udp",
            },
            "dtls": security
            and {
                "version": _VERSION_NAMES[security.version],
                "cipher_suite": f"0x{security.cipher_suite:04x}",
                "srtp_profile": security.srtp_profile.name,
            },
            "codec": self.core.media.codec.name,
            "lateness_ms": self.feed.lateness.describe(),
            "audio": self.core.media.statistics()._asdict(),
            "turns": [attrs.asdict(turn) for turn in self.control.turns],
            "labels": dict(self._terms.labels),
            "conversation": self.conversation.describe(),
            "counters": {**statistics, "audio_in_dropped": self.audio_in_dropped},
        }


def _weakly(method: Callable[P, None]) -> Callable[P, None]:
    """Call a method only as long as its object is there for others."""
    reference = WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        alive = reference()
        if alive is not None:
            alive(*args, **kwargs)

    return call
