"""A Live session: the ``openai`` client is the application's server, a phone of ours the page."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import voicegate
from tests.harness import make_client, run_server
from voicegate.call import ItemAdded, ResponseRequested
from voicegate.testing.client import ClientCore
from voicegate.testing.phone import Phone, open_phone
from voicegate.testing.sound import tone

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def events_of(client: ClientCore) -> list[dict[str, Any]]:
    """Return what the page has seen on its data channel."""
    return [json.loads(message.data) for message in client.received]


async def lines_of(stream: trio.abc.ReceiveStream) -> AsyncIterator[Any]:
    """Read lines of JSON."""
    received = b""
    async for chunk in stream:
        received += chunk
        *lines, received = received.split(b"\n")
        for line in lines:
            yield json.loads(line)


async def test_an_application_and_its_page_share_a_session() -> None:
    loudness: list[int] = []
    told: list[str] = []
    answered: list[str] = []

    async def listen(call: voicegate.Call) -> None:
        async for frame in call.audio_in:
            loudness.append(max(memoryview(frame.pcm).cast("h")))  # noqa: PERF401 - others look at it

    async def agent(call: voicegate.Call) -> None:
        call.converse()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, call)
            async for event in call.events:
                # The tone is taken for speech, too, which comes without text.
                if isinstance(event, ItemAdded) and (text := event.item["content"][0].get("text")):
                    told.append(text)
                elif isinstance(event, ResponseRequested) and not answered:
                    answered.append(event.response_id)
                    with call.respond(event.response_id) as response:
                        response.transcript(told[-1])
                        response.send_nowait(bytes(96_000))

    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(240))
        server = await stack.enter_async_context(run_server(agent))
        nursery = await stack.enter_async_context(trio.open_nursery())
        application = await nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "tests.interop.openai_live", f"{server.url}v1"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                env=os.environ,
            )
        )
        said = lines_of(application.stdout)

        async def dial(offer: str) -> tuple[str, str]:
            await application.stdin.send_all(json.dumps(offer).encode() + b"\n")
            session_id, answer = await anext(said)
            return answer, f"/v1/live/sessions/{session_id}"

        client = make_client(has_data=True, channel_label="oai-events")
        phone: Phone = await stack.enter_async_context(open_phone(server.url, client, dial=dial))
        phone.say(tone(440.0, 240.0).pcm)
        await phone.wait_until(lambda: any(event["type"].endswith(".muted") for event in events_of(client)))
        # What is under way is heard; from then on, silence.
        while max(loudness[-25:], default=1):
            await trio.sleep(0.05)
        loudness.clear()
        while len(loudness) < 25:
            await trio.sleep(0.05)
        assert max(loudness) == 0
        await application.stdin.send_all(b"\n")
        while max(loudness) < 1000:
            await trio.sleep(0.05)
        await application.stdin.send_all(b"\n")
        seen = await anext(said)
        await phone.wait_until(lambda: events_of(client)[-1]["type"] == "session.closed")
        nursery.cancel_scope.cancel()
    assert told == ["My name is Tom.", "The shop is open."]
    assert [each for each in seen if each[0] != "session.usage.updated"] == [
        ["session.started", None],
        ["session.commentary.appended", "say"],
        ["session.output_transcript.delta", None],
        ["session.input_audio.muted", "mute"],
        ["session.input_audio.unmuted", "unmute"],
        ["session.closed", "close"],
    ]
    (ended,) = server.transceiver.describe_all()
    assert ended["cause"] == "client_hangup"
