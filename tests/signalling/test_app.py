import json
from typing import Any

import httpx2
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.signalling.conftest import OFFER, MemoryService
from tests.signalling.test_offer import BODIES, CONTENT_TYPES
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.api import BODY_SECONDS, MAX_BODY
from voicegate.signalling.app import SignallingApp

CALLS = "/v1/realtime/calls"
SDP = {"Content-Type": "application/sdp"}
BARE = SignallingApp(MemoryService(), access=AccessPolicy())
"""The application without a server."""


def fault(response: httpx2.Response) -> tuple[int, str, str, str | None]:
    """Check the one shape of errors and return what differs."""
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"type", "code", "message", "param"}
    assert body["error"]["message"]
    return response.status_code, body["error"]["type"], body["error"]["code"], body["error"]["param"]


async def test_a_bare_offer_makes_a_call(http: httpx2.AsyncClient, service: MemoryService) -> None:
    response = await http.post(f"{CALLS}?model=any", content=OFFER, headers=SDP)
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/realtime/calls/rtc_0"
    assert response.headers["content-type"] == "application/sdp"
    assert response.text == OFFER
    assert service.offers == [(OFFER, None, "127.0.0.1")]
    assert service.data_channel_ids == [None]


async def test_the_id_of_a_data_channel_is_passed_on(
    http: httpx2.AsyncClient, service: MemoryService
) -> None:
    offer = OFFER + "m=application 9\r\n"
    for id_ in (0, 1023):
        assert (await http.post(f"{CALLS}?dcid={id_}", content=offer, headers=SDP)).status_code == 201
    assert service.data_channel_ids == [0, 1023]


@pytest.mark.parametrize(
    "query",
    ["dcid=", "dcid=1024", "dcid=-1", "dcid=1e2", "dcid=%C2%B2", "dcid=1&dcid=1", f"dcid={'1' * 5000}"],
)
async def test_what_is_no_id_of_a_data_channel_is_refused(http: httpx2.AsyncClient, query: str) -> None:
    response = await http.post(f"{CALLS}?{query}", content=OFFER, headers=SDP)
    assert fault(response) == (400, "invalid_request_error", "invalid_parameter", "dcid")


async def test_an_id_without_data_channels_is_refused_by_the_service(http: httpx2.AsyncClient) -> None:
    response = await http.post(f"{CALLS}?dcid=1", content=OFFER, headers=SDP)
    assert fault(response) == (400, "invalid_request_error", "no_data_section", "dcid")


async def test_a_form_makes_a_call_with_a_session(http: httpx2.AsyncClient, service: MemoryService) -> None:
    parts = {"sdp": (None, OFFER), "session": (None, '{"type": "realtime"}')}
    response = await http.post(CALLS, files=parts)
    assert response.status_code == 201
    assert service.offers == [(OFFER, {"type": "realtime"}, "127.0.0.1")]


async def test_a_json_object_makes_a_call(http: httpx2.AsyncClient, service: MemoryService) -> None:
    response = await http.post(CALLS, json={"sdp": OFFER}, headers={"Accept": "application/sdp"})
    assert response.status_code == 201
    assert service.offers == [(OFFER, None, "127.0.0.1")]


async def test_a_refusal_of_the_service_reaches_the_client(http: httpx2.AsyncClient) -> None:
    response = await http.post(CALLS, content=OFFER + "m=video 9\r\n", headers=SDP)
    assert fault(response) == (400, "invalid_request_error", "invalid_offer", "m=0")


async def test_a_wrong_content_type_is_refused(http: httpx2.AsyncClient) -> None:
    response = await http.post(CALLS, content=OFFER, headers={"Content-Type": "text/plain"})
    assert fault(response) == (415, "invalid_request_error", "unsupported_content_type", None)


async def test_the_largest_body_is_read(http: httpx2.AsyncClient) -> None:
    response = await http.post(CALLS, content=OFFER.ljust(MAX_BODY), headers=SDP)
    assert response.status_code == 201


async def test_a_body_announced_too_large_is_refused(http: httpx2.AsyncClient) -> None:
    response = await http.post(CALLS, content=OFFER.ljust(MAX_BODY + 1), headers=SDP)
    assert fault(response) == (413, "invalid_request_error", "body_too_large", None)


