"""WHIP over a real server: calls, candidates, ICE restarts, and everything that is refused."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import httpx2
import pytest
import trio

import voicegate
from tests.harness import make_client, run_server
from voicegate.agents import echo
from voicegate.ice import Credentials
from voicegate.sdp import IceFragment
from voicegate.testing.phone import Phone, open_phone

pytestmark = pytest.mark.slow

WHIP = "/v1/whip"
SDP = {"content-type": "application/sdp"}
FRAGMENT = {"content-type": "application/trickle-ice-sdpfrag"}
ICE_SERVERS = (
    {"urls": "stun:stun.example.net"},
    {"urls": ["turn:a.example.net", "turns:b.example.net"], "username": 'Al "x"', "credential": "a\\b"},
)
CANDIDATES = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    "a=mid:0\r\n"
    "a=candidate:1 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw\r\n"
    "a=candidate:2 1 udp 2122260223 somewhere.local 61764 typ host\r\n"
    "a=candidate:3 1 quic 1 192.0.2.1 9 typ unheard\r\n"
    "a=end-of-candidates\r\n"
)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        run_server(echo, ice_servers=ICE_SERVERS) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield client


def fault(response: httpx2.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


async def offer(http: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    return await http.post(WHIP, content=make_client().offer(), headers={**SDP, **headers})


async def test_an_offer_makes_a_call_until_it_is_deleted(http: httpx2.AsyncClient) -> None:
    response = await offer(http)
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/sdp"
    assert response.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
    assert response.headers["etag"].startswith('"')
    assert response.headers.get_list("link") == [
        '<stun:stun.example.net>; rel="ice-server"',
        *(
            f'<{url}>; rel="ice-server"; username="Al \\"x\\""; credential="a\\\\b"; '
            'credential-type="password"'
            for url in ("turn:a.example.net", "turns:b.example.net")
        ),
    ]
    call = response.headers["location"]
    assert call.startswith(f"{WHIP}/rtc_")
    # A tag is not looked at here, whatever it is.
    assert (await http.delete(call, headers={"if-match": '"other"'})).status_code == 200
    assert fault(await http.delete(call)) == (404, "call_not_found")
    assert fault(await http.patch(call, content=CANDIDATES, headers=FRAGMENT)) == (404, "call_not_found")


async def test_candidates_are_taken_for_the_session_that_they_are_of(http: httpx2.AsyncClient) -> None:
    created = await offer(http)
    call, tag = created.headers["location"], created.headers["etag"]
    for if_match in (tag, f'"x", {tag}', "*"):
        response = await http.patch(call, content=CANDIDATES, headers={**FRAGMENT, "if-match": if_match})
        assert (response.status_code, response.content) == (204, b"")
        assert "etag" not in response.headers
    for if_match in ('"x"', f"W/{tag}", tag.strip('"'), ""):
        response = await http.patch(call, content=CANDIDATES, headers={**FRAGMENT, "if-match": if_match})
        assert fault(response) == (412, "precondition_failed")
    assert fault(await http.patch(call, content=CANDIDATES, headers=FRAGMENT)) == (
        428,
        "precondition_required",
    )


async def test_the_clients_own_credentials_again_are_no_restart(http: httpx2.AsyncClient) -> None:
    client = make_client()
    created = await http.post(WHIP, content=client.offer(), headers=SDP)
    fragment = f"a=ice-ufrag:{client._local.ufrag}\r\na=ice-pwd:{client._local.pwd}\r\n{CANDIDATES}"
    for if_match in ("*", created.headers["etag"]):
        headers = {**FRAGMENT, "if-match": if_match}
        response = await http.patch(created.headers["location"], content=fragment, headers=headers)
        assert response.status_code == 204


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        ("v=0\r\n", FRAGMENT, (400, "invalid_fragment")),
        (b"\xff", FRAGMENT, (400, "invalid_fragment")),
        ("a=ice-ufrag:abcd\r\n", FRAGMENT, (400, "invalid_fragment")),
        (CANDIDATES, SDP, (415, "unsupported_content_type")),
        (CANDIDATES, {}, (415, "unsupported_content_type")),
        ("a=x:" + "y" * 70_000, FRAGMENT, (413, "body_too_large")),
    ],
)
async def test_what_is_no_fragment_changes_nothing(
    http: httpx2.AsyncClient, content: str | bytes, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    created = await offer(http)
    call, tag = created.headers["location"], created.headers["etag"]
    response = await http.patch(call, content=content, headers={**headers, "if-match": tag})
    assert fault(response) == expected
    response = await http.patch(call, content=CANDIDATES, headers={**FRAGMENT, "if-match": tag})
    assert response.status_code == 204


async def test_an_offer_for_something_else_is_refused(http: httpx2.AsyncClient) -> None:
    sdp = make_client().offer()
    for content, headers, expected in (
        (sdp, {"content-type": "application/json"}, (415, "unsupported_content_type")),
        (sdp, {**SDP, "accept": "application/json"}, (406, "not_acceptable")),
        ("hello", SDP, (400, "invalid_offer")),
        ("v=0\r\n", SDP, (400, "invalid_offer")),
        (sdp.replace("sendrecv", "recvonly"), SDP, (422, "unsupported_offer")),
        (sdp.replace("sendrecv", "inactive"), SDP, (422, "unsupported_offer")),
        (sdp.replace("opus/48000/2", "speex/16000"), SDP, (422, "unsupported_offer")),
        (sdp.replace("a=fingerprint", "a=x"), SDP, (400, "invalid_offer")),
    ):
        assert fault(await http.post(WHIP, content=content, headers=headers)) == expected
    for accept in ("application/sdp", "text/html, application/sdp;q=0.9", "*/*", "application/*"):
        assert (await offer(http, accept=accept)).status_code == 201


async def test_other_methods_are_kept_for_later_versions(http: httpx2.AsyncClient) -> None:
    call = (await offer(http)).headers["location"]
    for path, others, allowed in (
        (WHIP, ("GET", "HEAD", "PUT", "PATCH", "DELETE"), "OPTIONS, POST"),
        (call, ("GET", "HEAD", "PUT", "POST"), "DELETE, OPTIONS, PATCH"),
    ):
        for method in others:
            response = await http.request(method, path)
            assert (response.status_code, response.headers["allow"]) == (405, allowed)
        response = await http.request("OPTIONS", path)
        assert (response.status_code, response.headers["allow"]) == (200, allowed)
    assert (await http.request("OPTIONS", WHIP)).headers["accept-post"] == "application/sdp"
    assert (await http.request("OPTIONS", call)).headers["accept-patch"] == FRAGMENT["content-type"]


async def test_pages_of_other_origins_may_do_all_of_it(http: httpx2.AsyncClient) -> None:
    call = (await offer(http)).headers["location"]
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "PATCH",
        "access-control-request-headers": "content-type,if-match",
    }
    response = await http.request("OPTIONS", call, headers=asked)
    assert response.is_success
    assert "PATCH" in response.headers["access-control-allow-methods"]
    assert "if-match" in response.headers["access-control-allow-headers"].lower()
    exposed = response.headers["access-control-expose-headers"].lower()
    assert {"etag", "link", "location", "accept-patch"} <= set(exposed.split(", "))


async def restart(http: httpx2.AsyncClient, phone: Phone) -> tuple[str, IceFragment]:
    """Begin an ICE restart of a phone's; return its tag, and what the server said."""
    said = phone.core.restart_ice()
    fragment = f"a=ice-ufrag:{said.ufrag}\r\na=ice-pwd:{said.pwd}\r\n{CANDIDATES}"
    response = await http.patch(phone.url, content=fragment, headers={**FRAGMENT, "if-match": "*"})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == FRAGMENT["content-type"]
    answer = IceFragment.decode(response.text)
    assert answer.credentials is not None
    phone.core.handle_restart(
        Credentials(ufrag=answer.credentials.ufrag, pwd=answer.credentials.pwd), now=trio.current_time()
    )
    return response.headers["etag"], answer


