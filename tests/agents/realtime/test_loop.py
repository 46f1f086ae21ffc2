"""A client, our gateway, the bridge, another gateway of ours and an agent there: a whole loop, with audio."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.agents.realtime.proxy import Proxy, open_proxy
from tests.socket_call.client import Client, open_call
from tests.socket_call.server import serve_calls
from voicegate.agents.realtime import RealtimeOptions, open_realtime_agent
from voicegate.call import (
    Agent,
    Call,
    InputCommitted,
    Interrupted,
    ItemAdded,
    ItemTruncated,
    ResponseRequested,
    SessionUpdated,
)
from voicegate.testing import sound

RATE = 24_000
ANSWER = sound.speech_like(1.0, seed=3, rate=RATE)
QUESTION = sound.speech_like(1.0, seed=9, rate=RATE)


@asynccontextmanager
async def loop(agent: Agent, **options: object) -> AsyncIterator[tuple[Client, Proxy]]:
    """Run it all around the block."""
    with trio.fail_after(240):
        async with serve_calls(agent) as url, open_proxy(url) as proxy:
            bridge = open_realtime_agent(
                f"{proxy.url}/realtime",
                RealtimeOptions(model="upstream", **options),  # type: ignore[arg-type]
            )
            async with open_call(bridge) as client:
                yield client, proxy


def recorded(told: list[object]) -> Agent:
    """Return an agent that answers each turn, and notes what it was told and what it heard."""

    async def answer(call: Call) -> None:
        call.converse()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, call)
            async for event in call.events:
                told.append(event)
                if isinstance(event, ResponseRequested):
                    nursery.start_soon(speak, call, event)

    async def listen(call: Call) -> None:
        while True:
            told.append((await call.audio_in.receive()).pcm)

    async def speak(call: Call, event: ResponseRequested) -> None:
        with call.respond(event.response_id) as response:
            if event.parameters.get("instructions") == "call":
                response.function_call("weather", "{}", call_id="call_1")
                return
            response.transcript("Good day to you, whoever you may be.")
            for _ in range(20 if event.parameters.get("instructions") == "long" else 1):
                await response.send(ANSWER.pcm)

    return answer


def heard_by(told: list[object]) -> sound.Sound:
    return sound.Sound.from_pcm(b"".join(each for each in told if isinstance(each, bytes)), rate=RATE)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [24_000, 16_000])
async def test_a_question_goes_up_and_its_answer_comes_down(rate: int) -> None:
    told: list[object] = []
    async with loop(recorded(told), input_rate=24_000, output_rate=24_000) as (client, _):
        client.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
        updated = await client.wait("session.updated")
        assert updated["session"]["instructions"] == "Be brief."
        client.say(QUESTION.pcm + bytes(RATE * 3))
        done = await client.wait("response.done")
        kinds = client.kinds()
    assert rate
    assert kinds.count("session.created") == 1
    for kind in (
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.done",
        "response.output_item.done",
    ):
        assert kinds.count(kind) == 1, kind
    assert done["response"]["status"] == "completed"
    assert client.heard() == ANSWER.pcm
    assert sound.recognise(heard_by(told), QUESTION).peak > 0.9
    session = [event.session for event in told if isinstance(event, SessionUpdated)][-1]
    assert session["instructions"] == "Be brief."


@pytest.mark.slow
async def test_the_user_interrupts_and_the_model_learns_what_was_heard() -> None:
    told: list[object] = []
    async with loop(recorded(told)) as (client, _):
        client.send("response.create", response={"instructions": "long"})
        await client.wait("response.output_audio.delta")
        await trio.sleep(1.0)
        client.say(QUESTION.pcm)
        await client.wait("input_audio_buffer.speech_started")
        done = await client.wait("response.done")
        assert done["response"]["status_details"]["reason"] == "turn_detected"
        item = done["response"]["output"][0]
        client.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=700)
        truncated = await client.wait("conversation.item.truncated")
        assert truncated["audio_end_ms"] == 700
        assert [event for event in client.seen if event["type"] == "error"] == []
    assert ItemTruncated(item_id=item["id"], audio_end_ms=700) in told
    assert any(isinstance(event, Interrupted) for event in told)


@pytest.mark.slow
async def test_a_function_is_called_and_its_output_taken() -> None:
    told: list[object] = []
    async with loop(recorded(told)) as (client, _):
        client.send("response.create", response={"instructions": "call"})
        called = await client.wait("response.function_call_arguments.done")
        await client.wait("response.done")
        output = {"type": "function_call_output", "call_id": called["call_id"], "output": "sunny"}
        client.send("conversation.item.create", item=output)
        await client.wait("conversation.item.done")
        client.send("response.create")
        await client.wait("response.done")
        assert client.heard() == ANSWER.pcm
    items = [event.item for event in told if isinstance(event, ItemAdded)]
    assert any(item["type"] == "function_call_output" and item["output"] == "sunny" for item in items)


@pytest.mark.slow
async def test_push_to_talk_reaches_the_model() -> None:
    told: list[object] = []
    async with loop(recorded(told)) as (client, _):
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        client.send("session.update", session=manual)
        await client.wait("session.updated")
        client.say(QUESTION.pcm)
        await trio.sleep(0.5)
        client.send("input_audio_buffer.commit")
        await client.wait("input_audio_buffer.committed")
        client.send("response.create")
        await client.wait("response.done")
    assert sum(isinstance(event, InputCommitted) for event in told) == 1


@pytest.mark.slow
async def test_a_broken_connection_is_made_anew_and_the_conversation_goes_on() -> None:
    told: list[object] = []
    async with loop(recorded(told)) as (client, proxy):
        text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "I am Ada."}]}
        client.send("conversation.item.create", item=text)
        await client.wait("conversation.item.done")
        client.send("response.create")
        await client.wait("response.done")
        told.clear()
        proxy.cut()
        client.say(QUESTION.pcm + bytes(RATE * 3))
        client.send("conversation.item.create", item={**text, "id": "item_offline"})
        await client.wait("response.done")
        assert client.heard() == ANSWER.pcm * 2
        assert client.kinds().count("session.created") == 1
        assert "error" not in client.kinds()
    assert proxy.connections == 2
    items = [event.item for event in told if isinstance(event, ItemAdded)]
    said = [part.get("text") for item in items for part in item.get("content", ())]
    assert said[:2] == ["I am Ada.", "Good day to you, whoever you may be."]
    assert "item_offline" in [item["id"] for item in items]
    assert sound.recognise(heard_by(told), QUESTION).peak > 0.9


@pytest.mark.slow
async def test_an_answer_that_was_cut_off_before_its_first_sound_is_asked_for_again() -> None:
    requests = 0

    async def slow(call: Call) -> None:
        nonlocal requests
        call.converse()
        async for event in call.events:
            if isinstance(event, ResponseRequested):
                requests += 1
                if requests == 1:
                    call.respond(event.response_id).transcript("Well")
                    continue
                with call.respond(event.response_id) as response:
                    await response.send(ANSWER.pcm)

    async with loop(slow) as (client, proxy):
        client.send("response.create")
        await client.wait("response.created")
        proxy.cut()
        failed = await client.wait("response.done")
        assert failed["response"]["status"] == "failed"
        done = await client.wait("response.done")
        assert done["response"]["status"] == "completed"
        assert client.heard() == ANSWER.pcm
