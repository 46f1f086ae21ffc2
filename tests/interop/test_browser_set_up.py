"""Calls from real browsers, as they come and with each of the short cuts of set-up, in both roles of DTLS."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.interop.process import open_server
from tests.interop.set_up_server import REPETITIONS
from voicegate.bench.place import Place, open_place
from voicegate.testing.browser import Browser, Kind, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("set_up.js").read_text()
CALL_SECONDS = 120

NO_PQC = "--disable-features=WebRtcPqcForDtls"
SNAP = "--enable-features=WebRtcSctpSnap"
SPED = "--force-fieldtrials=WebRTC-IceHandshakeDtls/Enabled/"


@attrs.frozen(kw_only=True)
class Client:
    """A browser and how it is started."""

    kind: Kind = "chromium"
    arguments: Sequence[str] = ()
    preferences: Mapping[str, bool | int] | None = None
    is_1_3: bool = True

    @property
    def has_snap(self) -> bool:
        return SNAP in self.arguments

    @property
    def has_sped(self) -> bool:
        return SPED in self.arguments


CHROMIUM = Client()
WARP = Client(arguments=[NO_PQC, SNAP, SPED])
FIREFOX = Client(kind="firefox")
CLIENTS = {
    "Chromium": CHROMIUM,
    "Chromium without PQC": Client(arguments=[NO_PQC]),
    "Chromium with SNAP": Client(arguments=[SNAP]),
    "Chromium with SPED": Client(arguments=[SPED]),
    "Chromium with SNAP and SPED": Client(arguments=[SNAP, SPED]),
    "Chromium with WARP, without PQC": WARP,
    "Firefox": FIREFOX,
    "Firefox without PQC": Client(kind="firefox", preferences={"media.webrtc.enable_pq_hybrid_kex": False}),
    "Firefox with DTLS 1.2": Client(
        kind="firefox", preferences={"media.peerconnection.dtls.version.max": 771}, is_1_3=False
    ),
}

SUITES = {
    True: (0xFEFC, "FEFC", 0x1301, "TLS_AES_128_GCM_SHA256"),
    False: (0xFEFD, "FEFD", 0xC02B, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
}
"""By whether DTLS is 1.3: what we call the version and the cipher suite, and what browsers do."""

PROFILES = {
    (False, "chromium"): (8, "SRTP_AEAD_AES_256_GCM"),
    (False, "firefox"): (8, "SRTP_AEAD_AES_256_GCM"),
    (True, "chromium"): (1, "SRTP_AES128_CM_HMAC_SHA1_80"),
    (True, "firefox"): (7, "SRTP_AEAD_AES_128_GCM"),
}
"""By whether the browser is passive: the DTLS server chooses, and each has its own preference."""


@asynccontextmanager
async def open_url(place: Place, **set_up: object) -> AsyncIterator[str]:
    """Run a server; gives the address of its page."""
    async with open_server("tests.interop.set_up_server", place, **set_up) as port:
        yield f"http://127.0.0.1:{port}/"


@asynccontextmanager
async def open_client(client: Client, place: Place) -> AsyncIterator[Browser]:
    async with open_browser(
        client.kind,
        arguments=client.arguments,
        preferences=client.preferences,
        namespace=place.namespace,
    ) as browser:
        yield browser


async def make_call(
    browser: Browser, url: str, *, is_passive: bool = False, is_agreed: bool = True
) -> dict[str, Any]:
    """Make a call in which everything is said and heard; gives both sides' reports."""
    page = await browser.open_page(url)
    parameters = json.dumps({"is_passive": is_passive, "is_agreed": is_agreed})
    script = f"await (async () => {{ {SCRIPT}\nreturn await set_up({json.dumps(url)}, {parameters}); }})()"
    with trio.move_on_after(CALL_SECONDS):
        report: dict[str, Any] = await page.evaluate(script)
        return report
    raise AssertionError(f"all that was heard: {await page.evaluate('state()')}")


