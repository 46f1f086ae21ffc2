"""What the client hears from when it begins to talk over us, at the server's socket and in virtual time."""

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.exchange import Exchange
from voicegate.call import Call, Interrupted, SpeechStarted
from voicegate.testing import sound
from voicegate.testing.client import ClientState

RATE = 8000


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["PCMU", "opus"])
async def test_the_socket_falls_silent_within_40_ms_of_the_detection(
    codec: str, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    detected: list[float] = []
    interrupted: list[Interrupted] = []

    async def talker(call: Call) -> None:
        call.use_rate(RATE)
        call.detect_speech()
        while True:
            call.audio_out.send_nowait(sound.tone(440, 20.0, rate=RATE).pcm)
            async for event in call.events:
                if isinstance(event, SpeechStarted):
                    detected.append(trio.current_time())
                if isinstance(event, Interrupted):
                    interrupted.append(event)
                    break
            await trio.sleep(2)

    exchange = await Exchange.open(nursery, talker)
    caller = exchange.call(codec=codec)
    await caller.wait_for(ClientState.CONNECTED)
    media = caller.core.media
    assert media is not None
    rate = media.codec.sample_rate
    for trial in range(5):
        await trio.sleep(1.013)
        caller.core.heard.clear()
        caller.core.say(sound.speech_like(0.5, seed=trial, rate=rate).pcm)
        caller.flush()
        count = len(detected)
        with trio.fail_after(5):
            while len(detected) == count:
                await trio.sleep(0.001)
        await trio.sleep(0.04)
        caller.core.heard.clear()
        await trio.sleep(0.5)
        heard = sound.Sound.from_pcm(bytes(caller.core.heard), rate=rate)
        assert heard.seconds > 0.4
        assert heard.loudness < 0.002, "the codec's own decay is all that is left"
        await trio.sleep(2)
    assert len(interrupted) == 5
    assert all(900 < event.interruption.heard_ms < 2500 for event in interrupted)
