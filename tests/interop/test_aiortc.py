"""aiortc as a real client: DTLS by pyOpenSSL, Opus by FFmpeg, an RTP stack that is not ours."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import voicegate
from tests.harness import run_server
from tests.interop import beeps
from tests.interop.set_up_server import REPETITIONS, Conversation
from voicegate.testing import sound

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CLIENT = Path(__file__).parent / "aiortc_client.py"
SET_UP_CLIENT = Path(__file__).parent / "aiortc_set_up.py"
AGREED_ID = 20


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


@pytest.mark.parametrize("is_agreed", [False, True], ids=["announced", "agreed"])
@pytest.mark.parametrize("setup", ["actpass", "active", "passive"])
async def test_everything_is_said_and_heard_in_either_role(setup: str, is_agreed: bool) -> None:
    async def converse(call: voicegate.Call) -> None:
        await Conversation(server, call).hold()

    with trio.fail_after(240):
        async with run_server(agent=converse) as server:
            server.transceiver.has_api = False
            command = [sys.executable, str(SET_UP_CLIENT), f"{server.url}v1/realtime/calls", setup]
            command += [str(AGREED_ID)] if is_agreed else []
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    assert {frozenset(told) for told in report["heard"].values()} == {frozenset({"ping", "pong"})}
    assert report["heard"].keys() == {"ours", "theirs"} | ({"agreed"} if is_agreed else set())
    ours = report["server"]
    assert (ours["dtls"], ours["cipher_suite"]) == (0xFEFD, 0xC02B)
    # RFC 8832 §6: the DTLS client's channels have even numbers.
    expected = {"ours": 0, "theirs": 1} if setup == "passive" else {"ours": 1, "theirs": 0}
    assert ours["channels"] == expected | ({"oai-events": AGREED_ID} if is_agreed else {})
    assert ours["is_connected"]
    assert ours["drops"].keys() - REPETITIONS == set()
