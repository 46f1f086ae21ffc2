import pytest
import trio

from tests.line import Line
from voicegate.audio import open_codec
from voicegate.audio.live import WINDOW
from voicegate.call import (
    AudioFrame,
    EncodedFrame,
    EndCause,
    Interrupted,
    Interruption,
    MarkPlayed,
    SpeechStarted,
    SpeechStopped,
    TurnAnswered,
    TurnEnded,
)
from voicegate.testing import sound

RATE = 8000
SPEECH = sound.speech_like(1.0, rate=RATE).pcm


def silence(seconds: float) -> bytes:
    return bytes(2 * int(RATE * seconds))


def converse(line: Line, pcm: bytes) -> bytes:
    """Let the client say something while slots are played; return what it hears."""
    heard = b""
    for offset in range(0, len(pcm), 320):
        line.hear(pcm[offset : offset + 320])
        heard += line.play(1)
    return heard


def names(line: Line) -> list[str]:
    return [type(event).__name__ for event in line.events]


@pytest.mark.parametrize("detector", ["webrtc", pytest.param("silero", marks=pytest.mark.slow)])
def test_a_turn_is_told_with_its_first_syllable(detector: str) -> None:
    line = Line("PCMU")
    line.call.detect_speech(detector=detector)  # type: ignore[arg-type] # one of both
    spoken = silence(1.0) + sound.speech_like(2.0, rate=RATE).pcm + silence(1.0)
    line.hear(spoken)
    started, stopped, ended, *more = line.events
    assert more == []
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert isinstance(ended, TurnEnded)
    assert 900 <= started.position_ms <= 1300
    assert len(started.pre_roll) == 2 * RATE
    assert started.pre_roll in spoken
    assert 2700 <= stopped.position_ms == ended.position_ms <= 3300
    assert line.call.pre_roll(100) == silence(0.1)


def test_before_speech_is_detected_there_is_nothing_to_tell() -> None:
    line = Line("PCMU")
    line.hear(SPEECH)
    line.call.end_turn()
    line.follow()
    assert line.call.pre_roll(1000) == b""
    assert line.events == []


def test_who_talks_over_us_makes_us_fall_silent_in_the_next_slot() -> None:
    line = Line("PCMU")
    line.call.detect_speech()
    line.call.audio_out.send_nowait(sound.tone(440, 10, rate=RATE).pcm, response_id="answer")
    line.call.audio_out.mark("end")
    converse(line, silence(0.5))
    assert line.events == []
    for offset in range(0, len(SPEECH), 320):
        line.hear(SPEECH[offset : offset + 320])
        if line.downlink.playout.queued_samples == 0:
            break
        line.play(1)
    heard = line.play(10)
    assert not any(heard[80:]), "5 ms in which it dies away are all that follows"
    started, interrupted = line.events
    assert isinstance(started, SpeechStarted)
    assert isinstance(interrupted, Interrupted)
    assert interrupted.response_id == "answer"
    assert interrupted.interruption.heard_ms + interrupted.interruption.dropped_ms == 10_000
    line.call.audio_out.send_nowait(silence(1.0), response_id="answer")
    assert line.call.audio_out.queued_ms == 0, "what comes late of it is not wanted"


async def test_who_waits_for_its_speech_is_woken_by_an_interruption() -> None:
    line = Line("PCMU", clock=trio.current_time)
    line.call.detect_speech()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.call.audio_out.send, silence(60.0))
        await trio.testing.wait_all_tasks_blocked()
        line.hear(SPEECH)
        nursery.cancel_scope.deadline = trio.current_time() + 50  # of its sixty
    assert not nursery.cancel_scope.cancelled_caught


def test_without_barge_in_we_talk_on() -> None:
    line = Line("PCMU")
    line.call.detect_speech(barge_in=False)
    line.call.audio_out.send_nowait(silence(10.0))
    line.hear(SPEECH)
    assert names(line) == ["SpeechStarted"]
    assert line.call.audio_out.queued_ms == 10_000


