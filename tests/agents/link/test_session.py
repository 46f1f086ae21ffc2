"""What a gateway does with agents of every kind: honest, confused, hostile, and gone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import pytest
import trio

from tests.agents.link.cable import Cable, frame, open_cable, open_hand_made
from tests.agents.process.line import RATE, open_line, wait_until
from voicegate.agents.link import LinkOptions, run_link_agent, serve_agent
from voicegate.audio.pcm import audioop
from voicegate.call import (
    Agent,
    AudioFrame,
    Call,
    ConversationTaken,
    EncodedFrame,
    GoingAway,
    Interrupted,
    Interruption,
    ItemDeleted,
    ResponseBegan,
    ResponseEnded,
    SpeechStarted,
)
from voicegate.errors import UsageError
from voicegate.link import Frame, FrameKind

SHAPES: tuple[Literal["calls", "call"], ...] = ("calls", "call")


pytestmark = pytest.mark.timeout(240)


def sound(call: int, pcm: bytes, kind: int = FrameKind.PCM16_24000, **fields: Any) -> bytes:
    return Frame(call, kind, pcm, **{"position": -1} | fields).encode()


# Calls, and their formats


async def test_an_agent_learns_of_a_call_and_hears_and_says_what_it_wants(nursery: trio.Nursery) -> None:
    async with open_hand_made(formats=["flac", "pcm16/24000"]) as (made, agent):
        line = open_line(nursery, agent, {"model": "x"})
        started = await made.wait_event("call.started")
        assert started == {
            "type": "call.started",
            "call": 1,
            "id": "rtc_u0_x",
            "format": "pcm16/24000",
            "codec": "opus",
            "metadata": {"model": "x"},
            "has_channels": True,
            "is_restart": False,
        }
        line.media.hear(frame(7, rate=24_000)._replace(level=30, is_voice=True))
        await wait_until(lambda: made.frames)
        heard = made.frames[0]
        assert (heard.call, heard.kind, heard.position) == (1, FrameKind.PCM16_24000, 7 * 480)
        assert (heard.level, heard.flags) == (30, 2 + 4 + 8)
        await made.send({"type": "detect_speech", "call": 1, "silence_ms": 500})
        await made.send(sound(1, b"ab", response_id="resp_1"))
        await made.send({"type": "mark", "call": 1, "name": "there"})
        await wait_until(lambda: ("mark", "there", 2) in line.media.told)
        assert ("detect_speech", 500, True, None, "webrtc") in line.media.told
        await made.send({"type": "call.finished", "call": 1})
        await line.ended.wait()
        assert line.error is None
        await made.wait_event("call.ended")


async def test_g711_is_made_of_whatever_codec_a_call_has(nursery: trio.Nursery) -> None:
    async with open_hand_made(formats=["pcmu"]) as (made, agent):
        line = open_line(nursery, agent)
        assert (await made.wait_event("call.started"))["format"] == "pcmu"
        assert line.media.sample_rate == 8000
        line.media.hear(frame(1, rate=8000))
        await wait_until(lambda: made.frames)
        assert made.frames[0].kind == FrameKind.PCMU
        assert len(made.frames[0].data) == 160
        await made.send(sound(1, b"\x80" * 160, FrameKind.PCMU))
        await wait_until(lambda: line.media.queue)
        assert bytes(line.media.queue) == audioop.ulaw2lin(b"\x80" * 160, 2)


async def test_opus_goes_as_it_came(nursery: trio.Nursery) -> None:
    async with open_hand_made(formats=["opus"]) as (made, agent):
        line = open_line(nursery, agent)
        assert (await made.wait_event("call.started"))["format"] == "opus"
        line.media.hear(EncodedFrame(b"packet", 960, 4711))
        await wait_until(lambda: made.frames)
        packet = made.frames[0]
        assert (packet.kind, packet.data, packet.ticks, packet.position) == (5, b"packet", 960, 4711)
        await made.send(sound(1, b"answer", FrameKind.PACKET, ticks=960))
        await wait_until(lambda: line.media.packets)
        assert line.media.packets == [(b"answer", 960, None)]


async def test_an_agent_may_ask_for_a_socket_per_call(nursery: trio.Nursery) -> None:
    async with open_hand_made(shape="call") as (made, agent):
        lines = [open_line(nursery, agent) for _ in range(2)]
        await made.wait_event("call.started", 2)
        assert [hello["shape"] for hello in made.greeted] == ["calls", "call", "call"]
        assert len({hello["session"] for hello in made.greeted}) == 3
        for line in lines:
            line.scope.cancel()
        await made.wait_event("call.ended", 2)


# The conversation


async def test_the_words_of_the_conversation_go_both_ways(nursery: trio.Nursery) -> None:
    async with open_hand_made() as (made, agent):
        line = open_line(nursery, agent)
        await made.wait_event("call.started")
        await made.send({"type": "conversation.taken", "call": 1, "is_raw": False})
        await wait_until(lambda: ConversationTaken(is_raw=False) in line.media.told)
        line.call.push_event(ItemDeleted(item_id="item_1"))
        assert (await made.wait_event("item.deleted"))["item_id"] == "item_1"
        await made.send({"type": "transfer", "call": 1, "agent": "colleague"})
        await wait_until(lambda: ("transfer", "colleague") in line.media.told)


async def test_a_response_ends_behind_its_sound_with_the_library(nursery: trio.Nursery) -> None:
    async def answers(call: Call) -> None:
        with call.respond("resp_1") as response:
            response.send_nowait(bytes(2 * RATE))
        await trio.sleep_forever()

    async with open_library(answers) as (agent, _):
        line = open_line(nursery, agent)
        await wait_until(lambda: ResponseEnded(response_id="resp_1", status="completed") in line.media.told)
        assert line.media.told.index(ResponseBegan(response_id="resp_1")) == 0
        assert len(line.media.queue) == 2 * RATE


async def test_the_library_hears_what_was_said_before_speech_was_noticed(nursery: trio.Nursery) -> None:
    async def listens(call: Call) -> None:
        for _ in range(10):
            await call.audio_in.receive()
        call.audio_out.mark("heard")

    async def tells(call: Call) -> None:
        call.detect_speech()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listens, call)
            async for event in call.events:
                if isinstance(event, SpeechStarted):
                    call.audio_out.mark(f"{len(event.pre_roll)} at {event.position_ms}")

    async with open_library(tells) as (agent, _):
        line = open_line(nursery, agent)
        await wait_until(lambda: line.media.told)
        for number in range(10):
            line.media.hear(frame(number))
        await wait_until(line.report)
        line.call.push_event(SpeechStarted(100, bytes(96_000)))
        await wait_until(lambda: len(line.report()) == 2)
        assert line.report() == ["heard", "19200 at 100"]


# Faults of the agent's


@pytest.mark.parametrize(
    ("sent", "code", "call"),
    [
        ("{", "bad_event", 0),
        ('{"type": "mark"}', "bad_event", 0),
        ('{"type": "mark", "call": 1}', "bad_event", 1),
        ('{"type": "mark", "call": 1, "name": NaN}', "bad_event", 0),
        ('{"type": "make_coffee", "call": 1}', "unknown_event", 1),
        ('{"type": "channel.open", "call": 1, "channel": {"id": 3}}', "refused", 1),
        ('{"type": "mark", "call": 2, "name": "x"}', "unknown_call", 2),
        (b"short", "bad_frame", 0),
        (sound(1, b"abcd")[:-1], "bad_frame", 0),
        (sound(2, b"ab"), "unknown_call", 2),
        (sound(1, b"ab", FrameKind.PCM16_8000), "wrong_format", 1),
        (sound(1, b"ab", FrameKind.PCMU), "wrong_format", 1),
        (sound(1, b"ab", 99), "wrong_format", 1),
        (sound(1, b"ab", FrameKind.PACKET), "bad_frame", 1),
    ],
)
async def test_what_an_agent_does_wrong_is_told_and_changes_nothing(
    sent: str | bytes, code: str, call: int, nursery: trio.Nursery
) -> None:
    async with open_hand_made() as (made, agent):
        line = open_line(nursery, agent)
        await made.wait_event("call.started")
        await made.send(sent)
        fault = await made.wait_event("error")
        assert (fault["code"], fault.get("call", 0)) == (code, call)
        assert fault["message"]
        assert not line.media.queue
        await made.send({"type": "mark", "call": 1, "name": "alive"})
        await wait_until(line.report)


async def test_what_comes_for_a_call_that_is_over_is_no_fault(nursery: trio.Nursery) -> None:
    async with open_hand_made() as (made, agent):
        first = open_line(nursery, agent)
        await made.wait_event("call.started")
        first.scope.cancel()
        await made.wait_event("call.ended")
        second = open_line(nursery, agent)
        await made.wait_event("call.started", 2)
        await made.send(sound(1, b"ab"))
        await made.send({"type": "mark", "call": 2, "name": "x"})
        await wait_until(second.report)
        assert not second.media.queue
        assert not [event for event in made.events if event["type"] == "error"]


async def test_whoever_makes_too_many_mistakes_is_hung_up_on(nursery: trio.Nursery) -> None:
    async with open_hand_made() as (made, agent):
        open_line(nursery, agent)
        await made.wait_event("call.started")
        await made.send(sound(7, b"ab") * 300)
        closed = await made.wait_closed()
        assert closed.code == 1008
        assert "mistakes" in closed.reason


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"version": 2}, "version 2"),
        ({"version": "1"}, "'version'"),
        ({"type": "hi"}, "no hello"),
        ({"received": -1}, "-1 messages"),
    ],
)
async def test_a_hello_that_cannot_be_is_refused_with_the_reason(hello: dict[str, Any], reason: str) -> None:
    async with open_hand_made(**hello) as (made, _):
        closed = await made.wait_closed()
        assert closed.code == 1008
        assert reason in closed.reason


# Sockets that break


@asynccontextmanager
async def open_library(
    function: Agent, *, key: str | None = None, **options: Any
) -> AsyncIterator[tuple[Agent, Cable]]:
    """Have an agent's server of the library, at the other end of a cable."""
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(serve_agent, function, "127.0.0.1", 0, key=key))
        async with open_cable(port) as cable:
            url = f"ws://127.0.0.1:{cable.port}/"
            yield await nursery.start(run_link_agent, url, LinkOptions(**options)), cable
        nursery.cancel_scope.cancel()


