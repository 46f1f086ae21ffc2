"""A relay's operation over HTTP; its workers' figures are set by hand, so that nothing takes time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
import trio
import trio.testing
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.relay.checks import SECRET
from voicegate.child.reserve import Reserve
from voicegate.observability import Metrics
from voicegate.relay import Relay, RelayConfig
from voicegate.relay.counter import Count
from voicegate.relay.keeper import RelayKeeper
from voicegate.relay.operation import OperationApp
from voicegate.relay.slot import open_slots

CONFIG = RelayConfig(secrets=[SECRET], public=[("127.0.0.1", 0)], hop=("127.0.0.1", 0))


class Place:
    """A relay with a worker that is only said to be there, and its HTTP."""

    def __init__(self, keeper: RelayKeeper, relay: Relay) -> None:
        self.relay = relay
        self.keeper = keeper
        self.refusal: Response | None = None
        self.app = OperationApp(relay, admit=self.admit, report=self.report)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(self.app), base_url="http://relay")

    def admit(self, _request: Request) -> Response | None:
        return self.refusal

    def report(self, metrics: Metrics) -> None:
        metrics.gauge("directory_relays", "Relays that are listed", 3)

    def set_flows(self, count: int) -> None:
        self.keeper.slot.counters.set(Count.FLOWS, count)

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        response = await self.client.request(method, path, content=body)
        assert response.headers["Cache-Control"] == "no-store"
        told = response.json()
        return response.status_code, told["error"]["code"] if "error" in told else told


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    with ExitStack() as stack:
        (slot,) = open_slots(CONFIG, stack)
        async with trio.open_nursery() as nursery:
            keeper = RelayKeeper(0, slot, CONFIG, reserve=Reserve(nursery, "none"), directory=None)
            keeper.pid = 1
            place = Place(keeper, Relay([keeper]))
            async with place.client:
                yield place


async def test_health_is_to_be_there_and_readiness_a_worker_and_no_drain() -> None:
    async with open_place() as place:
        assert await place.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert await place.ask("GET", "/readyz") == (200, {"status": "ready"})
        place.keeper.pid = None
        assert await place.ask("GET", "/readyz") == (503, "not_ready")
        place.relay.begin_drain()
        assert await place.ask("GET", "/readyz") == (503, "draining")
        assert await place.ask("GET", "/healthz") == (200, {"status": "ok"})
        assert (await place.client.head("/healthz")).content == b""


async def test_figures_are_the_relays_and_its_directorys() -> None:
    async with open_place() as place:
        place.set_flows(7)
        place.relay.begin_drain()
        scrape = (await place.client.get("/metrics")).text
        for line in (
            "voicegate_relay_flows 7.0",
            "voicegate_relay_draining 1.0",
            "voicegate_directory_relays 3.0",
        ):
            assert line in scrape
        bare = OperationApp(place.relay, admit=place.admit)
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(bare), base_url="http://relay"
        ) as client:
            assert "directory" not in (await client.get("/metrics")).text


async def test_a_drain_begins_changes_and_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with open_place() as place:
        place.set_flows(2)
        none = {"is_draining": False, "seconds_left": None, "flows": 2}
        assert await place.ask("GET", "/v1/drain") == (200, none)
        endless = {"is_draining": True, "seconds_left": None, "flows": 2}
        assert await place.ask("POST", "/v1/drain") == (200, endless)
        assert await place.ask("POST", "/v1/drain", b"{}") == (200, endless)
        assert await place.ask("POST", "/v1/drain", b'{"seconds": 60}') == (
            200,
            {"is_draining": True, "seconds_left": 60.0, "flows": 2},
        )
        await trio.sleep(100)
        state = {"is_draining": True, "seconds_left": 0.0, "flows": 2}
        assert await place.ask("GET", "/v1/drain") == (200, state)
        assert await place.ask("DELETE", "/v1/drain") == (200, none)
        assert await place.ask("DELETE", "/v1/drain") == (200, none)


@pytest.mark.parametrize(
    "body",
    [
        b"60",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 4000,
        b'{"seconds": "60"}',
        b'{"seconds": true}',
        b'{"seconds": -1}',
        b'{"seconds": NaN}',
        b'{"seconds": 1e9}',
    ],
)
async def test_what_is_no_drain_is_refused_and_changes_nothing(body: bytes) -> None:
    async with open_place() as place:
        assert await place.ask("POST", "/v1/drain", body) == (400, "bad_request")
        assert not place.relay.is_draining


async def test_only_the_admitted_drain_and_see_figures() -> None:
    async with open_place() as place:
        place.refusal = JSONResponse({"error": {"code": "no"}}, status_code=401)
        for method in ("GET", "POST", "DELETE"):
            assert await place.ask(method, "/v1/drain") == (401, "no")
        assert await place.ask("GET", "/metrics") == (401, "no")
        assert not place.relay.is_draining
        assert (await place.ask("GET", "/readyz"))[0] == 200


async def test_other_paths_and_methods_are_refused_in_the_one_shape() -> None:
    async with open_place() as place:
        assert await place.ask("GET", "/v1/sessions") == (404, "not_found")
        assert await place.ask("PUT", "/v1/drain") == (405, "method_not_allowed")
        allowed = (await place.client.post("/readyz")).headers["Allow"]
        assert allowed == "GET"


async def test_a_fault_of_ours_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_place() as place:
        monkeypatch.setattr(place.app, "_report", lambda _metrics: 1 / 0)
        assert await place.ask("GET", "/metrics") == (500, "internal_error")


async def run_app(
    app: OperationApp, scope: dict[str, Any], *received: dict[str, Any]
) -> list[dict[str, Any]]:
    """Speak ASGI by hand; return what the application says."""
    waiting, sent = list(received), []

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_a_body_that_does_not_end_is_not_read_to_its_end() -> None:
    async with open_place() as place:
        scope = {"type": "http", "method": "POST", "path": "/v1/drain", "headers": [], "query_string": b""}
        chunk = {"type": "http.request", "body": bytes(1500), "more_body": True}
        start, _ = await run_app(place.app, scope, *[chunk] * 3)
        assert start["status"] == 400
        assert not place.relay.is_draining


async def test_it_goes_with_the_life_of_its_server_and_serves_no_sockets() -> None:
    async with open_place() as place:
        life = await run_app(place.app, {"type": "lifespan"}, {}, {})
        assert [message["type"] for message in life] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        closed = await run_app(place.app, {"type": "websocket"}, {"type": "websocket.connect"})
        assert closed == [{"type": "websocket.close", "code": 1000}]
        assert await run_app(place.app, {"type": "something"}) == []


async def test_a_client_that_goes_while_it_asks_gets_no_answer() -> None:
    async with open_place() as place:
        scope = {"type": "http", "method": "POST", "path": "/v1/drain", "headers": [], "query_string": b""}
        assert await run_app(place.app, scope, {"type": "http.disconnect"}) == []


# A drain, as who runs the relay waits for it


def elapsed(drained: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[tuple[bool, float]]]:
    async def measure() -> tuple[bool, float]:
        began_at = trio.current_time()
        return await drained(), trio.current_time() - began_at

    return measure


async def test_a_drain_is_over_when_no_client_is_left(autojump_clock: trio.testing.MockClock) -> None:
    async with open_place() as place:
        place.set_flows(1)

        async def leave() -> None:
            await trio.sleep(5.1)
            place.set_flows(0)

        place.relay.begin_drain(seconds=60)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
            has_none_left, seconds = await elapsed(place.relay.wait_drained)()
        assert has_none_left
        assert 5.1 <= seconds < 5.5


async def test_a_drain_is_over_when_its_time_is_up_or_it_is_called_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_place() as place:
        place.set_flows(1)
        assert await elapsed(place.relay.wait_drained)() == (False, 0.0)
        place.relay.begin_drain(seconds=3)
        assert await elapsed(place.relay.wait_drained)() == (False, 3.0)
        place.relay.begin_drain()
        assert place.relay.drain_seconds_left is None

        async def call_off() -> None:
            await trio.sleep(1000)
            place.relay.end_drain()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call_off)
            assert await elapsed(place.relay.wait_drained)() == (False, 1000.0)


async def test_whoever_announces_the_relay_hears_of_each_change(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_place() as place:
        heard: list[bool] = []

        async def listen() -> None:
            while True:
                await place.relay.wait_drain_changed()
                heard.append(place.relay.is_draining)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            for step in (place.relay.end_drain, place.relay.begin_drain, place.relay.begin_drain):
                step()
                await trio.testing.wait_all_tasks_blocked()
            place.relay.end_drain()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert heard == [True, False]
