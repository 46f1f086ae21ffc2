"""Calls without a network: that they are like calls with one."""

import pytest
import trio
from trio.testing import MockClock

from voicegate.agents import echo, parrot, transcode
from voicegate.call import (
    Agent,
    AudioFrame,
    Call,
    ChannelClosed,
    ChannelOpened,
    ClientEvent,
    Connected,
    DtmfReceived,
    EncodedFrame,
    EndCause,
    GoingAway,
    Interrupted,
    ItemAdded,
    MarkPlayed,
    ResponseRequested,
    Said,
    SessionUpdated,
    TurnAnswered,
)
from voicegate.errors import UsageError, WireError
from voicegate.testing import Caller, open_call
from voicegate.testing.sound import Sound, correlate, silence, speech_like, tone
from voicegate.wire.json_value import JSON

SECOND = bytes(2 * 48_000)


def text(words: str) -> dict[str, JSON]:
    """Return the event that writes to the agent."""
    content = [{"type": "input_text", "text": words}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": content},
    }


def kinds(caller: Caller) -> list[str]:
    return [event["type"] for event in caller.events]


# Voice


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize("agent", [echo, transcode])
async def test_what_is_said_back_is_heard_to_the_bit(
    agent: Agent, rate: int, autojump_clock: MockClock
) -> None:
    said = speech_like(1.0, rate=rate)
    async with open_call(agent, rate=rate) as caller:
        await caller.speak(said)
        assert caller.heard.endswith(said.pcm)


async def test_a_parrot_waits_for_the_end_of_the_sentence(autojump_clock: MockClock) -> None:
    sentence = speech_like(2.0)
    async with open_call(parrot) as caller:
        await caller.speak(sentence)
        assert not any(caller.heard)
        answer = await caller.hear()
    assert correlate(sentence, Sound.from_pcm(answer, rate=caller.rate)).peak > 0.99


async def test_a_parrot_falls_silent_when_it_is_interrupted(autojump_clock: MockClock) -> None:
    async with open_call(parrot) as caller:
        await caller.speak(speech_like(3.0) + silence(1.5))
        assert any(caller.heard), "it speaks"
        await caller.speak(speech_like(0.5))
        assert not any(await caller.listen(0.5))


@pytest.mark.parametrize("given", ["sound", "wav", "pcm"])
async def test_sounds_of_all_kinds_and_rates_can_be_said(given: str, autojump_clock: MockClock) -> None:
    said = tone(440, 0.5, rate=16_000)
    async with open_call(echo) as caller:
        match given:
            case "sound":
                await caller.speak(said)
            case "wav":
                await caller.speak(said.encode())
            case _:
                await caller.speak(said.pcm, rate=16_000)
        heard = Sound.from_pcm(caller.heard, rate=caller.rate)
    assert heard.seconds == pytest.approx(0.5, abs=0.03)
    assert heard.dominant_frequency() == pytest.approx(440, abs=5)


async def test_what_is_no_sound_is_refused(autojump_clock: MockClock) -> None:
    async with open_call(echo) as caller:
        with pytest.raises(WireError):
            await caller.speak(b"RIFF????")
        with pytest.raises(UsageError):
            await caller.speak(b"\0")


async def test_an_agent_may_choose_its_rate_and_what_it_wants(autojump_clock: MockClock) -> None:
    frames: list[AudioFrame | EncodedFrame] = []

    class Listener:
        is_encoded = False

        def hear(self, frame: AudioFrame | EncodedFrame) -> None:
            frames.append(frame)

    async def agent(call: Call) -> None:
        call.use_rate(16_000)
        await trio.sleep(0.5)
        call.listen(Listener())
        await call.say(bytes(2 * 16_000))
        call.audio_in.close()
        call.listen(None)
        await trio.sleep_forever()

    async with open_call(agent) as caller:
        await caller.listen(3.0)
    assert 49 <= len(frames) <= 51
    for frame in frames:
        assert isinstance(frame, AudioFrame)
        assert len(frame.pcm) == 640
    assert isinstance(frames[0], AudioFrame)
    assert frames[0].position == pytest.approx(8000, abs=320)


