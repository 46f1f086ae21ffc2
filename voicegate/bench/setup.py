"""Makes calls from real browsers over the line, to each server in turn, and notes when what got through.

One set-up is a new peer connection over a new line. The offer and its answer go by another way and are not
counted: time begins with the client's first datagram.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final

import trio

from voicegate.bench.client import Client, Clock, open_client
from voicegate.bench.detour import redirect, server_address, without_candidates
from voicegate.bench.figure import Conditions, Measurement, Milestone, Series, Setup
from voicegate.bench.line import Direction, Line, open_line
from voicegate.bench.place import Place, open_place
from voicegate.bench.row import Row
from voicegate.bench.server import BenchError, Server, open_aiortc, open_voicegate
from voicegate.testing.browser import Kind, open_browser
from voicegate.wire import PacketKind

__all__ = ["measure"]

_CHANNEL_ID: Final = 0

_SETUP_SECONDS: Final = 30.0
"""A set-up that has not got everything through by then has failed: people have hung up long before."""

_SETTLE_SECONDS: Final = 0.1
"""And a round trip, between two set-ups: the goodbyes of one do not compete with the other's hello."""


async def measure(
    rows: Sequence[tuple[Kind, Row]], conditions: Conditions, *, advance: Callable[[], None]
) -> Measurement:
    """Make calls for each row to each server, in turn, and one beforehand that warms up.

    Args:
        rows: The rows, each with the browser that shows it.
        conditions: What all calls have in common.
        advance: Called after each call.

    Errors: BrowserError, NamespaceError (Firefox needs one), BenchError: something is missing or went wrong.
    """
    browsers = {browser: await _find_version(browser) for browser in dict.fromkeys(kind for kind, _ in rows)}
    series: list[Series] = []
    for browser in browsers:
        async with open_place(browser) as place, _open_reference(place, conditions) as reference:
            for row in [row for kind, row in rows if kind == browser]:
                async with (
                    open_voicegate(place, row.server) as server,
                    open_client(browser, row, place) as client,
                ):
                    trial = _Trial(client, row, place, conditions)
                    series += await trial.run(browser, [server, *reference], advance)
    return Measurement(conditions=conditions, browsers=browsers, series=series)


async def _find_version(kind: Kind) -> str:
    """Start a browser for a moment: what is missing is better found now than after minutes of measuring."""
    async with open_place(kind) as place, open_browser(kind, namespace=place.namespace) as browser:
        return browser.version


@asynccontextmanager
async def _open_reference(place: Place, conditions: Conditions) -> AsyncIterator[Sequence[Server]]:
    if conditions.has_reference:
        async with open_aiortc(place) as reference:
            yield [reference]
    else:
        yield []


class _Trial:
    """Set-ups of one row from one browser."""

    def __init__(self, client: Client, row: Row, place: Place, conditions: Conditions) -> None:
        self._client = client
        self._row = row
        self._place = place
        self._conditions = conditions
        self._numbers = count()

    async def run(
        self, browser: Kind, servers: Sequence[Server], advance: Callable[[], None]
    ) -> list[Series]:
        """Make all calls of the row, to one server and the other in turn; the first ones warm up."""
        setups: dict[str, list[Setup]] = {server.name: [] for server in servers}
        for run in range(self._conditions.runs + 1):
            for server in servers:
                # Both servers have to do with the same losses.
                setups[server.name].append(await self.set_up(server, seed=run))
                advance()
        return [
            Series(
                row=self._row,
                browser=browser,
                server=name,
                round_trip=self._conditions.round_trip,
                setups=made[1:],
            )
            for name, made in setups.items()
        ]

    async def set_up(self, server: Server, *, seed: int) -> Setup:
        """Make a call and take it down again."""
        page = self._client.page
        text = f"{self._row.name} {next(self._numbers)}"
        channel_id = _CHANNEL_ID if self._row.is_negotiated else None
        offer = await page.evaluate(f"await bench.offer({json.dumps(channel_id)}, {json.dumps(text)})")
        answer = await server.answer(without_candidates(offer), channel_id=channel_id)
        clock = await self._client.read_clock()
        async with open_line(
            server_address(answer),
            self._place,
            round_trip=self._conditions.round_trip,
            loss=self._conditions.loss,
            seed=seed,
        ) as line:
            with trio.move_on_after(_SETUP_SECONDS):
                await page.evaluate(f"await bench.connect({json.dumps(redirect(answer, line.address))})")
                await server.wait_message(text)
                await line.wait_arrival(Direction.TO_SERVER, PacketKind.RTP)
            times = await page.evaluate("bench.times")
            report = await self._client.report()
            setup = _read(line, clock, times, server.heard(text), report)
            await page.evaluate("bench.close()")
            await trio.sleep(self._conditions.round_trip + _SETTLE_SECONDS)
        self._check(server, report)
        return setup

    def _check(self, server: Server, report: Mapping[str, Any]) -> None:
        """See that the row shows what it says it does."""
        spoken = report.get("tlsVersion")
        if server.name == "voicegate" and spoken not in {self._row.tls_version, None}:
            raise BenchError(f"row {self._row.name} is for DTLS {self._row.tls_version}, not {spoken}")


def _read(
    line: Line, clock: Clock, times: Mapping[str, float], heard_at: float | None, report: Mapping[str, Any]
) -> Setup:
    """Put together what line, page and server have seen."""
    page = {name: clock.seconds(at) for name, at in times.items()}
    arrivals = {
        Milestone.SERVER_AUDIO: page.get("audio"),
        Milestone.CHANNEL_OPEN: page.get("open"),
        Milestone.CLIENT_AUDIO: line.first_arrival(Direction.TO_SERVER, PacketKind.RTP),
        Milestone.SERVER_DATA: page.get("message"),
        Milestone.CLIENT_DATA: heard_at,
    }
    began_at = line.began_at
    if began_at is None:
        return Setup(seconds={})
    datagrams = Counter(
        f"{passage.direction.value}_{'lost' if passage.left_at is None else passage.kind.value}"
        for passage in line.passages
    )
    return Setup.from_arrivals(
        {milestone: None if at is None else at - began_at for milestone, at in arrivals.items()},
        datagrams=datagrams,
        report=report,
    )
