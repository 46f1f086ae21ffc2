"""A cascade on a call, with models that answer over HTTP in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.agents.cascade.stub import Stub, call, connect_at_once, open_stub, say
from voicegate.agents.cascade import open_cascade
from voicegate.testing import sound
from voicegate.testing.agent import Caller, open_call

pytestmark = pytest.mark.slow

QUESTION = sound.speech_like(1.0)
TRANSCRIBED = {"audio": {"input": {"transcription": {"model": "any"}}}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MockClock:
    """Time jumps when nothing happens."""
    monkeypatch.setattr(trio, "open_tcp_stream", connect_at_once)
    return MockClock(autojump_threshold=0)


@asynccontextmanager
async def talk(stub: Stub, session: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Caller]:
    agent = open_cascade(stub.make_options(**options))
    async with open_call(agent, session=session) as caller:
        await trio.sleep(0.2)
        yield caller


def kinds(caller: Caller) -> list[str]:
    return [str(event["type"]) for event in caller.events]


def message(text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": content},
    }


async def ask(caller: Caller, text: str, **parameters: Any) -> dict[str, Any]:
    """Ask in writing, and return the response when it is done."""
    caller.send_event(message(text))
    caller.send_event({"type": "response.create", "response": parameters})
    done: dict[str, Any] = (await caller.wait_event("response.done"))["response"]
    return done


async def test_a_question_is_answered_by_voice(clock: MockClock) -> None:
    async with open_stub() as stub, talk(stub, TRANSCRIBED) as caller:
        await caller.speak(QUESTION)
        heard = sound.Sound.from_pcm(await caller.hear(), rate=caller.rate)
        completed = await caller.wait_event("conversation.item.input_audio_transcription.completed")
        done = await caller.wait_event("response.done")
    assert heard.seconds == pytest.approx(0.55, abs=0.4), "what goes over a socket takes a little time"
    assert heard.cut(0.1, 0.5).dominant_frequency() == pytest.approx(440, abs=5)
    assert completed["transcript"] == "what time is it"
    (item,) = done["response"]["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "It is noon."}]
    (recognised,) = stub.asked("transcriptions")
    assert b"RIFF" in recognised.body
    assert len(recognised.body) == pytest.approx(24_000 * 2 * 1.5, rel=0.2), "from before the first syllable"


async def test_the_answer_is_prepared_while_the_turn_may_still_go_on(clock: MockClock) -> None:
    delays = {"recognition_seconds": 0.1, "thinking_seconds": 0.1, "voice_seconds": 0.1}
    waited = {}
    for guesses in (True, False):
        async with open_stub(**delays) as stub, talk(stub, guesses=guesses) as caller:
            await caller.speak(QUESTION)
            before = trio.current_time()
            while "output_audio_buffer.started" not in kinds(caller):
                await trio.sleep(0.01)
            waited[guesses] = trio.current_time() - before
            assert [len(stub.asked(path)) for path in ("transcriptions", "completions", "speech")] == [
                1,
                1,
                1,
            ]
    assert waited[True] < 0.6, "half a second of silence ends the turn"
    assert waited[False] > waited[True] + 0.2


async def test_what_was_prepared_is_dropped_when_the_user_goes_on(clock: MockClock) -> None:
    transcripts = {1: ["what time"], 2: ["what time is it"]}
    async with (
        open_stub(transcripts=transcripts.__getitem__, thinking_seconds=0.3) as stub,
        talk(stub) as caller,
    ):
        await caller.speak(sound.speech_like(0.6) + sound.silence(0.35) + sound.speech_like(0.6, seed=2))
        await caller.hear()
    first, second = stub.asked("completions")
    assert not first.is_answered
    assert (first.words, second.words) == ("what time", "what time is it")
    assert len(stub.asked("speech")) == 1


async def test_a_recognition_is_given_up_when_the_user_goes_on(clock: MockClock) -> None:
    async with open_stub(recognition_seconds=0.3) as stub, talk(stub) as caller:
        await caller.speak(sound.speech_like(0.6) + sound.silence(0.3) + sound.speech_like(0.6, seed=2))
        await caller.hear()
    first, second = stub.asked("transcriptions")
    assert not first.is_answered
    assert second.is_answered
    assert len(stub.asked("completions")) == 1


async def test_words_are_answered_before_the_recogniser_is_done(clock: MockClock) -> None:
    def transcripts(_number: int) -> list[str]:
        return ["Is it ", "noon?", " "]

    async with open_stub(transcripts=transcripts, word_seconds=0.2) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        await caller.hear()
    (recognised,), (chat,) = stub.asked("transcriptions"), stub.asked("completions")
    assert chat.at - recognised.at == pytest.approx(0.2, abs=0.1)


async def test_a_long_turn_is_recognised_while_it_goes_on(clock: MockClock) -> None:
    session = TRANSCRIBED
    async with open_stub() as stub, talk(stub, session, partial_seconds=0.5) as caller:
        await caller.speak(sound.speech_like(2.0))
        assert "conversation.item.input_audio_transcription.delta" in kinds(caller)
        await caller.hear()
    assert len(stub.asked("transcriptions")) >= 3


async def test_the_first_sentence_is_heard_while_the_second_is_written(clock: MockClock) -> None:
    def reply(_messages: list[Any]) -> list[Any]:
        return say("This is the first sentence. " + "And so it goes on. " * 5)

    async with open_stub(reply=reply, word_seconds=0.1) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        while "output_audio_buffer.started" not in kinds(caller):
            await trio.sleep(0.01)
        (chat,) = stub.asked("completions")
        assert not chat.is_answered
        await caller.wait_event("output_audio_buffer.stopped")
        done = next(event for event in caller.events if event["type"] == "response.done")
    spoken = [each.words for each in stub.asked("speech")]
    assert spoken[0] == "This is the first sentence."
    transcript = done["response"]["output"][0]["content"][0]["transcript"]
    assert transcript.split() == " ".join(spoken).split()


async def test_talking_over_the_answer_ends_it_at_once_and_the_rest_was_never_said(clock: MockClock) -> None:
    def reply(messages: list[Any]) -> list[Any]:
        return say("Word number one and two. " * 40 if len(messages) == 2 else "All right then.")

    async with open_stub(reply=reply, word_seconds=0.05) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        await caller.wait_event("output_audio_buffer.started")
        await trio.sleep(2.0)
        await caller.speak(sound.speech_like(0.8, seed=4))
        done = await caller.wait_event("response.done")
        assert done["response"]["status"] == "cancelled"
        requests = len(stub.asked("speech"))
        assert not stub.asked("completions")[0].is_answered
        await caller.wait_event("response.done")
        assert len(stub.asked("speech")) == requests + 1
    said = stub.asked("completions")[-1].json["messages"]
    assert [each["role"] for each in said] == ["system", "user", "assistant", "user"]
    heard = said[2]["content"]
    assert ("Word number one and two. " * 40).startswith(heard)
    assert 20 <= len(heard) <= 80, "about two and a half seconds of it"


async def test_an_answer_that_is_cancelled_at_once_is_not_made(clock: MockClock) -> None:
    async with open_stub(thinking_seconds=0.2) as stub, talk(stub) as caller:
        caller.send_event(message("hello"))
        caller.send_event({"type": "response.create"})
        caller.send_event({"type": "response.cancel"})
        done = await caller.wait_event("response.done")
        assert done["response"]["status"] == "cancelled"
        await trio.sleep(1)
        assert stub.asked("speech") == []
        await ask(caller, "hello again")
    roles = [each["role"] for each in stub.asked("completions")[-1].json["messages"]]
    assert roles == ["system", "user", "user"]


async def test_functions_are_called_at_the_client_and_its_answer_is_used(clock: MockClock) -> None:
    def reply(messages: list[Any]) -> list[Any]:
        return say("It is noon.") if messages[-1]["role"] == "tool" else call("get_time", '{"zone": "utc"}')

    tool = {"type": "function", "name": "get_time", "parameters": {"type": "object"}}
    async with open_stub(reply=reply) as stub, talk(stub, {"tools": [tool]}) as caller:
        await caller.speak(QUESTION)
        done = await caller.wait_event("response.done")
        (item,) = done["response"]["output"]
        assert (item["type"], item["name"], item["arguments"]) == (
            "function_call",
            "get_time",
            '{"zone": "utc"}',
        )
        output = {"type": "function_call_output", "call_id": item["call_id"], "output": "12:00"}
        caller.send_event({"type": "conversation.item.create", "item": output})
        caller.send_event({"type": "response.create"})
        done = await caller.wait_event("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"] == "It is noon."
    roles = [each["role"] for each in stub.asked("completions")[-1].json["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]


async def test_writing_is_answered_in_writing(clock: MockClock) -> None:
    async with open_stub() as stub, talk(stub, {"output_modalities": ["text"]}) as caller:
        done = await ask(caller, "what time is it")
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "It is noon."}]
        assert stub.asked("speech") == []


async def test_images_reach_the_model(clock: MockClock) -> None:
    image = "data:image/png;base64,iVBORw0KGgo="
    content = [{"type": "input_image", "image_url": image}]
    item = {"type": "message", "role": "user", "content": content}
    async with open_stub() as stub, talk(stub) as caller:
        caller.send_event({"type": "conversation.item.create", "item": item})
        await ask(caller, "what is this")
    messages = stub.asked("completions")[0].json["messages"]
    assert messages[1]["content"][0]["image_url"]["url"] == image
    assert messages[2]["content"] == "what is this"


async def test_an_answer_apart_is_not_remembered(clock: MockClock) -> None:
    async with open_stub() as stub, talk(stub) as caller:
        await ask(caller, "one", conversation="none", output_modalities=["text"])
        await ask(caller, "two")
        await ask(caller, "three")
    roles = [each["role"] for each in stub.asked("completions")[-1].json["messages"]]
    assert roles == ["system", "user", "user", "assistant", "user"]


async def test_silence_is_not_answered(clock: MockClock) -> None:
    async with open_stub(transcripts=lambda _number: []) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        done = await caller.wait_event("response.done")
        assert done["response"]["status"] == "completed"
        assert stub.asked("completions") == []
        assert (await ask(caller, "hello"))["output"] != []


async def test_a_recogniser_that_does_not_stream_will_do(clock: MockClock) -> None:
    async with open_stub(streams_words=False) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        await caller.hear()
    assert stub.asked("completions")[0].words == "what time is it"


async def test_an_answer_that_was_cut_off_is_incomplete(clock: MockClock) -> None:
    async with open_stub(finish_reason="length") as stub, talk(stub) as caller:
        done = await ask(caller, "hello")
    assert (done["status"], done["status_details"]["reason"]) == ("incomplete", "max_output_tokens")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/chat/completions", "/v1/audio/speech"])
async def test_a_model_that_fails_fails_its_response_and_no_more(clock: MockClock, path: str) -> None:
    async with open_stub(failing={path: 503}) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        done = await caller.wait_event("response.done")
        assert done["response"]["status"] == "failed"
        assert "503: out of order" in str(done["response"]["status_details"])
        stub.failing.clear()
        await caller.speak(QUESTION)
        done = await caller.wait_event("response.done")
        assert done["response"]["status"] == "completed"
        assert sound.Sound.from_pcm(await caller.hear(), rate=caller.rate).loudness > 0.1


async def test_an_error_in_the_middle_of_a_reply_fails_the_response(clock: MockClock) -> None:
    def reply(_messages: list[Any]) -> list[Any]:
        return [*say("It is "), {"error": {"message": "overloaded"}}]

    async with open_stub(reply=reply) as stub, talk(stub) as caller:
        done = await ask(caller, "hello")
    assert done["status"] == "failed"
    assert "overloaded" in str(done["status_details"])


@pytest.mark.parametrize(
    ("path", "content_type", "data"),
    [
        ("/v1/chat/completions", "text/html", b"<p>Welcome"),
        ("/v1/chat/completions", "text/event-stream", b"data: <p>Welcome\n\n"),
        ("/v1/chat/completions", "text/event-stream", b'data: {"choices": []}\n\n'),
        ("/v1/audio/speech", "audio/wav", b"RIFF" + bytes(9000)),
        ("/v1/audio/speech", "audio/pcm", bytes(1000)),
    ],
)
async def test_models_that_answer_nonsense_or_break_off_fail_the_response(
    clock: MockClock, path: str, content_type: str, data: bytes
) -> None:
    async with open_stub(strange={path: (content_type, data)}) as stub, talk(stub) as caller:
        done = await ask(caller, "hello")
        assert done["status"] == "failed"
        stub.strange.clear()
        done = await ask(caller, "hello")
        assert done["status"] == "completed"


async def test_words_that_break_off_are_asked_for_again(clock: MockClock) -> None:
    path = "/v1/audio/transcriptions"
    async with open_stub(strange={path: ("text/event-stream", b"")}) as stub, talk(stub) as caller:
        await caller.speak(QUESTION)
        await trio.sleep(0.3)
        stub.strange.clear()
        done = await caller.wait_event("response.done")
        assert done["response"]["status"] == "completed"
        assert len(stub.asked("transcriptions")) == 2


async def test_a_client_that_asks_for_no_answers_has_none_prepared(clock: MockClock) -> None:
    detection = {"type": "server_vad", "create_response": False}
    session = {"audio": {"input": {"turn_detection": detection, "transcription": {"language": "de"}}}}
    async with open_stub() as stub, talk(stub, session, languages=["de", "en"]) as caller:
        await caller.speak(QUESTION)
        await caller.wait_event("input_audio_buffer.committed")
        await trio.sleep(0.2)
        assert stub.asked("completions") == []
        assert b'name="language"\r\n\r\nde' in stub.asked("transcriptions")[0].body
        caller.send_event({"type": "response.create"})
        assert (await caller.wait_event("response.done"))["response"]["status"] == "completed"


async def test_items_can_be_taken_back(clock: MockClock) -> None:
    async with open_stub() as stub, talk(stub) as caller:
        caller.send_event(message("forget this"))
        added = await caller.wait_event("conversation.item.added")
        caller.send_event({"type": "conversation.item.delete", "item_id": added["item"]["id"]})
        await ask(caller, "hello")
    assert [each["content"] for each in stub.asked("completions")[0].json["messages"][1:]] == ["hello"]


async def test_models_that_are_not_there_fail_the_response(clock: MockClock) -> None:
    async with open_stub() as stub:
        stub.url = "http://127.0.0.1:9/v1"
        async with talk(stub) as caller:
            done = await ask(caller, "hello")
    assert done["status"] == "failed"


async def test_the_operators_key_and_extra_fields_are_sent(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_KEY", "secret")
    async with open_stub() as stub:
        chat = {"base_url": stub.url, "model": "large", "key": "CHAT_KEY", "extra": {"temperature": 0.5}}
        async with talk(stub, chat=chat) as caller:
            await ask(caller, "hello")
    (request,) = stub.asked("completions")
    assert request.headers["authorization"] == "Bearer secret"
    assert request.json["temperature"] == 0.5
    (speech,) = stub.asked("speech")
    assert "authorization" not in speech.headers


async def test_connections_are_used_again(clock: MockClock) -> None:
    async with open_stub() as stub, talk(stub) as caller:
        for _ in range(3):
            await ask(caller, "hello")
    assert stub.connections <= 2