def test_who_speaks_into_silence_interrupts_nothing() -> None:
    line = Line("PCMU")
    line.call.detect_speech()
    line.hear(SPEECH + silence(1.0))
    assert names(line) == ["SpeechStarted", "SpeechStopped", "TurnEnded"]


def test_the_agent_may_end_the_turn_itself() -> None:
    line = Line("PCMU")
    line.call.detect_speech(silence_ms=10_000)
    line.hear(SPEECH + silence(0.5))
    line.call.end_turn()
    line.follow()
    assert names(line) == ["SpeechStarted", "SpeechStopped", "TurnEnded"]


def test_a_client_that_stops_sending_has_ended_its_turn() -> None:
    line = Line("PCMU")
    line.call.detect_speech()
    converse(line, SPEECH)
    line.play(9)
    assert names(line) == ["SpeechStarted"], "jitter may be as much"
    line.play(40)
    stopped, ended = line.events
    assert isinstance(stopped, SpeechStopped)
    assert isinstance(ended, TurnEnded)
    line.call.audio_out.send_nowait(SPEECH)
    line.play(1)
    (answered,) = line.events
    assert isinstance(answered, TurnAnswered)
    assert answered.first_packet_ms == pytest.approx(980 + 1000 - ended.position_ms, abs=30)


def test_it_is_measured_how_long_the_user_waits() -> None:
    line = Line("PCMU")
    line.call.detect_speech()
    converse(line, SPEECH)
    converse(line, silence(0.8))
    line.events.clear()
    line.call.audio_out.send_nowait(SPEECH)
    line.time += 0.02
    line.play_slot()
    (answered,) = line.events
    assert isinstance(answered, TurnAnswered)
    assert answered.first_audio_ms == pytest.approx(820, abs=120)
    assert answered.first_packet_ms == answered.first_audio_ms + 20
    assert list(line.control.turns) == [answered]
    line.play(100)
    line.call.audio_out.send_nowait(SPEECH)
    line.play(1)
    assert line.events == [], "what is said later is no answer"


def test_an_answer_that_the_user_talks_over_before_it_is_heard_is_none() -> None:
    line = Line("PCMU")
    line.call.detect_speech()
    line.hear(SPEECH + silence(0.8))
    line.call.audio_out.send_nowait(SPEECH)
    line.hear(SPEECH)
    line.play(5)
    assert "TurnAnswered" not in names(line)


# Encoded audio


class Recorder:
    is_encoded = True

    def __init__(self) -> None:
        self.heard: list[AudioFrame | EncodedFrame] = []

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        self.heard.append(frame)


def test_speech_is_found_in_packets_that_nobody_else_decodes() -> None:
    line = Line("opus")
    recorder = Recorder()
    line.call.listen(recorder)
    line.call.detect_speech()
    assert line.wanted() == "encoded"
    encoder = open_codec("opus")
    spoken = (sound.silence(0.5) + sound.speech_like(1.0) + sound.silence(1.0)).pcm
    packets = [encoder.encode(spoken[offset : offset + 1920]) for offset in range(0, len(spoken), 1920)]
    packets[10] = b""  # lost
    packets[12] = b"\xff\xff"  # broken
    for packet in packets:
        line.hear_packet(packet)
    started, *_, ended = line.events
    assert isinstance(started, SpeechStarted)
    assert isinstance(ended, TurnEnded)
    assert started.position_ms == pytest.approx(500, abs=120)
    assert ended.position_ms == pytest.approx(1500, abs=150)
    assert [frame.payload for frame in recorder.heard if isinstance(frame, EncodedFrame)] == packets


def test_packets_as_quiet_as_the_background_are_not_decoded() -> None:
    line = Line("PCMU")
    decoded: list[bytes] = []

    class Counting(type(line.codec)):  # type: ignore[misc] # whatever class it is
        def decode(self, payload: bytes) -> bytes:
            decoded.append(payload)
            return bytes(2 * len(payload))

    line.codec.__class__ = Counting
    line.call.listen(Recorder())
    line.call.detect_speech()
    for number, level in enumerate([80] * 5 + [30] * 5 + [80] * 100):
        line.hear_packet(bytes([number]) * 160, 160, level=level)
    assert decoded == [bytes([number]) * 160 for number in range(10)]
    assert line.call.pre_roll(1000) == silence(1.0)


