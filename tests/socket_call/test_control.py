"""What an agent may ask of a call over a socket beyond a conversation."""

import pytest
import trio
from trio.testing import MockClock

from tests.socket_call.client import open_call
from voicegate.call import (
    AudioFrame,
    Call,
    EncodedFrame,
    EndCause,
    Interrupted,
    ResponseRequested,
    SpeechStarted,
    TurnEnded,
)
from voicegate.errors import UsageError
from voicegate.testing import sound

RATE = 24_000
SPEECH = sound.speech_like(1.0, rate=RATE).pcm


class Ear:
    """Hears packets, and says them back."""

    is_encoded = True

    def __init__(self, call: Call) -> None:
        self._call = call
        self.timestamps: list[int] = []

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        assert isinstance(frame, EncodedFrame)
        self.timestamps.append(frame.timestamp)
        self._call.audio_out.send_packet_nowait(frame.payload, frame.ticks)


async def test_packets_are_samples_on_a_clock_of_8_khz(autojump_clock: MockClock) -> None:
    ears = []

    async def agent(call: Call) -> None:
        with pytest.raises(UsageError):
            call.audio_out.send_packet_nowait(b"", 0)
        ears.append(Ear(call))
        call.listen(ears[0])
        await trio.sleep_forever()

    async with open_call(agent) as client:
        client.say(SPEECH)
        await client.wait("response.done")
        assert client.heard() == SPEECH
    assert ears[0].timestamps == [160 * index for index in range(50)]


async def test_a_lost_packet_is_so_much_silence(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.audio_out.send_packet_nowait(b"", 160)
        await trio.sleep_forever()

    async with open_call(agent) as client:
        await client.wait("response.done")
        assert client.heard() == bytes(960)


async def test_a_listener_that_raises_ends_its_call(autojump_clock: MockClock) -> None:
    class Broken:
        is_encoded = False

        def hear(self, frame: AudioFrame | EncodedFrame) -> None:
            raise ValueError("no")

    async def agent(call: Call) -> None:
        call.listen(Broken())
        await trio.sleep_forever()

    async with open_call(agent) as client:
        client.say(SPEECH)
        await client.read_out()
    assert client.call is not None
    assert client.call.cause is EndCause.AGENT_FAILED


async def test_an_agent_pauses_goes_on_and_falls_silent(autojump_clock: MockClock) -> None:
    heard: list[int] = []

    async def agent(call: Call) -> None:
        call.audio_out.send_nowait(SPEECH, response_id="a")
        await trio.sleep(0.1)
        call.audio_out.pause()
        call.audio_out.send_nowait(SPEECH, response_id="b")
        await trio.sleep(2)
        heard.append(call.audio_out.queued_ms)
        call.audio_out.resume()
        await trio.sleep(0.5)
        heard.append(call.interrupt().heard_ms)
        call.audio_out.cancel_response("c")
        call.audio_out.send_nowait(SPEECH, response_id="c")
        heard.append(call.audio_out.queued_ms)

    async with open_call(agent) as client:
        await client.read_out()
        assert client.heard() == SPEECH * 2
    assert heard == pytest.approx([1000, 500, 0], abs=20)


async def test_turns_are_found_for_an_agent_at_its_own_rate(autojump_clock: MockClock) -> None:
    told: list[tuple[object, int]] = []

    async def agent(call: Call) -> None:
        call.use_rate(16_000)
        call.detect_speech(silence_ms=10_000)
        call.audio_out.send_nowait(bytes(16_000 * 2 * 20))
        async for event in call.events:
            told.append((event, len(call.pre_roll(100))))
            if not isinstance(event, SpeechStarted):
                call.end_turn()

    async with open_call(agent) as client:
        client.say(SPEECH + bytes(RATE))
        await client.wait("input_audio_buffer.committed")
        await trio.sleep(0.1)
    kinds = [type(event) for event, _ in told]
    assert kinds.index(SpeechStarted) < kinds.index(Interrupted) < kinds.index(TurnEnded)
    assert told[-1][1] == 3200


async def test_a_cleared_buffer_ends_the_turn_and_is_no_item(autojump_clock: MockClock) -> None:
    told: list[object] = []

    async def agent(call: Call) -> None:
        call.converse()
        while True:
            told.append(await call.events.receive())

    async with open_call(agent) as client:
        client.say(SPEECH)
        await client.wait("input_audio_buffer.speech_started")
        client.send("input_audio_buffer.clear")
        await client.wait("input_audio_buffer.cleared")
        client.say(bytes(RATE * 2))
        with trio.move_on_after(5):
            await client.wait("input_audio_buffer.committed")
        assert "input_audio_buffer.committed" not in client.kinds()
    assert any(isinstance(event, TurnEnded) for event in told)
    assert not any(isinstance(event, ResponseRequested) for event in told)


async def test_there_are_no_data_channels(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        assert not call.has_channels
        assert call.channels == {}
        with pytest.raises(UsageError):
            call.open_channel("x")
        with pytest.raises(UsageError):
            await call.send("x")
        with pytest.raises(UsageError):
            call.transfer("nobody")
        assert [message async for message in call.messages] == []

    async with open_call(agent) as client:
        with trio.move_on_after(3):
            await client.read_out()
    assert client.call is not None
    assert client.call.cause is EndCause.CLIENT_CLOSED
