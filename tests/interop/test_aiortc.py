"""aiortc as a real client: DTLS by pyOpenSSL, Opus by FFmpeg, an RTP stack that is not ours."""

import json
import sys
from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from voicegate.testing import sound

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CLIENT = Path(__file__).parent / "aiortc_client.py"


async def test_aiortc_hears_its_own_sound_from_echo(tmp_path: Path) -> None:
    beeps.beeps().write_wav(tmp_path / "say.wav")
    with trio.fail_after(240):
        async with run_server(agent=voicegate.agents.echo) as server:
            command = [
                *(sys.executable, str(CLIENT), f"{server.url}v1/realtime/calls"),
                *(str(tmp_path / "say.wav"), str(tmp_path / "heard.wav"), "4"),
            ]
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
            while server.transceiver.call_count:
                await trio.sleep(0.01)
            (ended,) = server.transceiver.describe_all()
    report = json.loads(done.stdout)
    assert report["packets"] > 50
    heard = sound.Sound.read_wav(tmp_path / "heard.wav")
    assert beeps.are_in(heard)
    assert ended["cause"] == "client_closed"