async def counts(call: Call) -> None:
    """Say back each frame, and never the same twice."""
    async for heard in call.audio_in:
        call.audio_out.send_nowait(heard.pcm)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cuts", [1, 4])
async def test_nothing_is_lost_or_doubled_when_a_socket_breaks(
    shape: Literal["calls", "call"], cuts: int, nursery: trio.Nursery
) -> None:
    async with open_library(counts, shape=shape) as (agent, cable):
        line = open_line(nursery, agent)
        await wait_until(lambda: line.media.listener is not None and cable.connections)
        spoken = b""
        for number in range(200):
            line.media.hear(frame(number))
            spoken += frame(number).pcm
            await trio.sleep(0.001)
            if number % 50 == 25 and number // 50 < cuts:
                cable.cut()
        await wait_until(lambda: len(line.media.queue) >= len(spoken))
        assert bytes(line.media.queue) == spoken
        assert cable.connections > 1
        assert not line.ended.is_set()


async def test_sound_is_held_for_a_bounded_time_while_there_is_no_agent(nursery: trio.Nursery) -> None:
    async with open_library(counts, hold_seconds=1.0) as (agent, cable):
        line = open_line(nursery, agent)
        await wait_until(lambda: line.media.listener is not None and cable.connections)
        line.media.hear(frame(0))
        await wait_until(lambda: line.media.queue)
        cable.is_out = True
        cable.cut()
        await wait_until(lambda: cable.refusals)
        for number in range(1, 101):
            line.media.hear(frame(number))
        cable.is_out = False
        await wait_until(lambda: line.media.queue.endswith(frame(100).pcm))
        assert bytes(line.media.queue)[:: 2 * 960] == bytes([0, *range(51, 101)])