async def test_a_body_that_grows_too_large_is_refused(http: httpx2.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield bytes(MAX_BODY // 16)

    response = await http.post(CALLS, content=chunks(), headers=SDP)
    assert fault(response) == (413, "invalid_request_error", "body_too_large", None)


async def test_a_body_that_trickles_is_refused_in_time(
    http: httpx2.AsyncClient, autojump_clock: trio.testing.MockClock
) -> None:
    async def chunks() -> Any:
        while True:
            yield b"v"
            await trio.sleep(BODY_SECONDS / 3)

    autojump_clock.autojump_threshold = 0.3  # real sockets need a moment of real time
    started = trio.current_time()
    response = await http.post(CALLS, content=chunks(), headers=SDP, timeout=None)
    assert fault(response) == (408, "invalid_request_error", "body_timeout", None)
    assert BODY_SECONDS <= trio.current_time() - started < 2 * BODY_SECONDS


@pytest.mark.parametrize(
    ("method", "path"), [("POST", f"{CALLS}/rtc_0/hangup"), ("DELETE", f"{CALLS}/rtc_0")]
)
async def test_a_client_hangs_up_once(
    http: httpx2.AsyncClient, service: MemoryService, method: str, path: str
) -> None:
    await http.post(CALLS, content=OFFER, headers=SDP)
    response = await http.request(method, path)
    assert (response.status_code, response.content) == (200, b"")
    assert service.calls["rtc_0"]["cause"] == "client_hung_up"
    assert fault(await http.request(method, path)) == (
        404,
        "invalid_request_error",
        "call_not_found",
        "call_id",
    )


async def test_sessions_are_listed_and_shown(http: httpx2.AsyncClient, service: MemoryService) -> None:
    await http.post(CALLS, content=OFFER, headers=SDP)
    call = {"id": "rtc_0", "state": "connected", "cause": None, "phases": {"offer": 1.5}}
    assert (await http.get("/v1/sessions")).json() == {"sessions": [call]}
    assert (await http.get("/v1/sessions/rtc_0")).json() == call
    assert fault(await http.get("/v1/sessions/rtc_1"))[0] == 404


async def test_health_readiness_and_metrics(http: httpx2.AsyncClient, service: MemoryService) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    metrics = await http.get("/metrics")
    assert metrics.content == b"voicegate_calls 1\n"
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    service.ready = False
    assert fault(await http.get("/readyz")) == (503, "server_error", "not_ready", None)


@pytest.mark.parametrize(
    "path", ["/nothing", "/static/nothing.js", "/static/../app.py", "/v1/realtime/calls/"]
)
async def test_an_unknown_path_is_not_found(http: httpx2.AsyncClient, path: str) -> None:
    assert fault(await http.get(path)) == (404, "invalid_request_error", "not_found", None)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CALLS, "POST"), ("GET", f"{CALLS}/rtc_0", "DELETE"), ("OPTIONS", "/metrics", "GET, HEAD")],
)
async def test_a_wrong_method_is_told_the_right_ones(
    http: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await http.request(method, path)
    assert fault(response) == (405, "invalid_request_error", "method_not_allowed", None)
    assert response.headers["allow"] == allowed


async def test_a_fault_of_ours_is_logged_once_and_hidden(
    http: httpx2.AsyncClient, service: MemoryService
) -> None:
    async def break_down() -> None:
        raise ZeroDivisionError("secret")

    service.before_answer = break_down
    with capture_logs() as logs:
        response = await http.post(CALLS, content=OFFER, headers=SDP)
    assert fault(response) == (500, "server_error", "internal_error", None)
    assert "secret" not in response.text
    assert [entry["event"] for entry in logs] == ["request_failed"]


async def test_a_preflight_of_agents_js_is_answered(http: httpx2.AsyncClient) -> None:
    wanted = "authorization,content-type,x-openai-agents-sdk"
    response = await http.options(
        CALLS,
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": wanted,
        },
    )
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == wanted
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in response.headers


async def test_errors_are_readable_across_origins(http: httpx2.AsyncClient) -> None:
    response = await http.post(CALLS, content="no", headers=SDP | {"Origin": "https://app.example"})
    assert fault(response)[0] == 400
    assert response.headers["access-control-allow-origin"] == "*"
    assert "Location" in response.headers["access-control-expose-headers"]


async def test_sessions_are_not_readable_across_origins(http: httpx2.AsyncClient) -> None:
    response = await http.get("/v1/sessions", headers={"Origin": "https://app.example"})
    assert "access-control-allow-origin" not in response.headers


async def test_a_rebound_name_is_refused(http: httpx2.AsyncClient) -> None:
    response = await http.get("/v1/sessions", headers={"Host": "evil.example"})
    assert fault(response) == (421, "invalid_request_error", "host_not_allowed", None)


async def ask(method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await BARE(scope, receive, send)
    return sent[0]["status"], sent[1]["body"]


@settings(deadline=None)
@given(
    content_type=CONTENT_TYPES,
    body=BODIES,
    length=st.binary(max_size=20),
    origin=st.binary(max_size=20),
)
def test_no_body_and_no_header_makes_a_server_error(
    content_type: str, body: bytes, length: bytes, origin: bytes
) -> None:
    headers = [
        (b"content-type", content_type.encode("latin-1")),
        (b"content-length", length),
        (b"origin", origin),
    ]
    status, answer = trio.run(ask, "POST", CALLS, headers, body)
    assert status in {201, 400, 413, 415}
    assert status == 201 or json.loads(answer)["error"]["type"] == "invalid_request_error"


@settings(deadline=None)
@given(method=st.sampled_from(["GET", "POST", "DELETE", "BREW"]), path=st.text(max_size=40))
def test_no_path_makes_a_server_error(method: str, path: str) -> None:
    status, _ = trio.run(ask, method, f"/{path}", [], b"")
    assert status < 500


async def test_a_client_that_goes_away_in_its_body_is_not_answered() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": CALLS, "headers": [], "query_string": b""}
    await BARE(scope, receive, send)


async def test_other_asgi_servers_may_announce_their_life_and_what_we_know_nothing_of() -> None:
    sent: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "any"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await BARE({"type": "lifespan"}, receive, send)
    await BARE({"type": "another"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
