"""What waits for the agent: the client's voice, and events."""

from collections import deque
from collections.abc import Mapping
from typing import Final, Self, get_args

import trio

from voicegate.call.control import CallControl
from voicegate.call.event import CallEvent
from voicegate.call.frame import AudioFrame, EncodedFrame
from voicegate.errors import UsageError
from voicegate.realtime.agent_event import (
    AgentNotice,
    ClientEvent,
    ItemAdded,
    ResponseRequested,
    SessionUpdated,
)
from voicegate.wire.json_value import JSON

__all__ = ["AudioInput", "EventInput"]

AUDIO_IN_FRAMES: Final = 250
"""Frames (20 ms each) that wait for a slow agent; then the oldest is dropped: old speech helps nobody."""

EVENT_LIMIT: Final = 64
"""Events that wait for a slow agent; then new ones are dropped: reading none must cost no memory."""

NOTICE_LIMIT: Final = 4096
"""Notices of the conversation that wait: as many as a conversation has items. None of these may be lost
unnoticed, so there an agent that falls further behind fails."""

NOTICE_CHARACTERS: Final = 64 * 1024 * 1024
"""What may be in them: twice what a conversation may hold, as items can come and be deleted again."""

_NOTICES: Final = get_args(AgentNotice)


class AudioInput:
    """The listener behind `voicegate.call.Call.audio_in`."""

    is_encoded: Final = False

    def __init__(self, control: CallControl) -> None:
        self._control = control
        self.frames, self.channel = trio.open_memory_channel[AudioFrame](AUDIO_IN_FRAMES)
        self.dropped = 0

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        """Queue a frame."""
        if not isinstance(frame, AudioFrame):
            return
        try:
            self.frames.send_nowait(frame)
        except trio.WouldBlock:
            self.dropped += 1
            self.channel.receive_nowait()
            self.frames.send_nowait(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.dropped += 1
            self._control.set_listener(None)

    def close(self) -> None:
        """End the channel."""
        self.frames.close()
        self.channel.close()


class EventInput:
    """The events of a call, in the order they came in: ``async for event in call.events``.

    An agent that reads none loses the later ones; only notices of a conversation that it has taken are kept
    for it all.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[CallEvent, int]] = deque()
        """Each with the weight of a notice, or 0."""
        self._others = 0
        self._weight = 0
        self._is_overrun = False
        self._is_closed = False
        self._arrivals = trio.lowlevel.ParkingLot()

    def push(self, event: CallEvent) -> None:
        """Queue an event (the transceiver's side)."""
        if self._is_closed or self._is_overrun:
            return
        weight = _weigh(event) if isinstance(event, _NOTICES) else 0
        if weight:
            notices = len(self._waiting) - self._others
            if notices >= NOTICE_LIMIT or self._weight + weight > NOTICE_CHARACTERS:
                self._is_overrun = True
                return
            self._weight += weight
        elif self._others >= EVENT_LIMIT:
            return
        else:
            self._others += 1
        self._waiting.append((event, weight))
        self._arrivals.unpark_all()

    def receive_nowait(self) -> CallEvent:
        """Return the next event.

        Errors: WouldBlock when there is none yet; ClosedResourceError when the call is over or after `close`;
        UsageError when the agent has left so many unread that from here on some are missing.
        """
        if self._is_closed:
            raise trio.ClosedResourceError
        if self._waiting:
            event, weight = self._waiting.popleft()
            self._weight -= weight
            self._others -= not weight
            return event
        if self._is_overrun:
            raise UsageError("the agent left more events of its conversation unread than are kept for it")
        raise trio.WouldBlock

    async def receive(self) -> CallEvent:
        """Return the next event, once there is one.

        Errors: as `receive_nowait`, but for WouldBlock.
        Cancellation: a checkpoint always; when cancelled, no event is lost.
        """
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                await self._arrivals.park()

    def close(self) -> None:
        """Want no events; harmless when done twice."""
        self._is_closed = True
        self._waiting.clear()
        self._arrivals.unpark_all()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CallEvent:
        return await self.receive()


def _weigh(notice: CallEvent) -> int:
    """Return about how many characters a notice keeps in memory."""
    match notice:
        case (
            SessionUpdated(session=value)
            | ItemAdded(item=value)
            | ResponseRequested(parameters=value)
            | ClientEvent(event=value)
        ):
            return 1 + _characters(value)
        case _:
            return 1


def _characters(value: JSON) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list) else 1