def test_an_agent_may_play_packets_of_its_own() -> None:
    line = Line("opus")
    output = line.call.audio_out
    for number in range(3):
        output.send_packet_nowait(bytes([number]), 960, response_id="a")
    output.mark("end")
    assert output.queued_ms == 60
    assert [line.play_slot() for _ in range(3)] == [[b"\0"], [b"\1"], [b"\2"]]
    assert line.events == [MarkPlayed("end", 60)]
    assert output.heard_ms == 60


def test_what_loops_back_is_not_heard_by_the_agent() -> None:
    line = Line("opus")
    line.call.loop_back()
    line.hear_packet(b"a")
    line.hear(bytes(1920))
    assert line.play_slot() == [b"a"]
    assert line.call.audio_in.statistics().current_buffer_used == 0
    line.call.listen(None)
    line.hear(bytes(1920))
    assert line.call.audio_in.statistics().current_buffer_used == 1


@pytest.mark.parametrize(("level", "left_out"), [(None, 0), (30, 0), (90, 1)])
def test_what_loops_back_with_too_much_delay_leaves_out_a_quiet_packet(
    level: int | None, left_out: int
) -> None:
    line = Line("opus")
    line.call.loop_back()
    for _ in range(2):
        line.hear_packet(b"spare", level=level)
    for _ in range(3 * WINDOW):
        line.hear_packet(b"x", level=level)
        line.play_slot()
    assert line.downlink.statistics().live_dropped == left_out


# The agent's faults


def test_a_listener_that_raises_ends_its_call() -> None:
    line = Line("opus")

    class Broken:
        is_encoded = False

        def hear(self, frame: AudioFrame | EncodedFrame) -> None:
            raise ValueError("no")

    line.call.listen(Broken())
    for _ in range(3):
        line.hear(bytes(1920))
    assert line.endings == [(EndCause.AGENT_FAILED, "ValueError('no')")]


@pytest.mark.parametrize("is_sending", [True, False])
def test_a_turn_model_that_raises_ends_its_call(is_sending: bool) -> None:
    line = Line("PCMU")

    class Broken:
        def wait_ms(self, pcm: bytes) -> int:
            raise ValueError(f"{len(pcm)} are too many")

    line.call.detect_speech(turn_model=Broken())
    line.hear(SPEECH)
    if is_sending:
        line.hear(silence(1.0))
    else:
        line.play(50)
    assert [cause for cause, _ in line.endings] == [EndCause.AGENT_FAILED]


# At another rate


def test_speech_is_found_at_the_rate_of_the_agents_choice() -> None:
    line = Line("opus")
    line.call.detect_speech()
    line.call.use_rate(16000)
    spoken = sound.silence(0.5, rate=16000) + sound.speech_like(1.0, rate=16000)
    line.hear(spoken.pcm)
    (started,) = line.events
    assert isinstance(started, SpeechStarted)
    assert started.position_ms == pytest.approx(500, abs=120)
    assert len(started.pre_roll) <= 2 * 16000


def test_an_interruption_by_the_agent_itself_is_no_event() -> None:
    line = Line("PCMU")
    line.call.audio_out.send_nowait(silence(1.0))
    assert line.call.interrupt() == Interruption(0, 1000)
    line.follow()
    assert line.events == []


# At a session's wish


def test_a_session_says_how_long_a_silence_ends_a_turn() -> None:
    line = Line("PCMU")
    line.control.follow_turns(silence_ms=300, threshold=0.5, barge_in=False)
    line.hear(SPEECH + silence(0.4))
    assert names(line) == ["SpeechStarted", "SpeechStopped", "TurnEnded"]
    line.control.follow_turns(silence_ms=2000, threshold=0.5, barge_in=False)
    line.hear(SPEECH + silence(1.0))
    assert names(line) == ["SpeechStarted", "SpeechStopped"]


