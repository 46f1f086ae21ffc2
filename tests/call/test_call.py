import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.line import Line
from voicegate.call import (
    AUDIO_IN_FRAMES,
    Agent,
    AgentReport,
    AudioFrame,
    Connected,
    ConversationTaken,
    EncodedFrame,
    EndCause,
    InputTranscribed,
    MarkPlayed,
    ServerEvent,
    SessionUpdated,
)
from voicegate.errors import UsageError

RATE = 48000


@pytest.fixture
def line(request: pytest.FixtureRequest) -> Line:
    """A call; one on Trio's clock for tests in which time passes."""
    return Line(clock=trio.current_time if "autojump_clock" in request.fixturenames else None)


async def test_sending_waits_until_two_seconds_are_ahead(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    start = trio.current_time()
    await line.call.audio_out.send(bytes(2 * RATE * 5))
    assert trio.current_time() - start == pytest.approx(3.0, abs=0.05)


async def test_draining_waits_until_all_is_sent(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    line.call.audio_out.send_nowait(bytes(2 * RATE))
    start = trio.current_time()
    await line.call.audio_out.drain()
    assert trio.current_time() - start == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("direction", ["recvonly", "inactive"])
async def test_nothing_has_to_be_waited_for_with_a_client_that_does_not_listen(
    direction: str, autojump_clock: MockClock
) -> None:
    line = Line(clock=trio.current_time, direction=direction)
    with trio.fail_after(0.1):
        await line.call.audio_out.send(bytes(2 * RATE * 5))
        line.call.audio_out.send_packet_nowait(b"x", 960)
        line.call.audio_out.mark("end")
        await line.call.audio_out.drain()
    line.call.hangup(after="drain")
    line.follow()
    assert line.events == [MarkPlayed("end", 0)]
    assert line.downlink.statistics().discarded_ms == 5020
    assert line.endings == [(EndCause.AGENT_FINISHED, "the agent hung up")]


@pytest.mark.parametrize("wait", ["drain", "send"])
async def test_waiting_for_a_last_sample_is_not_a_busy_wait(
    line: Line, wait: str, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    output = line.call.audio_out
    output.send_nowait(bytes(2) if wait == "drain" else bytes(2 * (2 * RATE + 1)))
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    with trio.move_on_after(1) as scope:  # nobody plays, as before the client is connected
        await (output.drain() if wait == "drain" else output.send(b""))
    trio.lowlevel.remove_instrument(steps)
    assert scope.cancelled_caught
    assert steps.count < 150


async def test_an_interruption_tells_what_was_heard_and_wakes_who_waits(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    line.call.audio_out.send_nowait(bytes(2 * RATE))
    for _ in range(50):
        line.play_slot()
    line.call.audio_out.send_nowait(bytes(2 * RATE * 10))
    for _ in range(10):
        line.play_slot()
    drained = trio.Event()

    async def wait() -> None:
        await line.call.audio_out.drain()
        drained.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    interruption = line.call.interrupt()
    with trio.fail_after(0.1):
        await drained.wait()
    assert interruption == (200, 9800), "the second that was heard before is another speech"
    assert line.call.audio_out.queued_ms == 0


async def test_who_waits_for_a_response_is_woken_when_it_is_cancelled(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    async def cancel() -> None:
        await trio.sleep(0.5)
        line.call.audio_out.cancel_response("a")

    nursery.start_soon(cancel)
    start = trio.current_time()
    await line.call.audio_out.send(bytes(2 * RATE * 30), response_id="a")
    assert trio.current_time() - start == 0.5


async def test_a_paused_speech_is_waited_for(
    line: Line, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(line.play_on)
    output = line.call.audio_out
    output.send_nowait(bytes(2 * RATE))
    output.pause()

    async def resume() -> None:
        await trio.sleep(5)
        output.resume()

    nursery.start_soon(resume)
    start = trio.current_time()
    await output.drain()
    assert trio.current_time() - start == pytest.approx(6.0, abs=0.1)


def test_a_slow_agent_loses_the_oldest_frames(line: Line) -> None:
    for _ in range(AUDIO_IN_FRAMES + 3):
        line.hear(bytes(1920))
    assert line.call.audio_in_dropped == 3
    assert line.call.audio_in.receive_nowait().position == 3 * 960


def test_an_agent_that_closed_its_ear_costs_nothing(line: Line) -> None:
    assert line.wanted() == "pcm"
    line.call.audio_in.close()
    line.call.events.close()
    line.hear(bytes(1920))
    line.call.push_event(Connected(1.0))
    assert line.call.audio_in_dropped == 1
    assert line.wanted() == "nothing"
    line.call.detect_speech()
    assert line.wanted() == "pcm"


def test_a_listener_hears_what_it_wants_and_gives_the_ear_back(line: Line) -> None:
    heard: list[AudioFrame | EncodedFrame] = []

    class Listener:
        def __init__(self, *, is_encoded: bool) -> None:
            self.is_encoded = is_encoded

        def hear(self, frame: AudioFrame | EncodedFrame) -> None:
            heard.append(frame)

    line.call.listen(Listener(is_encoded=True))
    assert line.wanted() == "encoded"
    line.hear_packet(b"x")
    line.call.listen(Listener(is_encoded=False))
    assert line.wanted() == "pcm"
    line.hear(bytes(1920))
    line.call.listen(None)
    line.hear(bytes(1920))
    line.hear_packet(b"late")
    assert [type(frame) for frame in heard] == [EncodedFrame, AudioFrame]
    assert line.call.audio_in.receive_nowait().position == 960


async def test_the_agents_loop_ends_with_the_call(line: Line) -> None:
    line.hear(bytes(1920))
    line.call.close()
    line.hear(bytes(1920))
    with pytest.raises(trio.ClosedResourceError):
        await line.call.audio_in.receive()


@pytest.mark.parametrize("codec", ["opus", "PCMU", "G722"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_an_agent_may_choose_its_sample_rate(codec: str, rate: int) -> None:
    line = Line(codec)
    line.call.use_rate(rate)
    assert (line.call.codec, line.call.clock_rate) == (codec.lower(), 48_000 if codec == "opus" else 8000)
    assert line.call.sample_rate == rate
    assert line.call.frame_samples == rate // 50
    line.call.audio_out.send_nowait(bytes(2 * rate))
    assert line.call.audio_out.queued_ms == 1000
    for _ in range(25):
        line.play_slot()
    assert (line.call.audio_out.queued_ms, line.call.audio_out.heard_ms) == (500, 500)
    line.call.use_rate(rate)
    with pytest.raises(UsageError, match="audio"):
        line.call.use_rate(8000 if rate != 8000 else 16000)


def test_other_sample_rates_are_our_callers_fault(line: Line) -> None:
    with pytest.raises(UsageError, match="44100"):
        line.call.use_rate(44100)
    assert line.call.sample_rate == RATE


def test_hanging_up_ends_the_call_at_once_or_when_all_is_said(line: Line) -> None:
    line.call.audio_out.send_nowait(bytes(2 * 1920))
    line.call.audio_out.pause()
    line.call.hangup(after="drain")
    line.play_slot()
    assert line.endings == []
    line.play_slot()
    assert line.endings == [(EndCause.AGENT_FINISHED, "the agent hung up")]
    line.call.audio_out.send_nowait(bytes(2 * 1920))
    line.call.hangup()
    assert len(line.endings) == 2


async def test_data_channels_are_those_of_the_link(line: Line) -> None:
    assert not line.call.has_channels
    assert line.call.channels == {}
    with pytest.raises(UsageError):
        line.call.open_channel("x")
    with pytest.raises(UsageError, match="offered no data channels"):
        await line.call.send("x")


def test_the_conversation_is_the_controls(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[AgentReport] = []
    transfers: list[Agent | str] = []
    monkeypatch.setattr(line.control, "report", reports.append)
    monkeypatch.setattr(line.control, "transfer", transfers.append)
    line.call.converse()
    line.call.converse(raw=True)
    line.call.transcribe("hello", item_id="i1")
    line.call.transcribe("he", is_final=False)
    line.call.emit({"type": "x"})
    line.call.transfer("expert")
    assert reports == [
        ConversationTaken(is_raw=False),
        ConversationTaken(is_raw=True),
        InputTranscribed(item_id="i1", text="hello"),
        InputTranscribed(text="he", is_final=False),
        ServerEvent(event={"type": "x"}),
    ]
    assert transfers == ["expert"]


def test_the_session_is_the_latest_one_even_before_its_event_is_read(line: Line) -> None:
    assert line.call.session == {}
    line.call.push_event(SessionUpdated(session={"instructions": "be brief"}))
    line.call.push_event(SessionUpdated(session={"instructions": "be kind"}))
    assert line.call.session["instructions"] == "be kind"
    assert len(line.events) == 2
