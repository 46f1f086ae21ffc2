"""aiortc as a WHIP client: offers that only send, candidates by PATCH, and the end by DELETE."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from voicegate.testing.sound import Sound

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


async def test_the_agent_hears_aiortc_until_it_deletes_the_call(tmp_path: Path) -> None:
    beeps.beeps().write_wav(tmp_path / "say.wav")
    heard = bytearray()
    is_heard = trio.Event()

    async def listen(call: voicegate.Call) -> None:
        async for frame in call.audio_in:
            heard.extend(frame.pcm)
            if len(heard) % 96_000 < len(frame.pcm) and beeps.are_in(
                Sound.from_pcm(bytes(heard), rate=48_000)
            ):
                is_heard.set()

    with trio.fail_after(240):
        async with run_server(listen) as server, trio.open_nursery() as nursery:
            command = [sys.executable, "-m", "tests.interop.aiortc_whip"]
            command += [f"{server.url}v1/whip", str(tmp_path / "say.wav")]
            client: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=ROOT,
                    env=os.environ,
                )
            )
            await is_heard.wait()
            assert client.stdin is not None
            assert client.stdout is not None
            await client.stdin.send_all(b"\n")
            output = b"".join([chunk async for chunk in client.stdout])
        (ended,) = server.transceiver.describe_all()
    assert json.loads(output) == [201, 204, 412, 428, 200]
    assert ended["cause"] == "client_hangup"
