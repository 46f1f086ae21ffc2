"""Messages that wait."""

import pytest

from voicegate.datachannel.message import (
    MAX_EARLY_BYTES,
    MAX_EARLY_MESSAGES,
    MAX_UNREAD_MESSAGES,
    EarlyMessages,
    Message,
    Unread,
)
from voicegate.sctp import MessageReceived


def received(stream_id: int, length: int = 1) -> MessageReceived:
    return MessageReceived(stream_id=stream_id, protocol_id=53, data=bytes(length))


def test_what_is_unread_comes_in_order_with_its_length() -> None:
    unread = Unread()
    for number in range(4):
        assert unread.push(Message(channel_id=number % 2, data=str(number)), number)
    assert unread.discard(0) == [0, 2]
    assert unread.discard(0) == []
    assert unread.pop() == (Message(channel_id=1, data="1"), 1)
    assert unread.pop() == (Message(channel_id=1, data="3"), 3)
    assert unread.pop() is None


def test_what_is_unread_is_bounded() -> None:
    unread, message = Unread(), Message(channel_id=0, data="")
    assert all(unread.push(message, 1) for _ in range(MAX_UNREAD_MESSAGES))
    assert not unread.push(message, 1)
    unread.pop()
    assert unread.push(message, 1)


@pytest.mark.parametrize(("length", "count"), [(1, MAX_EARLY_MESSAGES), (MAX_EARLY_BYTES // 2, 2)])
def test_what_is_early_is_bounded_over_all_streams(length: int, count: int) -> None:
    early = EarlyMessages()
    for turn in range(3):
        assert all(early.push(received(number % 2, length)) for number in range(count)), f"turn {turn}"
        assert not early.push(received(2))
        assert early.pop(2) == []
        for stream_id in (0, 1):
            assert stream_id in early
            assert early.pop(stream_id) == [received(stream_id, length)] * (count // 2)
            assert stream_id not in early
            assert early.pop(stream_id) == []


def test_the_longest_early_message_is_held() -> None:
    assert EarlyMessages().push(received(0, MAX_EARLY_BYTES))
    assert not EarlyMessages().push(received(0, MAX_EARLY_BYTES + 1))


def test_what_came_on_one_channel_can_be_kept_apart() -> None:
    unread = Unread()
    for number in range(4):
        unread.push(Message(channel_id=number % 2, data=str(number)), number)
    apart = unread.split(1)
    assert [taken[1] for taken in iter(apart.pop, None)] == [1, 3]
    assert [taken[1] for taken in iter(unread.pop, None)] == [0, 2]
