"""Where clients are: each kind of evidence, at each API, over a real server."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from tests.harness import make_client
from tests.signalling.conftest import OFFER, MemoryService
from tests.signalling.mmdb import FRANKFURT, SINGAPORE, write_database
from tests.signalling.test_websocket import connect
from voicegate.config import Config
from voicegate.observability import Metrics
from voicegate.signalling import RemoteCalls, UnixDoor, serve_http, serve_privately
from voicegate.signalling.locate import Locator

REGIONS = {
    "us": {"location": [39.0, -77.5], "default": True},
    "eu": {"location": [50.1, 8.7], "countries": ["IL"], "continents": ["EU"]},
    "asia": {"location": [1.35, 103.8]},
}
US, EU, ASIA = ("us", "eu", "asia"), ("eu", "us", "asia"), ("asia", "eu", "us")
HEADERS = {"country_header": "X-Country", "latitude_header": "X-Latitude", "longitude_header": "X-Longitude"}
LOOPBACK = ["127.0.0.0/8"]
BEHIND_PROXY: dict[str, Any] = {"trusted_proxies": LOOPBACK, "geo": HEADERS}

Opener = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "city.mmdb"
    write_database(path, {"203.0.113.0/24": FRANKFURT, "2001:db8::/32": SINGAPORE})
    return path


@pytest.fixture
def open_http(service: MemoryService) -> Opener:
    @asynccontextmanager
    async def open_(**settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
        locator = Locator(Config(**{"regions": REGIONS, **settings}))
        async with trio.open_nursery() as nursery:
            host, port = await nursery.start(
                partial(serve_http, service, host="127.0.0.1", port=0, locator=locator)
            )
            async with httpx2.AsyncClient(
                base_url=f"http://{host}:{port}", trust_env=False, timeout=60
            ) as http:
                yield http
            nursery.cancel_scope.cancel()

    return open_


async def offer(http: httpx2.AsyncClient, path: str = "/v1/realtime/calls", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if "live" in path:
        request = {"session": {"model": "m"}, "transport": {"type": "webrtc", "sdp": OFFER}}
        response = await http.post(path, json=request, headers=named)
    else:
        sdp = {"content-type": "application/sdp", **named}
        response = await http.post(path, content=make_client().offer(), headers=sdp)
    return response.status_code


def said(service: MemoryService) -> tuple[str, tuple[str, ...]]:
    terms = service.terms[-1]
    return terms["client"], tuple(terms["regions"])


@pytest.mark.parametrize("path", ["/v1/realtime/calls", "/v1/realtime", "/v1/whip", "/v1/live/sessions"])
async def test_each_api_says_where_its_client_is(
    open_http: Opener, service: MemoryService, path: str
) -> None:
    async with open_http(**BEHIND_PROXY) as http:
        assert await offer(http, path) == 201
        assert said(service) == ("127.0.0.1", US)
        assert await offer(http, path + "?region=asia") == 201
        assert said(service) == ("127.0.0.1", ASIA)
        assert await offer(http, path, x_voicegate_region="eu", x_forwarded_for="203.0.113.9") == 201
        assert said(service) == ("203.0.113.9", EU)
        assert await offer(http, path, x_country="DE") == 201
        assert said(service) == ("127.0.0.1", EU)


async def test_the_evidence_has_an_order(open_http: Opener, service: MemoryService, database: Path) -> None:
    async with open_http(trusted_proxies=LOOPBACK, geo={**HEADERS, "database": str(database)}) as http:
        from_asia = {"x_forwarded_for": "2001:db8::7"}
        await offer(http, **from_asia)
        assert said(service) == ("2001:db8::7", ASIA)
        await offer(http, **from_asia, x_latitude="50", x_longitude="8")
        assert said(service)[1] == EU
        await offer(http, **from_asia, x_country="XX")
        assert said(service)[1] == ASIA
        await offer(http, **from_asia, x_country="IL", x_voicegate_region="us")
        assert said(service)[1] == US
        await offer(http, "/v1/realtime/calls?region=eu", **from_asia, x_voicegate_region="us")
        assert said(service)[1] == EU
        await offer(http, "/v1/realtime/calls?region=moon", **from_asia)
        assert said(service)[1] == ASIA
        await offer(http, x_forwarded_for="198.51.100.1")
        assert said(service) == ("198.51.100.1", US)


async def test_who_is_no_proxy_of_ours_may_ask_for_a_region_and_nothing_else(
    open_http: Opener, service: MemoryService, database: Path
) -> None:
    async with open_http(geo={**HEADERS, "database": str(database)}) as http:
        await offer(http, x_forwarded_for="203.0.113.9", x_country="DE", x_latitude="50", x_longitude="8")
        assert said(service) == ("127.0.0.1", US)
        await offer(http, x_voicegate_region="asia")
        assert said(service) == ("127.0.0.1", ASIA)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_country": "Germany"},
        {"x_latitude": "50"},
        {"x_latitude": "500", "x_longitude": "8"},
        {"x_latitude": "nan", "x_longitude": "nan"},
        {"x_country": "D" * 4000},
    ],
)
async def test_malformed_headers_are_passed_over_and_counted(
    open_http: Opener, service: MemoryService, headers: dict[str, str]
) -> None:
    async with open_http(**BEHIND_PROXY) as http:
        assert await offer(http, **headers) == 201
        assert said(service)[1] == US


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("8.8.8.8, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("unknown", "127.0.0.1"),
        ("203.0.113.9, ;drop table", "127.0.0.1"),
        ("127.0.0.9," * 1000, "127.0.0.1"),
        ("127.0.0.9," * 1000 + "127.0.0.8", "127.0.0.9"),
    ],
)
async def test_what_proxies_say_is_read_from_its_end(
    open_http: Opener, service: MemoryService, forwarded: str, client: str
) -> None:
    async with open_http(**BEHIND_PROXY) as http:
        assert await offer(http, x_forwarded_for=forwarded) == 201
        assert said(service)[0] == client
        lines = [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "203.0.113.9")]
        await http.post(
            "/v1/realtime/calls", content=OFFER, headers=[*lines, ("content-type", "application/sdp")]
        )
        assert said(service)[0] == "203.0.113.9"


async def test_a_websocket_s_client_is_found_behind_proxies_too(
    service: MemoryService, nursery: trio.Nursery
) -> None:
    locator = Locator(Config(trusted_proxies=LOOPBACK))
    serve = partial(serve_http, service, host="127.0.0.1", port=0, locator=locator)
    address = await nursery.start(serve)
    async with connect(address, extra_headers=[("X-Forwarded-For", "8.8.8.8, 203.0.113.9")]) as socket:
        await socket.send_message("leave")
    assert [client for _, _, client in service.sockets] == ["203.0.113.9"]


async def test_regions_are_passed_on_to_another_process(
    service: MemoryService, tmp_path: Path, nursery: trio.Nursery
) -> None:
    await nursery.start(serve_privately, service, tmp_path / "socket")
    calls = RemoteCalls(UnixDoor(tmp_path / "socket"), agent_name="parrot")
    await calls.create_call(OFFER, session=None, client="203.0.113.9", regions=EU)
    assert said(service) == ("203.0.113.9", EU)


def request(peer: str = "127.0.0.1", query: str = "", **headers: str | list[str]) -> HTTPConnection:
    lines = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    scope = {"type": "http", "client": (peer, 1), "query_string": query.encode(), "headers": lines}
    return HTTPConnection(scope)


def figures(locator: Locator) -> Mapping[str, float]:
    metrics = Metrics()
    locator.report(metrics)
    lines = (line for line in metrics.render().decode().splitlines() if not line.startswith("#"))
    return {
        name.partition("=")[2].strip('"}'): float(value) for name, value in (line.split() for line in lines)
    }


def test_everything_is_counted() -> None:
    locator = Locator(Config(regions=REGIONS, **BEHIND_PROXY))
    for asked in (
        request(query="region=eu"),
        request(x_country="DE"),
        request(x_country="Germany", x_forwarded_for="unknown"),
        request(x_country=["DE", "US"]),
        request(query="region=moon"),
        request(query="region="),
    ):
        locator.locate(asked, client=locator.client(asked))
    assert figures(locator) == {
        "hint": 1,
        "header": 1,
        "default": 4,
        "unknown_region": 1,
        "malformed_geo_header": 2,
        "malformed_forwarded": 1,
        "database_fault": 0,
    }


def test_faults_of_the_database_are_counted(database: Path) -> None:
    write_database(database, {"203.0.113.0/24": "broken"})
    locator = Locator(Config(regions=REGIONS, geo={"database": str(database)}))

    async def main() -> tuple[str, ...]:
        return locator.locate(request(), client="203.0.113.9")

    assert trio.run(main) == US
    assert figures(locator)["database_fault"] == 1


def test_without_regions_nothing_is_looked_for() -> None:
    locator = Locator(Config())
    assert locator.locate(request(query="region=eu"), client="") == ()
    assert locator.client(request()) == "127.0.0.1"
    assert locator.client(HTTPConnection({"type": "http", "client": None, "headers": []})) == ""


TEXT = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


@given(country=TEXT, latitude=TEXT, longitude=TEXT, forwarded=TEXT, hint=TEXT)
def test_no_header_makes_a_request_fail(
    country: str, latitude: str, longitude: str, forwarded: str, hint: str
) -> None:
    locator = Locator(Config(regions=REGIONS, **BEHIND_PROXY))
    asked = request(
        x_country=country,
        x_latitude=latitude,
        x_longitude=longitude,
        x_forwarded_for=forwarded,
        x_voicegate_region=hint,
    )
    client = locator.client(asked)
    assert client
    assert sorted(locator.locate(asked, client=client)) == ["asia", "eu", "us"]
