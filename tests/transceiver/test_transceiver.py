import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.exchange import Exchange, sleep
from voicegate.call import Call
from voicegate.errors import WireError
from voicegate.observability import Metrics
from voicegate.sdp import OfferError
from voicegate.testing.client import ClientState
from voicegate.transceiver import TooManyPendingError, TransceiverFullError
from voicegate.transceiver.transceiver import ENDED_CALLS_KEPT


def scrape(exchange: Exchange) -> dict[str, float]:
    metrics = Metrics()
    exchange.transceiver.report(metrics)
    lines = metrics.render().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


async def leave(call: Call) -> None:
    """An agent that hangs up at once."""


async def test_calls_beyond_the_last_slot_are_refused_until_one_ends(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, leave, max_calls=2)
    exchange.dial()
    second = exchange.call()
    with pytest.raises(TransceiverFullError, match="all 2 slots"):
        exchange.dial()
    await exchange.wait_for_end(second)
    exchange.dial()
    exchange.scope.cancel()


async def test_a_transceiver_that_was_stopped_takes_no_calls(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    exchange.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(TransceiverFullError):
        exchange.dial()
    assert exchange.is_empty


@pytest.mark.parametrize(
    ("offer", "error"),
    [("hello", WireError), ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", OfferError)],
)
async def test_an_offer_that_cannot_be_answered_leaves_nothing(
    offer: str, error: type[Exception], nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    with pytest.raises(error):
        exchange.transceiver.create_call(offer, metadata={})
    assert exchange.is_empty
    exchange.scope.cancel()


async def test_an_id_names_the_cluster_and_is_new_each_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    ids = {exchange.dial().call_id for _ in range(10)}
    assert len(ids) == 10
    assert all(call_id.startswith("rtc_u5_") for call_id in ids)
    assert all(call_id.isascii() and call_id.replace("_", "").isalnum() for call_id in ids)
    exchange.scope.cancel()


async def test_calls_are_listed_with_those_that_ended_first(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    waiting, leaving = exchange.dial(), exchange.call()
    await leaving.wait_for(ClientState.CONNECTED)
    leaving.hang_up()
    await exchange.wait_for_end(leaving)
    listed = [described["id"] for described in exchange.transceiver.describe_all()]
    assert listed == [leaving.call_id, waiting.call_id]
    assert exchange.transceiver.find(leaving.call_id) is None
    assert exchange.transceiver.find(waiting.call_id) is not None
    assert exchange.transceiver.describe("rtc_u5_nobody") is None
    exchange.scope.cancel()


@pytest.mark.slow
async def test_ended_calls_are_remembered_up_to_a_limit(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(
        nursery,
        sleep,
        max_calls=1000,
        max_pending_calls=1000,
        max_pending_calls_per_client=1000,
        max_call_seconds=1.0,
    )
    callers = [exchange.dial() for _ in range(ENDED_CALLS_KEPT + 5)]
    await trio.sleep(1.1)
    assert exchange.is_empty
    remembered = exchange.transceiver.describe_all()
    assert len(remembered) == ENDED_CALLS_KEPT == 256
    described = [exchange.transceiver.describe(caller.call_id) for caller in callers]
    assert sum(each is None for each in described) == 5
    assert scrape(exchange)['voicegate_calls_ended_total{cause="max_duration"}'] == len(callers)
    exchange.scope.cancel()


async def test_the_report_adds_up_over_calls_that_go_on_and_calls_that_ended(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    before = scrape(exchange)
    assert before["voicegate_calls"] == 0
    leaving, staying, waiting = exchange.call(), exchange.call(), exchange.dial()
    for caller in (leaving, staying):
        await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1)
    during = scrape(exchange)
    assert (during["voicegate_calls"], during["voicegate_calls_connected"]) == (3, 2)
    packets = 'voicegate_transceiver_events_total{kind="audio_packets_in"}'
    assert during[packets] >= 2 * 45
    staying.is_alive = False
    leaving.hang_up()
    await exchange.wait_for_end(leaving)
    after = scrape(exchange)
    assert (after["voicegate_calls"], after["voicegate_calls_connected"]) == (2, 1)
    assert after[packets] >= during[packets], "a counter never falls"
    assert after['voicegate_calls_ended_total{cause="client_closed"}'] == 1
    assert after['voicegate_setup_ms_bucket{le="+Inf",phase="dtls_completed"}'] == 1
    assert after['voicegate_setup_ms_bucket{le="+Inf",phase="first_audio_out"}'] == 1
    exchange.port.deliver(b"nonsense")
    await trio.testing.wait_all_tasks_blocked()
    assert scrape(exchange)['voicegate_hop_drops_total{reason="malformed_hop"}'] == 1
    assert waiting.call_id
    exchange.scope.cancel()


async def test_drops_within_calls_are_reported_by_reason(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    caller.core._transmits.append((None, b"\xff" * 20))
    caller.flush()
    await trio.sleep(0.1)
    name = 'voicegate_transceiver_drops_total{reason="unknown_protocol"}'
    assert scrape(exchange)[name] == 1
    caller.hang_up()
    await exchange.wait_for_end(caller)
    assert scrape(exchange)[name] == 1
    exchange.scope.cancel()


async def test_calls_that_nobody_connects_to_are_bounded_for_each_client_and_in_all(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(
        nursery, sleep, max_calls=1000, max_pending_calls=5, max_pending_calls_per_client=3
    )

    def dial(client: str) -> str:
        offer = exchange.make_client().offer()
        return exchange.transceiver.create_call(offer, metadata={}, client=client)[0]

    for _ in range(4):
        await exchange.call().wait_for(ClientState.CONNECTED)
    for _ in range(3):
        dial("192.0.2.7")
    with pytest.raises(TooManyPendingError, match="3 calls from this address"):
        dial("192.0.2.7")
    dial("192.0.2.8")
    dial("192.0.2.9")
    with pytest.raises(TransceiverFullError, match="5 calls are being set up"):
        dial("192.0.2.10")
    await trio.sleep(16)  # those that never check are given up
    for _ in range(3):
        dial("192.0.2.7")
    exchange.scope.cancel()
