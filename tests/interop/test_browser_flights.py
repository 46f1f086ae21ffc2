"""How many flights real browsers and the server need: counted, not timed."""

import json
from typing import NamedTuple

import pytest
import trio

from tests.interop.flights import Flights
from voicegate.bench.client import Client, open_client
from voicegate.bench.detour import redirect, server_address, without_candidates
from voicegate.bench.line import Direction, open_line
from voicegate.bench.place import Place, open_place
from voicegate.bench.row import select_rows
from voicegate.bench.server import Server, open_voicegate
from voicegate.testing.browser import Kind
from voicegate.wire import PacketKind

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROUND_TRIPS = (0.2, 0.2, 0.3, 0.4, 0.6, *[0.8] * 8)
"""Seconds, in which both sides do all that they do of themselves. A stall adds flights to a call; of so
many, over longer and longer lines that leave a starved machine more time, one is without."""

CHANNEL_ID = 0


class Needed(NamedTuple):
    """The flights that had something first, or, for messages, that had come when they were there."""

    client_dtls: int
    """Not in a check."""
    server_dtls: int
    """Not in the answer to a check."""
    server_audio: int
    client_audio: int
    server_message: int
    """At the page."""
    client_message: int
    """At the agent, from a client that is verified."""


EXPECTED: dict[tuple[str, Kind], Needed] = {
    # A check, its answer, the ClientHello: in the fourth flight DTLS 1.3 lets us say all there is.
    ("D", "chromium"): Needed(3, 4, 4, 5, 8, 9),
    ("D", "firefox"): Needed(3, 4, 4, 5, 8, 9),
    ("S", "chromium"): Needed(3, 4, 4, 5, 6, 7),
    ("S", "firefox"): Needed(3, 4, 4, 5, 6, 7),
    ("E", "chromium"): Needed(3, 4, 4, 5, 4, 5),
    # The first flight is checks alone, and has brought the ClientHello along.
    ("G", "chromium"): Needed(3, 2, 2, 3, 2, 3),
    ("Gd", "chromium"): Needed(3, 2, 2, 3, 2, 3),
    ("H", "chromium"): Needed(3, 2, 2, 3, 2, 3),
    ("A", "chromium"): Needed(3, 4, 6, 7, 12, 11),
}
"""By the rows of docs/bench.md."""


async def call(
    client: Client, server: Server, place: Place, *, text: str, channel_id: int | None, round_trip: float
) -> Needed:
    """Make a call over a new line and count what it needed."""
    page = client.page
    offer = await page.evaluate(f"await bench.offer({json.dumps(channel_id)}, {json.dumps(text)})")
    answer = await server.answer(without_candidates(str(offer)), channel_id=channel_id)
    clock = await client.read_clock()
    async with open_line(server_address(answer), place, round_trip=round_trip) as line:
        await page.evaluate(f"await bench.connect({json.dumps(redirect(answer, line.address))})")
        await server.wait_message(text)
        await line.wait_arrival(Direction.TO_SERVER, PacketKind.RTP)
        told_at = clock.seconds(float(str(await page.evaluate("bench.times.message"))))
        heard_at = server.heard(text)
        assert heard_at is not None
        flights = Flights(line, round_trip=round_trip)
        await page.evaluate("bench.close()")
    return Needed(
        client_dtls=flights.first(Direction.TO_SERVER, PacketKind.DTLS),
        server_dtls=flights.first(Direction.TO_CLIENT, PacketKind.DTLS),
        server_audio=flights.first(Direction.TO_CLIENT, PacketKind.RTP),
        client_audio=flights.first(Direction.TO_SERVER, PacketKind.RTP),
        server_message=flights.arrived(Direction.TO_CLIENT, told_at),
        client_message=flights.arrived(Direction.TO_SERVER, heard_at),
    )


@pytest.mark.parametrize(("name", "kind"), EXPECTED)
async def test_a_call_needs_no_more_flights_than_it_must(name: str, kind: Kind) -> None:
    (row,) = select_rows([name], kind)
    channel_id = CHANNEL_ID if row.is_negotiated else None
    counted: list[Needed] = []
    with trio.fail_after(500):
        async with (
            open_place(kind) as place,
            open_voicegate(place, row.server) as server,
            open_client(kind, row, place) as client,
        ):
            for number, round_trip in enumerate(ROUND_TRIPS):
                needed = await call(
                    client, server, place, text=f"call {number}", channel_id=channel_id, round_trip=round_trip
                )
                counted.append(needed)
                if needed == EXPECTED[name, kind]:
                    break
    assert EXPECTED[name, kind] in counted
