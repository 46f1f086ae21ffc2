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
from trio.testing import MockClock

from examples import embed, events, faq, tools
from tests.harness import make_client, run_server
from voicegate.agents import load_agent, parrot
from voicegate.testing import Caller, open_call, sound
from voicegate.testing.phone import open_phone
from voicegate.wire.json_value import JSON

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


def ask(caller: Caller, item: dict[str, JSON]) -> None:
    """Put something into the conversation, and want an answer."""
    caller.send_event({"type": "conversation.item.create", "item": item})
    caller.send_event({"type": "response.create"})


def text(words: str) -> dict[str, JSON]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}


async def next_words(caller: Caller) -> str:
    """Return what the agent says next."""
    done = await caller.wait_event("response.output_audio_transcript.done")
    return str(done["transcript"]).strip()


async def test_the_embedded_agent_greets_and_is_an_echo(autojump_clock: MockClock) -> None:
    spoken = sound.speech_like(1.0)
    async with open_call(embed.agent) as caller:
        greeting = sound.Sound.from_pcm(await caller.listen(0.4), rate=caller.rate)
        await caller.speak(spoken + sound.silence(2.0))
        heard = sound.Sound.from_pcm(caller.heard, rate=caller.rate)
    assert greeting.cut(0.05, 0.13).dominant_frequency() == pytest.approx(660, abs=15)
    assert greeting.cut(0.2, 0.28).dominant_frequency() == pytest.approx(880, abs=15)
    assert sound.correlate(spoken, heard).peak > 0.9


async def test_the_agent_of_events_answers_messages(autojump_clock: MockClock) -> None:
    async with open_call(events.agent) as caller:
        caller.send('{"type": "beep"}')
        caller.send("[]")
        await caller.speak(sound.speech_like(1.0) + sound.silence(1.0))
        kinds = [json.loads((await caller.receive()).data)["type"] for _ in range(6)]
        beep = sound.Sound.from_pcm(caller.heard, rate=caller.rate)
    assert kinds[0] == "hello"
    assert sorted(kinds[1:]) == ["beeped", "error", "speech_started", "speech_stopped", "turn_ended"]
    assert beep.dominant_frequency() == pytest.approx(880, abs=15)


async def test_the_agent_of_tools_has_the_client_run_one_and_tells_what_came_of_it(
    autojump_clock: MockClock,
) -> None:
    tool = {"type": "function", "name": "get_weather", "description": "", "parameters": {"type": "object"}}
    async with open_call(tools.agent, session={"tools": [tool]}) as caller:
        ask(caller, text("How is the weather?"))
        done = await caller.wait_event("response.done")
        (called,) = done["response"]["output"]
        assert (called["type"], called["name"]) == ("function_call", "get_weather")
        assert json.loads(called["arguments"]) == {"question": "How is the weather?"}
        ask(caller, {"type": "function_call_output", "call_id": called["call_id"], "output": "sunny"})
        assert await next_words(caller) == "The answer is sunny"
        assert any(await caller.hear())
        ask(caller, text("Who am I?"))
        assert await next_words(caller) == "I have no tool for that"
        await caller.hear()
        await caller.speak(sound.speech_like(1.0) + sound.silence(1.0))
        assert await next_words(caller) == "Please type your question"


async def test_the_agent_of_tools_can_be_interrupted(autojump_clock: MockClock) -> None:
    async with open_call(tools.agent) as caller:
        ask(caller, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]})
        await caller.listen(0.5)
        await caller.speak(sound.speech_like(0.5))
        truncated = await caller.wait_event("conversation.item.truncated")
        assert 500 <= truncated["audio_end_ms"] < 1200
        assert not any(await caller.listen(0.2))


async def test_the_agent_of_questions_answers_some_and_puts_the_others_through(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_call(faq.agent, agents={"parrot": parrot}) as caller:
        assert await next_words(caller) == faq.GREETING
        await caller.speak(sound.speech_like(0.5))  # talks over the greeting
        assert await next_words(caller) == faq.GREETING
        await caller.hear()
        ask(caller, text("What is your address?"))
        assert await next_words(caller) == faq.ANSWERS["address"]
        await caller.hear()
        ask(caller, text("Why is the sky blue?"))
        assert await next_words(caller) == faq.APOLOGY
        await caller.hear()
        sentence = sound.speech_like(2.0)
        await caller.speak(sentence)
        answer = sound.Sound.from_pcm(await caller.hear(), rate=caller.rate)
    assert sound.correlate(sentence, answer).peak > 0.9, "this is the parrot"
    assert "interrupted after" in capsys.readouterr().out
