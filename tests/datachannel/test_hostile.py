"""A peer that has the keys and breaks the rules: the channel that it does so on ends, and nothing else."""

from contextlib import suppress

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datachannel.pair import Puppet, association, data_channels
from voicegate.datachannel import Channel, ChannelClosed, ChannelOpened, DataFailed, DropReason, Message
from voicegate.datachannel.channel import MAX_NAME_LENGTH
from voicegate.datachannel.channels import MAX_CHANNELS
from voicegate.datachannel.establishment import DataChannelOpen
from voicegate.datachannel.message import MAX_EARLY_MESSAGES
from voicegate.errors import UsageError
from voicegate.sctp import MessageReceived, StreamsReset
from voicegate.testing.datachannel_target import run_data_channels
from voicegate.testing.script import DELAYS, write_script

DCEP, STRING, BINARY = 50, 51, 53
OPEN, ACK = DataChannelOpen(label="a").encode(), b"\2"


def resets(puppet: Puppet) -> list[int]:
    """Return the streams that we have reset."""
    return [
        stream_id
        for event in puppet.heard
        if isinstance(event, StreamsReset) and event.is_remote
        for stream_id in event.stream_ids
    ]


def said(puppet: Puppet) -> list[tuple[int, int, bytes]]:
    """Return what we have sent."""
    return [
        (event.stream_id, event.protocol_id, event.data)
        for event in puppet.heard
        if isinstance(event, MessageReceived)
    ]


def with_channel(stream_id: int = 0) -> Puppet:
    puppet = Puppet()
    puppet.say(stream_id, DCEP, OPEN)
    puppet.run()
    assert said(puppet) == [(stream_id, DCEP, ACK)]
    assert puppet.end.said(ChannelOpened) == [
        ChannelOpened(channel=Channel(id=stream_id, label="a"), is_remote=True)
    ]
    puppet.heard.clear()
    puppet.end.events.clear()
    return puppet


def is_alive(puppet: Puppet, stream_id: int) -> bool:
    """Open another channel, and see that it works."""
    puppet.say(stream_id, DCEP, OPEN)
    puppet.say(stream_id, STRING, b"alive")
    puppet.run()
    return puppet.end.messages[-1] == Message(channel_id=stream_id, data="alive")


@pytest.mark.parametrize(
    ("stream_id", "message", "reason"),
    [
        (1, OPEN, DropReason.WRONG_PARITY),
        (0, OPEN[:-1], DropReason.MALFORMED),
        (0, OPEN + b"a", DropReason.MALFORMED),
        (0, b"\x07", DropReason.MALFORMED),
        (0, b"\0" * 12, DropReason.MALFORMED),
        (0, DataChannelOpen(channel_type=0x03).encode(), DropReason.MALFORMED),
        (0, DataChannelOpen(label="a" * (MAX_NAME_LENGTH + 1)).encode(), DropReason.MALFORMED),
        (0, OPEN[:-1] + b"\xff", DropReason.MALFORMED),
    ],
)
def test_a_bad_open_is_answered_by_a_reset(stream_id: int, message: bytes, reason: DropReason) -> None:
    puppet = Puppet()
    puppet.end.events.clear()
    puppet.say(stream_id, DCEP, message)
    puppet.say(stream_id, STRING, b"on no channel")
    puppet.run()
    assert said(puppet) == []
    assert resets(puppet) == [stream_id]
    assert (puppet.end.events, puppet.end.messages) == ([], [])
    assert puppet.end.core.statistics().dropped == {reason: 1, DropReason.CLOSING: 1}
    # As soon as the peer has reset its half too, the stream is as good as new.
    puppet.peer.reset_streams([stream_id], now=puppet.now)
    puppet.run()
    assert is_alive(puppet, 0)


@pytest.mark.parametrize(
    ("protocol_id", "data", "reason"),
    [
        (STRING, b"\xff", DropReason.UNREADABLE),
        (52, b"a piece", DropReason.UNREADABLE),
        (54, b"a piece", DropReason.UNREADABLE),
        (55, b"?", DropReason.UNREADABLE),
        (0, b"?", DropReason.UNREADABLE),
        (DCEP, b"\x07", DropReason.MALFORMED),
        (DCEP, OPEN, DropReason.STREAM_IN_USE),
    ],
)
def test_nonsense_on_a_channel_closes_it(protocol_id: int, data: bytes, reason: DropReason) -> None:
    puppet = with_channel()
    puppet.say(0, STRING, b"good")
    puppet.say(0, protocol_id, data)
    puppet.say(0, STRING, b"good, but behind it")
    puppet.run()
    assert puppet.end.messages == [Message(channel_id=0, data="good")]
    assert puppet.end.core.channels == {}
    assert resets(puppet) == [0]
    assert puppet.end.core.statistics().dropped == {reason: 1, DropReason.CLOSING: 1}
    puppet.peer.reset_streams([0], now=puppet.now)
    puppet.run()
    assert puppet.end.events == [ChannelClosed(channel=Channel(id=0, label="a"))]
    assert is_alive(puppet, 0)


