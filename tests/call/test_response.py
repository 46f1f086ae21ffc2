"""Responses of an agent, on a call whose slots are played by hand."""

from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.line import Line
from voicegate.call import (
    AgentReport,
    FunctionCalled,
    Interrupted,
    Interruption,
    McpCalled,
    ResponseBegan,
    ResponseCancelled,
    ResponseEnded,
    Said,
    TextAdded,
    TranscriptAdded,
)
from voicegate.errors import UsageError

RATE = 48000
SECOND = bytes(2 * RATE)


@pytest.fixture
def line() -> Line:
    return Line(clock=trio.current_time)


@pytest.fixture
def reports(line: Line, monkeypatch: pytest.MonkeyPatch) -> list[AgentReport]:
    reports: list[AgentReport] = []
    monkeypatch.setattr(line.control, "report", reports.append)
    return reports


def end_of(reports: list[AgentReport]) -> str:
    end = reports[-1]
    assert isinstance(end, ResponseEnded)
    assert sum(isinstance(report, ResponseEnded) for report in reports) == 1
    return end.status


async def test_a_response_tells_all_that_belongs_to_it(line: Line, reports: list[AgentReport]) -> None:
    with line.call.respond("r1") as response:
        response.transcript("Hey")
        response.transcript("lo")
        response.text("*")
        response.send_nowait(SECOND)
        assert response.function_call("look_up", "{}", "c1") == "c1"
        call_id = response.function_call("look_up", '{"a": 1}')
        response.mcp({"type": "mcp_call"})
    assert reports == [
        ResponseBegan(response_id="r1"),
        TranscriptAdded(response_id="r1", delta="Hey"),
        TranscriptAdded(response_id="r1", delta="lo"),
        TextAdded(response_id="r1", delta="*"),
        FunctionCalled(response_id="r1", call_id="c1", name="look_up", arguments="{}"),
        FunctionCalled(response_id="r1", call_id=call_id, name="look_up", arguments='{"a": 1}'),
        McpCalled(response_id="r1", item={"type": "mcp_call"}),
        ResponseEnded(response_id="r1", status="completed"),
    ]
    assert call_id.startswith("call_")
    assert line.downlink.output_state(now=0.0).response_id == "r1"


def test_a_response_that_nobody_asked_for_has_an_id_of_its_own(
    line: Line, reports: list[AgentReport]
) -> None:
    first, second = line.call.respond(), line.call.respond()
    assert first.id != second.id
    first.end("incomplete", "max_output_tokens")
    first.end()
    assert reports[2:] == [
        ResponseEnded(response_id=first.id, status="incomplete", reason="max_output_tokens")
    ]


async def test_nothing_can_be_added_to_a_response_that_has_ended(line: Line) -> None:
    response = line.call.respond()
    response.end()
    with pytest.raises(UsageError, match="has ended"):
        await response.send(SECOND)
    with pytest.raises(UsageError, match="has ended"):
        response.send_nowait(SECOND)
    with pytest.raises(UsageError, match="has ended"):
        response.transcript("x")
    assert line.call.audio_out.queued_ms == 0


async def test_an_exception_fails_the_response(line: Line, reports: list[AgentReport]) -> None:
    with pytest.raises(LookupError), line.call.respond():
        raise LookupError
    assert end_of(reports) == "failed"


async def test_a_response_whose_agent_is_cancelled_is_cancelled(
    line: Line, reports: list[AgentReport]
) -> None:
    with trio.move_on_after(0), line.call.respond():
        await trio.sleep_forever()
    assert end_of(reports) == "cancelled"


