"""A server with keys: what is open, what wants one, and where it is looked for."""

import os
from collections.abc import AsyncIterator
from functools import partial

import httpx2
import pytest
import trio

from tests.signalling.conftest import OFFER, MemoryService
from tests.signalling.test_app import CALLS, SDP, fault
from voicegate.access import ApiKey, Gate, Grant, hash_key
from voicegate.signalling import serve_http
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.api import Access
from voicegate.signalling.app import SignallingApp

KEY = "a key of some length"
GATE = Gate([ApiKey(name="web", hash=hash_key(KEY), minutes=1.0)], secrets=[bytes(16)], random=os.urandom)
EXPIRED, _ = GATE.make_secret(Grant(key="web"), {}, expires_at=1)
EPHEMERAL, _ = GATE.make_secret(Grant(key="web"), {"voice": "marin"}, expires_at=1 << 40)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
async def http(service: MemoryService, nursery: trio.Nursery) -> AsyncIterator[httpx2.AsyncClient]:
    host, port = await nursery.start(
        partial(serve_http, service, host="127.0.0.1", port=0, gate=GATE, ice_servers=[{"urls": "stun:a"}])
    )
    async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", timeout=60) as client:
        yield client


async def test_a_call_wants_a_key_and_is_made_with_its_grant(
    http: httpx2.AsyncClient, service: MemoryService
) -> None:
    response = await http.post(CALLS, content=OFFER, headers=SDP)
    assert fault(response) == (401, "invalid_request_error", "missing_api_key", None)
    assert response.headers["www-authenticate"] == "Bearer"
    assert service.offers == []
    response = await http.post(CALLS, content=OFFER, headers=SDP | bearer(KEY))
    assert response.status_code == 201
    assert service.terms[0]["grant"] == Grant(key="web", max_seconds=60.0)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"Authorization": f"Basic {KEY}"}, "missing_api_key"),
        (bearer("another key entirely"), "invalid_api_key"),
        (bearer("ek_made_up"), "invalid_api_key"),
        (bearer(EXPIRED), "client_secret_expired"),
    ],
)
async def test_whoever_has_no_valid_key_reads_why(
    http: httpx2.AsyncClient, headers: dict[str, str], code: str
) -> None:
    assert fault(await http.get("/metrics", headers=headers)) == (401, "invalid_request_error", code, None)


async def test_the_scheme_is_read_as_any_proxy_may_write_it(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/metrics", headers={"Authorization": f"bearer  {KEY}"})).status_code == 200


async def test_a_client_secret_makes_calls_with_its_session(
    http: httpx2.AsyncClient, service: MemoryService
) -> None:
    parts = {"sdp": (None, OFFER), "session": (None, '{"voice": "ash", "instructions": "Hi."}')}
    response = await http.post(f"{CALLS}?model=mine", files=parts, headers=bearer(EPHEMERAL))
    assert response.status_code == 201
    assert service.terms[0]["session"] == {"voice": "marin", "instructions": "Hi."}
    assert service.terms[0]["model"] == "mine"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/metrics"), ("GET", "/v1/sessions"), ("POST", "/v1/realtime/client_secrets")],
)
async def test_a_client_secret_is_not_for_operators(http: httpx2.AsyncClient, method: str, path: str) -> None:
    response = await http.request(method, path, headers=bearer(EPHEMERAL))
    assert fault(response) == (403, "invalid_request_error", "key_required", None)


async def test_ice_servers_are_told_to_clients(http: httpx2.AsyncClient) -> None:
    path = "/v1/realtime/ice-servers"
    assert (await http.get(path)).status_code == 401
    assert (await http.get(path, headers=bearer(EPHEMERAL))).json() == {"ice_servers": [{"urls": "stun:a"}]}


async def test_whoever_knows_a_call_may_hang_up(http: httpx2.AsyncClient, service: MemoryService) -> None:
    await http.post(CALLS, content=OFFER, headers=SDP | bearer(KEY))
    assert (await http.post(f"{CALLS}/rtc_0/hangup")).status_code == 200


async def test_nothing_but_this_is_open() -> None:
    app = SignallingApp(MemoryService(), access=AccessPolicy(), gate=GATE)
    assert {(each.method, each.path) for each in app.endpoints if each.access is Access.OPEN} == {
        ("GET", "/"),
        ("GET", "/static/{name}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/realtime/calls/{call_id}/hangup"),
        ("DELETE", "/v1/realtime/calls/{call_id}"),
        ("OPTIONS", "/v1/whip"),
        ("OPTIONS", "/v1/whip/{call_id}"),
    }