def test_nonsense_on_a_channel_leaves_what_came_before_to_be_read() -> None:
    puppet = with_channel()
    puppet.end.is_reading = False
    puppet.say(0, STRING, b"good")
    puppet.say(0, STRING, b"\xff")
    puppet.run()
    assert resets(puppet) == []
    puppet.end.is_reading = True
    puppet.run()
    assert puppet.end.messages == [Message(channel_id=0, data="good")]
    assert resets(puppet) == [0]


def test_an_ack_that_nobody_asked_for_changes_nothing() -> None:
    puppet = with_channel()
    puppet.say(0, DCEP, ACK)
    puppet.say(1, DCEP, ACK)
    puppet.run()
    assert puppet.end.core.channels.keys() == {0}
    assert resets(puppet) == []
    assert puppet.end.core.statistics().dropped == {DropReason.UNEXPECTED_ACK: 1}


def test_an_open_on_a_negotiated_channel_closes_it() -> None:
    puppet = Puppet()
    channel = puppet.end.core.open(now=puppet.now, negotiated_id=4)
    puppet.say(4, DCEP, OPEN)
    puppet.run()
    assert resets(puppet) == [4]
    puppet.peer.reset_streams([4], now=puppet.now)
    puppet.run()
    assert puppet.end.events[-1] == ChannelClosed(channel=channel)


def test_an_open_after_its_messages_is_taken_all_the_same() -> None:
    """A peer that sends unordered too soon: the network, not the peer, decides what comes first."""
    puppet = Puppet()
    puppet.say(2, STRING, b"too soon")
    puppet.run()
    puppet.say(2, DCEP, DataChannelOpen(channel_type=0x80).encode())
    puppet.run()
    assert puppet.end.messages == [Message(channel_id=2, data="too soon")]


def test_a_message_confirms_a_channel_as_an_ack_does() -> None:
    puppet = Puppet()
    puppet.end.events.clear()
    channel = puppet.end.core.open(now=puppet.now, is_ordered=False)
    puppet.run()
    puppet.say(channel.id, STRING, b"no ACK yet")
    puppet.run()
    assert puppet.end.events == [ChannelOpened(channel=channel, is_remote=False)]
    puppet.say(channel.id, DCEP, ACK)
    puppet.run()
    assert puppet.end.events == [ChannelOpened(channel=channel, is_remote=False)]
    assert puppet.end.messages == [Message(channel_id=channel.id, data="no ACK yet")]


def test_what_is_refused_for_coming_too_early_leaves_room_for_others() -> None:
    puppet = Puppet()
    for number in range(MAX_EARLY_MESSAGES + 2):
        puppet.say(3, STRING, f"{number}".encode())
    puppet.say(5, STRING, b"held")
    puppet.run()
    assert resets(puppet) == [3]
    assert puppet.end.core.statistics().dropped == {
        DropReason.TOO_EARLY: MAX_EARLY_MESSAGES + 1,
        DropReason.CLOSING: 1,
    }
    puppet.end.core.open(now=puppet.now, negotiated_id=5)
    assert puppet.end.read() == [Message(channel_id=5, data="held")]


def test_our_channel_that_the_peer_resets_instead_of_answering_is_closed() -> None:
    puppet = Puppet()
    puppet.end.events.clear()
    channel = puppet.end.core.open(now=puppet.now, label="no thanks")
    puppet.run()
    assert said(puppet) == [(1, DCEP, channel.to_open().encode())]
    puppet.peer.reset_streams([1], now=puppet.now)
    puppet.run()
    assert puppet.end.events == [ChannelClosed(channel=channel)]
    assert resets(puppet) == [1]


def test_channels_beyond_the_limit_are_refused_and_leave_no_room_for_ours() -> None:
    puppet = Puppet()
    for number in range(MAX_CHANNELS + 3):
        puppet.say(2 * number, DCEP, OPEN)
    puppet.run(5.0)
    assert len(puppet.end.core.channels) == MAX_CHANNELS
    assert resets(puppet) == [2 * (MAX_CHANNELS + extra) for extra in range(3)]
    assert puppet.end.core.statistics().dropped == {DropReason.TOO_MANY_CHANNELS: 3}
    with pytest.raises(UsageError):
        puppet.end.core.open(now=puppet.now)
    puppet.peer.reset_streams([0], now=puppet.now)
    for extra in range(3):
        puppet.peer.reset_streams([2 * (MAX_CHANNELS + extra)], now=puppet.now)
    puppet.run(5.0)
    assert is_alive(puppet, 0)


