from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.rtp import KeyPress, KeyPresses, RtpPacket, TelephoneEvent
from voicegate.rtp.telephone_event import END_SECONDS, KEYS

WIDE, NARROW = 110, 126
RATES = {WIDE: 48_000, NARROW: 8_000}


def packet(
    key: str = "5",
    *,
    timestamp: int = 1000,
    duration: int = 960,
    is_end: bool = False,
    payload_type: int = WIDE,
    ssrc: int = 1,
) -> RtpPacket:
    event = TelephoneEvent(KEYS.index(key), is_end, 10, duration)
    return RtpPacket(payload_type, 0, timestamp, ssrc, event.encode())


def press(key: str, *, timestamp: int, milliseconds: int = 100) -> list[RtpPacket]:
    """Return what Chromium sends: an update every 20 ms, and the end three times."""
    ticks = 48
    updates = [
        packet(key, timestamp=timestamp, duration=ticks * passed) for passed in range(20, milliseconds, 20)
    ]
    return [*updates, *[packet(key, timestamp=timestamp, duration=ticks * milliseconds, is_end=True)] * 3]


def presses_of(packets: list[RtpPacket]) -> list[KeyPress]:
    keys = KeyPresses(RATES)
    for number, each in enumerate(packets):
        keys.handle_packet(each, now=number * 0.02)
    keys.handle_timeout(now=1000.0)
    return list(iter(keys.poll_press, None))


def test_a_press_is_told_once_and_when_it_is_over() -> None:
    keys = KeyPresses(RATES)
    *updates, end, again, once_more = press("7", timestamp=1000)
    for each in updates:
        keys.handle_packet(each, now=0.0)
    assert keys.poll_press() is None
    assert keys.poll_timeout() == END_SECONDS
    for each in (end, again, once_more):
        keys.handle_packet(each, now=0.1)
    assert keys.poll_press() == KeyPress("7", 100)
    assert (keys.poll_press(), keys.poll_timeout()) == (None, None)


@pytest.mark.parametrize(("payload_type", "duration"), [(WIDE, 4800), (NARROW, 800)])
def test_durations_are_in_the_clock_of_the_payload_type(payload_type: int, duration: int) -> None:
    end = packet(payload_type=payload_type, duration=duration, is_end=True)
    assert presses_of([end]) == [KeyPress("5", 100)]


def test_the_same_key_again_is_another_press() -> None:
    packets = [*press("5", timestamp=1000), *press("5", timestamp=20_000), *press("#", timestamp=40_000)]
    assert [key for key, _ in presses_of(packets)] == ["5", "5", "#"]


def test_a_press_whose_end_was_lost_is_over_when_the_next_begins_or_after_a_while() -> None:
    first, second = press("1", timestamp=1000)[:-3], press("2", timestamp=20_000)[:-3]
    assert presses_of([*first, *second]) == [KeyPress("1", 80), KeyPress("2", 80)]
    keys = KeyPresses(RATES)
    keys.handle_packet(first[0], now=0.0)
    keys.handle_timeout(now=END_SECONDS - 0.01)
    assert keys.poll_press() is None
    keys.handle_timeout(now=END_SECONDS)
    assert keys.poll_press() == KeyPress("1", 20)
    for late in press("1", timestamp=1000):
        keys.handle_packet(late, now=1.0)
    assert keys.poll_press() is None


def test_late_packets_of_an_earlier_press_are_passed_over() -> None:
    one, two = press("1", timestamp=0xFFFF_FF00), press("2", timestamp=0x2000)
    assert presses_of([two[0], *one, *two]) == [KeyPress("2", 100)]


def test_a_long_press_goes_on_in_segments() -> None:
    segments = [
        packet(timestamp=1000, duration=0xFFFF),
        packet(timestamp=1000 + 0xFFFF, duration=0xFFFF),
        packet(timestamp=1000 + 2 * 0xFFFF, duration=4800),
        packet(timestamp=1000, duration=0xFFFF),
        packet(timestamp=1000 + 2 * 0xFFFF, duration=9600, is_end=True),
    ]
    assert presses_of(segments) == [KeyPress("5", round(2 * 0xFFFF / 48 + 200))]


@pytest.mark.parametrize("segments", [2, 4])
@pytest.mark.parametrize("step", [0xFFFF, 69 * 960], ids=["RFC 4733", "libwebrtc"])
def test_a_long_press_that_is_given_up_in_a_stall_is_not_told_again(segments: int, step: int) -> None:
    keys = KeyPresses(RATES)
    keys.handle_packet(packet(timestamp=1000, duration=9600), now=0.2)
    keys.handle_timeout(now=1.0)
    assert keys.poll_press() == KeyPress("5", 200)
    for number in range(1, segments):
        timestamp = 1000 + number * step
        is_last = number == segments - 1
        for duration in (960, 0xFFFF):
            keys.handle_packet(packet(timestamp=timestamp, duration=duration), now=number * 1.4)
        keys.handle_packet(packet(timestamp=timestamp, duration=0xFFFF, is_end=is_last), now=number * 1.4)
    assert (keys.poll_press(), keys.poll_timeout()) == (None, None)
    for again in press("5", timestamp=1000 + segments * step + 9600):
        keys.handle_packet(again, now=10.0)
    assert keys.poll_press() == KeyPress("5", 100), "another press"


def test_another_source_begins_anew() -> None:
    packets = [packet("1"), packet("2", ssrc=2, is_end=True)]
    assert presses_of(packets) == [KeyPress("1", 20), KeyPress("2", 20)]


def test_events_that_are_no_keys_are_passed_over() -> None:
    flash = RtpPacket(WIDE, 0, 0, 1, TelephoneEvent(16, is_end=True, volume=0, duration=0).encode())
    assert presses_of([flash]) == []


@pytest.mark.parametrize("payload", [b"", b"\x05\x8a\x01", b"\x05\x8a\x01\x40" * 2])
def test_what_is_no_event_is_counted(payload: bytes) -> None:
    keys = KeyPresses(RATES)
    keys.handle_packet(RtpPacket(WIDE, 0, 0, 1, payload), now=0.0)
    assert (keys.refused, keys.poll_press(), keys.poll_timeout()) == (1, None, None)
    with pytest.raises(WireError):
        TelephoneEvent.decode(payload)


def test_its_payload_types_are_taken_and_no_others() -> None:
    keys = KeyPresses(RATES)
    assert (keys.takes(WIDE), keys.takes(NARROW), keys.takes(111)) == (True, True, False)


@given(st.binary(min_size=4, max_size=4))
def test_any_four_bytes_are_an_event(data: bytes) -> None:
    event = TelephoneEvent.decode(data)
    assert TelephoneEvent.decode(event.encode()) == event


@given(st.text("0123456789*#ABCD", max_size=12), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_whatever_is_lost_or_doubled_no_key_is_told_twice_or_made_up(
    typed: str, begin: int, random: Random
) -> None:
    told: list[KeyPress] = []
    keys = KeyPresses(RATES)
    for number, key in enumerate(typed):
        for each in press(key, timestamp=(begin - 500 + number * 20_000) & 0xFFFF_FFFF):
            for _ in range(random.choice([0, 1, 1, 2])):
                keys.handle_packet(each, now=number * 0.1)
                told += iter(keys.poll_press, None)
    keys.handle_timeout(now=1000.0)
    told += iter(keys.poll_press, None)
    rest = iter(typed)
    assert all(key in rest for key, _ in told), "a part of what was typed, in its order"
