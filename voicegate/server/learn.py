"""What a machine of a cluster waits for, a moment, before anybody is told that it is there."""

from collections.abc import Callable
from typing import Final

import trio

from voicegate.directory import Directory, Snapshot

__all__ = ["LEARN_SECONDS", "learn"]

LEARN_SECONDS: Final = 1.5
"""For the first word of the directory, which may be on another continent."""


async def learn(directory: Directory, is_enough: Callable[[Snapshot], object]) -> None:
    """Wait until the directory has told enough, if it does in time: it may be away, or nobody else there."""
    with trio.move_on_after(LEARN_SECONDS):
        async for snapshot in directory.watch():
            if is_enough(snapshot):
                return
