"""The agent's end of one call, without a process: what it posts, and what it makes of what it is told."""

from typing import cast

import pytest
import trio

from tests.agents.process.line import RATE, SECOND, FakeLink
from voicegate.agents.process.link import Link
from voicegate.agents.process.message import (
    DetectionAsked,
    HangUpAsked,
    Order,
    OutputCleared,
    OutputReported,
    RateChosen,
    ResponseDropped,
    SpeechMarked,
    SpeechPushed,
    WantsChosen,
)
from voicegate.agents.process.remote import RemoteControl
from voicegate.call import (
    AudioFrame,
    EncodedFrame,
    Interrupted,
    Interruption,
    OutputState,
    SpeechStarted,
    SpeechStopped,
)
from voicegate.errors import UsageError


class Ear:
    def __init__(self, *, is_encoded: bool) -> None:
        self.is_encoded = is_encoded
        self.heard: list[AudioFrame | EncodedFrame] = []

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        self.heard.append(frame)


class Line:
    """A remote control, and the other end of it, which plays as told."""

    def __init__(self, sample_rate: int = RATE, *, clock_rate: int = 48_000) -> None:
        self.link = FakeLink()
        self.control = RemoteControl(
            1, cast("Link", self.link), sample_rate=sample_rate, codec="opus", clock_rate=clock_rate
        )

    def report(self, *, clears: int = 0, queued_ms: int = 0, heard_ms: int = 0, seconds: float) -> None:
        """Tell that so much has arrived."""
        self.control.handle_report(OutputReported(int(seconds * 48_000), clears, queued_ms, heard_ms))

    @property
    def spoken_seconds(self) -> float:
        return sum(len(speech.data) for speech in self.link.spoken if isinstance(speech, SpeechPushed)) / (
            2 * RATE
        )


@pytest.fixture
def line() -> Line:
    return Line()


def say(line: Line, pcm: bytes, response_id: str | None = None) -> None:
    line.control.push_pcm(pcm, response_id=response_id)


def queued_ms(line: Line) -> int:
    return line.control.output_state().queued_ms


def test_of_a_flood_five_seconds_are_passed_on_and_the_rest_follows_what_is_played(line: Line) -> None:
    say(line, SECOND * 600)
    assert line.spoken_seconds == 5
    assert queued_ms(line) == 600_000
    line.report(seconds=5, queued_ms=4000, heard_ms=1000)
    assert line.spoken_seconds == 6
    assert line.control.output_state() == OutputState(599_000, 1000, None, False)
    assert {len(speech.data) for speech in line.link.spoken if isinstance(speech, SpeechPushed)} == {9600}


def test_what_waits_is_bounded_and_the_oldest_goes_first(line: Line) -> None:
    for _ in range(2):
        say(line, SECOND * 500)
    assert queued_ms(line) == 905_000


def test_an_interruption_empties_all_with_one_message(line: Line) -> None:
    say(line, SECOND * 600)
    line.report(seconds=5, queued_ms=4500, heard_ms=500)
    assert line.control.clear() == Interruption(500, 599_500)
    assert line.link.posted == [OutputCleared()]
    assert queued_ms(line) == 0
    line.report(seconds=5, queued_ms=4400, heard_ms=600)  # it has not heard of it yet
    assert line.control.output_state() == OutputState(0, 0, None, False)
    say(line, SECOND)
    line.report(clears=1, seconds=0.5, queued_ms=480, heard_ms=20)
    assert line.control.output_state() == OutputState(980, 20, None, False)


def test_responses_that_were_to_come_are_cancelled_by_name(line: Line) -> None:
    say(line, SECOND * 5, "first")
    say(line, SECOND, "second")
    say(line, SECOND)
    line.control.clear()
    assert line.link.posted == [ResponseDropped(response_id="second"), OutputCleared()]


def test_what_crosses_with_an_interruption_there_can_be_told_by_its_number(line: Line) -> None:
    say(line, SECOND * 6, "first")
    line.control.handle_interrupted(Interrupted(Interruption(0, 0), "first"))
    assert line.link.posted == [ResponseDropped(response_id="first")]
    assert queued_ms(line) == 5000, "what is on its way is not gone before it has arrived"
    line.report(seconds=5)
    assert queued_ms(line) == 0
    say(line, b"12")
    assert line.link.spoken[-1] == SpeechPushed(1, 0, None, b"12")


def test_a_mark_and_a_hang_up_keep_their_places_in_the_speech(line: Line) -> None:
    say(line, SECOND * 6)
    line.control.mark("end")
    line.control.hang_up(after="drain")
    assert not line.link.posted
    assert isinstance(line.link.spoken[-1], SpeechPushed)
    line.report(seconds=5)
    assert line.link.spoken[-2:] == [SpeechMarked(interruptions=0, name="end"), HangUpAsked(after="drain")]


def test_a_hang_up_survives_an_interruption_of_the_last_words(line: Line) -> None:
    say(line, SECOND * 6)
    line.control.hang_up(after="drain")
    line.control.clear()
    assert line.link.posted == [HangUpAsked(after="drain"), OutputCleared()]


