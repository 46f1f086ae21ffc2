"""Audio clocked out at an even pace, behind a delay that nearly all packets keep to.

1. The first packet waits for the target delay; from then on a frame of 20 ms is due every 20 ms.
2. The delay of a frame is when it is due, less when the fastest packet of its time came. Above the target,
   quiet frames are left out, every other one; below it they are heard twice. So the delay is soon back after
   a burst of jitter, and the drift of the client's clock is taken up.
3. With more than 240 ms held, the oldest is left out even in speech.
4. A frame of which nothing has come is made up: in place of a lost packet when later ones are there, on top
   (`expanded`) when none is. After six of these, or when the client's encoder has announced silence, the
   clock stops, and the next packet begins as in 1.
5. A pause in the timestamps is a pause here: what follows waits for the target delay anew.
"""

from collections import deque
from typing import Final, TypeAlias

from voicegate.audio.delay import DelayEstimate
from voicegate.audio.frame import Cut, Quietness, blend
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.audio.receive import Lost, ReceiveBuffer, Received, ReceiveItem
from voicegate.audio.render import Renderer

__all__ = ["Paced", "Pacer"]

CEILING_SECONDS: Final = 0.240
"""The most audio that is held: beyond it, a conversation suffers more than from a hole in a word."""

_FRAME_SECONDS: Final = 0.020
_SHORT_SECONDS: Final = _FRAME_SECONDS / 2
"""So far below the target, a frame more comes nearer to it."""
_MIN_TARGET_SECONDS: Final = 0.010
_MARGIN_SECONDS: Final = 0.005
"""Timeouts are delivered that late: on a grid of 5 ms."""
_FIRST_TARGET_SECONDS: Final = 0.040
"""Until the packets of half a second have told better."""

_MAX_STARVED: Final = 6
"""Frames made up on top in a row: 120 ms, as for a loss."""
_STALL_SECONDS: Final = 0.1
"""A timeout this late is our own fault: packets lie unread, and nothing is to be made up for them."""

_QUIET_LEVEL: Final = 55
"""-dBov (RFC 6464 §3): what is softer may be left out undecoded."""

Paced: TypeAlias = Cut | Received | Lost


