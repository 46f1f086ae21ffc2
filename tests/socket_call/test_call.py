"""Calls over a socket, from a client's events to the agent and back; time is virtual."""

import pytest
import trio
from trio.testing import MockClock

from tests.socket_call.client import Client, open_call
from voicegate.agents import echo, parrot
from voicegate.audio import G711Codec
from voicegate.call import (
    AudioFrame,
    Call,
    Connected,
    EndCause,
    GoingAway,
    InputCommitted,
    Interrupted,
    ItemAdded,
    ItemTruncated,
    MarkPlayed,
    ResponseRequested,
    SessionUpdated,
)
from voicegate.errors import UsageError
from voicegate.socket_call import run_socket_call
from voicegate.testing import sound

RATE = 24_000


def speech(seconds: float = 1.0, seed: int = 1) -> bytes:
    return sound.speech_like(seconds, seed=seed, rate=RATE).pcm


ONE_SECOND = speech()


async def answer(call: Call) -> None:
    """Say two seconds when asked to."""
    call.converse()
    async for event in call.events:
        if isinstance(event, ResponseRequested):
            with call.respond(event.response_id) as response:
                response.transcript("Once upon a time")
                await response.send(speech(4.0))


async def test_a_client_is_greeted_and_its_session_updated(autojump_clock: MockClock) -> None:
    async with open_call(answer) as client:
        created = await client.receive()
        assert created["type"] == "session.created"
        assert created["session"]["model"] == "test"
        client.send("session.update", session={"type": "realtime", "instructions": "Be kind."})
        updated = await client.wait("session.updated")
        assert updated["session"]["instructions"] == "Be kind."
    assert client.call is not None
    assert client.call.cause is EndCause.CLIENT_CLOSED
    assert client.socket.closed == (1000, "the client closed its socket")


async def test_a_response_comes_with_its_audio_before_its_end(autojump_clock: MockClock) -> None:
    async with open_call(answer) as client:
        client.send("response.create")
        began_at = trio.current_time()
        done = await client.wait("response.done")
        assert done["response"]["status"] == "completed"
        assert client.heard() == speech(4.0)
        kinds = client.kinds()
        last_delta = len(kinds) - 1 - kinds[::-1].index("response.output_audio.delta")
        assert kinds.index("response.created") < kinds.index("response.output_audio.delta")
        assert last_delta < kinds.index("response.output_audio.done") < kinds.index("response.done")
        # The agent waits until two seconds are left, the socket for nothing.
        assert trio.current_time() - began_at == pytest.approx(2.0, abs=0.1)


async def test_the_echo_says_every_sample_back(autojump_clock: MockClock) -> None:
    said = speech()
    async with open_call(echo) as client:
        client.say(said)
        while len(client.heard()) < len(said):
            await client.receive()
        assert client.heard() == said


@pytest.mark.parametrize("law", ["pcmu", "pcma"])
async def test_g711_is_taken_and_given(law: str, autojump_clock: MockClock) -> None:
    kind = {"format": {"type": f"audio/{law}"}}
    session = {"type": "realtime", "audio": {"input": kind, "output": kind}}
    said = sound.speech_like(1.0, rate=8000)
    codec = G711Codec(law.upper())
    async with open_call(echo, session=session) as client:
        client.say(codec.encode(said.pcm + bytes(1600)), size=800)
        await client.wait("response.done")
        heard = sound.Sound.from_pcm(codec.decode(client.heard()), rate=8000)
    assert sound.recognise(heard, said).peak > 0.9


async def test_the_parrot_waits_for_the_turn_and_says_it_back(autojump_clock: MockClock) -> None:
    said = speech(1.5)
    async with open_call(parrot) as client:
        client.say(said + bytes(RATE * 2))
        await client.wait("response.done")
        kinds = client.kinds()
        started, committed = (
            kinds.index("input_audio_buffer.speech_started"),
            kinds.index("input_audio_buffer.committed"),
        )
        assert started < committed < kinds.index("response.created")
        heard = sound.Sound.from_pcm(client.heard(), rate=RATE)
    assert sound.recognise(heard, sound.Sound.from_pcm(said, rate=RATE)).peak > 0.9


async def test_server_vad_ends_a_turn_and_asks_the_agent(autojump_clock: MockClock) -> None:
    events: list[object] = []

    async def agent(call: Call) -> None:
        call.converse()
        while True:
            events.append(await call.events.receive())

    async with open_call(agent) as client:
        client.say(bytes(RATE) + speech(1.0) + bytes(RATE * 2))
        started = await client.wait("input_audio_buffer.speech_started")
        stopped = await client.wait("input_audio_buffer.speech_stopped")
        await client.wait("response.created")
        # 300 ms of padding in front of the first voiced frame, which comes after half a second
        assert 150 <= started["audio_start_ms"] <= 400
        assert 1300 <= stopped["audio_end_ms"] <= 1700
        await trio.sleep(0.1)
    kinds = [type(event) for event in events]
    assert kinds.index(SessionUpdated) < kinds.index(ItemAdded) < kinds.index(InputCommitted)
    assert kinds.index(InputCommitted) < kinds.index(ResponseRequested)


