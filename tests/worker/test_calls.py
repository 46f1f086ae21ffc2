"""The calls of whole servers, as those who hold keys see them: real processes and sockets."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import pytest
import trio
import trio_websocket

import voicegate
from tests.harness import make_client, run_server
from tests.worker import patient
from voicegate.access import ApiKey, hash_key

pytestmark = pytest.mark.slow

AGENTS = {"patient": patient.NAME}
KEYS = {"web": "the key of the web", "job": "the key of the job"}


def keys(**limits: object) -> list[ApiKey]:
    """Return both keys; the limits are those of the first."""
    return [
        ApiKey(name=name, hash=hash_key(key), **(limits if name == "web" else {}))  # type: ignore[arg-type]
        for name, key in KEYS.items()
    ]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let calls whose clients never come last in this process, too."""
    monkeypatch.setattr("voicegate.transceiver.core.CHECK_SECONDS", patient.SECONDS)


class Place:
    def __init__(self, server: voicegate.Server) -> None:
        self.url = server.url

    async def ask(self, method: str, path: str, key: str, **rest: Any) -> httpx2.Response:
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=60) as http:
            return await http.request(method, path, headers=bearer(key), **rest)

    async def call(self, key: str, query: str = "") -> httpx2.Response:
        offer = {"sdp": make_client().offer()}
        return await self.ask("POST", f"/v1/realtime/calls{query}", key, json=offer)

    @asynccontextmanager
    async def socket(self, path: str, key: str) -> AsyncIterator[trio_websocket.WebSocketConnection]:
        port = int(self.url.rstrip("/").rpartition(":")[2])
        headers = [(name.encode(), value.encode()) for name, value in bearer(key).items()]
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream, trio.open_nursery() as nursery:
            socket = await trio_websocket.wrap_client_stream(
                nursery, stream, "localhost", path, extra_headers=headers
            )
            async with socket:
                yield socket
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_place(**settings: object) -> AsyncIterator[Place]:
    with trio.fail_after(120):
        async with run_server(**{"agent": None, "agents": AGENTS, "keys": keys(), **settings}) as server:  # type: ignore[arg-type]
            yield Place(server)


async def read_to_end(socket: trio_websocket.WebSocketConnection) -> None:
    with suppress(trio_websocket.ConnectionClosed):
        while True:
            await socket.get_message()


def statuses(responses: Sequence[httpx2.Response]) -> list[int]:
    return [response.status_code for response in responses]


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_key_has_so_many_calls_and_not_one_more(workers: int) -> None:
    async with open_place(keys=keys(calls=4), workers=workers) as place:
        made = [await place.call("web") for _ in range(6)]
        assert sorted(statuses(made)) == [201] * 4 + [429] * 2
        refused = made[statuses(made).index(429)]
        assert refused.json()["error"]["code"] == "too_many_calls"
        assert int(refused.headers["retry-after"]) > 0
        assert (await place.call("job")).status_code == 201
        location = made[statuses(made).index(201)].headers["location"]
        assert (await place.ask("DELETE", location, "web")).status_code == 200
        while (again := await place.call("web")).status_code == 429:
            await trio.sleep(0.01)
        assert again.status_code == 201


@pytest.mark.parametrize("workers", [1, 2])
async def test_slots_and_addresses_are_counted_exactly(workers: int) -> None:
    async with open_place(workers=workers, max_calls=3) as place:
        made = [await place.call("web") for _ in range(4)]
        assert sorted(statuses(made)) == [201] * 3 + [503]
        assert int(made[statuses(made).index(503)].headers["retry-after"]) > 0
    async with open_place(workers=workers, max_calls_per_client=2) as place:
        made = [await place.call("web") for _ in range(3)]
        assert sorted(statuses(made)) == [201] * 2 + [429]


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_session_over_a_socket_and_sidebands_speak_the_api(workers: int) -> None:
    async with open_place(workers=workers, agents={"loud": "echo", **AGENTS}) as place:
        async with place.socket("/v1/realtime?model=loud", "web") as socket:
            created = json.loads(await socket.get_message())
            assert created["type"] == "session.created"
            assert created["session"]["model"] == "loud"
            listed = (await place.ask("GET", "/v1/sessions", "web")).json()["sessions"]
            assert len(listed) == 1
        # Whichever worker has a call, whichever is asked leads to it.
        for _ in range(4):
            call_id = (await place.call("web")).headers["location"].rpartition("/")[2]
            async with place.socket(f"/v1/realtime?call_id={call_id}", "job") as socket:
                assert json.loads(await socket.get_message())["type"] == "session.created"
                hangup = await place.ask("POST", f"/v1/realtime/calls/{call_id}/hangup", "web")
                assert hangup.status_code == 200
                await read_to_end(socket)


async def test_a_call_is_as_long_as_its_key_allows() -> None:
    async with open_place(keys=keys(minutes=0.01)) as place:
        async with place.socket("/v1/realtime?model=a", "web") as socket:
            await read_to_end(socket)
        call_id = (await place.call("web")).headers["location"].rpartition("/")[2]
        while (await place.ask("GET", f"/v1/sessions/{call_id}", "web")).json()["state"] != "ended":
            await trio.sleep(0.02)


async def test_a_session_over_a_socket_takes_a_slot_like_any_call() -> None:
    async with open_place(max_calls=1) as place:
        async with place.socket("/v1/realtime", "web") as socket:
            await socket.get_message()
            assert (await place.call("web")).status_code == 503
            call_id = (await place.ask("GET", "/v1/sessions", "web")).json()["sessions"][0]["id"]
            assert (await place.ask("GET", f"/v1/sessions/{call_id}", "web")).json()["id"] == call_id
            metrics = (await place.ask("GET", "/metrics", "web")).text
            assert "voicegate_socket_calls 1.0" in metrics
            assert (await place.ask("DELETE", f"/v1/realtime/calls/{call_id}", "web")).status_code == 200
            await read_to_end(socket)
        while (again := await place.call("web")).status_code == 503:
            await trio.sleep(0.01)
        assert again.status_code == 201


async def test_an_offer_that_cannot_be_answered_takes_none() -> None:
    async with open_place(max_calls=1) as place:
        for sdp in ("v=0", "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"):
            refused = await place.ask("POST", "/v1/realtime/calls", "web", json={"sdp": sdp})
            assert refused.status_code == 400
        assert (await place.call("web")).status_code == 201
