from hypothesis import given
from hypothesis import strategies as st

from voicegate.agents.process.outbox import Outbox


def make(audio_limit: int = 10, control_limit: int = 1000) -> Outbox:
    return Outbox(audio_limit=audio_limit, control_limit=control_limit)


def test_commands_go_before_audio_and_each_in_its_order() -> None:
    outbox = make()
    assert not outbox
    outbox.push_audio(1, b"a1")
    outbox.push(b"c1")
    outbox.push_audio(1, b"a2")
    outbox.push(b"c2")
    assert outbox
    assert outbox.take(100) == b"c1c2a1a2"
    assert not outbox
    assert outbox.take(100) == b""


def test_of_a_call_that_is_behind_the_oldest_audio_is_dropped() -> None:
    outbox = make(audio_limit=3)
    assert [outbox.push_audio(1, bytes([piece])) for piece in range(5)] == [True] * 3 + [False] * 2
    assert outbox.push_audio(2, b"x")
    assert outbox.audio_dropped == 2
    assert outbox.take(100) == b"\2\3\4x"


def test_a_call_with_much_audio_lets_the_others_through() -> None:
    outbox = make()
    for _ in range(3):
        outbox.push_audio(1, b"1" * 65_536)
    outbox.push_audio(2, b"2")
    outbox.push_audio(3, b"3")
    assert outbox.take(65_536) == b"1" * 65_536
    assert outbox.take(65_538) == b"23" + b"1" * 65_536
    assert outbox.take(65_538) == b"1" * 65_536


def test_audio_can_be_taken_back() -> None:
    outbox = make()
    outbox.push_audio(1, b"1")
    outbox.push_audio(2, b"2")
    outbox.discard_audio(1)
    outbox.discard_audio(3)
    assert outbox.take(100) == b"2"


def test_too_much_that_may_not_be_dropped_is_noticed() -> None:
    outbox = make(control_limit=10)
    seen = []
    for data in bytes(10), b"1":
        outbox.push(data)
        seen.append((outbox.control_bytes, outbox.is_overrun))
    outbox.take(5)
    seen.append((outbox.control_bytes, outbox.is_overrun))
    assert seen == [(10, False), (11, True), (1, False)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9))), st.integers(1, 20))
def test_nothing_is_lost_or_turned_around(pushed: list[tuple[int, int]], limit: int) -> None:
    outbox = make(audio_limit=1000, control_limit=1000)
    for call, size in pushed:
        if call:
            outbox.push_audio(call, bytes([call]) * size)
        else:
            outbox.push(bytes(size))
    taken = bytearray()
    while data := outbox.take(limit):
        assert len(data) < limit + 9
        taken += data
    for call in range(4):
        assert taken.count(call) == sum(size for pusher, size in pushed if pusher == call)