def test_a_response_is_cancelled_there_and_here(line: Line) -> None:
    say(line, SECOND * 5, "first")
    say(line, SECOND, "second")
    say(line, SECOND, "first")
    line.control.cancel_response("first")
    assert line.link.posted == [ResponseDropped(response_id="first")]
    assert queued_ms(line) == 6000


def test_heard_counts_from_the_start_of_the_present_speech(line: Line) -> None:
    say(line, SECOND)
    line.report(seconds=1, heard_ms=1000)
    assert line.control.output_state().heard_ms == 1000
    say(line, SECOND)
    assert line.control.output_state().heard_ms == 0
    line.report(seconds=1, heard_ms=1000)  # from before that speech came there
    assert line.control.output_state().heard_ms == 0
    line.report(seconds=2, heard_ms=20, queued_ms=980)
    assert line.control.output_state().heard_ms == 20


def test_packets_are_counted_on_the_clock_of_their_codec() -> None:
    for rate, ticks in (48_000, 960), (24_000, 960), (8000, 160), (16_000, 160):
        line = Line(rate, clock_rate=50 * ticks)
        line.control.push_packet(b"opus", ticks, response_id="r")
        assert line.link.spoken == [SpeechPushed(0, ticks, "r", b"opus")]
        assert queued_ms(line) == 20


def test_pause_is_seen_at_once(line: Line) -> None:
    line.control.pause()
    assert line.control.output_state().is_paused
    line.control.resume()
    assert not line.control.output_state().is_paused
    assert line.link.posted == [Order(kind="pause"), Order(kind="resume")]


def test_what_makes_no_sense_is_refused_where_it_was_asked_for(line: Line) -> None:
    with pytest.raises(UsageError, match="within a sample"):
        say(line, b"123")
    with pytest.raises(UsageError, match="no PCM at 11025"):
        line.control.use_rate(11_025)
    with pytest.raises(UsageError, match="a packet of 0 ticks"):
        line.control.push_packet(b"", 0, response_id=None)
    assert not line.link.spoken


def test_a_rate_of_the_agents_choice_is_for_both_ways(line: Line) -> None:
    line.control.use_rate(16_000)
    assert line.link.posted == [RateChosen(sample_rate=16_000)]
    assert line.control.sample_rate == 16_000
    say(line, bytes(640))
    assert queued_ms(line) == 20


def test_frames_go_to_the_listener_that_wants_their_kind(line: Line) -> None:
    frame, packet = AudioFrame(b"12", RATE, 0), EncodedFrame(b"opus", 960, 0)
    ear = Ear(is_encoded=True)
    line.control.handle_frame(frame)
    line.control.set_listener(ear)
    line.control.handle_frame(frame)
    line.control.handle_frame(packet)
    assert ear.heard == [packet]
    line.control.set_listener(Ear(is_encoded=False))
    line.control.set_listener(None)
    line.control.loop_back()
    assert [message.wants for message in line.link.posted if isinstance(message, WantsChosen)] == [
        "encoded",
        "pcm",
        "nothing",
    ]
    assert line.link.posted[-1] == Order(kind="loop_back")


def detect(line: Line, model: "Patience | None" = None) -> None:
    line.control.detect_speech(silence_ms=600, barge_in=True, turn_model=model, detector="webrtc")


class Patience:
    """A turn model that wants 400 ms of silence, and keeps what it was asked about."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def wait_ms(self, pcm: bytes) -> int:
        self.asked.append(pcm)
        return 400


def test_a_second_of_what_was_heard_is_kept_once_speech_is_detected(line: Line) -> None:
    assert line.control.pre_roll(100) == b""
    detect(line)
    assert line.link.posted == [DetectionAsked(silence_ms=600, barge_in=True, detector="webrtc")]
    for number in range(60):
        line.control.handle_frame(AudioFrame(bytes([number]) * 1920, RATE, number * 960))
    assert line.control.pre_roll(20) == bytes([59]) * 1920
    assert len(line.control.pre_roll(5000)) == len(SECOND)
    assert line.control.pre_roll(0) == b""


async def test_a_turn_model_is_asked_in_the_agents_process(
    line: Line, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    model = Patience()
    detect(line, model)
    nursery.start_soon(line.control.run)
    line.control.handle_speech(SpeechStopped(0))  # of speech that began before it was detected
    line.control.handle_speech(SpeechStarted(0, b"pre"))
    line.control.handle_frame(AudioFrame(b"roll", RATE, 200 * 48))
    line.control.handle_speech(SpeechStopped(100))
    assert model.asked == [b"preroll"]
    began_at = trio.current_time()
    line.link.posted.clear()
    while not line.link.posted:
        await trio.sleep(0.001)
    assert line.link.posted == [Order(kind="end_turn")]
    assert trio.current_time() - began_at == pytest.approx(0.3, abs=0.002)
    # Who goes on speaking has not finished.
    line.link.posted.clear()
    line.control.handle_speech(SpeechStarted(500, b""))
    line.control.handle_speech(SpeechStopped(600))
    line.control.handle_speech(SpeechStarted(700, b""))
    await trio.sleep(10)
    assert not line.link.posted
    nursery.cancel_scope.cancel()