@pytest.mark.parametrize("how", ["client", "barge-in", "agent", "response"])
async def test_what_makes_a_response_is_cancelled_when_nobody_wants_it_any_more(
    line: Line, reports: list[AgentReport], how: str
) -> None:
    with trio.fail_after(5), line.call.respond("r1") as response:
        response.send_nowait(SECOND)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)  # a model that thinks
            match how:
                case "client":
                    line.call.push_event(ResponseCancelled(response_id="r0", reason="client_cancelled"))
                    assert not response.is_cut
                    line.call.push_event(ResponseCancelled(response_id="r1", reason="client_cancelled"))
                case "barge-in":
                    line.call.push_event(Interrupted(Interruption(300, 700), "r1"))
                case "agent":
                    line.call.interrupt()
                case _:
                    line.call.audio_out.cancel_response("r1")
            assert response.is_cut
            response.transcript("nobody wants that")
            await trio.sleep_forever()
    assert end_of(reports) == "cancelled"
    assert not any(isinstance(report, TranscriptAdded) for report in reports)


async def test_an_interruption_does_not_concern_what_was_heard_before_or_has_no_sound_yet(line: Line) -> None:
    before, thinking = line.call.respond("r1"), line.call.respond("r2")
    before.send_nowait(SECOND)
    present, next_one = line.call.respond("r3"), line.call.respond("r4")
    present.send_nowait(SECOND)
    next_one.send_nowait(SECOND)
    line.call.push_event(Interrupted(Interruption(300, 1700), "r3"))
    cut = [response.id for response in (before, thinking, present, next_one) if response.is_cut]
    assert cut == ["r3", "r4"]


async def test_an_interruption_of_what_has_no_name_cuts_what_is_being_made(line: Line) -> None:
    done, present = line.call.respond("r1"), line.call.respond("r2")
    done.send_nowait(SECOND)
    done.end()
    present.send_nowait(SECOND)
    line.call.push_event(Interrupted(Interruption(300, 1700), None))
    assert (done.is_cut, present.is_cut) == (False, True)


