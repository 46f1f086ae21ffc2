from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.line import parameters
from voicegate.audio import open_codec
from voicegate.call import Interruption, MarkPlayed
from voicegate.errors import UsageError
from voicegate.testing import sound
from voicegate.transceiver.downlink import Downlink

FRAME = 320
"""Bytes of 20 ms at 8 kHz."""


def make(codec: str = "PCMU", **others: object) -> Downlink:
    return Downlink(parameters(codec, **others), open_codec(codec, fmtp=parameters(codec, **others).fmtp))


class Outgoing(NamedTuple):
    """What leaves in one slot."""

    payload: bytes
    ticks: int
    is_onset: bool


def play(downlink: Downlink, slots: int = 1) -> list[list[Outgoing]]:
    """Return what leaves in each slot."""
    played: list[list[Outgoing]] = []
    for _ in range(slots):
        played.append([Outgoing(*downlink.next_payload())])
        while not downlink.is_slot_over:
            played[-1].append(Outgoing(*downlink.next_payload()))
    return played


def payloads(downlink: Downlink, slots: int = 1) -> list[bytes]:
    return [outgoing.payload for slot in play(downlink, slots) for outgoing in slot]


# Speech


@pytest.mark.parametrize("codec", ["PCMU", "PCMA", "G722", "opus"])
@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_a_slot_takes_as_much_as_the_client_wants_in_a_packet(codec: str, frame_ms: int) -> None:
    downlink = make(codec, frame_ms=frame_ms)
    other = open_codec(codec)
    assert downlink.slot_seconds == frame_ms / 1000
    assert downlink.slot_ticks == other.clock_rate * frame_ms // 1000
    pcm = sound.speech_like(0.24, rate=other.sample_rate).pcm
    downlink.push_pcm(pcm)
    size = 2 * other.sample_rate * frame_ms // 1000
    expected = [other.encode(pcm[offset : offset + size]) for offset in range(0, len(pcm), size)]
    assert payloads(downlink, 240 // frame_ms) == expected
    silent = play(downlink, 12)
    assert {outgoing.ticks for slot in silent for outgoing in slot} == {downlink.slot_ticks}
    assert {other.duration(outgoing.payload) for slot in silent for outgoing in slot} == {downlink.slot_ticks}


def test_before_any_speech_the_codecs_own_silence_is_sent() -> None:
    assert set(payloads(make("opus"), 20)) == {open_codec("opus").silence}


def test_only_what_follows_silence_is_an_onset() -> None:
    downlink = make()
    downlink.push_pcm(bytes(3 * FRAME))
    played = play(downlink, 5)
    downlink.push_packet(b"x", 160)
    downlink.push_live(b"y", 160)
    played += play(downlink, 3)
    downlink.push_live(b"z", 160)
    played += play(downlink, 1)
    onsets = [outgoing.is_onset for slot in played for outgoing in slot]
    assert onsets == [True, False, False, False, False, True, False, False, True]


def test_nothing_is_queued_for_a_client_that_only_sends() -> None:
    downlink = make(direction="recvonly")
    downlink.push_pcm(bytes(2 * 8000))
    downlink.push_packet(b"x", 160)
    downlink.push_live(b"x", 160)
    downlink.mark("end")
    assert downlink.output_state(now=0.0) == (0, 0, None, False)
    assert downlink.statistics().discarded_ms == 1020
    assert downlink.poll_mark() == MarkPlayed("end", 0)
    assert downlink.poll_mark() is None


@pytest.mark.parametrize("codec", ["PCMU", "opus", "G722"])
def test_speech_at_another_rate_is_played_as_long(codec: str) -> None:
    downlink = make(codec)
    downlink.use_rate(24000)
    spoken = sound.speech_like(1.0, rate=24000)
    downlink.push_pcm(spoken.pcm)
    assert downlink.output_state(now=0.0).queued_ms == 1000
    with pytest.raises(UsageError, match="before any audio"):
        downlink.use_rate(8000)
    decoder = open_codec(codec)
    decoder.use_rate(24000)
    heard = b"".join(decoder.decode(payload) for payload in payloads(downlink, 60))
    assert sound.correlate(spoken, sound.Sound.from_pcm(heard, rate=24000)).peak > 0.7
    downlink.use_rate(8000)  # as another agent wants it, once what the first said has been played
    downlink.push_pcm(bytes(1600))
    assert downlink.output_state(now=0.0).queued_ms == 100


# Packets of any length


@pytest.mark.parametrize("ms", [60, 120])
def test_a_long_packet_fills_the_slots_that_it_lasts(ms: int) -> None:
    downlink = make()
    ticks = 8 * ms
    downlink.push_packet(b"a", ticks)
    downlink.push_packet(b"b", ticks)
    slots = ms // 20
    assert play(downlink, slots) == [[(b"a", ticks, True)]] + [[(b"", 0, False)]] * (slots - 1)
    assert play(downlink, slots) == [[(b"b", ticks, False)]] + [[(b"", 0, False)]] * (slots - 1)


def test_packets_that_fit_no_slot_leave_in_the_first_that_begins_after_the_one_before() -> None:
    downlink = make()
    for name in (b"a", b"b", b"c"):
        downlink.push_packet(name, 240)  # 30 ms, as some phones send
    assert payloads(downlink, 5) == [b"a", b"", b"b", b"c", b""]


def test_short_packets_share_a_slot() -> None:
    downlink = make()
    for name in (b"a", b"b", b"c"):
        downlink.push_packet(name, 80)
    assert play(downlink, 2) == [
        [(b"a", 80, True), (b"b", 80, False)],
        [(b"c", 80, False), (b"", 80, False)],
    ]


@pytest.mark.slow
@given(
    pushes=st.lists(
        st.one_of(
            st.tuples(st.just("pcm"), st.integers(1, 700)),
            st.tuples(st.just("packet"), st.sampled_from([20, 40, 80, 160, 240, 320, 480, 960])),
            st.tuples(st.just("live"), st.sampled_from([80, 160, 240, 480])),
            st.tuples(st.just("skip"), st.integers(1, 5)),
            st.tuples(st.just("slot"), st.integers(1, 5)),
        ),
        max_size=60,
    )
)
@settings(max_examples=100)
def test_the_media_clock_tells_true_time_and_speech_comes_out_once(pushes: list[tuple[str, int]]) -> None:
    """Timestamps never run away from the time that has passed, whatever lengths packets have."""
    downlink = make()
    elapsed = sent = 0
    pushed: list[bytes] = []
    played: list[bytes] = []

    def play_slot() -> None:
        nonlocal elapsed, sent
        elapsed += 160
        for outgoing in play(downlink)[0]:
            sent += outgoing.ticks
            if outgoing.payload.startswith(b"packet"):
                played.append(outgoing.payload)
        assert -160 < sent - elapsed < 960

    for number, (kind, amount) in enumerate(pushes):
        if kind == "pcm":
            downlink.push_pcm(bytes(2 * amount))
        elif kind == "packet":
            pushed.append(b"packet %d" % number)
            downlink.push_packet(pushed[-1], amount)
        elif kind == "live":
            downlink.push_live(b"live", amount)
        elif kind == "skip":
            elapsed += 160 * amount
            sent += downlink.skip(amount)
        else:
            for _ in range(amount):
                play_slot()
    while downlink.playout.queued_samples:
        play_slot()
    assert played == pushed


# Live packets


def test_speech_goes_before_live_packets_which_are_not_late_after_it() -> None:
    downlink = make()
    downlink.push_pcm(bytes([1] * 2 * FRAME))
    sent = []
    for number in range(6):
        downlink.push_live(bytes([number]), 160)
        sent += payloads(downlink)
    assert [payload for payload in sent if len(payload) == 1] == [bytes([number]) for number in range(2, 6)]


def test_a_stall_drops_live_packets_and_delays_speech() -> None:
    downlink = make()
    for number in range(4):
        downlink.push_live(bytes([number]), 160)
    assert downlink.skip(3) == 480
    assert payloads(downlink) == [b"\x03"]
    assert downlink.live.dropped == 3
    downlink.push_packet(b"speech", 160)
    downlink.skip(100)
    assert payloads(downlink) == [b"speech"]


def test_a_long_packet_goes_on_in_a_stall() -> None:
    downlink = make()
    downlink.push_packet(b"long", 480)
    play(downlink)
    assert downlink.skip(1) == 0
    assert downlink.skip(3) == 320
    downlink.push_packet(b"next", 160)
    assert payloads(downlink) == [b"next"]


def test_a_lost_live_packet_leaves_a_gap_of_its_length() -> None:
    downlink = make()
    downlink.push_live(b"", 160)
    downlink.push_live(b"a", 160)
    assert play(downlink, 2) == [[(b"", 160, True)], [(b"a", 160, True)]]


def test_nothing_passes_through_in_a_pause() -> None:
    downlink = make()
    downlink.pause()
    downlink.push_live(b"a", 160)
    assert payloads(downlink) == [open_codec("PCMU").encode_silence(160)]
    downlink.resume()
    downlink.push_live(b"b", 160)
    assert payloads(downlink) == [b"b"]


# What becomes of it


def send(downlink: Downlink, slots: int, *, at: float, first: int = 0) -> None:
    for number in range(slots):
        payload, _ticks, _is_onset = downlink.next_payload()
        if payload:
            downlink.note_sent(first + number, now=at + 0.02 * number)


def test_an_interruption_tells_what_the_client_heard_and_what_it_will_not() -> None:
    downlink = make()
    downlink.push_pcm(bytes(2 * 8000), response_id="a")
    downlink.set_round_trip(0.2)
    send(downlink, 25, at=10.0)
    state = downlink.output_state(now=10.495)
    assert state == (500, 400, "a", False)
    assert downlink.clear(now=10.495) == Interruption(heard_ms=400, dropped_ms=500)
    assert downlink.output_state(now=11.0).queued_ms == 0


def test_a_client_that_received_less_has_heard_less() -> None:
    downlink = make()
    downlink.push_pcm(bytes(2 * 8000))
    send(downlink, 25, at=10.0)
    downlink.handle_report(highest_sequence=9, round_trip=0.05, now=10.5)
    assert downlink.clear(now=10.5).heard_ms == 200


def test_what_was_not_begun_has_not_been_heard() -> None:
    downlink = make()
    downlink.push_pcm(bytes(2 * 800))
    send(downlink, 5, at=10.0)
    downlink.push_pcm(bytes(2 * 800))
    assert downlink.clear(now=10.5) == (0, 100)


def test_silence_follows_an_interruption_in_the_next_slot() -> None:
    downlink = make()
    codec = open_codec("PCMU")
    downlink.push_pcm(sound.tone(440, 5.0, rate=8000).pcm)
    downlink.push_packet(b"more", 160)
    play(downlink, 10)
    downlink.push_live(b"live", 160)
    downlink.clear(now=0.0)
    after = [codec.decode(payload) for payload in payloads(downlink, 5)]
    assert any(after[0][:80]), "it dies away"
    assert not any(after[0][80:])
    assert not any(b"".join(after[1:]))


def test_marks_tell_how_much_was_played() -> None:
    downlink = make()
    downlink.push_pcm(bytes(2 * 240))
    downlink.mark("half")
    play(downlink)
    assert downlink.poll_mark() is None
    play(downlink)
    assert downlink.poll_mark() == MarkPlayed("half", 30)


def test_a_cancelled_response_makes_room_for_the_next() -> None:
    downlink = make()
    downlink.push_packet(b"a", 160, response_id="a")
    downlink.push_packet(b"b", 160, response_id="b")
    downlink.cancel_response("a", now=0.0)
    assert downlink.output_state(now=0.0) == (20, 0, "b", False)
    assert payloads(downlink) == [b"b"]


def test_the_first_packet_of_an_answer_is_timed() -> None:
    downlink = make()
    send(downlink, 5, at=10.0)
    assert downlink.answered_at is None
    downlink.push_pcm(bytes(2 * 800))
    send(downlink, 5, at=10.1)
    assert downlink.answered_at == 10.1


def test_what_is_never_played_is_counted_by_reason() -> None:
    downlink = make()
    downlink.push_pcm(bytes(2 * 8000 * 61), response_id="a")
    downlink.clear(now=0.0)
    downlink.push_pcm(bytes(2 * 8000 * 2), response_id="a")
    downlink.push_live(b"x", 160)
    downlink.skip(1)
    assert downlink.statistics() == (1000, 2000, 1)
