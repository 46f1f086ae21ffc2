"""The directory: who serves which transceiver id. Soft state; no call depends on it once it is up.

Layer: shell (Trio).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from voicegate.config import Config
from voicegate.directory.address import Way
from voicegate.directory.base import (
    FLOW_ROW_SECONDS,
    Address,
    Directory,
    RelayLease,
    Snapshot,
    TransceiverLease,
)
from voicegate.directory.memory import MemoryDirectory
from voicegate.directory.url import DirectoryUrl
from voicegate.errors import UsageError

__all__ = [
    "FLOW_ROW_SECONDS",
    "Address",
    "Directory",
    "DirectoryUrl",
    "MemoryDirectory",
    "RelayLease",
    "Snapshot",
    "TransceiverLease",
    "Way",
    "open_directory",
]


@asynccontextmanager
async def open_directory(config: Config, *, secrets: Sequence[bytes]) -> AsyncIterator[Directory]:
    """Open the directory that is configured: of this process, or on Redis, whether that is in reach or not.

    Errors: UsageError for a URL that is none, files that it names, and for Redis without what it takes.

    Args:
        config: Says where it is.
        secrets: Of the cluster; those of the configuration, or what was made instead.
    """
    if config.directory is None:
        yield MemoryDirectory()
        return
    try:
        from voicegate.directory.redis import open_redis_directory
    except ModuleNotFoundError as error:
        raise UsageError(f"directory: {error.name} is missing: pip install voicegate-server[fleet]") from None
    async with open_redis_directory(
        config.directory, secrets=secrets, hop_networks=config.hop_networks
    ) as directory:
        yield directory
