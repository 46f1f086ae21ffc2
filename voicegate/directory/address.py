"""The address by which others see this machine."""

import socket
from typing import Final

import trio

from voicegate.errors import UsageError

__all__ = ["local_address_towards"]

_RESOLVE_SECONDS: Final = 2.0
"""A name that takes longer to look up is given up."""


async def local_address_towards(host: str, port: int) -> str:
    """Return the address that this machine sends from to another; nothing is sent.

    Cheap enough to be asked each second, so that a change of address is followed. Always checkpoints.

    Args:
        host: An address, or a name, which is looked up.
        port: Any but 0.

    Errors: UsageError when there is no way there.
    """
    await trio.lowlevel.checkpoint()
    try:
        with trio.fail_after(_RESOLVE_SECONDS):
            ways = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, _, _, _, target = ways[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError, trio.TooSlowError) as error:
        raise UsageError(f"no address of this machine leads towards {host}: {error}") from None