def test_a_session_that_wants_nothing_else_does_not_disturb_a_turn() -> None:
    line = Line("PCMU")
    line.control.follow_turns(silence_ms=500, threshold=0.5, barge_in=False)
    line.hear(SPEECH)
    line.control.follow_turns(silence_ms=500, threshold=0.5, barge_in=True)
    line.hear(silence(1.0))
    assert names(line) == ["SpeechStarted", "SpeechStopped", "TurnEnded"]


@pytest.mark.slow
@pytest.mark.parametrize(("threshold", "is_heard"), [(0.5, True), (1.0, False)])
def test_the_agents_choice_of_a_detector_stays_and_has_a_threshold(threshold: float, is_heard: bool) -> None:
    line = Line("PCMU")
    line.call.detect_speech(detector="silero")
    line.control.follow_turns(silence_ms=300, threshold=threshold, barge_in=True)
    line.hear(sound.speech_like(2.0, rate=RATE).pcm)
    assert bool(line.events) == is_heard


def test_without_detection_a_turn_ends_where_the_client_says_so() -> None:
    line = Line("PCMU")
    line.control.leave_turns()
    line.hear(SPEECH + silence(1.0))
    assert line.events == []
    assert line.call.pre_roll(100) == silence(0.1)
    line.control.commit()
    line.follow()
    assert line.events == [TurnEnded(2000)]


def test_a_commit_in_the_middle_of_a_sentence_is_the_only_end_of_it() -> None:
    line = Line("PCMU")
    line.control.follow_turns(silence_ms=300, threshold=0.5, barge_in=False)
    line.hear(SPEECH)
    line.control.commit()
    line.hear(silence(1.0))
    assert names(line) == ["SpeechStarted", "TurnEnded"]


def test_where_nobody_listens_for_turns_a_commit_is_an_event_all_the_same() -> None:
    line = Line("PCMU")
    line.control.forget_input()
    line.control.commit()
    line.follow()
    assert line.events == [TurnEnded(0)]


def test_the_positions_of_undecoded_packets_go_on_when_the_session_changes() -> None:
    line = Line("opus")
    line.call.listen(Recorder())
    line.control.leave_turns()
    for _ in range(50):
        line.hear_packet(b"\xfc\xff\xfe")
    line.control.follow_turns(silence_ms=300, threshold=0.5, barge_in=False)
    line.control.leave_turns()
    for _ in range(50):
        line.hear_packet(b"\xfc\xff\xfe")
    line.control.commit()
    line.follow()
    assert line.events == [TurnEnded(2000)]


def test_the_next_agent_is_told_of_no_turns_until_it_asks() -> None:
    line = Line("PCMU")
    line.call.detect_speech()
    line.control.forget_turns()
    line.hear(SPEECH + silence(1.0))
    assert line.events == []


def test_a_muted_client_is_silent_for_all() -> None:
    line = Line("PCMU")
    recorder = Recorder()
    line.call.detect_speech()
    line.control.mute_input(is_muted=True)
    line.hear(SPEECH)
    line.call.listen(recorder)
    line.hear_packet(b"abc", 160)
    line.control.mute_input(is_muted=False)
    line.hear_packet(b"abc", 160)
    assert line.events == []
    assert [frame.payload for frame in recorder.heard if isinstance(frame, EncodedFrame)] == [b"", b"abc"]


def test_the_client_may_silence_us() -> None:
    line = Line("PCMU")
    line.call.audio_out.send_nowait(silence(1.0), response_id="a")
    line.control.interrupt()
    line.follow()
    assert line.events == [Interrupted(Interruption(0, 1000), "a")]


def test_without_a_session_reports_and_transfers_lead_nowhere() -> None:
    line = Line("PCMU")
    line.call.converse()
    line.call.transfer("nobody")
    assert line.events == []
