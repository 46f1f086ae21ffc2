"""The unmodified `openai` client, given another URL."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.socket_call.server import serve_calls
from voicegate.call import Call, ItemAdded, ResponseRequested
from voicegate.testing import sound

RATE = 24_000
CLIENT = Path(__file__).with_name("openai_client.py")
ANSWER = sound.speech_like(1.0, seed=3, rate=RATE).pcm


async def agent(call: Call) -> None:
    """Speak when spoken to; ask a function about what is written, and write what it says."""
    call.converse()
    last: dict[str, object] = {}
    async for event in call.events:
        match event:
            case ItemAdded(item=item):
                last = dict(item)
            case ResponseRequested(response_id=response_id, parameters=parameters):
                with call.respond(response_id) as response:
                    if parameters.get("instructions") == "long":
                        for _ in range(60):
                            await response.send(ANSWER)
                    elif last.get("type") == "function_call_output":
                        response.text(f"It says {last['output']}.")
                    elif parameters.get("output_modalities") == ["text"]:
                        response.function_call("weather", json.dumps({"place": "Oslo"}))
                    else:
                        response.transcript("Good ")
                        response.transcript("day.")
                        await response.send(ANSWER)
            case _:
                pass


@pytest.mark.slow
async def test_the_openai_client_has_a_whole_conversation() -> None:
    with trio.fail_after(120):
        async with serve_calls(agent) as url:
            said = sound.speech_like(1.0, rate=RATE).pcm + bytes(RATE * 2)
            done = await trio.run_process(
                [sys.executable, str(CLIENT), url],
                stdin=said,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
    assert done.returncode == 0, done.stdout.decode()
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["model"] == "gpt-realtime"
    assert told["instructions"] == "Be brief."
    assert told["tools"] == ["weather"]
    assert told["audio_start_ms"] < 300
    assert told["heard"] == len(ANSWER)
    assert told["words"] == told["transcript"] == "Good day."
    assert told["status"] == "completed"
    assert told["audio_end_ms"] == 500
    assert told["arguments"] == {"place": "Oslo"}
    assert told["answer"] == 'It says {"sky":"grey"}.'
    assert told["cancelled"] == ["cancelled", "client_cancelled"]
