"""The client's side: a page in a real browser that makes one peer connection after the other."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from time import perf_counter
from typing import Any, Final, NamedTuple

import trio

from voicegate.bench.place import Place
from voicegate.bench.row import Row
from voicegate.testing.browser import Kind, Page, open_browser

__all__ = ["Client", "Clock", "open_client"]

_PAGE: Final = (resources.files("voicegate.bench") / "setup.html").read_bytes()

_CLOCK_READINGS: Final = 5
"""The quickest of some readings is off by less than half a millisecond."""


class Clock(NamedTuple):
    """What a page's clock shows, told in seconds of `time.perf_counter`."""

    zero: float

    def seconds(self, page_ms: float) -> float:
        """Translate a time of the page's."""
        return self.zero + page_ms / 1000


class Client:
    """A browser with the page open; made by `open_client`."""

    def __init__(self, page: Page) -> None:
        self.page: Final = page

    async def read_clock(self) -> Clock:
        """Compare the page's clock with ours."""
        readings = []
        for _ in range(_CLOCK_READINGS):
            before = perf_counter()
            page_ms = await self.page.evaluate("performance.now()")
            after = perf_counter()
            readings.append((after - before, (before + after) / 2 - page_ms / 1000))
        return Clock(min(readings)[1])

    async def report(self) -> Mapping[str, Any]:
        """Return what the browser says of the present connection."""
        report: dict[str, Any] = await self.page.evaluate("await bench.report()")
        return report


@asynccontextmanager
async def open_client(kind: Kind, row: Row, place: Place) -> AsyncIterator[Client]:
    """Start a browser as a row wants it, with the page open."""
    arguments = row.arguments if kind == "chromium" else ()
    listener = await place.listen()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, _serve_page, [listener])
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        async with open_browser(kind, arguments=arguments, namespace=place.namespace) as browser:
            yield Client(await browser.open_page(url))
        nursery.cancel_scope.cancel()


async def _serve_page(stream: trio.SocketStream) -> None:
    async with stream:
        try:
            await stream.receive_some()  # the head of a GET, which is always whole
            head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {len(_PAGE)}\r\n"
            await stream.send_all(f"{head}connection: close\r\n\r\n".encode() + _PAGE)
        except trio.BrokenResourceError:  # browsers open connections that they may need
            return
