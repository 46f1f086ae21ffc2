import os
import time
from typing import Any

import httpx2
import pytest

from tests.signalling.conftest import OFFER, MemoryService
from tests.signalling.test_app import CALLS, SDP, fault
from voicegate.access.secret import DEFAULT_SECONDS

SECRETS = "/v1/realtime/client_secrets"


async def test_a_secret_comes_with_its_session_filled_in(http: httpx2.AsyncClient) -> None:
    asked = time.time()
    session = {"type": "realtime", "model": "gpt-realtime", "audio": {"output": {"voice": "marin"}}}
    response = await http.post(SECRETS, json={"session": session})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"value", "expires_at", "session"}
    assert body["value"].startswith("ek_")
    assert 0 <= body["expires_at"] - asked - DEFAULT_SECONDS + 1 < 60
    filled = body["session"]
    assert filled["id"].startswith("sess_")
    assert (filled["type"], filled["object"]) == ("realtime", "realtime.session")
    assert (filled["model"], filled["output_modalities"]) == ("gpt-realtime", ["audio"])
    assert filled["audio"]["output"]["voice"] == "marin"
    assert filled["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert filled["audio"]["input"]["turn_detection"]["type"] == "server_vad"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"expires_after": null, "session": null}'])
async def test_nothing_needs_to_be_said(http: httpx2.AsyncClient, body: bytes) -> None:
    response = await http.post(SECRETS, content=body, headers={"Content-Type": "application/json"})
    assert response.json()["session"]["model"] == "<parrot>"


@pytest.mark.parametrize("seconds", [10, 7200])
async def test_it_lasts_as_long_as_is_asked_for(http: httpx2.AsyncClient, seconds: int) -> None:
    asked = time.time()
    wanted = {"expires_after": {"anchor": "created_at", "seconds": seconds}}
    expires_at = (await http.post(SECRETS, json=wanted)).json()["expires_at"]
    assert 0 <= expires_at - asked - seconds + 1 < 60


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"expires_after": 5}, "invalid_parameter", "expires_after"),
        ({"expires_after": {"anchor": "now"}}, "invalid_parameter", "expires_after.anchor"),
        ({"expires_after": {"seconds": 9}}, "invalid_parameter", "expires_after.seconds"),
        ({"expires_after": {"seconds": 7201}}, "invalid_parameter", "expires_after.seconds"),
        ({"expires_after": {"seconds": True}}, "invalid_parameter", "expires_after.seconds"),
        ({"session": []}, "invalid_parameter", "session"),
        ({"session": {"type": "transcription"}}, "unsupported_session_type", "session.type"),
        ({"session": {"model": 5}}, "invalid_type", "session.model"),
        ({"session": {"instructions": os.urandom(10_000).hex()}}, "session_too_large", "session"),
        ([], "invalid_json", None),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    http: httpx2.AsyncClient, body: Any, code: str, param: str | None
) -> None:
    status, _, found, at = fault(await http.post(SECRETS, json=body))
    assert (status, found, at) == (400, code, param)


async def test_another_content_type_is_refused(http: httpx2.AsyncClient) -> None:
    response = await http.post(SECRETS, content=b"{}", headers={"Content-Type": "text/plain"})
    assert fault(response)[::2] == (415, "unsupported_content_type")


async def test_a_call_made_with_it_has_its_session(http: httpx2.AsyncClient, service: MemoryService) -> None:
    session = {"type": "realtime", "model": "kind", "instructions": "Be kind."}
    value = (await http.post(SECRETS, json={"session": session})).json()["value"]
    headers = SDP | {"Authorization": f"Bearer {value}"}
    assert (await http.post(f"{CALLS}?model=other", content=OFFER, headers=headers)).status_code == 201
    assert service.terms[0]["session"] == session
    assert service.terms[0]["model"] == "kind"


async def test_the_beta_had_another_shape(http: httpx2.AsyncClient, service: MemoryService) -> None:
    session = {"model": "gpt-4o-realtime-preview", "voice": "verse", "modalities": ["audio", "text"]}
    body = (await http.post("/v1/realtime/sessions", json=session)).json()
    assert body["object"] == "realtime.session"
    assert body["audio"]["output"]["voice"] == "verse"
    secret = body["client_secret"]
    assert set(secret) == {"value", "expires_at"}
    headers = SDP | {"Authorization": f"Bearer {secret['value']}"}
    response = await http.post("/v1/realtime?model=gpt-4o-realtime-preview", content=OFFER, headers=headers)
    assert response.status_code == 201
    assert response.headers["location"] == f"{CALLS}/rtc_0"
    assert service.terms[0]["session"] == session


@pytest.mark.parametrize("path", ["transcription_sessions", "translations/client_secrets"])
async def test_other_kinds_of_sessions_are_refused_clearly(http: httpx2.AsyncClient, path: str) -> None:
    response = await http.post(f"/v1/realtime/{path}", json={})
    assert fault(response) == (400, "invalid_request_error", "unsupported_session_type", None)


async def test_a_call_is_not_made_of_a_session_that_cannot_be(
    http: httpx2.AsyncClient, service: MemoryService
) -> None:
    for session, param in (({"type": "transcription"}, "session.type"), ({"tools": 7}, "session.tools")):
        response = await http.post(CALLS, json={"sdp": OFFER, "session": session})
        assert fault(response)[0] == 400
        assert fault(response)[3] == param
    assert service.offers == []


@pytest.mark.parametrize("verb", ["accept", "reject", "refer"])
async def test_what_is_for_sip_says_so(http: httpx2.AsyncClient, verb: str) -> None:
    response = await http.post(f"{CALLS}/rtc_0/{verb}", json={})
    assert fault(response) == (404, "invalid_request_error", "sip_call_not_found", "call_id")