class Pacer:
    """The clock of one call's audio.

    Drain rule: after `wake`, which a packet's arrival wants, and `handle_timeout`, `poll` to None, then read
    `timeout`.
    """

    def __init__(self, buffer: ReceiveBuffer, delay: DelayEstimate, renderer: Renderer) -> None:
        self.is_decoding = True
        """Whether frames come out; else packets, undecoded, and losses."""
        self.recovery = 0.0
        """How much longer than its packet a copy or an answer to a NACK takes; 0 while nothing is lost."""
        self.compressed = 0.0
        """Seconds left out."""
        self.expanded = 0.0
        """Seconds made up, or waited for, on top."""
        self.timeout: float | None = None
        """When `handle_timeout` is due, if at all."""
        self._buffer = buffer
        self._delay = delay
        self._renderer = renderer
        self._frames = renderer.frames
        self._quietness = Quietness()
        self._tick_seconds = 1 / renderer.clock_rate
        self._paced: deque[Paced] = deque()
        self._position = 0
        """Ticks up to the next item, for packets that come out undecoded."""
        self._upcoming: ReceiveItem | None = None
        self._left_out: bytes | None = None
        """A frame of silence, or a packet of it, that was left out right before the next."""
        self._repeat: Cut | None = None
        self._starved = 0

    # Input

    def wake(self, *, now: float) -> None:
        """Start the clock if it stands."""
        if self.timeout is None and (position := self._buffer.next_position) is not None:
            self.timeout = self._start_of(position, now)

    def handle_timeout(self, *, now: float) -> None:
        """Bring out what is due."""
        while self.timeout is not None and self.timeout <= now:
            due = now if now - self.timeout > _STALL_SECONDS else self.timeout
            self.timeout = due + _FRAME_SECONDS
            self._shed()
            if self.is_decoding:
                self._bring_frame(due)
            else:
                self._bring_packet(due)

    # Output

    def poll(self) -> Paced | None:
        """Return what has come out."""
        return self._paced.popleft() if self._paced else None

    @property
    def target(self) -> float:
        """The delay that is aimed at."""
        delay = self._delay
        target = delay.spread + _MARGIN_SECONDS
        if not delay.has_settled:
            target = max(target, _FIRST_TARGET_SECONDS)
        if self.recovery and target + self.recovery <= CEILING_SECONDS:
            target += self.recovery
        return min(max(target, _MIN_TARGET_SECONDS), CEILING_SECONDS)

    @property
    def held(self) -> float:
        """Seconds of audio that are held."""
        samples = self._frames.length / self._renderer.sample_rate if self.is_decoding else 0.0
        upcoming = self._upcoming.ticks if self._upcoming is not None else 0
        return samples + (upcoming + self._buffer.held_ticks) * self._tick_seconds

    # Internals

    def _start_of(self, position: int, now: float) -> float:
        """Return when audio should come out that begins after a pause."""
        wanted = self._delay.base + position * self._tick_seconds + self.target
        return min(max(now, wanted), now + CEILING_SECONDS)

    def _excess(self, due: float, seconds: float) -> float:
        """Return how much above the target the delay of audio is that lies at a time of the client's."""
        return due - self._delay.base - seconds - self.target

    def _next_item(self, due: float, seconds: float) -> ReceiveItem | None:
        """Return what comes next, at a time of the client's; a lost packet too when later ones are there.

        But while the delay is short of the target, what has been overtaken may still come, and the best place
        to make the delay longer is where something has to be made up anyway.
        """
        item, self._upcoming = self._upcoming, None
        while item is None:
            item = self._buffer.pop()
            if item is None:
                if self._starved < _MAX_STARVED and self._excess(due, seconds) < -_SHORT_SECONDS:
                    return None
                item = self._buffer.give_up(is_whole=False)
            if item is None:
                return None
            if not item.ticks:
                item = None  # Lost, and the timestamps leave it no room.
        self._starved = 0
        return item

    def _shed(self) -> None:
        """Leave out what is held beyond the ceiling, the oldest first."""
        before = self.held
        if before <= CEILING_SECONDS:
            return
        self._upcoming = None
        self._frames.skip_to(0)
        while self.held > CEILING_SECONDS and (self._buffer.pop() or self._buffer.give_up()):
            pass
        self.compressed += before - self.held
        self._position = self._buffer.next_position or self._buffer.position
        self._frames.skip_to(self._renderer.samples(self._position))

    def _bring_frame(self, due: float) -> None:
        """Bring out a frame of 20 ms, or stop the clock."""
        if self._repeat is not None:
            self._paced.append(self._repeat)
            self._repeat = None
            self.expanded += _FRAME_SECONDS
            return
        frames = self._frames
        while frames.lacking > 0:
            is_waited_for = self._upcoming is not None
            item = self._next_item(due, frames.position / self._renderer.sample_rate)
            if item is None:
                if not self._starve():
                    return
                break
            position = self._renderer.samples(item.position)
            if position > frames.position:
                start = due if is_waited_for else self._start_of(item.position, due)
                if frames.is_empty and start > due:
                    self._upcoming, self.timeout = item, start
                    return
                if not frames.pause(position):
                    self._upcoming = item
                    break
            self._renderer.render(item)
        self._finish(frames.cut(), due)

    def _starve(self) -> bool:
        """Make up for packets that are late; return whether there is a frame then."""
        frames = self._frames
        self._starved += 1
        if self._starved <= _MAX_STARVED and not self._renderer.is_pausing:
            self.expanded += self._renderer.fill() / self._renderer.sample_rate
            return True
        self.timeout = None
        if frames.is_empty:
            return False
        frames.insert(bytes(frames.lacking * SAMPLE_BYTES))
        return True

    def _finish(self, cut: Cut, due: float) -> None:
        """Bring out a frame, or leave it out, or bring it twice, to keep to the target."""
        if self._quietness.is_quiet(cut.pcm) and not cut.made_up and self.timeout is not None:
            excess = self._excess(due, cut.position / self._renderer.sample_rate)
            if excess > _FRAME_SECONDS and self._left_out is None and self.held >= _FRAME_SECONDS:
                self.compressed += _FRAME_SECONDS
                self._left_out = cut.pcm
                self._bring_frame(due)
                return
            if excess < -_SHORT_SECONDS:
                self._repeat = cut._replace(made_up=len(cut.pcm) // SAMPLE_BYTES)
        if self._left_out is not None:
            cut = cut._replace(pcm=blend(self._left_out, cut.pcm, sample_rate=self._renderer.sample_rate))
            self._left_out = None
        self._paced.append(cut)

    def _bring_packet(self, due: float) -> None:
        """Bring out the packet that is due, or wait, or stop the clock."""
        is_waited_for = self._upcoming is not None
        item = self._next_item(due, self._position * self._tick_seconds)
        if item is None:
            self._starved += 1
            self.expanded += _FRAME_SECONDS
            if self._starved > _MAX_STARVED:
                self.timeout = None
            return
        if item.position > self._position and not is_waited_for:
            start = self._start_of(item.position, due)
            if start > due:
                self._upcoming, self.timeout = item, start
                return
        seconds = item.ticks * self._tick_seconds
        self._position = item.position + item.ticks
        self.timeout = due + seconds
        if isinstance(item, Received) and item.level is not None and item.level >= _QUIET_LEVEL:
            excess = self._excess(due, item.position * self._tick_seconds)
            if excess > seconds and self._left_out is None:
                self._left_out = item.payload
                self.compressed += seconds
                self.timeout = due
                return
            if excess < -_SHORT_SECONDS:
                self.expanded += _FRAME_SECONDS
                self.timeout += _FRAME_SECONDS
        self._left_out = None
        self._paced.append(item)
