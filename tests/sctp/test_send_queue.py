import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.sctp.send_queue import OutboundMessage, SendQueue


def message(stream_id: int, length: int, *, priority: int = 256) -> OutboundMessage:
    return OutboundMessage(stream_id=stream_id, protocol_id=53, data=bytes(length), priority=priority)


def take(queue: SendQueue) -> list[OutboundMessage]:
    taken = []
    while (current := queue.peek()) is not None:
        assert queue.peek() is current
        assert queue.is_waiting(current.stream_id)
        taken.append(current)
        queue.pop()
    assert queue.is_empty
    assert len(queue) == 0
    return taken


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 1000), st.sampled_from([1, 128, 256, 1024])), max_size=30
    )
)
def test_each_message_has_one_turn_in_the_order_of_its_stream(said: list[tuple[int, int, int]]) -> None:
    queue = SendQueue()
    pushed = [message(stream_id, length, priority=priority) for stream_id, length, priority in said]
    for one in pushed:
        queue.push(one)
    assert len(queue) == len(pushed)
    taken = take(queue)
    for stream_id in range(4):
        assert [m for m in taken if m.stream_id == stream_id] == [
            m for m in pushed if m.stream_id == stream_id
        ]
        assert not queue.is_waiting(stream_id)


def test_a_stream_that_was_idle_has_not_saved_up_turns() -> None:
    queue = SendQueue()
    for _ in range(10):
        queue.push(message(1, 1000))
    for _ in range(5):
        queue.peek()
        queue.pop()
    for _ in range(5):
        queue.push(message(2, 1000))
    assert [one.stream_id for one in take(queue)][:6].count(2) in (2, 3)


def test_sequence_numbers_wrap_and_begin_anew() -> None:
    queue = SendQueue()
    queue.push(message(1, 1))
    assert [queue.take_sequence(1) for _ in range(65_537)][-2:] == [65_535, 0]
    queue.reset(1)
    queue.reset(2)
    assert queue.take_sequence(1) == 0
