"""A connection that carries JSON events, one text message each: how a call's conversation sees a WebSocket.

Layer: shell (Trio).
"""

from typing import Protocol

__all__ = ["EventSocket"]


class EventSocket(Protocol):
    """One client's connection for events; one task may send while another receives."""

    async def receive(self) -> str | None:
        """Return the next message; None when the other side is gone.

        What is no text ends the connection (code 1003), as does more than its limit (1009).
        """

    async def send(self, text: str) -> None:
        """Send one message, waiting until the network has taken it.

        Errors: trio.BrokenResourceError when the other side is gone, or does not read for too long.
        """

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a code (RFC 6455 §7.4) and a reason of at most 123 bytes; at most once counts."""
