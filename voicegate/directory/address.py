"""The address by which others see this machine."""

import socket
from math import inf
from typing import Any, Final

import trio

from voicegate.errors import UsageError

__all__ = ["Way"]

_RESOLVE_SECONDS: Final = 2.0
"""A name that takes longer to look up is given up."""

_AGAIN_SECONDS: Final = 30.0
"""For so long a name leads where it led: machines by the thousand look, several times a second each."""


class Way:
    """From this machine to another one.

    Args:
        host: An address, or a name, which is looked up.
        port: Any but 0.
        family: Of the addresses to go by; by default, whichever comes first.
    """

    def __init__(
        self, host: str, port: int, *, family: socket.AddressFamily = socket.AddressFamily.AF_UNSPEC
    ) -> None:
        self._host = host
        self._port = port
        self._family = family
        self._target: tuple[socket.AddressFamily, tuple[Any, ...]] | None = None
        self._resolve_at = -inf

    async def local_address(self) -> str:
        """Return the address that this machine sends from; nothing is sent.

        Cheap enough to be asked all the time, so that a change of address is followed. Always checkpoints.

        Errors: UsageError when there is no way there.
        """
        await trio.lowlevel.checkpoint()
        try:
            if self._target is None or trio.current_time() >= self._resolve_at:
                self._target = await self._resolve()
            family, target = self._target
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(target)
                return str(probe.getsockname()[0])
        except (OSError, UnicodeError, trio.TooSlowError) as error:
            self._target = None
            raise UsageError(f"no address of this machine leads towards {self._host}: {error}") from None

    async def _resolve(self) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
        with trio.fail_after(_RESOLVE_SECONDS):
            ways = await trio.socket.getaddrinfo(
                self._host, self._port, family=self._family, type=socket.SOCK_DGRAM
            )
        self._resolve_at = trio.current_time() + _AGAIN_SECONDS
        family, _, _, _, target = ways[0]
        return family, target