def check_call(
    report: Mapping[str, Any], client: Client, *, is_1_3: bool, is_passive: bool, is_agreed: bool
) -> None:
    """See that both sides say the same of DTLS and SRTP, and that all channels came about."""
    version, version_text, suite, suite_text = SUITES[is_1_3]
    profile, profile_text = PROFILES[is_passive, client.kind]
    assert report["transport"] == {
        "tlsVersion": version_text,
        "dtlsCipher": suite_text,
        "srtpCipher": profile_text,
        "dtlsRole": "server" if is_passive else "client",
    }
    server = report["server"]
    assert (server["dtls"], server["cipher_suite"], server["srtp_profile"]) == (version, suite, profile)
    assert server["is_connected"]
    assert server["phases"].index("keys_ready") < server["phases"].index("dtls_completed")
    # RFC 8832 §6: the DTLS client's channels have even numbers.
    expected = {"ours": 0, "theirs": 1} if is_passive else {"ours": 1, "theirs": 0}
    assert server["channels"] == expected | ({"oai-events": 20} if is_agreed else {})
    assert report["heard"].keys() == {"ours", "theirs"} | ({"agreed"} if is_agreed else set())
    assert {frozenset(told) for told in report["heard"].values()} == {frozenset({"ping", "pong"})}
    assert server["drops"].keys() - REPETITIONS == set()


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_call_comes_about_in_either_role(name: str) -> None:
    client = CLIENTS[name]
    with trio.fail_after(500):
        async with (
            open_place(client.kind) as place,
            open_url(place) as url,
            open_client(client, place) as browser,
        ):
            for is_passive in (False, True):
                for is_agreed in (False, True):
                    roles = {"is_passive": is_passive, "is_agreed": is_agreed}
                    report = await make_call(browser, url, **roles)
                    check_call(report, client, is_1_3=client.is_1_3, **roles)
                    assert ("a=sctp-init:" in report["offer"]) == client.has_snap
                    assert ("a=sctp-init:" in report["answer"]) == client.has_snap
                    assert ("sped" in report["answer"]) == client.has_sped


@pytest.mark.parametrize("client", [CHROMIUM, WARP, FIREFOX], ids=["Chromium", "WARP", "Firefox"])
async def test_a_server_that_speaks_dtls_1_2_only_is_understood(client: Client) -> None:
    with trio.fail_after(240):
        async with (
            open_place(client.kind) as place,
            open_url(place, dtls=["1.2"]) as url,
            open_client(client, place) as browser,
        ):
            for is_passive in (False, True):
                report = await make_call(browser, url, is_passive=is_passive)
                check_call(report, client, is_1_3=False, is_passive=is_passive, is_agreed=True)


HELD_BACK: tuple[dict[str, Any], ...] = (
    {"early": False},
    {"sctp_init": False},
    {"snap": False},
    {"sped": "minimal"},
    {"sped": "off"},
    {"early": False, "sctp_init": False, "snap": False, "sped": "off"},
    {"early": False, "sctp_init": False, "snap": False, "sped": "off", "dtls": ["1.2"]},
)


@pytest.mark.parametrize("client", [Client(arguments=[SNAP, SPED]), WARP], ids=["with PQC", "without"])
async def test_servers_that_are_held_back_serve_an_eager_client_all_the_same(client: Client) -> None:
    with trio.fail_after(500):
        async with open_place("chromium") as place, open_client(client, place) as browser:
            for held_back in HELD_BACK:
                async with open_url(place, **held_back) as url:
                    for is_passive in (False, True):
                        report = await make_call(browser, url, is_passive=is_passive)
                        is_1_3 = "dtls" not in held_back
                        check_call(report, client, is_1_3=is_1_3, is_passive=is_passive, is_agreed=True)
                        assert ("a=sctp-init:" in report["answer"]) == held_back.get("snap", True), held_back
                        assert ("sped" in report["answer"]) == (held_back.get("sped") != "off"), held_back
