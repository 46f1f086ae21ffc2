"""Whether Chromium takes our answers to what it offers; nothing is sent to anybody."""

import json
from collections.abc import Sequence
from functools import partial

import attrs
import pytest
import trio

from tests.sdp.offers import LOCAL
from tests.signalling.conftest import MemoryService
from voicegate.sdp import Negotiated, SessionDescription, answer
from voicegate.signalling import CreatedCall, serve_http
from voicegate.testing.browser import Page, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SNAP = "--enable-features=WebRtcSctpSnap"
SPED = "--force-fieldtrials=WebRTC-IceHandshakeDtls/Enabled/"
INIT = bytes.fromhex("01000014 00000001 00010000 ffff ffff 00000002")
LOCAL_WITH_INIT = attrs.evolve(LOCAL, sctp_init=INIT)

AUDIO = "connection.addTransceiver('audio');"
VIDEO = "connection.addTransceiver('video');"
DATA = "connection.createDataChannel('oai-events');"
MAX_BUNDLE = "{ bundlePolicy: 'max-bundle' }"
OFFERS = {
    "audio": ("{}", AUDIO, ["sendrecv"]),
    "audio and data": ("{}", AUDIO + DATA, ["sendrecv"]),
    "audio and data, max-bundle": (MAX_BUNDLE, AUDIO + DATA, ["sendrecv"]),
    "data first": ("{}", DATA + AUDIO, ["sendrecv"]),
    "audio, video and data, max-bundle": (MAX_BUNDLE, AUDIO + VIDEO + DATA, ["sendrecv"]),
    "video first": ("{}", VIDEO + AUDIO + DATA, ["inactive", "sendrecv"]),
    "video first, max-bundle": (MAX_BUNDLE, VIDEO + AUDIO + DATA, ["inactive", "sendrecv"]),
    "two audio, max-bundle": (MAX_BUNDLE, AUDIO + AUDIO, ["sendrecv"]),
}
"""The configuration, what is asked for, and what becomes of the transceivers; refused ones are gone."""

_OFFER = """await (async () => {
  window.connection = new RTCPeerConnection(CONFIGURATION);
  ADDITIONS
  await connection.setLocalDescription();
  return connection.localDescription.sdp;
})()"""
_TAKE = """await (async () => {
  await connection.setRemoteDescription({ type: "answer", sdp: ANSWER });
  const directions = connection.getTransceivers().map((each) => each.currentDirection);
  const hasData = connection.sctp !== null;
  connection.close();
  return [directions, hasData];
})()"""


async def exchange(page: Page, configuration: str, additions: str) -> tuple[Negotiated, object]:
    """Have the page offer and take our answer; gives its directions, and whether it has data channels."""
    offer = _OFFER.replace("CONFIGURATION", configuration).replace("ADDITIONS", additions)
    description = SessionDescription.decode(str(await page.evaluate(offer)))
    negotiated = answer(description, LOCAL_WITH_INIT)
    text = json.dumps(negotiated.answer.encode())
    return negotiated, await page.evaluate(_TAKE.replace("ANSWER", text))


@pytest.mark.parametrize("flags", [[], [SNAP], [SPED], [SNAP, SPED]], ids=["stock", "SNAP", "SPED", "WARP"])
async def test_chromium_takes_our_answers(flags: Sequence[str]) -> None:
    with trio.fail_after(240):
        async with open_browser("chromium", arguments=flags) as browser:
            page = await browser.open_page("about:blank")
            for configuration, additions, directions in OFFERS.values():
                negotiated, outcome = await exchange(page, configuration, additions)
                assert outcome == [directions, DATA in additions]
                assert negotiated.is_sped == (SPED in flags)
                assert (negotiated.data is not None) == (DATA in additions)
                has_init = negotiated.data is not None and negotiated.data.sctp_init is not None
                assert has_init == (SNAP in flags and DATA in additions)


class AnsweringService(MemoryService):
    """Answers as a server does that then falls silent."""

    async def create_call(self, offer: str, **keywords: object) -> CreatedCall:
        call = await super().create_call(offer, **keywords)  # type: ignore[arg-type]
        answered = answer(SessionDescription.decode(offer), LOCAL).answer.encode()
        return attrs.evolve(call, answer=answered)


async def test_the_page_opens_its_data_channel_with_the_call(nursery: trio.Nursery) -> None:
    service = AnsweringService()
    host, port = await nursery.start(partial(serve_http, service, host="127.0.0.1", port=0))
    with trio.fail_after(240):
        async with open_browser("chromium") as browser:
            page = await browser.open_page(f"http://{host}:{port}/")
            await page.click("#talk")
            await page.wait_for("voicegate.connection?.currentRemoteDescription")
            # Its own label, so that the agent has it and no API.
            channel = await page.evaluate("[voicegate.channel.label, voicegate.channel.negotiated]")
            assert channel == ["voicegate", False]
            assert service.data_channel_ids == [None]
            assert await page.evaluate("document.getElementById('messages').hidden")
            for data in (
                """'{"type": "session.created", "event_id": "1"}'""",
                "'<b>hello</b>'",
                "new ArrayBuffer(3)",
            ):
                await page.evaluate(
                    f"voicegate.channel.dispatchEvent(new MessageEvent('message', {{ data: {data} }}))"
                )
            lines = "[...document.querySelectorAll('#message-list li')]"
            shown = await page.evaluate(f"{lines}.map((line) => line.innerText.split('\\n').slice(1))")
    assert shown == [
        ["session.created", '{"type": "session.created", "event_id": "1"}'],
        ["<b>hello</b>"],
        ["3 bytes"],
    ]