def test_a_channel_is_refused_when_there_is_no_room_for_an_ack() -> None:
    puppet = with_channel()
    for link in puppet.network.links[1:]:
        link.loss = 1.0
    with suppress(UsageError):
        for _ in range(1000):
            puppet.end.core.send(0, bytes(65536), now=puppet.now)
    assert puppet.end.core.buffered(0) == 1 << 24
    puppet.say(2, DCEP, OPEN)
    puppet.run(0.5)
    assert puppet.end.core.channels.keys() == {0}
    assert puppet.end.core.statistics().dropped == {DropReason.NO_ROOM: 1}


@pytest.mark.parametrize("is_closed_again", [False, True])
def test_a_number_that_the_peer_uses_again_before_we_know_it_is_free_is_not_lost(
    is_closed_again: bool,
) -> None:
    """The peer has reset both halves, but its answer to our reset is not through."""
    puppet = with_channel()
    first, second = (Channel(id=0, label=label) for label in "ab")
    puppet.peer.reset_streams([0], now=puppet.now)
    puppet.network.run_until(lambda: 0 in resets(puppet))
    # What is lost here is said again only when we ask again; the new channel comes first.
    puppet.network.links[0]._flying.clear()
    puppet.say(0, DCEP, second.to_open().encode())
    puppet.say(0, STRING, b"anew")
    if is_closed_again:
        puppet.peer.reset_streams([0], now=puppet.now)
    puppet.run(0.1)
    assert (puppet.end.events, puppet.end.messages) == ([], [])
    puppet.run(10.0)
    assert puppet.end.messages == [Message(channel_id=0, data="anew")]
    assert puppet.end.events == [
        ChannelClosed(channel=first),
        ChannelOpened(channel=second, is_remote=True),
        *[ChannelClosed(channel=second)] * is_closed_again,
    ]
    assert resets(puppet) == [0] * (1 + is_closed_again)
    assert puppet.end.core.statistics().dropped == {}


def test_a_reset_that_comes_twice_is_answered_once() -> None:
    puppet = with_channel()
    puppet.end.is_reading = False
    puppet.say(0, STRING, b"unread")
    for _ in range(2):
        puppet.peer.reset_streams([0], now=puppet.now)
        puppet.run()
    puppet.end.is_reading = True
    puppet.run()
    assert resets(puppet) == [0]
    assert puppet.end.events == [ChannelClosed(channel=Channel(id=0, label="a"))]


def test_a_message_on_a_stream_that_only_the_peer_has_is_ignored() -> None:
    peer, end = association(1), data_channels(0)
    peer.start_with(association(0).init, now=0.0)
    end.start_with(attrs.evolve(association(1).init, inbound_streams=4), now=0.0)
    peer.send(4, DCEP, OPEN, now=0.0)
    peer.send(2, DCEP, OPEN, now=0.0)
    for data in iter(peer.poll_transmit, None):
        end.handle_datagram(data, now=0.1)
    assert end.channels.keys() == {2}
    assert end.statistics().dropped == {DropReason.NO_STREAM: 1}


def test_a_peer_that_shuts_down_with_channels_open_closes_them() -> None:
    puppet = with_channel()
    puppet.end.is_reading = False
    puppet.say(0, STRING, b"goodbye")
    puppet.peer.reset_streams([0], now=puppet.now)
    puppet.run()
    puppet.network.links[1].loss = 1.0
    puppet.peer.shutdown(now=puppet.now)
    puppet.run(0.1)
    # It is too late to answer the reset, as nothing but the end is sent any more.
    puppet.end.is_reading = True
    puppet.run(0.1)
    assert puppet.end.messages == [Message(channel_id=0, data="goodbye")]
    assert puppet.end.events == []
    puppet.network.links[1].loss = 0.0
    puppet.run(10.0)
    assert [type(event) for event in puppet.end.events] == [ChannelClosed, DataFailed]
    assert puppet.end.core.poll_timeout() is None


numbers = st.integers(0, 5).map(lambda number: number.to_bytes(2, "big"))
steps = st.tuples(
    st.integers(0, 10),
    st.sampled_from(DELAYS[:9]),
    st.builds(
        bytes.__add__,
        numbers,
        st.sampled_from([b"", b"3text", b"2\2", b"5\0", b"4?"]) | st.binary(max_size=6),
    ),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=40))
def test_whatever_happens_what_is_told_is_sound(script: list[tuple[int, float, bytes]]) -> None:
    run_data_channels(write_script(script))