async def test_a_call_without_an_agent_ends_when_patience_does(nursery: trio.Nursery) -> None:
    async with open_library(counts, patience_seconds=1.5) as (agent, cable):
        line = open_line(nursery, agent)
        await wait_until(lambda: cable.connections)
        line.media.hear(frame(0))
        await wait_until(lambda: line.media.queue)
        cable.is_out = True
        cable.cut()
        await line.ended.wait()
        assert "no agent for 1.5 s" in str(line.error)
        late = open_line(nursery, agent)
        await late.ended.wait()
        assert "no agent" in str(late.error)


async def test_an_agent_that_has_forgotten_everything_gets_the_call_anew(nursery: trio.Nursery) -> None:
    async with open_hand_made() as (made, agent):
        line = open_line(nursery, agent)
        await made.wait_event("call.started")
        line.call.push_event(Interrupted(Interruption(1, 2), None))
        await made.wait_event("interrupted")
        assert made._socket is not None
        await made._socket.aclose(1001, "restarting")
        started = await made.wait_event("call.started", 2)
        assert started["is_restart"]
        assert started["call"] == 1
        assert "received" not in made.greeted[1] or made.greeted[1]["received"] is None
        line.media.hear(AudioFrame(b"ab", 24_000, 0))
        await wait_until(lambda: any(heard.data == b"ab" for heard in made.frames))


async def test_an_agent_is_told_that_the_gateway_goes_away_and_so_is_the_one_after_it(
    nursery: trio.Nursery,
) -> None:
    async with open_hand_made() as (made, agent):
        line = open_line(nursery, agent)
        await made.wait_event("call.started")
        line.call.push_event(GoingAway(60.0))
        assert await made.wait_event("going_away") == {"type": "going_away", "call": 1, "seconds": 60.0}
        assert made._socket is not None
        await made._socket.aclose(1001, "restarting")
        await made.wait_event("call.started", 2)
        assert 0 < (await made.wait_event("going_away", 2))["seconds"] <= 60


async def test_a_gateway_without_the_key_is_refused(nursery: trio.Nursery) -> None:
    async with open_library(counts, key="right", patience_seconds=0.2) as (agent, _):
        line = open_line(nursery, agent)
        await line.ended.wait()
        assert "no agent" in str(line.error)


# Options


def test_options_name_the_key_that_is_wrong() -> None:
    assert LinkOptions.from_mapping({"shape": "call", "key": "x"}) == LinkOptions(shape="call", key="x")
    for table, name in (
        ({"shap": 1}, "shap"),
        ({"shape": "x"}, "shape"),
        ({"hold_seconds": "x"}, "hold_seconds"),
    ):
        with pytest.raises(UsageError, match=name):
            LinkOptions.from_mapping(table)
    with pytest.raises(UsageError, match="no such file"):
        LinkOptions(ca_file="/nonexistent").ssl_context()


async def test_a_link_has_a_scheme_of_its_own() -> None:
    with pytest.raises(UsageError, match="ws://"):
        await run_link_agent("http://localhost/")
