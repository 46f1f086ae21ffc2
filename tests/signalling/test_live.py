"""The routes of the Live API, over a real server."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.harness import make_client, run_server
from voicegate.agents import echo
from voicegate.signalling.live import MAX_BODY

pytestmark = pytest.mark.slow

SESSIONS = "/v1/live/sessions"
SESSION = {"model": "gpt-live-1"}


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        run_server(echo) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield client


def transport(**fields: Any) -> dict[str, Any]:
    return {"type": "webrtc", "sdp": make_client(has_data=True).offer(), **fields}


def fault(response: httpx2.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


async def test_an_offer_makes_a_session_until_it_is_hung_up(http: httpx2.AsyncClient) -> None:
    response = await http.post(SESSIONS, json={"session": SESSION, "transport": transport(dcid=3)})
    assert response.status_code == 201
    made = response.json()
    session_id = made["session"]["id"]
    assert session_id.startswith("live_u0_")
    assert made["transport"]["type"] == "webrtc"
    assert made["transport"]["sdp"].startswith("v=0\r\n")
    assert response.headers["location"] == f"{SESSIONS}/{session_id}"
    call_id = session_id.replace("live_", "rtc_")
    assert (await http.get(f"/v1/sessions/{call_id}")).status_code == 200
    assert (await http.post(f"{SESSIONS}/{session_id}/hangup")).status_code == 200
    for unknown in (session_id, call_id, "live_"):
        response = await http.post(f"{SESSIONS}/{unknown}/hangup")
        assert fault(response) == (404, "call_not_found", "call_id")
    assert (await http.get(f"{SESSIONS}/{session_id}/attach")).status_code == 426


async def test_a_request_is_read_strictly(http: httpx2.AsyncClient) -> None:
    for request, code, param in (
        ({}, "missing_required_parameter", "session"),
        ({"session": SESSION}, "missing_required_parameter", "transport"),
        ({"session": SESSION, "transport": transport(), "x": 1}, "unknown_parameter", "x"),
        ({"session": SESSION, "transport": transport(ice=1)}, "unknown_parameter", "transport.ice"),
        ({"session": SESSION, "transport": transport(type="sip")}, "invalid_value", "transport.type"),
        ({"session": SESSION, "transport": transport(sdp="hello")}, "invalid_value", "transport.sdp"),
        ({"session": SESSION, "transport": transport(dcid=1024)}, "invalid_value", "transport.dcid"),
        ({"session": SESSION, "transport": transport(dcid="1")}, "invalid_type", "transport.dcid"),
        ({"session": {}, "transport": transport()}, "missing_required_parameter", "session.model"),
        (
            {"session": {**SESSION, "tools": []}, "transport": transport()},
            "unknown_parameter",
            "session.tools",
        ),
        ({"session": [], "transport": transport()}, "invalid_type", "session"),
    ):
        response = await http.post(SESSIONS, json=request)
        assert fault(response) == (400, code, param)


async def test_what_is_no_request_is_refused(http: httpx2.AsyncClient) -> None:
    json = {"content-type": "application/json"}
    for content, headers, expected in (
        (b"{", json, (400, "invalid_json", None)),
        (b"[]", json, (400, "invalid_json", None)),
        (b"\xff", json, (400, "invalid_json", None)),
        (b"{}", {"content-type": "application/sdp"}, (415, "unsupported_content_type", None)),
        (b"{}".ljust(MAX_BODY + 1), json, (413, "body_too_large", None)),
    ):
        assert fault(await http.post(SESSIONS, content=content, headers=headers)) == expected


async def test_an_offer_that_can_not_be_answered_is_refused(http: httpx2.AsyncClient) -> None:
    without_data = make_client().offer()
    response = await http.post(
        SESSIONS, json={"session": SESSION, "transport": transport(sdp=without_data, dcid=1)}
    )
    assert fault(response) == (400, "no_data_section", "dcid")
    response = await http.post(SESSIONS, json={"session": SESSION, "transport": transport(sdp="v=0")})
    assert fault(response)[:2] == (400, "invalid_offer")


async def test_a_client_secret_of_the_other_api_is_of_no_use_here(http: httpx2.AsyncClient) -> None:
    secret = (await http.post("/v1/realtime/client_secrets", json={})).json()["value"]
    request = {"session": SESSION, "transport": transport()}
    response = await http.post(SESSIONS, json=request, headers={"authorization": f"Bearer {secret}"})
    assert fault(response) == (403, "client_secret_not_allowed", None)
