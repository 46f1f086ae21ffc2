"""Both ends of a link in this process: what the agent does arrives at the call, and the other way."""

import sys
from typing import cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from tests.agents.process.line import RATE, SECOND, FakeLink, Line, open_agent, open_line, wait_until
from voicegate.agents.process import AgentProcessError
from voicegate.agents.process.link import Link
from voicegate.agents.process.message import (
    CallClosed,
    OutputCleared,
    OutputCut,
    OutputReported,
    SpeechMarked,
    SpeechPushed,
)
from voicegate.agents.process.session import Session
from voicegate.call import (
    AudioFrame,
    CallEvent,
    ChannelClosed,
    ChannelOpened,
    Connected,
    EncodedFrame,
    GoingAway,
    Interrupted,
    Interruption,
    MarkPlayed,
    SpeechStarted,
    TurnEnded,
)
from voicegate.channel import Message
from voicegate.datachannel import Channel
from voicegate.errors import WireError


def frame(number: int) -> AudioFrame:
    return AudioFrame(number.to_bytes(2, "big") * 960, RATE, number * 960)


async def ready(line: Line) -> Line:
    """Wait until the agent's end has the call."""
    await wait_until(lambda: type(line.media.listener).__name__ == "_Ear")
    return line


async def test_frames_go_to_the_agent_and_its_speech_comes_back(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("echo") as agent:
            lines = [await ready(open_line(nursery, agent)) for _ in range(3)]
            for number in range(50):
                for line in lines:
                    line.media.hear(frame(number))
            spoken = b"".join(frame(number).pcm for number in range(50))
            for line in lines:
                await wait_until(lambda line=line: len(line.media.queue) == len(spoken))  # type: ignore[misc]
                assert line.media.queue == spoken
                line.scope.cancel()
                await line.ended.wait()
                assert line.error is None


async def test_an_agent_that_returns_ends_its_call(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("returns") as agent:
            line = open_line(nursery, agent)
            await line.ended.wait()
            assert line.error is None


async def test_an_agent_that_raises_ends_its_call_and_no_other(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("raises") as agent:
            good, bad = open_line(nursery, agent), open_line(nursery, agent, {"mood": "bad"})
            await bad.ended.wait()
            assert isinstance(bad.error, AgentProcessError)
            assert str(bad.error) == "RuntimeError('no')"
            assert 'raise RuntimeError("no")' in bad.error.__notes__[0]
            assert not good.ended.is_set()
            nursery.cancel_scope.cancel()


async def test_an_agent_that_leaves_python_leaves_its_call(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("exits") as agent:
            line = open_line(nursery, agent)
            await line.ended.wait()
            assert str(line.error) == "SystemExit('enough')"


async def test_what_a_client_sends_to_break_things_breaks_its_own_call(nursery: trio.Nursery) -> None:
    deepest = sys.getrecursionlimit()
    with trio.fail_after(240):
        async with open_agent("never_reads") as agent:
            bystander = open_line(nursery, agent)
            await wait_until(bystander.report)
            ends = set()
            for depth in range(deepest - 100, deepest):
                metadata: dict[str, object] = {}
                for _ in range(depth):
                    metadata = {"": metadata}
                line = open_line(nursery, agent, metadata)
                await wait_until(lambda line=line: line.report() or line.ended.is_set())  # type: ignore[misc]
                ends.add(type(line.error))
                line.scope.cancel()
            assert ends >= {RecursionError}
            assert not bystander.ended.is_set()
            nursery.cancel_scope.cancel()


async def test_all_exceptions_of_an_agent_are_told(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("raises_two") as agent:
            line = open_line(nursery, agent)
            await line.ended.wait()
            assert "RuntimeError('one')" in str(line.error)
            assert "ValueError('two')" in str(line.error)


async def test_ten_minutes_at_once_are_played_out_and_can_be_interrupted(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("floods") as agent:
            line = open_line(nursery, agent)
            # The media process has a few seconds of it and no more, however often it plays.
            for _ in range(3):
                await wait_until(lambda: len(line.media.queue) == 5 * len(SECOND))
                line.media.play(1000)
            await wait_until(lambda: len(line.media.queue) == 5 * len(SECOND))
            line.media.hear(frame(0))
            await wait_until(line.report)
            assert not line.media.queue
            assert line.media.told == ["clear", ("mark", "3000 heard, 597000 dropped", 0)]
            nursery.cancel_scope.cancel()


async def test_commands_arrive_as_they_were_given(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("commands") as agent:
            line = open_line(nursery, agent)
            await wait_until(lambda: line.media.packets)
            assert line.media.told == [
                ("use_rate", 16_000),
                ("detect_speech", 300, False, None, "silero"),
                "pause",
                "resume",
                ("cancel_response", "other"),
                "end_turn",
                "loop_back",
                ("hang_up", "now", 0),
            ]
            assert line.media.queue == b"12"
            assert line.media.packets == [(b"opus", 960, "r")]
            nursery.cancel_scope.cancel()


async def test_what_can_not_be_done_ends_the_call_with_the_reason(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("too_late") as agent:
            line = open_line(nursery, agent)
            await line.ended.wait()
            assert str(line.error) == "there was audio already"


async def test_a_hang_up_waits_for_all_that_was_said(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("says_goodbye") as agent:
            line = open_line(nursery, agent)
            await wait_until(lambda: len(line.media.queue) == 5 * len(SECOND))
            assert not line.media.told
            line.media.play(1000)
            await wait_until(lambda: line.media.told)
            assert line.media.told == [("hang_up", "drain", 5 * len(SECOND))]
            assert not line.ended.is_set(), "what hangs up is the media, when all has been played"
            nursery.cancel_scope.cancel()


async def test_a_listener_gets_packets_undecoded_and_ends_its_call_when_it_raises(
    nursery: trio.Nursery,
) -> None:
    with trio.fail_after(240):
        async with open_agent("echo_packets") as agent:
            line = open_line(nursery, agent)
            await wait_until(lambda: line.media.listener is not None and line.media.listener.is_encoded)
            line.media.hear(EncodedFrame(b"good", 960, 0))
            await wait_until(lambda: line.media.packets)
            assert line.media.packets == [(b"good", 960, None)]
            line.media.hear(EncodedFrame(b"bad", 960, 960))
            await line.ended.wait()
            assert str(line.error) == "ValueError('a bad packet')"


async def test_what_nobody_wants_is_not_sent(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("deaf") as agent:
            line = await ready(open_line(nursery, agent))
            await wait_until(line.report)
            # That nobody listens shows with the first frame.
            line.media.hear(frame(0))
            await wait_until(lambda: line.media.listener is not None and line.media.listener.is_encoded)
            line.media.hear(EncodedFrame(b"opus", 960, 0))
            nursery.cancel_scope.cancel()


async def test_events_arrive_in_their_order(nursery: trio.Nursery) -> None:
    events: list[CallEvent] = [
        Interrupted(Interruption(1, 2), "r"),
        Connected(12.5),
        GoingAway(59.5),
        SpeechStarted(100, b"pre"),
        TurnEnded(200),
    ]
    with trio.fail_after(240):
        async with open_agent("tells_events") as agent:
            line = open_line(nursery, agent)
            for event in events:
                line.call.push_event(event)
            channel = line.channels.admit(Channel(id=4, label="theirs"))
            line.call.push_event(ChannelOpened(channel))
            line.channels.close_channel(4)
            line.call.push_event(ChannelClosed(channel))
            line.call.push_event(MarkPlayed("end", 0))
            await wait_until(lambda: len(line.report()) == 8)
            assert line.report() == [
                *map(repr, events),
                "ChannelOpened theirs",
                "ChannelClosed theirs",
                repr(MarkPlayed("end", 0)),
            ]
            nursery.cancel_scope.cancel()


async def test_speech_that_crosses_with_an_interruption_is_dropped(nursery: trio.Nursery) -> None:
    line = Line()
    session = Session(1, line.call, cast("Link", FakeLink()))
    nursery.start_soon(session.run)
    line.call.push_event(Interrupted(Interruption(0, 0), None))
    await wait_all_tasks_blocked()
    session.handle(SpeechPushed(0, 0, None, b"before"))
    session.handle(SpeechMarked(interruptions=0, name="before"))
    session.handle(SpeechPushed(1, 0, None, b"behind"))
    session.handle(SpeechMarked(interruptions=1, name="behind"))
    assert line.media.queue == b"behind"
    assert line.report() == ["behind"]
    nursery.cancel_scope.cancel()


async def test_frames_that_the_process_is_too_far_behind_for_are_counted_with_the_call(
    nursery: trio.Nursery,
) -> None:
    line, link = Line(), FakeLink()
    nursery.start_soon(Session(1, line.call, cast("Link", link)).run)
    await ready(line)
    line.media.hear(frame(1))
    link.is_full = True
    line.media.hear(frame(2))
    line.media.hear(frame(3))
    assert link.spoken == [frame(1)]
    assert line.call.audio_in_dropped == 2
    nursery.cancel_scope.cancel()


async def test_reports_count_from_the_last_clear(nursery: trio.Nursery) -> None:
    line, link = Line(), FakeLink()
    session = Session(1, line.call, cast("Link", link))
    session.handle(SpeechPushed(0, 0, None, SECOND))
    line.media.play(400)
    assert session.report()
    assert session.report(), "it may change again in a moment"
    session.handle(OutputCleared())
    session.handle(SpeechPushed(0, 960, None, b"opus"))
    session.report()
    assert link.posted == [
        OutputReported(48_000, 0, 600, 400),
        OutputCut(heard_ms=400, dropped_ms=600),
        OutputReported(960, 1, 0, 400),
    ]
    assert [session.report() for _ in range(50)][-2:] == [True, False]


async def test_messages_that_no_agent_sends_are_nonsense() -> None:
    session = Session(1, Line().call, cast("Link", FakeLink()))
    with pytest.raises(WireError, match="CallClosed for a call"):
        session.handle(CallClosed())


async def test_the_agent_learns_when_all_has_been_played(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("drains") as agent:
            line = open_line(nursery, agent)
            await wait_until(lambda: len(line.media.queue) == 9600)
            assert not line.report()
            line.media.play(100)
            await wait_until(line.report)
            nursery.cancel_scope.cancel()


async def test_messages_go_both_ways(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("says_messages_back") as agent:
            line = open_line(nursery, agent)
            channel = line.channels.admit(Channel(id=2, label="theirs"))
            line.channels.say(Message(channel, "é"), Message(channel, b"\0"))
            await wait_until(lambda: len(line.channels.sent) == 2)
            assert line.channels.sent == [(2, "é"), (2, b"\0")]
            nursery.cancel_scope.cancel()


async def test_messages_that_the_agent_does_not_take_hold_the_client_back(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("reads_one_message") as agent:
            line = open_line(nursery, agent)
            channel = line.channels.admit(Channel(id=2, label="theirs"))
            line.channels.say(*(Message(channel, bytes(500_000)) for _ in range(10)))
            await wait_until(lambda: line.channels.taken == 4)
            await trio.sleep(0.05)
            assert line.channels.taken == 4, "a window of a mebibyte, and the one that was read"
            nursery.cancel_scope.cancel()


async def test_channels_of_the_agents_own_go_by_numbers_of_its_own(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("sends_messages") as agent:
            line = open_line(nursery, agent)
            await wait_until(lambda: len(line.channels.sent) == 2)
            assert line.channels.sent == [(1, "first"), (7, b"second")]
            assert line.channels.channels[1].label == "mine"
            assert line.channels.channels[1].parameters.protocol == "p"
            await wait_until(line.report)
            assert line.report() == ["5 bytes on 65536"]
            line.channels.unacknowledged[1] = 0
            await line.ended.wait()
            assert list(line.channels.channels) == [7]
            assert str(line.error) == "a message of 8 bytes, and the peer takes 7"


async def test_a_call_that_is_over_cancels_its_agent(nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent("says_messages_back") as agent:
            line = await ready(open_line(nursery, agent))
            line.scope.cancel()
            await line.ended.wait()
            again = await ready(open_line(nursery, agent))
            again.scope.cancel()
            await again.ended.wait()


@pytest.mark.parametrize("function", ["never_reads"])
async def test_an_agent_that_reads_nothing_costs_only_itself(function: str, nursery: trio.Nursery) -> None:
    with trio.fail_after(240):
        async with open_agent(function) as agent:
            line = open_line(nursery, agent)
            await wait_until(line.report)
            for number in range(1000):
                line.media.hear(frame(number))
                line.call.push_event(TurnEnded(number))
            line.scope.cancel()
            await line.ended.wait()
