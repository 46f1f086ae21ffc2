"""The agent's voice."""

from itertools import count
from typing import Final
from weakref import WeakValueDictionary

import attrs
import trio

from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.call.control import CallControl
from voicegate.call.event import Interruption

__all__ = ["AudioOutput", "Playback"]

_FRAME_SECONDS: Final = 0.02
"""How often playout takes from the queue; to look more often would be a busy wait."""

_AHEAD_MS: Final = 2000
"""`AudioOutput.send` lets this much audio queue up before it waits: it rides out a stall of the agent."""


@attrs.define(eq=False)
class Playback:
    """What becomes of a response's audio, for as long as somebody holds this."""

    number: int = 0
    """In which order responses began to sound; 0: this one has no audio yet."""
    sent_ms: float = 0.0
    is_cut: bool = False
    """Whether no more of it is wanted."""
    heard_ms: int | None = None
    """How much of it had been heard when what was queued was dropped; None: it was not."""
    is_ended: bool = False
    """Whether the agent is done with it."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around whatever makes the response."""

    def cut(self) -> None:
        """No more of the response is wanted."""
        self.is_cut = True
        self.scope.cancel()

    def drop(self, heard_ms: int) -> None:
        """What was queued of it is gone, too; the first time counts."""
        self.cut()
        if self.heard_ms is None:
            self.heard_ms = heard_ms


class AudioOutput:
    """The one output queue of a call: bursts go in, the transceiver plays them out in real time.

    What is sent belongs to a speech: to the response that ``response_id`` names, or else to all that is sent
    until the queue runs empty. Once a response was cancelled or interrupted, what still comes of it is
    discarded.
    """

    def __init__(self, control: CallControl) -> None:
        self._control = control
        self._dropped = trio.Event()
        self._playbacks: WeakValueDictionary[str, Playback] = WeakValueDictionary()
        self._numbers = count(1)

    @property
    def queued_ms(self) -> int:
        """Audio not sent yet."""
        return self._control.output_state().queued_ms

    @property
    def heard_ms(self) -> int:
        """How much of the present speech the client has received."""
        return self._control.output_state().heard_ms

    def send_nowait(self, pcm: bytes, *, response_id: str | None = None) -> None:
        """Queue 16-bit mono samples of any length; past a minute the oldest are dropped and counted.

        Errors: UsageError when the last sample is incomplete.
        """
        self._control.push_pcm(pcm, response_id=response_id)
        if response_id is not None and (playback := self._playbacks.get(response_id)) is not None:
            self._note_sent(playback, len(pcm))

    def send_packet_nowait(self, payload: bytes, ticks: int, *, response_id: str | None = None) -> None:
        """Queue a packet of the call's codec as it is; ``ticks`` is its length on the RTP clock.

        Errors: UsageError unless it takes some time, up to a second.
        """
        self._control.push_packet(payload, ticks, response_id=response_id)

    async def send(self, pcm: bytes, *, response_id: str | None = None) -> None:
        """Queue samples, then wait until no more than two seconds are ahead of the client's ear.

        Errors: UsageError when the last sample is incomplete.
        Cancellation: a checkpoint always; when cancelled, the samples are already queued.
        """
        self.send_nowait(pcm, response_id=response_id)
        await self._wait_until_queued(_AHEAD_MS)

    async def drain(self) -> None:
        """Wait until all that is queued has been sent, or dropped.

        Cancellation: a checkpoint always.
        """
        await self._wait_until_queued(0)

    def mark(self, name: str) -> None:
        """Have `MarkPlayed` among the events when all that was sent before has been played.

        It never comes when that is interrupted.
        """
        self._control.mark(name)

    def pause(self) -> None:
        """Fall silent, and keep what is queued, as when the user may be about to interrupt."""
        self._control.pause()

    def resume(self) -> None:
        """Go on with the very sample at which `pause` stopped."""
        self._control.resume()

    def interrupt(self) -> Interruption:
        """Fall silent now: drop all that is queued, and what still comes of the responses it belongs to."""
        response_id = self._control.output_state().response_id
        interruption = self._control.clear()
        self.handle_interrupted(response_id, interruption)
        return interruption

    def cancel_response(self, response_id: str) -> None:
        """Drop what is queued of a response, and what still comes of it; others are played on."""
        heard_ms = self.heard_ms_of(response_id)
        self._control.cancel_response(response_id)
        if (playback := self._playbacks.get(response_id)) is not None:
            playback.drop(heard_ms)
        self._wake()

    # For the call and its responses

    def follow(self, response_id: str) -> Playback:
        """Keep account of a response from now on."""
        playback = self._playbacks[response_id] = Playback()
        return playback

    def handle_interrupted(self, response_id: str | None, interruption: Interruption) -> None:
        """All that was queued is gone; the speech that was heard last is of this response."""
        present = self._playbacks.get(response_id) if response_id is not None else None
        for playback in list(self._playbacks.values()):
            if playback is present:
                playback.drop(interruption.heard_ms)
            elif playback.number and (
                playback.number > present.number if present is not None else not playback.is_ended
            ):
                playback.drop(0)  # It was still waiting for its turn.
        self._wake()

    def handle_cancelled(self, response_id: str) -> None:
        """No more of a response is wanted; what is queued of it may be played."""
        if (playback := self._playbacks.get(response_id)) is not None:
            playback.cut()

    def heard_ms_of(self, response_id: str) -> int:
        """Return how much of a response has been heard."""
        state = self._control.output_state()
        if state.response_id == response_id:
            return state.heard_ms
        asked = self._playbacks.get(response_id)
        present = self._playbacks.get(state.response_id) if state.response_id is not None else None
        if asked is None or not asked.number:
            return 0
        is_over = asked.number < present.number if present is not None else not state.queued_ms
        return round(asked.sent_ms) if is_over else 0

    async def wait_played(self, playback: Playback) -> None:
        """Wait until the queue is empty, or what was in it of a response was dropped."""
        await self._wait_until_queued(0, playback)

    def _note_sent(self, playback: Playback, size: int) -> None:
        if size and not playback.is_cut:  # else it is discarded
            playback.number = playback.number or next(self._numbers)
            playback.sent_ms += size * 1000 / (SAMPLE_BYTES * self._control.sample_rate)

    def _wake(self) -> None:
        """Let those who wait look again: something was dropped."""
        self._dropped.set()
        self._dropped = trio.Event()

    async def _wait_until_queued(self, limit_ms: int, playback: Playback | None = None) -> None:
        await trio.lowlevel.checkpoint()
        # Playout runs in real time, so how long to wait is known, and nothing has to wake us per frame.
        while (ahead_ms := self.queued_ms - limit_ms) > 0:
            if playback is not None and playback.heard_ms is not None:
                return
            with trio.move_on_after(max(ahead_ms / 1000, _FRAME_SECONDS)):
                await self._dropped.wait()
