"""Going away over HTTP, as operators and orchestrators do it."""

import httpx2
import pytest

from tests.signalling.conftest import MemoryService


async def test_a_drain_begins_is_shown_and_ends(http: httpx2.AsyncClient, service: MemoryService) -> None:
    assert (await http.get("/v1/drain")).json() == {"is_draining": False, "seconds_left": None, "calls": 0}
    begun = await http.post("/v1/drain", json={"seconds": 7.5})
    assert (begun.status_code, begun.json()["seconds_left"]) == (200, 7.5)
    assert service.drain_seconds == 7.5
    assert (await http.get("/v1/drain")).json()["is_draining"]
    ended = await http.delete("/v1/drain")
    assert (ended.status_code, ended.json()["is_draining"]) == (200, False)


@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_a_drain_without_a_time_takes_a_minute(
    body: bytes, http: httpx2.AsyncClient, service: MemoryService
) -> None:
    assert (await http.post("/v1/drain", content=body)).status_code == 200
    assert service.drain_seconds == 60


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[]", "invalid_json"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_json"),
        (b'{"seconds": NaN}', "invalid_json"),
        (b'{"seconds": null}', "invalid_parameter"),
        (b'{"seconds": "60"}', "invalid_parameter"),
        (b'{"seconds": true}', "invalid_parameter"),
        (b'{"seconds": -1}', "invalid_parameter"),
        (b'{"seconds": 1e300}', "invalid_parameter"),
    ],
)
async def test_what_is_no_time_drains_nothing(
    body: bytes, code: str, http: httpx2.AsyncClient, service: MemoryService
) -> None:
    refused = await http.post("/v1/drain", content=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, code)
    assert service.drain_seconds is None


async def test_who_drains_is_alive_and_not_ready(http: httpx2.AsyncClient, service: MemoryService) -> None:
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    await http.post("/v1/drain")
    refused = await http.get("/readyz")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
    assert (await http.get("/healthz")).status_code == 200
    await http.delete("/v1/drain")
    service.ready = False
    assert (await http.get("/readyz")).json()["error"]["code"] == "not_ready"
