"""The streams in use and how they end."""

from collections import deque

import pytest

from voicegate.datachannel import Channel, ChannelClosed, ChannelOpened, Event
from voicegate.datachannel.table import ChannelTable
from voicegate.errors import UsageError


def table(parity: int = 0) -> tuple[ChannelTable, deque[Event]]:
    events: deque[Event] = deque()
    return ChannelTable(parity=parity, stream_limit=6, events=events), events


@pytest.mark.parametrize(("parity", "ids"), [(0, [0, 2, 4]), (1, [1, 3, 5])])
def test_numbers_of_our_parity_are_given_in_turn(parity: int, ids: list[int]) -> None:
    streams, _events = table(parity)
    for turn in range(2):
        for number in ids:
            assert streams.is_ours(number)
            assert not streams.is_ours(number + 1)
            assert streams.free_id() == number
            streams.add(Channel(id=number), is_unconfirmed=True)
            if not turn:
                streams.close(number)
                streams.note_reset(number, is_remote=True)
                streams.note_reset(number, is_remote=False)
    with pytest.raises(UsageError):
        streams.free_id()
    for is_remote in (True, False):
        streams.note_reset(ids[1], is_remote=is_remote)
    assert streams.free_id() == ids[1]


def test_a_stream_is_free_when_both_halves_are_reset_in_any_order() -> None:
    for order in ((True, False), (False, True)):
        streams, events = table()
        streams.add(Channel(id=0))
        streams.close(0)
        streams.close(0)
        assert streams.resets == [0], "it is reset once"
        for is_remote in order:
            assert streams.get(0) is not None
            streams.note_reset(0, is_remote=is_remote)
        assert streams.get(0) is None
        assert list(events) == [ChannelClosed(channel=Channel(id=0))]
        assert streams.resets == [0]


def test_our_half_is_not_reset_while_something_is_unread() -> None:
    streams, events = table()
    streams.add(Channel(id=0))
    stream = streams.get(0)
    assert stream is not None
    stream.unread = 2
    streams.note_reset(0, is_remote=True)
    assert streams.channels == {}
    streams.note_read(0)
    assert streams.resets == []
    streams.note_read(0)
    assert streams.resets == [0]
    streams.note_reset(0, is_remote=False)
    assert list(events) == [ChannelClosed(channel=Channel(id=0))]


def test_a_reset_of_what_is_not_in_use_changes_nothing() -> None:
    streams, events = table()
    streams.add(Channel(id=0))
    for is_remote in (True, False):
        streams.note_reset(1, is_remote=is_remote)
    streams.note_reset(0, is_remote=False)  # nobody asked for it
    assert (len(streams), streams.resets, list(events)) == (1, [], [])
    assert streams.channels == {0: Channel(id=0)}


def test_a_stream_without_a_channel_ends_without_an_event() -> None:
    streams, events = table()
    streams.close(3)
    assert streams.resets == [3]
    with pytest.raises(UsageError, match="in use"):
        streams.check_id(3)
    for is_remote in (True, False):
        streams.note_reset(3, is_remote=is_remote)
    assert (len(streams), list(events)) == (0, [])
    assert streams.check_id(3) == 3


def test_a_channel_is_confirmed_once() -> None:
    streams, events = table()
    streams.add(Channel(id=0), is_unconfirmed=True)
    stream = streams.get(0)
    assert stream is not None
    streams.confirm(stream)
    streams.confirm(stream)
    assert list(events) == [ChannelOpened(channel=Channel(id=0), is_remote=False)]


def test_the_end_closes_all_but_what_is_unread() -> None:
    streams, events = table()
    for number in (0, 2, 4):
        streams.add(Channel(id=number))
    unread = streams.get(2)
    assert unread is not None
    unread.unread = 1
    streams.close(4)
    streams.end()
    assert [type(event) for event in events] == [ChannelClosed, ChannelClosed]
    assert (streams.channels, streams.resets) == ({}, [])
    streams.note_read(2)
    assert events[-1] == ChannelClosed(channel=Channel(id=2))
    assert len(streams) == 0