async def test_say_waits_until_all_has_been_played(
    line: Line, reports: list[AgentReport], autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    start = trio.current_time()
    assert await line.call.say(3 * SECOND, transcript="three seconds") == Said(3000, False)
    assert trio.current_time() - start == pytest.approx(3.0, abs=0.1)
    assert [report.type for report in reports] == ["response.began", "transcript.added", "response.ended"]
    assert end_of(reports) == "completed"
    nursery.cancel_scope.cancel()


async def test_say_takes_any_asynchronous_iterable(
    line: Line, reports: list[AgentReport], autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    send, receive = trio.open_memory_channel[bytes](2)
    send.send_nowait(SECOND)
    send.send_nowait(SECOND)
    send.close()
    assert await line.call.say(receive, response_id="r1") == Said(2000, is_interrupted=False)
    assert reports[0] == ResponseBegan(response_id="r1")
    assert line.call.heard_ms == pytest.approx(2000, abs=40)
    nursery.cancel_scope.cancel()


async def test_who_waits_for_a_response_does_not_wait_for_what_is_behind_it_once_it_is_cut(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    response = line.call.respond("r1")
    response.send_nowait(SECOND)
    line.call.audio_out.send_nowait(30 * SECOND, response_id="r2")
    await trio.sleep(0.51)
    line.call.audio_out.cancel_response("r1")
    line.call.audio_out.cancel_response("r1")
    start = trio.current_time()
    assert await response.wait_played() == Said(500, is_interrupted=True)
    assert trio.current_time() == start
    nursery.cancel_scope.cancel()


async def test_say_takes_more_at_once_than_the_queue_holds(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    line = Line("PCMU", clock=trio.current_time)
    nursery.start_soon(line.play_on)
    assert await line.call.say(bytes(2 * 8000 * 70)) == Said(70_000, is_interrupted=False)
    assert line.downlink.statistics().overflow_ms == 0
    nursery.cancel_scope.cancel()


async def test_say_tells_how_much_was_heard_of_what_was_cut_short(
    line: Line, reports: list[AgentReport], autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    is_closed = False

    async def synthesise() -> AsyncIterator[bytes]:
        nonlocal is_closed
        try:
            while True:
                yield SECOND
        finally:
            is_closed = True

    async def interrupt() -> None:
        await trio.sleep(1.51)
        state = line.downlink.output_state(now=trio.current_time())
        line.call.push_event(Interrupted(line.downlink.clear(now=trio.current_time()), state.response_id))

    nursery.start_soon(interrupt)
    assert await line.call.say(synthesise()) == Said(1500, is_interrupted=True)
    assert is_closed
    assert end_of(reports) == "cancelled"
    assert await line.call.say(SECOND) == Said(1000, False), "the next one is no longer concerned"
    nursery.cancel_scope.cancel()


async def test_what_was_waiting_behind_an_interrupted_response_was_not_heard(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    said: dict[str, Said] = {}

    async def say(name: str) -> None:
        said[name] = await line.call.say(SECOND)

    nursery.start_soon(say, "first")
    await trio.sleep(0.1)
    nursery.start_soon(say, "second")
    await trio.sleep(0.41)
    line.call.interrupt()
    await trio.sleep(0.1)
    assert said == {"first": Said(500, True), "second": Said(0, True)}
    nursery.cancel_scope.cancel()


async def test_what_was_queued_of_a_response_is_played_though_the_client_wants_no_more(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    response = line.call.respond("r1")
    response.send_nowait(2 * SECOND)
    await trio.sleep(0.51)
    line.control.refuse_response("r1")
    line.call.push_event(ResponseCancelled(response_id="r1", reason="client_cancelled"))
    response.send_nowait(SECOND)
    start = trio.current_time()
    assert await response.wait_played() == Said(2000, True)
    assert trio.current_time() - start == pytest.approx(1.5, abs=0.05)
    nursery.cancel_scope.cancel()


async def test_a_cancelled_say_falls_silent(
    line: Line, reports: list[AgentReport], autojump_clock: MockClock
) -> None:
    with trio.move_on_after(1):
        await line.call.say(5 * SECOND)
    assert line.call.audio_out.queued_ms == 0
    assert end_of(reports) == "cancelled"


async def test_a_response_that_was_played_long_ago_was_heard(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    first, second = line.call.respond("r1"), line.call.respond("r2")
    first.send_nowait(SECOND)
    second.send_nowait(SECOND)
    await trio.sleep(1.51)
    line.call.audio_out.cancel_response("r1")
    assert await first.wait_played() == Said(1000, is_interrupted=True)
    assert await second.wait_played() == Said(1000, is_interrupted=False)
    line.call.audio_out.send_nowait(SECOND)
    await trio.sleep(0.5)
    line.call.audio_out.cancel_response("r2")
    assert await line.call.respond("r3").wait_played() == Said(0, is_interrupted=False)
    nursery.cancel_scope.cancel()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("respond"), st.integers(0, 10)),
        st.tuples(st.just("send"), st.integers(1, 10)),
        st.tuples(st.just("play"), st.integers(1, 20)),
        st.tuples(st.sampled_from(["interrupt", "cancel", "refuse"]), st.just(0)),
    ),
    max_size=30,
)


@pytest.mark.slow
@settings(max_examples=100)
@given(STEPS)
def test_what_was_played_is_what_was_heard_of_all_responses(steps: list[tuple[str, int]]) -> None:
    async def check() -> None:
        line = Line("PCMU")
        frame = b"\1\1" * 160
        responses = [line.call.respond()]
        for step, number in steps:
            newest = responses[-1]
            match step:
                case "respond":
                    responses.append(line.call.respond())
                    responses[-1].send_nowait(frame * number)
                case "send":
                    newest.send_nowait(frame * number)
                case "play":
                    line.play(number)
                case "interrupt":
                    line.call.interrupt()
                case "cancel":
                    line.call.audio_out.cancel_response(newest.id)
                case _:
                    line.control.refuse_response(newest.id)
                    line.call.push_event(ResponseCancelled(response_id=newest.id, reason="client_cancelled"))
        while line.call.audio_out.queued_ms:
            line.play(1)
        said = [await response.wait_played() for response in responses]
        assert sum(heard_ms for heard_ms, _ in said) == line.downlink.playout.played_samples / 8
        assert [response.is_cut for response in responses] == [is_cut for _, is_cut in said]

    note(str(steps))
    trio.run(check)
