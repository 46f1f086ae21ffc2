"""Whole servers: the relays that their answers list, for each client."""

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio

import voicegate
from tests.harness import make_client, run_server
from voicegate.access import Admission
from voicegate.agents import echo
from voicegate.config import Config
from voicegate.directory import MemoryDirectory, Snapshot
from voicegate.errors import UsageError
from voicegate.observability import Metrics
from voicegate.sdp import Candidate, IceFragment, SessionDescription
from voicegate.sdp.candidate import host_candidates
from voicegate.signalling import OfferRefused
from voicegate.worker import LocalCalls, make_transceiver, open_port, run_agents

pytestmark = pytest.mark.slow

REGIONS = {
    "eu": {"location": [50.1, 8.7], "default": True},
    "us": {"location": [39.0, -77.5], "relays": ["192.0.2.1:3478"]},
    "asia": {"location": [1.35, 103.8], "relays": ["[2001:db8::1]:3478"]},
}
SETTINGS: dict[str, Any] = {
    "regions": REGIONS,
    "region": "eu",
    "trusted_proxies": ["127.0.0.0/8"],
    "geo": {"country_header": "X-Country", "latitude_header": "X-Lat", "longitude_header": "X-Lon"},
}
SDP = {"content-type": "application/sdp"}


async def answer(http: httpx2.AsyncClient, path: str, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if "live" in path:
        sdp = make_client(has_data=True).offer()
        request = {"session": {"model": "m"}, "transport": {"type": "webrtc", "sdp": sdp}}
        response = await http.post(path, json=request, headers=named)
        assert response.status_code == 201, response.text
        return str(response.json()["transport"]["sdp"])
    response = await http.post(path, content=make_client().offer(), headers={**SDP, **named})
    assert response.status_code == 201, response.text
    return response.text


def relays(sdp: str) -> list[str]:
    """Return the addresses that an answer lists over UDP, in their order."""
    media = SessionDescription.decode(sdp).media[0]
    listed = [Candidate.decode(line.value or "") for line in media.attributes_named("candidate")]
    priorities = [each.priority for each in listed]
    assert priorities == sorted(set(priorities), reverse=True)
    return [each.address for each in listed if each.transport == "udp"]


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_answer_to_a_client_begins_with_the_relay_nearest_to_it(workers: int) -> None:
    with trio.fail_after(120):
        async with (
            run_server(**SETTINGS, agent=None, workers=workers) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http,
        ):
            for path in ("/v1/realtime/calls", "/v1/realtime", "/v1/whip", "/v1/live/sessions"):
                assert relays(await answer(http, path)) == ["127.0.0.1", "192.0.2.1", "2001:db8::1"]
                us = await answer(http, path + "?region=us")
                assert relays(us) == ["192.0.2.1", "127.0.0.1", "2001:db8::1"]
                us = await answer(http, path, x_lat="37.8", x_lon="-122.4")
                assert relays(us) == ["192.0.2.1", "127.0.0.1", "2001:db8::1"]
                asia = await answer(http, path, x_voicegate_region="asia")
                assert relays(asia) == ["2001:db8::1", "127.0.0.1", "192.0.2.1"]
            figures = (await http.get("/metrics")).text
    assert "voicegate_steering_ignored_total{" in figures
    assert "voicegate_steering_relays" in figures


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_first_answer_knows_the_relay_of_its_machine(
    workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    news, silence = trio.open_memory_channel[Snapshot](0)
    monkeypatch.setattr(MemoryDirectory, "watch", lambda _: silence)
    with trio.fail_after(120):
        async with (
            run_server(**SETTINGS, agent=None, workers=workers) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http,
        ):
            assert relays(await answer(http, "/v1/whip")) == ["127.0.0.1", "192.0.2.1", "2001:db8::1"]
    news.close()


async def test_so_many_relays_are_listed_as_the_configuration_says() -> None:
    async with (
        run_server(echo, **SETTINGS, answer_relays=1) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http,
    ):
        assert relays(await answer(http, "/v1/realtime/calls?region=us")) == ["192.0.2.1"]


async def test_calls_are_counted_by_the_address_behind_the_proxy() -> None:
    async with (
        run_server(echo, **SETTINGS, max_calls_per_client=1) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http,
    ):

        async def call(forwarded: str) -> int:
            headers = {**SDP, "X-Forwarded-For": forwarded}
            response = await http.post("/v1/realtime/calls", content=make_client().offer(), headers=headers)
            return response.status_code

        assert await call("203.0.113.1") == 201
        assert await call("203.0.113.1") == 429
        # Whatever a client writes itself changes nothing.
        assert await call("203.0.113.2, 203.0.113.1:99") == 429
        assert await call("203.0.113.2") == 201


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_ice_restart_lists_the_relays_for_that_call_again(workers: int) -> None:
    with trio.fail_after(120):
        async with (
            run_server(**SETTINGS, agent=None, workers=workers) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as http,
        ):
            made = await http.post("/v1/whip?region=us", content=make_client().offer(), headers=SDP)
            assert relays(made.text)[0] == "192.0.2.1"
            fragment = (
                "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
                "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
            )
            headers = {"content-type": "application/trickle-ice-sdpfrag", "if-match": "*"}
            restarted = await http.patch(made.headers["location"], content=fragment, headers=headers)
            assert restarted.status_code == 200, restarted.text
            listed = IceFragment.decode(restarted.text).candidates
    assert [each.address for each in listed if each.transport == "udp"] == relays(made.text)


async def test_without_any_relay_there_is_no_call() -> None:
    config = Config(agent="echo")
    with closing(open_port("127.0.0.1")) as port:
        async with trio.open_nursery() as nursery:
            agents = await nursery.start(partial(run_agents, config))
            transceiver = make_transceiver(port, config, agents=agents, secrets=[bytes(32)], transceiver_id=1)
            await nursery.start(transceiver.run)
            chosen: list[Candidate] = []
            asked: list[tuple[str, ...]] = []

            def choose(regions: tuple[str, ...]) -> list[Candidate]:
                asked.append(regions)
                return chosen

            def report(metrics: Metrics) -> None:
                metrics.gauge("of_ours", "Something", 1)

            calls = LocalCalls(
                transceiver,
                agents=agents,
                admission=Admission(max_calls=10),
                max_call_seconds=60,
                answer_candidates=choose,
                reports=[report],
            )

            async def call(*regions: str) -> list[str]:
                made = await calls.create_call(
                    make_client().offer(), session=None, client="", regions=list(regions)
                )
                return relays(made.answer)

            with pytest.raises(OfferRefused) as caught:
                await call("eu", "us")
            assert (caught.value.status, caught.value.code) == (503, "no_relay")
            assert "Retry-After" in (caught.value.headers or {})
            assert transceiver.call_count == 0
            transceiver.candidates = host_candidates(udp=[("192.0.2.7", 1)])
            assert await call("eu", "us") == ["192.0.2.7"]
            chosen.extend(host_candidates(udp=[("192.0.2.8", 1), ("192.0.2.9", 1)]))
            assert await call() == ["192.0.2.8", "192.0.2.9"]
            assert asked == [("eu", "us"), ("eu", "us"), ()]
            assert b"voicegate_of_ours 1" in await calls.metrics()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_database_that_is_not_there_is_told_at_the_start(workers: int, tmp_path: Path) -> None:
    missing = tmp_path / "city.mmdb"
    config = Config(
        http="127.0.0.1:0", udp="127.0.0.1:0", agent="echo", workers=workers, geo={"database": missing}
    )
    with (
        trio.fail_after(60),
        pytest.RaisesGroup(
            pytest.RaisesExc(UsageError, match=r"geo: .*city\.mmdb"),
            flatten_subgroups=True,
            allow_unwrapped=True,
        ),
    ):
        await voicegate.serve(None, config)