async def test_push_to_talk_commits_and_asks_itself(autojump_clock: MockClock) -> None:
    heard = 0

    async def agent(call: Call) -> None:
        nonlocal heard
        call.converse()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_committed, call)
            async for frame in call.audio_in:
                heard += len(frame.pcm) // 960

    committed: list[InputCommitted] = []

    async def answer_committed(call: Call) -> None:
        async for event in call.events:
            if isinstance(event, InputCommitted):
                committed.append(event)
            if isinstance(event, ResponseRequested):
                with call.respond(event.response_id) as response:
                    response.text("yes")

    manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    async with open_call(agent, session=manual) as client:
        client.say(speech(0.99))  # half a frame is left
        client.send("input_audio_buffer.commit")
        client.send("response.create", response={"output_modalities": ["text"]})
        done = await client.wait("response.done")
        assert done["response"]["output"][0]["content"] == [{"type": "output_text", "text": "yes"}]
        assert "input_audio_buffer.speech_started" not in client.kinds()
        await trio.sleep(0.1)
    assert heard == 50
    assert [(each.audio_start_ms, each.audio_end_ms) for each in committed] == [(0, 990)]


async def test_a_commit_of_nothing_is_an_error_and_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_call(answer) as client:
        client.send("input_audio_buffer.commit", event_id="mine")
        error = await client.wait("error")
        assert error["error"]["code"] == "input_audio_buffer_commit_empty"
        assert error["error"]["event_id"] == "mine"


@pytest.mark.slow
async def test_the_user_interrupts_and_the_client_truncates(autojump_clock: MockClock) -> None:
    told: list[object] = []

    async def agent(call: Call) -> None:
        call.converse()
        async for event in call.events:
            told.append(event)
            if isinstance(event, ResponseRequested):
                response = call.respond(event.response_id)
                response.transcript("a long story")
                response.send_nowait(speech(8.0))
                response.end()

    async with open_call(agent) as client:
        client.send("response.create")
        await client.wait("response.done")
        item = client.seen[-1]["response"]["output"][0]
        assert len(client.heard()) == 8 * RATE * 2, "as fast as it was made"
        await trio.sleep(3.0)
        client.say(speech(0.5, seed=5))
        await client.wait("input_audio_buffer.speech_started")
        client.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=2900)
        truncated = await client.wait("conversation.item.truncated")
        assert truncated["item_id"] == item["id"]
        client.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=9000)
        assert (await client.wait("error"))["error"]["param"] == "audio_end_ms"
    interrupted = next(event for event in told if isinstance(event, Interrupted))
    assert 2900 <= interrupted.interruption.heard_ms <= 3600
    assert ItemTruncated(item_id=item["id"], audio_end_ms=2900) in told


