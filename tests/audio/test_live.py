from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.audio.live import QUIET_SPARE_PACKETS, SPARE_PACKETS, WINDOW, LiveQueue

CLOCK = 48000
TICKS = 960


def queue(*packets: bytes) -> LiveQueue:
    live = LiveQueue(clock_rate=CLOCK)
    for packet in packets:
        live.push(packet, TICKS)
    return live


def test_packets_go_on_as_they_came() -> None:
    live = queue(b"a", b"", b"b")
    assert [live.pull() for _ in range(3)] == [(b"a", TICKS), (b"", TICKS), (b"b", TICKS)]
    assert (live.next_ticks, live.dropped) == (None, 0)


def test_after_a_stall_only_the_latest_go_on() -> None:
    live = queue(*(bytes([number]) for number in range(50)))
    assert [payload for payload, _ in live.packets] == [bytes([number]) for number in range(46, 50)]
    assert live.dropped == 46


def test_even_a_packet_longer_than_the_limit_goes_on() -> None:
    live = LiveQueue(clock_rate=CLOCK)
    live.push(b"long", 120 * 48)
    live.push(b"longer", 120 * 48)
    assert live.pull() == (b"longer", 120 * 48)


def test_what_a_stall_ate_is_dropped_and_the_rest_is_not() -> None:
    live = queue(b"a", b"b", b"c")
    live.skip(2 * TICKS)
    assert (live.next_ticks, live.dropped) == (TICKS, 2)
    live.skip(10 * TICKS)
    assert (live.next_ticks, live.dropped) == (None, 3)


def test_clearing_leaves_nothing() -> None:
    live = queue(b"a", b"b")
    live.clear()
    assert (live.next_ticks, live.dropped) == (None, 2)
    live.push(b"c", TICKS)
    assert live.pull() == (b"c", TICKS)


@pytest.mark.parametrize("spare", range(4))
def test_what_is_not_needed_for_a_second_is_dropped(spare: int) -> None:
    live = queue(*[b"spare"] * spare)
    for _ in range(5 * WINDOW):
        live.push(b"x", TICKS)
        live.pull()
    assert len(live.packets) == min(spare, SPARE_PACKETS - 1)
    assert live.dropped == max(0, spare - SPARE_PACKETS + 1)


@pytest.mark.parametrize("spare", range(4))
def test_of_what_is_not_needed_a_quiet_packet_is_left_out_earlier(spare: int) -> None:
    live = queue(*[b"spare"] * spare)
    for number in range(5 * WINDOW):
        live.push(b"x", TICKS, is_quiet=number % 10 == 0)
        live.pull()
    assert len(live.packets) == min(spare, QUIET_SPARE_PACKETS - 1)
    assert live.dropped == max(0, spare - QUIET_SPARE_PACKETS + 1)


def test_no_quiet_packet_is_left_out_that_is_needed_meanwhile() -> None:
    live = queue(b"x", b"x")
    for _ in range(WINDOW):
        live.push(b"x", TICKS)
        live.pull()
    live.pull()
    live.push(b"x", TICKS, is_quiet=True)
    assert (len(live.packets), live.dropped) == (2, 0)


def test_what_is_needed_now_and_then_is_kept() -> None:
    live = queue(b"x", b"x")
    for _ in range(20):
        for _ in range(WINDOW // 2):
            live.push(b"x", TICKS)
            live.pull()
        live.pull()  # two packets are late
        live.pull()
        live.push(b"x", TICKS)
        live.push(b"x", TICKS)
    assert live.dropped == 0


@pytest.mark.slow
@given(st.lists(st.one_of(st.integers(1, 5760), st.just("pull"), st.just("skip")), max_size=300))
@settings(max_examples=50)
def test_each_packet_is_played_or_dropped_once_in_order(steps: list[object]) -> None:
    live = LiveQueue(clock_rate=CLOCK)
    pushed: deque[tuple[bytes, int]] = deque()
    played = 0
    for number, step in enumerate(steps):
        if isinstance(step, int):
            packet = (number.to_bytes(2, "big"), step)
            live.push(*packet)
            pushed.append(packet)
        elif step == "skip":
            live.skip(TICKS)
        elif live.packets:
            packet = live.pull()
            while pushed.popleft() != packet:
                pass  # it was dropped
            played += 1
        assert len(live.packets) <= 1 or sum(ticks for _, ticks in live.packets) <= CLOCK * 80 // 1000
        assert [*live.packets] == [*pushed][len(pushed) - len(live.packets) :]
    count = sum(isinstance(step, int) for step in steps)
    assert count == played + live.dropped + len(live.packets)
