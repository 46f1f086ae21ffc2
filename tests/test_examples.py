"""The examples, run as a reader would run them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.harness import make_client, run_server
from voicegate.agents import load_agent
from voicegate.testing import sound
from voicegate.testing.phone import open_phone

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
async def test_the_embedded_agent_plays_its_notes_and_answers_a_second_later() -> None:
    process = await trio.lowlevel.open_process(
        [sys.executable, str(EXAMPLES / "embed.py"), "127.0.0.1:0", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert process.stdout is not None
    spoken = sound.speech_like(1.0)
    try:
        with trio.fail_after(120):
            async with process.stdout:
                said = b""
                while b"\n" not in said:
                    said += await process.stdout.receive_some()
                found = re.search(r"open (\S+)", said.decode())
                assert found is not None
                async with open_phone(found[1], make_client()) as phone:
                    await phone.wait_connected()
                    phone.say(spoken.pcm)
                    await phone.wait_until(lambda: len(phone.core.heard) > 3.5 * 2 * sound.RATE)
                os.killpg(process.pid, signal.SIGINT)
                # It logs on there until it ends.
                async for _ in process.stdout:
                    pass
            assert await process.wait() == 0
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    heard = sound.Sound.from_pcm(bytes(phone.core.heard), rate=sound.RATE)
    start = sound.correlate(sound.tone(660, 0.15), heard.cut(0, 1)).lag
    assert heard.cut(start + 0.03, start + 0.12).dominant_frequency() == pytest.approx(660, abs=15)
    assert heard.cut(start + 0.18, start + 0.27).dominant_frequency() == pytest.approx(880, abs=15)
    answer = heard.cut(start + 0.3, heard.seconds)
    assert answer.cut(0.1, 0.9).loudness < 0.01, "a second of silence lies between the notes and the answer"
    assert sound.recognise(answer, spoken).peak > 0.8


async def test_the_agent_of_events_tells_speech_and_beeps_when_asked() -> None:
    with trio.fail_after(120):
        async with (
            run_server(agent=load_agent("examples.events:agent")) as server,
            open_phone(server.url, make_client(has_data=True)) as phone,
        ):
            await phone.wait_connected()
            assert phone.core.channels is not None
            (channel_id,) = phone.core.channels.channels

            def kinds() -> list[str]:
                return [json.loads(message.data)["type"] for message in phone.core.received]

            await phone.wait_until(lambda: kinds() == ["hello"])
            for data in ('{"type": "beep"}', b"\xff", "[]"):
                phone.core.channels.send(channel_id, data, now=trio.current_time())
            await phone.wait_until(lambda: kinds().count("error") == 2 and "beeped" in kinds())
            while "speech_stopped" not in kinds():  # a stalled machine may spoil a sound
                phone.core.heard.clear()
                phone.say((sound.speech_like(1.0) + sound.silence(1.0)).pcm)
                await phone.wait_until(lambda: len(phone.core.heard) > 5 * sound.RATE)
            assert kinds().index("speech_started") < kinds().index("speech_stopped")