async def test_a_slow_socket_is_not_sent_what_was_interrupted(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.converse()
        async for event in call.events:
            if isinstance(event, ResponseRequested):
                with call.respond(event.response_id) as response:
                    for _ in range(30):
                        await response.send(ONE_SECOND)
                    await trio.sleep_forever()

    async with open_call(agent, capacity=0) as client:
        client.send("response.create")
        while len(client.heard()) < RATE:
            await client.receive()
        client.send("response.cancel")
        done = await client.wait("response.done")
        assert done["response"]["status_details"]["reason"] == "client_cancelled"
        assert len(client.heard()) <= 2 * RATE
        with trio.move_on_after(5):
            await client.wait("response.output_audio.delta")
            raise AssertionError("it goes on after its end")


async def test_marks_fire_when_the_audio_must_have_been_played(autojump_clock: MockClock) -> None:
    played: list[float] = []

    async def agent(call: Call) -> None:
        began_at = trio.current_time()
        call.audio_out.send_nowait(speech(1.0))
        call.audio_out.mark("one")
        call.audio_out.send_nowait(speech(0.5))
        call.audio_out.mark("two")
        async for event in call.events:
            if isinstance(event, MarkPlayed):
                played.extend([trio.current_time() - began_at, event.position_ms])

    async with open_call(agent) as client:
        await client.wait("response.done")
    assert played == pytest.approx([1.0, 1000, 1.5, 1500], abs=0.05)


@pytest.mark.slow
async def test_what_comes_faster_than_it_was_spoken_is_heard_whole(autojump_clock: MockClock) -> None:
    frames: list[AudioFrame] = []

    async def agent(call: Call) -> None:
        while True:
            frames.append(await call.audio_in.receive())

    async with open_call(agent) as client:
        client.say(bytes(RATE * 2 * 30), size=RATE * 2 * 30)
        await trio.sleep(3)
        assert client.call is not None
        assert client.call.describe()["counters"]["audio_in_dropped"] == 0
    assert [frame.position for frame in frames] == [index * 480 for index in range(1500)]


async def test_an_agent_hangs_up_when_all_has_been_said(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        await trio.sleep(1)
        call.audio_out.send_nowait(speech(1.0))
        call.hangup("drain")
        await trio.sleep_forever()

    async with open_call(agent) as client:
        await client.read_out()
        assert len(client.heard()) == 2 * RATE
        assert trio.current_time() >= 1.99
    assert client.call is not None
    assert client.call.cause is EndCause.AGENT_FINISHED


@pytest.mark.slow
async def test_an_agent_that_raises_ends_its_call_and_the_socket(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        raise ValueError("no")

    async with open_call(agent) as client:
        await client.read_out()
    assert client.call is not None
    assert client.call.cause is EndCause.AGENT_FAILED
    assert client.socket.closed == (1011, "ValueError('no')")


async def test_a_session_that_is_over_says_so(autojump_clock: MockClock) -> None:
    async with open_call(answer, max_seconds=60.0) as client:
        await client.read_out()
        assert client.seen[-1]["error"]["code"] == "session_expired"
        assert trio.current_time() >= 60
    assert client.call is not None
    assert client.call.cause is EndCause.MAX_DURATION


async def test_cancelling_ends_the_call_and_closes_the_socket(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5):
        async with open_call(answer) as client:
            await trio.sleep(60)
    assert client.socket.closed is not None
    assert client.socket.closed[0] == 1001
    assert client.call is not None
    assert client.call.describe()["cause"] == "server_stopped"


async def test_a_call_goes_over_to_another_agent(autojump_clock: MockClock) -> None:
    async def first(call: Call) -> None:
        call.converse()
        call.audio_out.send_nowait(speech(0.5))
        await trio.sleep(0.1)
        call.transfer("second")
        await trio.sleep_forever()

    async def second(call: Call) -> None:
        call.converse()
        await call.say(speech(1.0), transcript="hello")

    async with open_call(first, find_agent={"second": second}.__getitem__) as client:
        await client.read_out()
        assert len(client.heard()) == 3 * RATE
    assert client.call is not None
    assert client.call.cause is EndCause.AGENT_FINISHED


async def test_a_session_that_cannot_be_is_refused(autojump_clock: MockClock) -> None:
    client = Client()
    session = {"type": "realtime", "audio": {"input": {"format": {"type": "audio/mp3"}}}}
    with pytest.raises(UsageError, match="format"):
        await run_socket_call(
            client.socket, agent=answer, session=session, model="", call_id="rtc_x", max_seconds=1.0
        )
    assert client.socket.closed is not None
    assert client.socket.closed[0] == 1008


async def test_garbage_is_an_error_event_and_the_call_goes_on(autojump_clock: MockClock) -> None:
    async with open_call(answer) as client:
        for text in ("", "[]", "{", '{"type":7}', '{"type":"nonsense"}'):
            client.send_text(text)
            assert (await client.wait("error"))["error"]["type"] == "invalid_request_error"
        client.send("input_audio_buffer.append", audio="!!")
        await client.wait("error")
        client.send("response.create")
        await client.wait("response.done")


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_let_go(autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        call.converse()
        with call.respond() as response:
            while True:
                for _ in range(1000):
                    response.transcript("words ")
                await trio.sleep(1)

    async with open_call(agent, capacity=0) as client:
        await client.receive()
        while client.socket.closed is None:
            await trio.sleep(1)
    assert client.call is not None
    assert client.call.detail == "the client does not read"


async def test_a_call_is_told_that_the_server_goes_away_and_ends_then(autojump_clock: MockClock) -> None:
    told: list[float] = []

    async def listener(call: Call) -> None:
        async for event in call.events:
            match event:
                case GoingAway(seconds=seconds):
                    told.append(seconds)
                case _:
                    pass

    async with open_call(listener) as client:
        await client.wait("session.created")
        assert client.call is not None
        client.call.leave(seconds=600)
        assert (await client.wait("voicegate.going_away"))["seconds"] == 600
        client.call.stay()
        await trio.sleep(700)
        client.call.leave(seconds=10)
        began_at = trio.current_time()
        await client.read_out()
        assert trio.current_time() == began_at + 10
    assert told == [600, 10]
    assert client.call.cause is EndCause.SERVER_DRAINED
    assert client.socket.closed == (1001, "the server goes away")


async def test_the_first_agents_speech_is_played_before_the_second_has_the_call(
    autojump_clock: MockClock,
) -> None:
    began: list[float] = []

    async def first(call: Call) -> None:
        call.audio_out.send_nowait(speech(2.0))
        call.audio_out.pause()
        call.transfer(second)
        await trio.sleep_forever()

    async def second(call: Call) -> None:
        began.append(trio.current_time())
        assert call.audio_out.queued_ms == 0
        assert isinstance(await call.events.receive(), Connected)
        event = await call.events.receive()
        assert isinstance(event, GoingAway)
        assert event.seconds == pytest.approx(18, abs=0.1)

    async with open_call(first) as client:
        assert client.call is not None
        client.call.leave(seconds=20)
        began_at = trio.current_time()
        await client.read_out()
        assert len(client.heard()) == 2 * 2 * RATE
    assert client.call.cause is EndCause.AGENT_FINISHED
    assert began == [pytest.approx(began_at + 2, abs=0.1)]