async def test_time_passes_as_on_the_line(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        await trio.sleep(1)
        await call.say(tone(440, 2.0).pcm)
        await trio.sleep_forever()

    start = trio.current_time()
    async with open_call(agent) as caller:
        assert len(await caller.hear()) == pytest.approx(2 * len(SECOND), abs=2000)
        assert trio.current_time() - start == pytest.approx(3.5, abs=0.1)
        assert len(caller.heard) == pytest.approx(3.5 * len(SECOND), rel=0.05)


# Events


async def test_an_agent_is_told_what_happens_in_its_call(autojump_clock: MockClock) -> None:
    events: list[object] = []

    async def agent(call: Call) -> None:
        call.detect_speech()
        call.audio_out.send_nowait(tone(440, 5.0).pcm, response_id="r1")
        async for event in call.events:
            events.append(event)
            if type(event).__name__ == "TurnEnded":
                call.audio_out.send_nowait(SECOND)
                call.audio_out.mark("end")

    async with open_call(agent) as caller:
        await caller.listen(0.5)
        await caller.speak(speech_like(1.0) + silence(2.0))
    assert [type(event).__name__ for event in events] == [
        "Connected",
        "SpeechStarted",
        "Interrupted",
        "SpeechStopped",
        "TurnEnded",
        "TurnAnswered",
        "MarkPlayed",
    ]
    interrupted = events[2]
    assert isinstance(interrupted, Interrupted)
    assert interrupted.response_id == "r1"
    assert 500 <= interrupted.interruption.heard_ms <= 1000
    assert isinstance(events[5], TurnAnswered)
    assert events[5].first_packet_ms >= 600
    assert events[6] == MarkPlayed("end", 1000)


async def test_what_is_said_is_interrupted_by_the_users_voice(autojump_clock: MockClock) -> None:
    said: list[Said] = []

    async def agent(call: Call) -> None:
        call.converse()
        said.append(await call.say(tone(440, 5.0).pcm, transcript="a long story"))
        said.append(await call.say(tone(440, 0.5).pcm))

    async with open_call(agent) as caller:
        await caller.listen(1.0)
        await caller.speak(speech_like(0.3))
        truncated = await caller.wait_event("conversation.item.truncated")
        await caller.wait_ended()
    first, second = said
    assert first.is_interrupted
    assert 1000 <= first.heard_ms <= 1300
    assert truncated["audio_end_ms"] == first.heard_ms
    assert second == Said(500, is_interrupted=False)


async def test_the_client_asks_for_an_answer_and_gets_it(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.converse()
        words = ""
        async for event in call.events:
            match event:
                case ItemAdded(item={"content": [{"text": str(found)}]}):
                    words = found
                case ResponseRequested(response_id=response_id):
                    with call.respond(response_id) as response:
                        response.transcript(words.upper())
                        await response.send(tone(440, 0.5).pcm)
                case _:
                    pass

    async with open_call(agent, session={"instructions": "shout"}) as caller:
        created = await caller.wait_event("session.created")
        assert created["session"]["instructions"] == "shout"
        caller.send_event(text("hello"))
        caller.send_event({"type": "response.create"})
        answer = await caller.hear()
        assert len(answer) == pytest.approx(len(SECOND) / 2, abs=2000)
        caller.send_event(text("again"))
        caller.send_event({"type": "response.create"})
        first = await caller.wait_event("response.done")
        second = await caller.wait_event("response.done")
        for done, words in ((first, "HELLO"), (second, "AGAIN")):
            assert done["response"]["status"] == "completed"
            assert done["response"]["output"][0]["content"][0]["transcript"] == words
        await caller.hear()
        await trio.sleep(1)
    assert kinds(caller).count("output_audio_buffer.started") == 2
    assert kinds(caller).count("output_audio_buffer.stopped") == 2


async def test_a_spoken_turn_asks_for_an_answer_too(autojump_clock: MockClock) -> None:
    requests: list[str] = []

    async def agent(call: Call) -> None:
        call.converse()
        while not isinstance(event := await call.events.receive(), ResponseRequested):
            pass
        requests.append(event.response_id)
        await trio.sleep_forever()

    async with open_call(agent) as caller:
        await caller.speak(speech_like(1.0) + silence(1.0))
        assert "input_audio_buffer.speech_started" in kinds(caller)
        created = await caller.wait_event("response.created")
    assert requests == [created["response"]["id"]]


async def test_keys_can_be_pressed(autojump_clock: MockClock) -> None:
    pressed: list[DtmfReceived] = []

    async def agent(call: Call) -> None:
        call.converse()
        async for event in call.events:
            if isinstance(event, DtmfReceived):
                pressed.append(event)  # noqa: PERF401 - until it is cancelled

    async with open_call(agent) as caller:
        await caller.listen(0.1)
        caller.press("5")
        caller.press("#", duration_ms=300)
        await caller.listen(0.1)
    assert pressed == [DtmfReceived(digit="5", duration_ms=100), DtmfReceived(digit="#", duration_ms=300)]


async def test_a_raw_agent_speaks_the_api_itself(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    async def agent(call: Call) -> None:
        call.converse(raw=True)
        async for event in call.events:
            if isinstance(event, ClientEvent):
                asked.append(event.event["type"])
                response = {
                    "id": "resp_1",
                    "object": "realtime.response",
                    "status": "in_progress",
                    "output": [],
                }
                call.emit({"type": "response.created", "event_id": "event_1", "response": response})

    async with open_call(agent) as caller:
        caller.send_event({"type": "response.create"})
        created = await caller.wait_event("response.created")
    assert created["response"]["id"] == "resp_1"
    assert asked == ["response.create"]


async def test_an_agent_that_does_not_converse_gives_the_client_its_events_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async def agent(call: Call) -> None:
        call.audio_out.send_nowait(tone(440, 1.0).pcm)
        await trio.sleep_forever()

    async with open_call(agent) as caller:
        await caller.hear()
        await caller.wait_event("output_audio_buffer.stopped")
    assert [kind for kind in kinds(caller) if kind.startswith(("response.", "output_"))] == [
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "output_audio_buffer.started",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
        "output_audio_buffer.stopped",
    ]


async def test_the_same_call_gives_the_same_events_again(autojump_clock: MockClock) -> None:
    async def events() -> list[dict[str, JSON]]:
        async with open_call(parrot) as caller:
            await caller.speak(speech_like(1.0))
            await caller.hear()
            return list(caller.events)

    assert await events() == await events()


# Data channels


async def test_messages_go_both_ways(autojump_clock: MockClock) -> None:
    events: list[object] = []

    async def agent(call: Call) -> None:
        assert call.has_channels
        await call.send("greeting")
        async for message in call.messages:
            await message.channel.send(message.data * 2)
            if message.data == b"end":
                message.channel.close()
                own = call.open_channel("mine", negotiated_id=9)
                own.send_nowait("on mine")
                assert own.buffered_bytes == 0
                assert set(call.channels) == {1, 9}
                while not isinstance(event := await call.events.receive(), ChannelClosed):
                    events.append(event)
                return

    async with open_call(agent) as caller:
        caller.send("one")
        caller.send("two", label="other")
        caller.send(b"end")
        caller.send("late", label="other")
        received = [await caller.receive() for _ in range(5)]
        await caller.wait_ended()
        with pytest.raises(trio.EndOfChannel):
            await caller.receive()
    assert [message.data for message in received] == ["greeting", "oneone", "twotwo", b"endend", "on mine"]
    assert [message.channel.label for message in received] == ["test", "test", "other", "test", "mine"]
    assert [type(event) for event in events] == [Connected, ChannelOpened, ChannelOpened]


async def test_a_client_may_have_no_data_channels(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        assert not call.has_channels
        with pytest.raises(UsageError):
            await call.send("x")

    async with open_call(agent, has_channels=False) as caller:
        with pytest.raises(UsageError, match="no data channels"):
            caller.send("x")
        await caller.wait_ended()


async def test_whoever_waits_for_a_message_learns_that_the_call_is_over(autojump_clock: MockClock) -> None:
    ended: list[str] = []

    async def agent(call: Call) -> None:
        try:
            async for _ in call.messages:
                pass
        finally:
            ended.append("cancelled")

    async with open_call(agent) as caller:
        await caller.listen(0.1)
    assert ended == ["cancelled"]


async def test_an_agents_own_packets_take_their_time(autojump_clock: MockClock) -> None:
    spoken = tone(440, 0.01).pcm

    async def agent(call: Call) -> None:
        for payload in (spoken, b"", b"no samples", spoken):
            call.audio_out.send_packet_nowait(payload, 480)
        await call.audio_out.drain()

    async with open_call(agent) as caller:
        await caller.wait_ended()
    assert caller.heard.rstrip(b"\0") == (spoken + bytes(2 * len(spoken)) + spoken).rstrip(b"\0")
    assert len(caller.heard) % 1920 == 0


# Transfer


async def test_a_call_goes_on_with_another_agent(autojump_clock: MockClock) -> None:
    calls: list[Call] = []
    notices: list[object] = []

    async def first(call: Call) -> None:
        calls.append(call)
        call.converse()
        await call.events.receive()
        await call.say(tone(440, 1.0).pcm, transcript="one moment")
        call.audio_in.close()
        call.transfer("second")
        await trio.sleep_forever()

    async def second(call: Call) -> None:
        calls.append(call)
        call.converse()
        async for event in call.events:
            notices.append(event)
            if isinstance(event, ItemAdded):
                break
        await call.audio_in.receive()
        call.transfer(third)  # and returns

    async def third(call: Call) -> None:
        await call.say(tone(880, 1.0).pcm)

    async with open_call(first, metadata={"name": "Ann"}, agents={"second": second}) as caller:
        heard = Sound.from_pcm(await caller.hear(), rate=caller.rate)
        assert await caller.wait_ended() is EndCause.AGENT_FINISHED
    assert heard.cut(0.1, 0.9).dominant_frequency() == pytest.approx(440, abs=10)
    assert heard.cut(1.2, 1.9).dominant_frequency() == pytest.approx(880, abs=10)
    assert [call.metadata for call in calls] == [{"name": "Ann"}] * 2
    assert isinstance(notices[0], Connected)
    assert isinstance(notices[1], SessionUpdated)
    assert isinstance(notices[2], ItemAdded)
    assert notices[2].item["content"][0]["transcript"] == "one moment"


async def test_the_next_agent_has_the_channels_too(autojump_clock: MockClock) -> None:
    events: list[object] = []

    async def first(call: Call) -> None:
        await call.send("first")
        call.transfer(second)

    async def second(call: Call) -> None:
        events.extend([await call.events.receive(), await call.events.receive()])
        await call.send("second")

    async with open_call(first) as caller:
        caller.send("hello")
        assert [(await caller.receive()).data for _ in range(2)] == ["first", "second"]
    assert [type(event) for event in events] == [Connected, ChannelOpened]


async def test_an_agent_does_not_hear_what_the_one_before_it_asked_for(autojump_clock: MockClock) -> None:
    events: list[object] = []

    async def first(call: Call) -> None:
        call.detect_speech()
        call.transfer(second)

    async def second(call: Call) -> None:
        async for event in call.events:
            events.append(event)  # noqa: PERF401 - until it is cancelled

    async with open_call(first) as caller:
        await caller.speak(speech_like(1.0) + silence(1.0))
    assert [type(event) for event in events] == [Connected]


async def test_what_an_agent_left_paused_is_said_before_the_next_one_begins(
    autojump_clock: MockClock,
) -> None:
    async def first(call: Call) -> None:
        call.audio_out.pause()
        call.audio_out.send_nowait(tone(440, 1.0).pcm)
        call.transfer(second)

    async def second(call: Call) -> None:
        await call.say(tone(880, 1.0).pcm)

    async with open_call(first) as caller:
        heard = Sound.from_pcm(await caller.hear(), rate=caller.rate)
    assert heard.cut(0.1, 0.9).dominant_frequency() == pytest.approx(440, abs=10)
    assert heard.cut(1.2, 1.9).dominant_frequency() == pytest.approx(880, abs=10)


async def test_a_call_cannot_be_given_to_nobody(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.transfer("nobody")

    with pytest.raises(UsageError, match="nobody"):
        async with open_call(agent) as caller:
            await caller.wait_ended()


# The end


async def test_an_agents_failure_comes_out_of_the_block(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        await trio.sleep(1)
        raise LookupError("out of ideas")

    with pytest.raises(LookupError, match="out of ideas"):
        async with open_call(agent) as caller:
            await caller.hear()
    assert caller.cause is EndCause.AGENT_FAILED


async def test_failures_of_an_agent_with_a_nursery_come_out_too(autojump_clock: MockClock) -> None:
    async def fail(fault: Exception) -> None:
        raise fault

    async def agent(call: Call) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, LookupError())
            nursery.start_soon(fail, ValueError())

    with pytest.raises(ExceptionGroup) as caught:
        async with open_call(agent) as caller:
            assert await caller.wait_ended() is EndCause.AGENT_FAILED
    assert caught.group_contains(LookupError)
    assert caught.group_contains(ValueError)


async def test_a_failure_of_the_test_comes_out_bare(autojump_clock: MockClock) -> None:
    with pytest.raises(AssertionError, match="mine"):
        async with open_call(echo):
            raise AssertionError("mine")


async def test_whoever_waits_learns_that_the_call_is_over(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.hangup()
        await trio.sleep_forever()

    async with open_call(agent) as caller:
        with pytest.raises(trio.EndOfChannel, match="hung up"):
            await caller.hear()
        with pytest.raises(trio.EndOfChannel):
            await caller.speak(SECOND)
        with pytest.raises(trio.EndOfChannel):
            await caller.wait_event("response.done")
        with pytest.raises(trio.EndOfChannel):
            caller.send_event(text("hello"))
        assert caller.cause is EndCause.AGENT_FINISHED


async def test_an_event_is_waited_for_until_the_call_is_over(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        await trio.sleep(1)

    async with open_call(agent) as caller:
        with pytest.raises(trio.EndOfChannel):
            await caller.wait_event("no.such.event")
        assert await caller.wait_ended() is EndCause.AGENT_FINISHED


async def test_speaking_ends_with_the_call(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        await trio.sleep(1)

    async with open_call(agent) as caller:
        with pytest.raises(trio.EndOfChannel):
            await caller.speak(60 * SECOND)


async def test_the_last_words_are_heard_before_the_agent_hangs_up(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.audio_out.send_nowait(tone(440, 1.0).pcm)
        call.hangup(after="drain")

    async with open_call(agent) as caller:
        assert await caller.wait_ended() is EndCause.AGENT_FINISHED
        assert len(caller.heard) == len(SECOND)


async def test_no_call_lasts_for_ever(autojump_clock: MockClock) -> None:
    async with open_call(echo, max_seconds=2.0) as caller:
        assert await caller.wait_ended() is EndCause.MAX_DURATION


async def test_the_caller_can_hang_up(autojump_clock: MockClock) -> None:
    async with open_call(echo) as caller:
        caller.hang_up()
        assert await caller.wait_ended() is EndCause.CLIENT_HANGUP


async def test_a_cancelled_test_ends_its_call(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        async with open_call(echo) as caller:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert caller.cause is not None


async def test_an_agent_is_told_that_the_server_goes_away(autojump_clock: MockClock) -> None:
    told: list[float] = []

    async def second(call: Call) -> None:
        async for event in call.events:
            match event:
                case GoingAway(seconds=seconds):
                    told.append(seconds)
                case _:
                    pass

    async def first(call: Call) -> None:
        call.converse()
        async for event in call.events:
            if isinstance(event, GoingAway):
                told.append(event.seconds)
                await trio.sleep(4)
                call.transfer(second)

    async with open_call(first) as caller:
        await caller.wait_event("session.created")
        began_at = trio.current_time()
        caller.drain(seconds=10)
        assert (await caller.wait_event("voicegate.going_away"))["seconds"] == 10
        assert await caller.wait_ended() is EndCause.SERVER_DRAINED
        assert trio.current_time() == pytest.approx(began_at + 10)
    assert told == [10, pytest.approx(6)]