async def hears(phone: Phone) -> None:
    count = len(phone.core.heard)
    await phone.wait_until(lambda: len(phone.core.heard) > count + 48_000)


async def test_media_goes_on_over_a_restart_and_only_the_new_tag_is_good() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(run_server(echo))
        phone = await stack.enter_async_context(open_phone(server.url, make_client(), collection=WHIP))
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=60))
        stack.enter_context(trio.fail_after(60))
        await phone.wait_connected()
        await hears(phone)
        for _ in range(2):
            tag, answer = await restart(http, phone)
            assert [(each.address, each.port) for each in answer.candidates] == [
                (each.address, each.port) for each in phone.core.candidates
            ]
            await hears(phone)
            response = await http.patch(phone.url, content=CANDIDATES, headers={**FRAGMENT, "if-match": tag})
            assert response.status_code == 204
        call = server.transceiver.find(phone.call_id)
        assert call is not None
        assert len(call.core.ufrags) == 1, "the old credentials are forgotten"
        response = await http.patch(phone.url, content=CANDIDATES, headers={**FRAGMENT, "if-match": '"x"'})
        assert response.status_code == 412


async def test_every_worker_leads_to_the_one_that_has_the_call() -> None:
    config = voicegate.Config(http="127.0.0.1:0", udp="127.0.0.1:0", agent="echo", workers=2)
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(120))
        nursery = await stack.enter_async_context(trio.open_nursery())
        server = await nursery.start(partial(voicegate.serve, None, config))
        phone = await stack.enter_async_context(open_phone(server.url, make_client(), collection=WHIP))
        await phone.wait_connected()
        for _ in range(8):  # each a connection of its own, which any worker may take
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
                await restart(http, phone)
            await hears(phone)
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            assert (await http.delete(phone.url)).status_code == 200
        nursery.cancel_scope.cancel()
