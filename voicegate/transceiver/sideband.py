"""A sideband: a WebSocket that speaks a call's session beside its data channel, as an app's server does."""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from voicegate.event_socket import EventSocket

__all__ = ["Sideband"]

MAX_WAITING: Final = 4 << 20
"""Characters that wait for a slow reader: minutes of events; then it is sent away."""

_GOODBYE_SECONDS: Final = 1.0
"""For the last events and the closing handshake, once either end is over."""

_NORMAL: Final = 1000
_TRY_AGAIN_LATER: Final = 1013
"""Codes of RFC 6455 §7.4.1, the second as registered later."""


class Sideband:
    """One connection; events go in without waiting.

    Args:
        socket: Accepted, and closed by `run`.
    """

    def __init__(self, socket: EventSocket) -> None:
        self._socket = socket
        self._waiting: deque[str] = deque()
        self._waiting_characters = 0
        self._progress = trio.Event()
        self._goodbye: tuple[int, str] = (_NORMAL, "")
        self._is_closing = False
        self._scope = trio.CancelScope()

    def send(self, text: str) -> None:
        """Queue an event; who does not read what waits is sent away."""
        if self._is_closing:
            return
        self._waiting.append(text)
        self._waiting_characters += len(text)
        if self._waiting_characters > MAX_WAITING and len(self._waiting) > 1:
            self._waiting.clear()
            self._is_closing, self._goodbye = True, (_TRY_AGAIN_LATER, "too many events wait to be read")
            self._scope.cancel()
        self._progress.set()

    def close(self, reason: str) -> None:
        """Say goodbye behind what waits."""
        if not self._is_closing:
            self._is_closing, self._goodbye = True, (_NORMAL, reason)
            self._scope.deadline = trio.current_time() + _GOODBYE_SECONDS
            self._progress.set()

    async def run(self, handle: Callable[[str], None]) -> None:
        """Hand on what the other side says, until either end is over.

        Cancellation: closes the socket, in a second at most.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send_all)
                    while (text := await self._socket.receive()) is not None:
                        handle(text)
                    self._scope.cancel()
        finally:
            with trio.move_on_after(_GOODBYE_SECONDS, shield=True):
                await self._socket.close(*self._goodbye)

    async def _send_all(self) -> None:
        try:
            while self._waiting or not self._is_closing:
                while self._waiting:
                    text = self._waiting.popleft()
                    await self._socket.send(text)
                    self._waiting_characters -= len(text)
                if not self._is_closing:
                    self._progress = trio.Event()
                    await self._progress.wait()
        except trio.BrokenResourceError:
            pass  # The other side is gone: nothing is owed to it.
        self._scope.cancel()
