"""One call's life: a nursery and a cancel scope around the agent, and the one place that drains a core."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, ParamSpec, Protocol
from weakref import WeakMethod

import attrs
import structlog
import trio

from voicegate.call import (
    Agent,
    AudioFrame,
    Call,
    ChannelClosed,
    ChannelOpened,
    Connected,
    EndCause,
    TurnAnswered,
)
from voicegate.datachannel import ChannelClosed as CoreChannelClosed
from voicegate.datachannel import ChannelOpened as CoreChannelOpened
from voicegate.dtls import ProtocolVersion
from voicegate.transceiver.channels import CallChannels
from voicegate.transceiver.control import MediaControl
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.event import (
    DataProgressed,
    Ended,
    MediaReady,
    PathAdded,
    PathRemoved,
    Phase,
    State,
)
from voicegate.transceiver.lateness import Lateness
from voicegate.wire import Path, Transmit, hop
from voicegate.wire.path import Address, address_text

__all__ = ["ActiveCall", "Exchange"]

_log = structlog.get_logger()

_VERSION_NAMES: Final[dict[int, str]] = {ProtocolVersion.DTLS_1_2: "1.2", ProtocolVersion.DTLS_1_3: "1.3"}

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


class ActiveCall:
    """A call on this transceiver: its core, its agent, and what is known of it from outside."""

    def __init__(
        self,
        call_id: str,
        core: CallCore,
        *,
        agent: Agent,
        metadata: Mapping[str, Any],
        exchange: Exchange,
        now: float,
    ) -> None:
        self.id: Final = call_id
        self.core: Final = core
        self.paths: set[Path] = set()
        """Paths that were this call's own; a newer call from the same address may have taken one over."""
        self.deadline: float | None = None
        """When the engine's schedule has `handle_timeout`."""
        self.frame_seconds: float | None = None
        """What the engine's schedule has this call's frames at."""
        self.lateness: Final = Lateness()
        """Of its frames, as the engine measures them."""
        self.relay: Address = ("", 0)
        """Where `next_packets` go: the hop address of the relay on the present path."""
        self.key = b""
        """What stands there for the client in the header of each packet."""
        self.cause: EndCause | None = None
        self.detail = ""
        self._agent = agent
        self._created_at = now
        self._ended_at: float | None = None
        self._exchange = exchange
        # What belongs to the call knows it weakly, so that an ended one is gone at once, uncollected.
        self._channels = CallChannels(core, _weakly(self._touch))
        media = core.media
        self.control: Final = MediaControl(
            media.downlink, media.uplink, media.codec, clock=trio.current_time, end=_weakly(self.end)
        )
        self._call = Call(call_id, control=self.control, metadata=metadata, link=self._channels)
        self._reached = trio.Event()
        self._scope = trio.CancelScope()
        self._path: Path | None = None

    # The life

    async def run(self, *, max_seconds: float) -> None:
        """Run the agent from the client's first authenticated check until the call ends, for whatever reason.

        The one place where an agent's failure is caught: it ends this call and no other.
        Cancellation: ends the call with `EndCause.SERVER_STOPPED` and passes.
        """
        with structlog.contextvars.bound_contextvars(call=self.id):
            try:
                with self._scope:
                    with trio.move_on_after(max_seconds):
                        await self._reached.wait()
                        await self._run_agent()
                    self.end(EndCause.MAX_DURATION, f"{max_seconds:.0f} s are over")
            finally:
                self.end(EndCause.SERVER_STOPPED, "the server was stopped")
                self._close()

    async def _run_agent(self) -> None:
        try:
            await self._agent(self._call)
        except* Exception as failures:  # also those that a nursery of the agent's raises beside a Cancelled
            _log.exception("agent failed")
            self.end(EndCause.AGENT_FAILED, ", ".join(map(repr, failures.exceptions)))
        else:
            if self.control.is_hanging_up:
                await trio.sleep_forever()  # until all that it said has been played
            self.end(EndCause.AGENT_FINISHED, "the agent returned")

    def end(self, cause: EndCause, detail: str) -> None:
        """End the call; the first cause given is the one that counts."""
        if self.cause is None:
            self.cause, self.detail = cause, detail
        self._scope.cancel()

    def _close(self) -> None:
        now = trio.current_time()
        self._ended_at = now
        self.core.close(now=now)
        self._call.close()
        self._channels.close()
        self.control.set_listener(None)
        _log.info("call ended", cause=self.cause and self.cause.value, detail=self.detail, **self._phases())

    # The core's input: its faults, which would be ours, end this call and no other

    def handle_datagram(self, data: bytes, *, path: Path, now: float) -> None:
        """Feed the core a datagram."""
        try:
            self.core.handle_datagram(data, path=path, now=now)
        except Exception as fault:
            self._contain(fault)

    def handle_rtp(self, data: bytes, *, path: Path, now: float) -> bool:
        """Feed the core an RTP packet and hand on what is heard; return whether the call is to be settled."""
        try:
            is_touched = self.core.handle_rtp(data, path=path, now=now)
        except Exception as fault:
            self._contain(fault)
            return True
        media = self.core.media
        uplink = media.uplink
        while (frame := uplink.poll_frame()) is not None:
            self.control.handle_frame(frame, now=now)
            if type(frame) is AudioFrame:  # What comes of packets that nobody decodes can wait for the slot.
                self._follow_control()
        if is_touched or (uplink.poll_timeout() is None and not media.has_feedback):
            return is_touched
        due = media.poll_timeout()
        return due is not None and (self.deadline is None or due < self.deadline)

    def next_packets(self, *, missed: int, now: float) -> Sequence[bytes]:
        """Return the packets of the slot that has begun; they go to `relay` for the client of `key`."""
        core = self.core
        try:
            packets = core.next_packets(missed=missed, now=now)
        except Exception as fault:
            self._contain(fault)
            return ()
        self._follow_control()
        path = core.path
        if path is not None and path is not self._path:
            self._path, self.relay = path, path.relay
            self.key = hop.client_key(host=path.host, port=path.port, is_stream=path.is_stream)
        return packets

    def handle_timeout(self, *, now: float) -> None:
        """Feed the core the time."""
        try:
            self.core.handle_timeout(now=now)
        except Exception as fault:
            self._contain(fault)

    def _touch(self) -> None:
        self._exchange.touch(self)

    def _contain(self, fault: Exception) -> None:
        _log.exception("call core failed", call=self.id)
        self.core.state = State.CLOSED
        self.end(EndCause.INTERNAL_ERROR, repr(fault))

    # The core's output

    def drain(self, *, now: float) -> None:
        """Move all that the core has to say to where it belongs."""
        core, exchange = self.core, self._exchange
        while (transmit := core.poll_transmit()) is not None:
            exchange.send(transmit)
        while (frame := core.poll_audio()) is not None:
            self.control.handle_frame(frame, now=now)
        self._follow_control()
        while (event := core.poll_event()) is not None:
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
                case CoreChannelOpened(channel=channel):
                    self._call.push_event(ChannelOpened(self._channels.admit(channel)))
                case CoreChannelClosed(channel=channel):
                    self._call.push_event(ChannelClosed(self._channels.dismiss(channel)))
                case DataProgressed():
                    self._channels.progress()
                case Ended(cause=cause, detail=detail):
                    self.end(cause, detail)

    def _follow_control(self) -> None:
        while (event := self.control.poll_event()) is not None:
            if isinstance(event, TurnAnswered):
                self._exchange.note_answer(event)
            self._call.push_event(event)

    # What is known from outside

    @property
    def is_connected(self) -> bool:
        """Whether media can flow."""
        return self.core.state is State.CONNECTED

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
            "lateness_ms": self.lateness.describe(),
            "audio": self.core.media.statistics()._asdict(),
            "turns": [attrs.asdict(turn) for turn in self.control.turns],
            "counters": {**statistics, "audio_in_dropped": self._call.audio_in_dropped},
        }


def _weakly(method: Callable[P, None]) -> Callable[P, None]:
    """Call a method only as long as its object is there for others."""
    reference = WeakMethod(method)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        alive = reference()
        if alive is not None:
            alive(*args, **kwargs)

    return call
