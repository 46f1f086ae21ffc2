"""Two and three machines that answer as one: real HTTP, real TLS between them, one directory."""

import httpx2
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio_websocket import ConnectionClosed

from tests.fleet.conftest import OLD_SECRET, OTHER_SECRET, SECRET, Box, Cluster, Machine, busy
from tests.signalling.conftest import OFFER
from tests.signalling.test_websocket import connect, refusal
from tests.signalling.test_whip import CANDIDATES, FRAGMENT
from voicegate.access import Grant
from voicegate.config import Config
from voicegate.directory import Address
from voicegate.fleet import calls as module
from voicegate.observability import Metrics
from voicegate.signalling import OfferRefused, RequestRefused
from voicegate.signalling.locate import Locator
from voicegate.steering.placement import MAX_OTHERS
from voicegate.transceiver.call_id import transceiver_id_of

pytestmark = pytest.mark.slow


def fault(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def unused(nursery: trio.Nursery) -> Address:
    """Return an address where nobody listens, nor begins to."""

    async def hold(*, task_status: trio.TaskStatus[Address]) -> None:
        with trio.socket.socket() as sock:
            await sock.bind(("127.0.0.1", 0))
            task_status.started(sock.getsockname()[:2])
            await trio.sleep_forever()

    held: Address = await nursery.start(hold)
    return held


# Who takes a call


async def test_a_call_is_taken_where_it_was_asked_for_as_long_as_there_is_room(cluster: Cluster) -> None:
    a, _ = await cluster.start_boxes(2, 2)
    made = [transceiver_id_of(await a.call()) for _ in range(4)]
    assert made == [1, 1, 2, 2]
    with pytest.raises(OfferRefused, match="Not now"):
        await a.call()
    assert a.fleet.counts.offers == {"own": 2, "other": 2, "nobody": 1}
    assert a.fleet.counts.tries == {"taken": 2, "refused": 1, "unreachable": 0}


async def test_all_that_is_known_of_a_call_goes_along(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(0, 9)
    grant = Grant(key="web", session={"instructions": "é" * 20_000}, max_calls=3)
    await a.fleet.create_call(
        OFFER,
        session={"voice": "é"},
        client="2001:db8::7",
        grant=grant,
        api="live",
        model="m",
        regions=("eu", ""),
    )
    (terms,) = b.own.terms
    assert terms == {
        "session": {"voice": "é"},
        "client": "2001:db8::7",
        "grant": grant,
        "api": "live",
        "model": "m",
        "regions": ["eu", ""],
    }


async def test_over_http_nobody_notices(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(0, 9)
    made = await a.ask("POST", "/v1/realtime/calls", json={"sdp": OFFER})
    assert made.status_code == 201
    assert made.text == OFFER
    call = made.headers["location"]
    assert transceiver_id_of(call.rpartition("/")[2]) == 2
    assert b.own.offers == [(OFFER, None, "127.0.0.1")]
    assert (await a.ask("DELETE", call)).status_code == 200
    assert fault(await a.ask("DELETE", call)) == (404, "call_not_found")


async def test_an_offer_that_is_wrong_is_refused_at_once(cluster: Cluster) -> None:
    a, b, c = await cluster.start_boxes(9, 9, 9)
    wrong = OFFER + "m=video"
    with pytest.raises(OfferRefused, match="is video"):
        await a.fleet.create_call(wrong, session=None, client="")
    assert b.offers == 0

    async def refuse() -> None:
        raise busy()

    a.own.before_answer = refuse
    with pytest.raises(OfferRefused, match="is video") as caught:
        await a.fleet.create_call(wrong, session=None, client="")
    assert caught.value.param == "m=0"
    assert (b.offers, c.offers) == (1, 0)


async def test_the_machines_nearest_to_the_client_are_asked_first(cluster: Cluster) -> None:
    us = await cluster.start(Box(1), region="us")
    eu = await cluster.start(Box(2, slots=1), region="eu")
    assert transceiver_id_of(await us.call(("eu", "us"))) == 2
    assert us.offers == 0
    # It is full: so we take it, though we are farther away.
    assert transceiver_id_of(await us.call(("eu", "us"))) == 1
    assert (eu.offers, us.offers) == (2, 1)
    assert transceiver_id_of(await eu.call(("us", "eu"))) == 1


async def test_a_client_may_say_where_it_is(cluster: Cluster) -> None:
    regions = {"eu": {"default": True}, "us": {}}
    a = await cluster.start(Box(1), region="eu", locator=Locator(Config(regions=regions)))
    await cluster.start(Box(2), region="us")
    for query, number in (("", 1), ("?region=us", 2), ("?region=nowhere", 1)):
        made = await a.ask("POST", f"/v1/realtime/calls{query}", json={"sdp": OFFER})
        assert transceiver_id_of(made.headers["location"].rpartition("/")[2]) == number


async def test_the_emptiest_is_asked_next_and_three_at_most(cluster: Cluster) -> None:
    a, *others = await cluster.start_boxes(0, 0, 0, 0, 9)
    with pytest.raises(OfferRefused):
        await a.call()
    assert [each.offers for each in others] == [1, 1, 1, 0]
    assert MAX_OTHERS == 3
    others[0].own.slots = 1
    assert transceiver_id_of(await a.call()) == 2


async def test_when_all_are_full_the_longest_wait_is_told(cluster: Cluster) -> None:
    a, b, _ = await cluster.start_boxes(0, 0, 0)
    b.own.fault = busy(retry_after=30)
    refused = await a.ask("POST", "/v1/realtime/calls", json={"sdp": OFFER})
    assert fault(refused) == (503, "no_capacity")
    assert refused.headers["retry-after"] == "30"


async def test_a_clients_own_limit_is_another_matter_elsewhere(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    a.own.fault = busy(status=429, code="too_many_calls", retry_after=7)
    assert transceiver_id_of(await a.call()) == 2
    b.own.fault = busy()
    refused = await a.ask("POST", "/v1/realtime/calls", json={"sdp": OFFER})
    assert fault(refused) == (429, "too_many_calls")
    assert refused.headers["retry-after"] == "7"
    a.own.fault = busy(status=429, code="too_many_pending_calls")
    assert fault(await a.ask("POST", "/v1/realtime/calls", json={"sdp": OFFER})) == (
        429,
        "too_many_pending_calls",
    )


async def test_a_machine_that_drains_hands_its_calls_on_and_gets_none(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    a.own.fault = busy(code="draining")
    assert transceiver_id_of(await a.call()) == 2
    cluster.register(1, a.peer, is_draining=True)
    asked = a.offers
    b.own.fault = busy()
    with pytest.raises(OfferRefused):
        await b.call()
    assert a.offers == asked


async def test_workers_behind_one_peer_are_asked_once(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(0, 0)
    cluster.register(3, b.peer)
    cluster.register(4, a.peer)
    with pytest.raises(OfferRefused):
        await a.call()
    assert (a.offers, b.offers) == (1, 1)


async def test_a_machine_that_is_gone_costs_one_try_and_then_none_for_a_while(
    cluster: Cluster, nursery: trio.Nursery
) -> None:
    a, _ = await cluster.start_boxes(0, 9)
    cluster.register(7, await unused(nursery))
    assert [transceiver_id_of(await a.call()) for _ in range(3)] == [2, 2, 2]
    assert a.fleet.counts.tries == {"taken": 3, "refused": 0, "unreachable": 1}
    # The nearest one may be the one that is gone.
    c = await cluster.start(Box(3), region="us")
    cluster.register(7, await unused(nursery), region="eu")
    assert transceiver_id_of(await c.call(("eu", "us"))) == 3


async def test_a_machine_that_hangs_is_not_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await cluster.start_boxes(0, 9)
    call_id = b.own.call_id(0)
    monkeypatch.setattr(module, "TRY_SECONDS", 0.05)
    b.own.before_answer = trio.sleep_forever
    with pytest.raises(OfferRefused) as caught:
        await a.call()
    assert caught.value.code == "no_capacity"
    assert a.fleet.counts.tries["unreachable"] == 1
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)

    async def hang(_: str) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(b.own, "session", hang)
    assert fault(await a.ask("GET", f"/v1/sessions/{call_id}")) == (504, "peer_timeout")


async def test_another_clusters_machine_is_none_of_ours(cluster: Cluster) -> None:
    a = await cluster.start(Box(1, slots=1), secrets=[OTHER_SECRET])
    b = await cluster.start(Box(2))
    assert transceiver_id_of(await a.call()) == 1
    with pytest.raises(OfferRefused):
        await a.call()
    assert b.offers == 0
    assert fault(await a.ask("GET", f"/v1/sessions/{b.own.call_id(0)}")) == (502, "peer_unreachable")
    assert a.fleet.counts.strangers["impostor"] == 2
    with trio.fail_after(120):
        while b.fleet.counts.strangers["untrusted"] != 2:
            await trio.sleep(0.001)


async def test_secrets_change_while_machines_run(cluster: Cluster) -> None:
    a = await cluster.start(Box(1, slots=0), secrets=[SECRET, OLD_SECRET])
    b = await cluster.start(Box(2, slots=1), secrets=[OLD_SECRET])
    assert transceiver_id_of(await a.call()) == 2
    a.own.slots = 1
    assert transceiver_id_of(await b.call()) == 1


# Whose a call is


async def test_a_call_is_shown_and_ended_from_any_machine(cluster: Cluster) -> None:
    machines = await cluster.start_boxes(9, 9, 9)
    for owner in machines:
        for asked in machines:
            call_id = await owner.call()
            assert (await asked.ask("GET", f"/v1/sessions/{call_id}")).json()["id"] == call_id
            assert (await asked.ask("POST", f"/v1/realtime/calls/{call_id}/hangup")).status_code == 200
            assert owner.own.calls[call_id]["state"] == "ended"
    assert machines[0].fleet.counts.questions == {"own": 2, "other": 4}


async def test_what_is_known_to_nobody_is_not_found(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    cluster.register(7, None)
    for call_id in ("rtc_1", Box(9).call_id(0), Box(7).call_id(0), a.own.call_id(0), b.own.call_id(0)):
        assert fault(await a.ask("GET", f"/v1/sessions/{call_id}")) == (404, "call_not_found")
        assert fault(await a.ask("DELETE", f"/v1/realtime/calls/{call_id}")) == (404, "call_not_found")
        assert fault(await a.ask("DELETE", f"/v1/whip/{call_id}")) == (404, "call_not_found")
        patched = await a.ask("PATCH", f"/v1/whip/{call_id}", content=CANDIDATES, headers=FRAGMENT)
        assert fault(patched) == (404, "call_not_found")
        assert (await refusal(a.address, f"/v1/realtime?call_id={call_id}"))[0] == 404


async def test_of_a_call_whose_machine_is_out_of_reach_nobody_says_that_it_is_over(
    cluster: Cluster, nursery: trio.Nursery
) -> None:
    (a,) = await cluster.start_boxes(9)
    cluster.register(7, await unused(nursery))
    call_id = Box(7).call_id(0)
    for method, path in (
        ("GET", "/v1/sessions/"),
        ("DELETE", "/v1/realtime/calls/"),
        ("PATCH", "/v1/whip/"),
        ("DELETE", "/v1/whip/"),
    ):
        assert fault(await a.ask(method, path + call_id)) == (502, "peer_unreachable")
    status, body = await refusal(a.address, f"/v1/realtime?call_id={call_id}")
    assert (status, b"out of reach" in body) == (502, True)


async def test_calls_of_this_machine_are_its_own_whatever_a_row_says(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    ours, theirs = await a.call(), await b.call()
    cluster.register(1, b.peer)
    for call_id in (ours, theirs):
        assert (await a.ask("GET", f"/v1/sessions/{call_id}")).json()["id"] == call_id


async def test_what_is_left_of_a_worker_that_was_replaced_here_is_not_found(cluster: Cluster) -> None:
    (a,) = await cluster.start_boxes(9)
    cluster.register(7, a.peer)
    assert fault(await a.ask("GET", f"/v1/sessions/{Box(7).call_id(0)}")) == (404, "call_not_found")


async def test_nothing_goes_in_circles(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(0, 0)
    call_id = Box(7).call_id(0)

    # Each believes that the other one has it.
    for machine, other in ((a, b), (b, a)):
        mistaken = Cluster(cluster.nursery, cluster.http)
        mistaken.register(7, other.peer)
        machine.fleet._directory = mistaken.directory
    for machine in (a, b):
        assert fault(await machine.ask("GET", f"/v1/sessions/{call_id}")) == (404, "call_not_found")
        assert fault(await machine.ask("DELETE", f"/v1/whip/{call_id}")) == (404, "call_not_found")
        assert (await refusal(machine.address, f"/v1/realtime?call_id={call_id}"))[0] == 404
        with pytest.raises(OfferRefused):
            await machine.call()
        assert (await refusal(machine.address, "/v1/realtime?model=m"))[0] == 503
    assert (a.fleet.counts.questions["other"], b.fleet.counts.questions["other"]) == (3, 3)
    assert (a.offers, b.offers) == (2, 2)


# WebSockets


async def converse(machine: Machine, path: str) -> None:
    """See that what is said comes back, and how it ends, too."""
    async with connect(machine.address, path) as socket:
        for text in ("{}", "é" * 500_000):
            await socket.send_message(text)
            assert await socket.get_message() == text
        await socket.send_message("close")
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 4000


async def test_a_sideband_is_attached_from_any_machine(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    call_id = await b.call()
    for machine in (a, b):
        await converse(machine, f"/v1/realtime?call_id={call_id}")
    assert b.own.sockets == [(call_id, Grant(), "127.0.0.1")] * 2


async def test_a_session_over_a_socket_is_led_to_where_there_is_room(cluster: Cluster) -> None:
    a, _, c = await cluster.start_boxes(0, 0, 9)
    await converse(a, "/v1/realtime?model=m")
    assert c.own.sockets == [("m", Grant(), "127.0.0.1")]
    # It is counted when it is over, which is a moment after its client has heard so.
    while a.fleet.counts.offers["other"] == 0:
        await trio.sleep(0.01)
    assert a.fleet.counts.tries == {"taken": 1, "refused": 1, "unreachable": 0}
    c.own.slots = 0
    c.own.fault = busy(retry_after=9)
    status, answer = await refusal(a.address, "/v1/realtime?model=m")
    assert status == 503
    assert b"retry-after: 9\r\n" in answer


# What stays with the machine


async def test_each_machine_tells_of_itself(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    call_id = await a.call()
    assert [each["id"] for each in await a.fleet.sessions()] == [call_id]
    assert await b.fleet.sessions() == []
    b.own.ready = False
    assert await a.fleet.is_ready()
    assert not await b.fleet.is_ready()
    assert await a.fleet.metrics() == b"voicegate_calls 1\n"


async def test_what_is_counted_is_there_from_the_start(cluster: Cluster) -> None:
    (a,) = await cluster.start_boxes(9)
    await a.call()
    metrics = Metrics()
    a.fleet.counts.report(metrics)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    assert samples == {
        ("voicegate_fleet_offers_total", "own"): 1,
        ("voicegate_fleet_offers_total", "other"): 0,
        ("voicegate_fleet_offers_total", "nobody"): 0,
        ("voicegate_fleet_tries_total", "taken"): 0,
        ("voicegate_fleet_tries_total", "refused"): 0,
        ("voicegate_fleet_tries_total", "unreachable"): 0,
        ("voicegate_fleet_questions_total", "own"): 0,
        ("voicegate_fleet_questions_total", "other"): 0,
        ("voicegate_peer_strangers_total", "late"): 0,
        ("voicegate_peer_strangers_total", "untrusted"): 0,
        ("voicegate_peer_strangers_total", "impostor"): 0,
    }


async def test_a_machine_drains_alone(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    await a.fleet.begin_drain(seconds=7)
    assert (await a.fleet.drain_state()).is_draining
    assert not (await b.fleet.drain_state()).is_draining
    await a.fleet.end_drain()
    assert not (await a.fleet.drain_state()).is_draining


async def test_an_answer_that_is_a_refusal_is_handed_on_as_it_was_said(cluster: Cluster) -> None:
    a, b = await cluster.start_boxes(9, 9)
    with pytest.raises(RequestRefused) as caught:
        await a.fleet._at(b.peer, patience=5.0).create_call("v=0 m=video", session=None, client="")
    assert caught.value.message == "m-line 0 is video."
