"""Real calls from browsers over the line: what the figures are made of, and that they hang together."""

import pytest
import trio

from voicegate.bench.figure import Conditions, Milestone, Series
from voicegate.bench.row import select_rows
from voicegate.bench.setup import measure
from voicegate.testing.browser import Kind

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROUND_TRIP = 0.04
CLOCK_SECONDS = 0.008
"""A page's clock shows whole milliseconds in Firefox, and is compared with ours to some more on a busy
machine; all of which is little beside half a round trip."""


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
async def test_a_stock_browser_is_set_up_in_no_fewer_round_trips_than_physics_asks_for(browser: Kind) -> None:
    calls: list[None] = []
    with trio.fail_after(240):
        (row,) = select_rows(["S"], browser)
        conditions = Conditions(round_trip=ROUND_TRIP, loss=0.0, runs=1)
        measurement = await measure([(browser, row)], conditions, advance=lambda: calls.append(None))
    assert len(calls) == 4  # one to each server, and one before that
    assert measurement.browsers[browser]
    ours, reference = measurement.series
    assert (ours.server, reference.server) == ("voicegate", "aiortc")
    for series in (ours, reference):
        (setup,) = series.setups
        assert setup.is_complete
        assert set(setup.seconds) == set(Milestone)
        assert setup.report["packetsReceived"] > 0
        for kind in ("stun", "dtls", "rtp"):
            assert setup.datagrams[f"to_client_{kind}"] > 0
            assert setup.datagrams[f"to_server_{kind}"] > 0
        assert "to_client_lost" not in setup.datagrams
    assert ours.setups[0].report["tlsVersion"] == "FEFC"
    assert reference.setups[0].report["tlsVersion"] == "FEFD"
    # A check and its answer, ClientHello and our flight with a frame of audio behind it.
    assert trips(ours, Milestone.SERVER_AUDIO) >= 2
    # Our INIT went with that, our first message goes with COOKIE-ECHO.
    assert trips(ours, Milestone.SERVER_DATA) >= 3
    # The client's first message answers that one's packet.
    assert trips(ours, Milestone.CLIENT_DATA) >= 3.5
    # DTLS 1.2 cannot send before its second flight.
    assert trips(reference, Milestone.SERVER_AUDIO) >= 3


def trips(series: Series, milestone: Milestone) -> float:
    return series.round_trips(series.median(milestone) + CLOCK_SECONDS)
