"""Huge pages under the heap of a process that is ours.

With hundreds of calls each packet touches memory that was not touched for 20 ms, in more pages than a TLB
holds: a good part of a packet's cost. In pages of 2 MiB the heap of a thousand calls is a hundred of them.
Where the system hands them out to everybody, or to nobody, or does not know how (MADV_COLLAPSE is Linux 6.1),
nothing is done.
"""

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

__all__ = ["collapse_heap", "keep_heap"]

HUGE_PAGE: Final = 2 * 1024 * 1024

_INTERVAL_SECONDS: Final = 5.0
"""Between looks for what has come to the heap."""

_PAUSE_SECONDS: Final = 0.002
"""After each page: who touches one while it is being moved waits, for a millisecond or so."""

_MADV_HUGEPAGE: Final = 14
_MADV_COLLAPSE: Final = 25
_SETTING: Final = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPS: Final = Path("/proc/self/maps")


async def keep_heap() -> None:
    """Keep the heap in huge pages until cancelled; return at once where there are none."""
    if not _is_wanted():
        return
    while True:
        await trio.sleep(_INTERVAL_SECONDS)
        # In a thread: the kernel moves memory meanwhile, and the media loop goes on.
        await trio.to_thread.run_sync(collapse_heap, abandon_on_cancel=True)


def collapse_heap() -> int:
    """Move what is in small pages into huge ones; return how many of them the heap has now."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    collapsed = 0
    for page in _heap_pages():
        madvise(page, HUGE_PAGE, _MADV_HUGEPAGE)
        began = time.perf_counter()
        collapsed += madvise(page, HUGE_PAGE, _MADV_COLLAPSE) == 0
        if time.perf_counter() - began > _PAUSE_SECONDS / 10:  # what was huge already takes no time
            time.sleep(_PAUSE_SECONDS)
    return collapsed


def _is_wanted() -> bool:
    try:
        return "[madvise]" in _SETTING.read_text() and _MAPS.exists()
    except OSError:
        return False


def _heap_pages() -> Iterator[int]:
    """Give the addresses at which a huge page would hold nothing but heap."""
    for line in _MAPS.read_text().splitlines():
        # start-end permissions offset device inode name: no name, or that of the heap
        addresses, permissions, _offset, _device, _inode, *name = line.split()
        if permissions == "rw-p" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in addresses.split("-"))
            yield from range(-(-start // HUGE_PAGE) * HUGE_PAGE, end - HUGE_PAGE + 1, HUGE_PAGE)
