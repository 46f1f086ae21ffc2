"""A whole server, and the unmodified `openai` client on its plain WebSocket."""

import json
import subprocess
import sys

import httpx2
import pytest
import trio

from tests.harness import run_server
from tests.socket_call.test_openai_client import ANSWER, CLIENT, RATE, agent
from voicegate.testing import sound


@pytest.mark.slow
async def test_the_openai_client_connects_by_another_url() -> None:
    with trio.fail_after(240):
        async with run_server(agent=agent) as server:
            url = f"{server.url.replace('http', 'ws', 1).rstrip('/')}/v1"
            done = await trio.run_process(
                [sys.executable, str(CLIENT), url],
                stdin=sound.speech_like(1.0, rate=RATE).pcm + bytes(RATE * 2),
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
            async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
                while (listed := (await http.get(f"{server.url.rstrip('/')}/v1/sessions")).json()) and any(
                    call["state"] != "ended" for call in listed.get("sessions", listed)
                ):
                    await trio.sleep(0.05)
    assert done.returncode == 0, done.stdout.decode()
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["heard"] == len(ANSWER)
    assert told["words"] == "Good day."
    assert told["cancelled"] == ["cancelled", "client_cancelled"]
