"""The ``openai`` client as a Live application's server, in a process of its own since it runs on asyncio.

    openai_live.py URL < offer

Makes a session of the offer that comes as a line of JSON on stdin, prints its id and the answer, attaches to
it, and does what an application does; then prints, as a line of JSON, the types of the events that it got.
"""

import asyncio
import json
import sys
from typing import Any

from openai import AsyncOpenAI


def say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    client = AsyncOpenAI(base_url=url, websocket_base_url=url.replace("http", "ws"), api_key="none")
    sdp = json.loads(await asyncio.to_thread(sys.stdin.readline))
    created = await client.live.create(
        session={
            "model": "gpt-live-1",
            "instructions": "Be brief.",
            "delegation": {"type": "client"},
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "My name is Tom."}]}],
        },
        transport={"type": "webrtc", "sdp": sdp},
    )
    say([created.session.id, created.transport.sdp])
    seen: list[Any] = []
    async with client.live.sideband.connect(session_id=created.session.id) as connection:
        async for event in connection:
            seen.append([event.type, getattr(event, "client_event_id", None)])
            match event.type:
                case "session.started":
                    assert event.session.id == created.session.id
                    await connection.session.commentary.append(
                        content="The shop is open.", delegation_id=None, event_id="say"
                    )
                case "session.output_transcript.delta":
                    await connection.session.input_audio.mute(event_id="mute")
                case "session.input_audio.muted":
                    await asyncio.to_thread(sys.stdin.readline)
                    await connection.session.input_audio.unmute(event_id="unmute")
                case "session.input_audio.unmuted":
                    await asyncio.to_thread(sys.stdin.readline)
                    await connection.session.close(event_id="close")
                case "session.closed":
                    assert event.reason == "close_requested"
                    break
                case _:
                    pass
    say(seen)


asyncio.run(main(sys.argv[1]))
