"""What is posted at one end of a link, until it is sent.

Nothing that posts ever waits. All that was posted within a tick leaves together.
"""

from collections.abc import Callable
from typing import Final

import trio

from voicegate.agents.process.outbox import Outbox
from voicegate.call import AUDIO_IN_FRAMES

__all__ = ["Sender"]

TICK: Final = 0.005
"""Seconds between two writes. A write wakes two processes, at some 0.1 ms of processor time each: once per
frame of a hundred calls would be half a core, once per tick is two hundredths."""

_CONTROL_LIMIT: Final = 32 * 1024 * 1024
"""Bytes of all that is not audio that may wait to be read. Events and messages are held back long before, so
it is thousands of calls that came and went unseen, or a few of the longest messages."""

_SLACK_BYTES: Final = 65_536
"""So much may wait before `Sender.wait_room` waits: some hundred events."""


class Sender:
    """The outgoing half of one end.

    Args:
        encode: Writes a message about a call. Errors: UsageError for one that can't be sent.
        prepare: Called before each write, to post what is to be as new as can be; it says whether it wants to
            be called again in a tick even if nothing else is posted.
        audio_limit: Pieces of audio of a call that may wait; then the oldest make way.
    """

    def __init__(
        self,
        encode: Callable[[int, object], bytes | str],
        prepare: Callable[[], bool] | None = None,
        *,
        audio_limit: int = AUDIO_IN_FRAMES,
    ) -> None:
        self.outbox: Final = Outbox(audio_limit=audio_limit, control_limit=_CONTROL_LIMIT)
        self.fault: str | None = None
        """What was wrong with the other end."""
        self.scope = trio.CancelScope()
        """Around all that talks to the other end; `fail` cancels it."""
        self._encode = encode
        self._prepare = prepare
        self._posted = trio.Event()
        self._sent_at = 0.0
        self._waiting = trio.lowlevel.ParkingLot()

    def post(self, call: int, message: object) -> None:
        """Send a message before all audio.

        Errors: UsageError for one that can't be sent.
        """
        self.outbox.push(self._encode(call, message))
        self._posted.set()
        if self.outbox.is_overrun:
            self.fail("it does not read what it is sent")

    def post_audio(self, call: int, message: object, *, is_kept: bool = False) -> bool:
        """Send a message in its place within a call's audio; False if an older one made way for it.

        Args:
            call: Its number.
            message: What to send.
            is_kept: Send it also when the audio around it is dropped.

        Errors: UsageError for one that can't be sent.
        """
        has_room = self.outbox.push_audio(call, self._encode(call, message), is_kept=is_kept)
        self._posted.set()
        return has_room

    def stir(self) -> None:
        """Have a write prepared."""
        self._posted.set()

    async def wait_room(self) -> None:
        """Wait until the other end has read most of what was posted.

        Cancellation: a checkpoint always.
        """
        await trio.lowlevel.checkpoint()
        while self.outbox.control_bytes > _SLACK_BYTES:
            await self._waiting.park()

    def fail(self, fault: str) -> None:
        """Give the other end up."""
        self.fault = self.fault or fault
        self.scope.cancel()

    # For whoever sends

    async def wait_turn(self) -> None:
        """Wait until there is something to send: at once after a pause, else with all else of this tick."""
        await self._posted.wait()
        await trio.sleep_until(self._sent_at + TICK)
        self._sent_at = trio.current_time()
        is_wanted_again = self._prepare is not None and self._prepare()
        self._posted = trio.Event()
        if is_wanted_again:
            self._posted.set()

    def note_room(self) -> None:
        """Let those go on who wait for room, if there is some."""
        if self.outbox.control_bytes <= _SLACK_BYTES:
            self._waiting.unpark_all()
