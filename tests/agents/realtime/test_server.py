"""A WebRTC client of one whole server, whose agent is the WebSocket of another whole server."""

import pytest
import trio

from tests.agents.realtime.test_loop import ANSWER, QUESTION, heard_by, recorded
from tests.harness import make_client, run_server
from voicegate.agents.realtime import RealtimeOptions, open_realtime_agent
from voicegate.audio import Resampler
from voicegate.testing import sound
from voicegate.testing.phone import open_phone

RATE = 24_000


@pytest.mark.slow
async def test_a_webrtc_client_talks_with_a_realtime_server() -> None:
    told: list[object] = []
    with trio.fail_after(240):
        async with run_server(agent=recorded(told)) as model:
            url = f"{model.url.replace('http', 'ws', 1).rstrip('/')}/v1/realtime"
            bridge = open_realtime_agent(url, RealtimeOptions(model="upstream"))
            async with (
                run_server(agent=bridge) as gateway,
                open_phone(gateway.url, make_client()) as phone,
            ):
                await phone.wait_connected()
                question = Resampler(RATE, 48_000).process(QUESTION.pcm)
                answer = sound.Sound.from_pcm(Resampler(RATE, 48_000).process(ANSWER.pcm), rate=48_000)

                def is_understood() -> bool:
                    heard = sound.Sound.from_pcm(bytes(phone.core.heard), rate=48_000)
                    asked = sound.recognise(heard_by(told), QUESTION).peak > 0.8
                    return asked and sound.recognise(heard, answer).peak > 0.8

                while not is_understood():  # a stalled machine may spoil a sound
                    phone.core.heard.clear()
                    told.clear()
                    phone.say(question + bytes(96_000))
                    with trio.move_on_after(6):
                        while not is_understood():
                            await trio.sleep(0.5)
