import pytest
from starlette.datastructures import Headers

from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.fault import RequestRefused

CALLS = "/v1/realtime/calls"
LOOPBACK = AccessPolicy(hosts=frozenset({"voice.example"}))
ONE_ORIGIN = AccessPolicy(origins=frozenset({"https://app.example"}))


@pytest.mark.parametrize(
    "host",
    [
        *("", "localhost", "localhost:8080", "LOCALHOST.", "app.localhost"),
        *("127.0.0.1:1", "[::1]:80", "10.0.0.7"),
        *("voice.example", "Voice.Example:8080"),
    ],
)
def test_a_loopback_server_answers_to_names_that_cannot_be_rebound(host: str) -> None:
    LOOPBACK.check("/", Headers({"host": host}))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "["])
def test_a_loopback_server_refuses_names_that_anybody_can_point_at_it(host: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        LOOPBACK.check("/", Headers({"host": host}))
    assert (caught.value.status, caught.value.code) == (421, "host_not_allowed")


def test_a_public_server_answers_to_any_name() -> None:
    AccessPolicy().check("/", Headers({"host": "anything.example"}))


def test_by_default_any_origin_may_call_and_read_the_location() -> None:
    headers = Headers({"host": "h", "origin": "https://any.example"})
    AccessPolicy().check(CALLS, headers)
    assert AccessPolicy().response_headers(CALLS, headers) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Location, ETag, Link, Accept-Patch, Retry-After",
    }


def test_a_listed_origin_is_named_back() -> None:
    headers = Headers({"host": "h", "origin": "https://app.example"})
    ONE_ORIGIN.check(CALLS, headers)
    assert ONE_ORIGIN.response_headers(CALLS, headers)["Access-Control-Allow-Origin"] == "https://app.example"


def test_an_origin_not_listed_is_refused_and_reads_nothing() -> None:
    headers = Headers({"host": "h", "origin": "https://evil.example"})
    with pytest.raises(RequestRefused) as caught:
        ONE_ORIGIN.check(CALLS, headers)
    assert (caught.value.status, caught.value.code) == (403, "origin_not_allowed")
    assert ONE_ORIGIN.response_headers(CALLS, headers) == {"Vary": "Origin"}


def test_our_own_page_needs_no_listing() -> None:
    ONE_ORIGIN.check(CALLS, Headers({"host": "voice.example:8080", "origin": "http://voice.example:8080"}))


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/whip/rtc_0", "/v1/live/sessions"])
def test_pages_of_other_origins_may_use_what_is_about_their_own_calls(path: str) -> None:
    headers = Headers({"host": "h", "origin": "https://any.example"})
    assert AccessPolicy().response_headers(path, headers)["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("path", ["/v1/sessions", "/metrics", "/", "/v1/realtimes", "/v1/live.json"])
def test_what_is_not_about_one_call_is_kept_from_other_origins(path: str) -> None:
    headers = Headers({"host": "h", "origin": "https://any.example"})
    assert AccessPolicy().response_headers(path, headers) == {"Cross-Origin-Resource-Policy": "same-origin"}
