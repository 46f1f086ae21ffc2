"""The bridge on a server that follows the documents, and on servers that leave things out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.agents.realtime.script import ANSWER, RATE, WORDS, ScriptedServer, serve
from tests.socket_call.client import Client, open_call
from voicegate.agents.realtime import RealtimeOptions, open_realtime_agent
from voicegate.call import EndCause
from voicegate.testing import sound

pytestmark = pytest.mark.slow


@asynccontextmanager
async def talk(server: ScriptedServer, **options: Any) -> AsyncIterator[Client]:
    with trio.fail_after(240):
        async with serve(server):
            agent = open_realtime_agent(server.url, RealtimeOptions(**options))
            async with open_call(agent) as client:
                yield client


@pytest.mark.parametrize("choice", ["auto", "given"])
@pytest.mark.parametrize("dialect", ["ga", "beta"])
async def test_both_dialects_come_out_as_the_modern_one(dialect: str, choice: str) -> None:
    server = ScriptedServer(dialect=dialect)
    async with talk(server, dialect=dialect if choice == "given" else "auto") as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be kind."})
        updated = await client.wait("session.updated")
        assert updated["session"]["instructions"] == "Be kind."
        assert updated["session"]["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": RATE}
        client.send("response.create", response={"output_modalities": ["audio"]})
        done = await client.wait("response.done")
        assert client.heard() == ANSWER
        content = done["response"]["output"][0]["content"]
        assert content == [{"type": "output_audio", "transcript": WORDS}]
        assert "response.output_audio_transcript.done" in client.kinds()
        assert not any(kind.startswith("response.audio") for kind in client.kinds())
    update = server.of("session.update")[-1]["session"]
    assert ("input_audio_format" in update) == (dialect == "beta")
    assert ("modalities" in server.of("response.create")[0]["response"]) == (dialect == "beta")


async def test_the_key_the_model_and_all_else_reach_the_server() -> None:
    server = ScriptedServer()
    settings = {"model": "gpt realtime", "key": "secret", "headers": {"X-Region": "eu"}}
    async with talk(server, **settings, subprotocols=("realtime",), traceparent=True) as client:
        await client.wait("session.created")
        await server.wait("session.update")
    request = server.requests[0]
    headers = dict(request.headers)
    assert request.path == "/v1/realtime?model=gpt%20realtime"
    assert headers[b"authorization"] == b"Bearer secret"
    assert headers[b"x-region"] == b"eu"
    assert headers[b"traceparent"].startswith(b"00-")
    assert request.proposed_subprotocols == ("realtime",)


async def test_operator_instructions_stand_in_front_and_the_voice_is_the_operators() -> None:
    server = ScriptedServer()
    async with talk(server, instructions="You are Ada.", voice="marin") as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
        updated = await client.wait("session.updated")
        assert updated["session"]["instructions"] == "Be brief."
    session = server.of("session.update")[-1]["session"]
    assert session["instructions"] == "You are Ada.\n\nBe brief."
    first = server.of("session.update")[0]["session"]
    assert first["audio"]["output"]["voice"] == "marin"
    assert first["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": RATE}


async def test_audio_goes_up_at_the_rate_the_server_wants() -> None:
    server = ScriptedServer(is_strict=False)  # The API itself knows only 24 kHz.
    said = sound.speech_like(1.0, rate=RATE)
    async with talk(server, input_rate=16_000) as client:
        client.say(said.pcm)
        while len(server.audio) < 2 * 16_000 * 4:  # silence follows, for the server to find the end
            await trio.sleep(0.05)
    heard = sound.Sound.from_pcm(bytes(server.audio), rate=16_000)
    assert sound.recognise(heard, sound.speech_like(1.0, rate=16_000)).peak > 0.8
    assert not any(server.audio[-16_000:])


@pytest.mark.parametrize("has_references", [True, False])
async def test_a_server_without_truncate_and_clear_is_made_up_for(has_references: bool) -> None:
    lacks = {"conversation.item.truncate", "input_audio_buffer.clear", "input_audio_buffer.commit"}
    server = ScriptedServer(lacks=lacks, has_references=has_references)
    async with talk(server) as client:
        client.send("response.create")
        done = await client.wait("response.done")
        item_id = done["response"]["output"][0]["id"]
        for count in range(2):
            client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=300)
            truncated = await client.wait("conversation.item.truncated")
            assert (truncated["item_id"], truncated["audio_end_ms"]) == (item_id, 300), count
        client.send("input_audio_buffer.clear")
        await client.wait("input_audio_buffer.cleared")
        assert "error" not in client.kinds()
    assert server.kinds().count("conversation.item.truncate") == 1


async def test_a_server_that_neither_greets_nor_confirms_is_talked_to_all_the_same() -> None:
    server = ScriptedServer(greets=False, updates=False)
    async with talk(server) as client:
        client.send("session.update", session={"type": "realtime", "instructions": "Be kind."})
        updated = await client.wait("session.updated")
        assert updated["session"]["instructions"] == "Be kind."
        client.send("response.create")
        await client.wait("response.done")
        assert client.heard() == ANSWER


async def test_errors_of_the_server_reach_the_client_with_its_own_event_id() -> None:
    server = ScriptedServer()
    async with talk(server) as client:
        client.send("response.cancel", event_id="mine")
        error = await client.wait("error")
        assert error["error"]["event_id"] == "mine"
        assert error["error"]["code"] == "response_cancel_not_active"


async def test_speech_heard_by_the_server_stops_the_answer_at_once() -> None:
    server = ScriptedServer()
    async with talk(server) as client:
        server.is_mute = True
        client.send("response.create")
        created = await client.wait("response.created")
        await server.send("input_audio_buffer.speech_started", audio_start_ms=100, item_id="item_u")
        started = await client.wait("input_audio_buffer.speech_started")
        assert started["audio_start_ms"] == 100
        await server.wait("response.cancel")
        response = {**created["response"], "status": "cancelled"}
        await server.send("response.done", response=response)
        await client.wait("response.done")
        assert "error" not in client.kinds(), "that there was nothing to cancel is nobody's business"


@pytest.mark.parametrize("renames", [False, True])
async def test_a_new_server_is_told_what_was_said(renames: bool) -> None:
    server = ScriptedServer(renames=renames)
    async with talk(server) as client:
        said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "I am Ada."}]}
        client.send("conversation.item.create", item=said)
        first = await client.wait("conversation.item.done")
        client.send("response.create")
        done = await client.wait("response.done")
        item_id = done["response"]["output"][0]["id"]
        client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=500)
        await client.wait("conversation.item.truncated")
        server.seen.clear()
        before = len(client.seen)
        server.cut()
        told = [await server.wait("conversation.item.create", count) for count in (1, 2)]
        assert [event["item"]["content"][0]["text"] for event in told] == ["I am Ada.", "Good day"]
        # Once it has answered something else, its own names for the items are known.
        client.send("conversation.item.create", item=said)
        await client.wait("conversation.item.done")
        client.send("conversation.item.delete", item_id=first["item"]["id"])
        deleted = await server.wait("conversation.item.delete")
        assert (deleted["item_id"] == first["item"]["id"]) == (not renames)
        await client.wait("conversation.item.deleted")
        assert [event["type"].removeprefix("conversation.item.") for event in client.seen[before:]] == [
            "added",
            "done",
            "deleted",
        ]


async def test_a_session_that_expires_goes_on_with_another_connection() -> None:
    server = ScriptedServer()
    async with talk(server) as client:
        await server.wait("session.update")
        error = {"type": "invalid_request_error", "code": "session_expired", "message": "60 minutes"}
        await server.send("error", error=error)
        await server.wait("session.update", 2)
        client.send("response.create")
        await client.wait("response.done")
        assert "error" not in client.kinds()
    assert len(server.requests) == 2


async def test_what_is_said_between_two_servers_is_heard_by_the_second() -> None:
    server = ScriptedServer()
    async with talk(server) as client:
        await server.wait("session.update")
        server.refuse = 503
        server.cut()
        await trio.sleep(0.1)
        server.audio.clear()
        client.say(sound.speech_like(1.0, rate=RATE).pcm)
        await trio.sleep(0.3)
        server.refuse = None
        await server.wait("session.update", 2)
        while len(server.audio) < 2 * RATE:
            await trio.sleep(0.05)
    heard = sound.Sound.from_pcm(bytes(server.audio), rate=RATE)
    assert sound.recognise(heard, sound.speech_like(1.0, rate=RATE)).peak > 0.9


@pytest.mark.parametrize("status", [401, 503])
async def test_a_server_that_will_not_have_us_ends_the_call_with_a_clear_error(status: int) -> None:
    server = ScriptedServer()
    server.refuse = status
    with trio.fail_after(240):
        async with serve(server):
            agent = open_realtime_agent(server.url, RealtimeOptions(patience=2.0))
            async with open_call(agent) as client:
                await client.read_out()
    assert client.call is not None
    assert client.call.cause is EndCause.AGENT_FAILED
    assert str(status) in client.call.detail
    assert client.seen[-1]["error"]["code"] == "upstream_lost"
    assert (len(server.requests) == 1) == (status == 401)


async def test_nonsense_of_a_server_is_dropped() -> None:
    server = ScriptedServer()
    async with talk(server) as client:
        await server.wait("session.update")
        connection = server._connection
        assert connection is not None
        for text in ("", "[]", '{"type":1}', '{"type":"response.output_audio.delta","delta":"%%"}'):
            await connection.send_message(text)
        place = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
        await server.send("response.output_audio.delta", **place, delta="AAAA")
        client.send("response.create")
        await client.wait("response.done")
        assert client.heard() == ANSWER
