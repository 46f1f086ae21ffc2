"""Channels between two well-behaved ends."""

import pytest

from tests.datachannel.pair import MAX_MESSAGE_SIZE, Pair, association
from voicegate.datachannel import (
    Channel,
    ChannelClosed,
    ChannelOpened,
    DataChannels,
    DataEstablished,
    DataFailed,
    DropReason,
    Message,
)
from voicegate.datachannel.channels import MAX_CHANNELS
from voicegate.datachannel.message import MAX_EARLY_BYTES, MAX_EARLY_MESSAGES, MAX_UNREAD_MESSAGES
from voicegate.errors import UsageError
from voicegate.sctp import decode_init

MESSAGES: list[str | bytes] = ["ä", b"\xff\0", "", b"", "a" * 3000, b"b" * 65536]


def established(**options: float) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]  # all of them are faults
    pair.run()
    assert pair.client.events == pair.server.events == [DataEstablished()]
    pair.client.events.clear()
    pair.server.events.clear()
    return pair


def opened(pair: Pair, **options: object) -> Channel:
    channel = pair.client.core.open(now=pair.now, **options)  # type: ignore[arg-type]
    pair.run()
    assert pair.client.events == [ChannelOpened(channel=channel, is_remote=False)]
    assert pair.server.events == [ChannelOpened(channel=channel, is_remote=True)]
    pair.client.events.clear()
    pair.server.events.clear()
    return channel


# Opening


@pytest.mark.parametrize(
    "options",
    [
        {"label": "lächeln", "protocol": "json"},
        {"is_ordered": False},
        {"max_retransmits": 0},
        {"lifetime_ms": 100, "is_ordered": False, "priority": 1024},
    ],
)
def test_what_one_side_opens_the_other_has_too(options: dict[str, object]) -> None:
    pair = established()
    channel = opened(pair, **options)
    assert pair.client.core.channels == pair.server.core.channels == {0: channel}
    for key, value in options.items():
        assert getattr(channel, key) == value


def test_the_dtls_client_has_the_even_streams_and_the_server_the_odd_ones() -> None:
    pair = established()
    for end, ids in ((pair.client, [0, 2, 4]), (pair.server, [1, 3, 5])):
        assert [end.core.open(now=pair.now).id for _ in ids] == ids
    pair.run()
    assert set(pair.client.core.channels) == set(pair.server.core.channels) == {0, 1, 2, 3, 4, 5}


def test_both_may_open_and_send_before_there_is_an_association() -> None:
    pair = Pair(is_started=False)
    for end in (pair.client, pair.server):
        channel = end.core.open(now=0.0, label="early")
        end.core.send(channel.id, "at once", now=0.0)
    pair.server.core.start(now=0.0)  # only one of them begins
    pair.run()
    assert pair.client.messages == [Message(channel_id=1, data="at once")]
    assert pair.server.messages == [Message(channel_id=0, data="at once")]


@pytest.mark.parametrize("is_ordered", [True, False])
def test_all_kinds_of_messages_pass_both_ways(is_ordered: bool) -> None:
    pair = established()
    channel = opened(pair, is_ordered=is_ordered)
    for end in (pair.client, pair.server):
        for data in MESSAGES:
            end.core.send(channel.id, data, now=pair.now)
    pair.run()
    for end in (pair.client, pair.server):
        received = [message.data for message in end.messages]
        assert sorted(map(repr, received)) == sorted(map(repr, MESSAGES))
        assert received == MESSAGES or not is_ordered
        assert end.core.buffered(channel.id) == 0


@pytest.mark.parametrize("seed", range(10))
def test_messages_right_behind_an_open_do_not_overtake_it(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.2, jitter=0.2)
    channel = pair.client.core.open(now=0.0, is_ordered=False)
    messages = [str(number) * 1000 for number in range(10)]  # each fills a packet
    for data in messages:
        pair.client.core.send(channel.id, data, now=0.0)
    pair.run_until(lambda: len(pair.server.messages) == 10)
    assert pair.server.said(ChannelOpened) == [ChannelOpened(channel=channel, is_remote=True)]
    assert [message.data for message in pair.server.messages] == messages
    assert pair.server.core.statistics().dropped == {}


def test_a_channel_is_announced_before_its_messages() -> None:
    pair = established()
    channel = pair.client.core.open(now=pair.now)
    pair.client.core.send(channel.id, "first", now=pair.now)
    pair.server.is_reading = False
    pair.run()
    assert pair.server.events == [ChannelOpened(channel=channel, is_remote=True)]
    assert pair.server.core.poll_message() == Message(channel_id=0, data="first")


def test_what_ice_knows_of_the_round_trip_makes_the_association_quicker() -> None:
    deadlines = []
    for seconds in (None, 0.05):
        pair = Pair(is_started=False)
        if seconds is not None:
            pair.client.core.set_round_trip(seconds)
        pair.client.core.start(now=0.0)
        deadlines.append(pair.client.core.poll_timeout())
    assert deadlines[0] is not None
    assert deadlines[1] is not None
    assert deadlines[1] < deadlines[0]


# A channel set apart


def apart() -> tuple[Pair, int, int]:
    """Two channels of the client's with a message each, of which the first is set apart."""
    pair = established()
    first, second = (pair.client.core.open(now=pair.now, label=label).id for label in ("first", "second"))
    pair.server.is_reading = False
    for channel_id in (second, first):
        pair.client.core.send(channel_id, f"to {channel_id}", now=pair.now)
    pair.run()
    pair.server.core.set_apart(first)
    return pair, first, second


def test_messages_of_a_channel_that_is_set_apart_do_not_wait_for_others() -> None:
    pair, first, second = apart()
    core = pair.server.core
    pair.client.core.send(first, "more", now=pair.now)
    pair.run()
    assert core.poll_message(first) == Message(channel_id=first, data=f"to {first}")
    assert core.poll_message(first) == Message(channel_id=first, data="more")
    assert core.poll_message(first) is None
    assert core.poll_message(second) is None
    assert core.poll_message() == Message(channel_id=second, data=f"to {second}")
    assert core.poll_message() is None


def test_a_channel_that_is_set_apart_is_like_all_others_when_its_number_is_used_again() -> None:
    pair, first, _ = apart()
    core = pair.server.core
    assert core.poll_message(first) is not None
    assert core.poll_message() is not None
    pair.client.core.close_channel(first, now=pair.now)
    pair.run()
    for end in (pair.client, pair.server):
        end.core.open(now=pair.now, negotiated_id=first)
    pair.client.core.send(first, "again", now=pair.now)
    pair.run()
    assert core.poll_message(first) is None
    assert core.poll_message() == Message(channel_id=first, data="again")


@pytest.mark.parametrize("closes_all", [False, True])
def test_what_nobody_reads_of_a_channel_that_is_set_apart_is_counted(closes_all: bool) -> None:
    pair, first, _ = apart()
    core = pair.server.core
    if closes_all:
        core.close(now=pair.now)
    else:
        core.close_channel(first, now=pair.now)
    assert core.statistics().dropped[DropReason.UNREAD] == 1 + closes_all
    assert core.poll_message(first) is None


# Negotiated channels


def test_a_negotiated_channel_needs_no_word_on_the_wire() -> None:
    pair = established()
    channels = [end.core.open(now=pair.now, negotiated_id=7) for end in (pair.client, pair.server)]
    assert channels[0] == channels[1] == Channel(id=7, is_negotiated=True)
    pair.server.core.send(7, "from the server", now=pair.now)
    pair.client.core.send(7, "from the client", now=pair.now)
    pair.run()
    assert pair.client.messages == [Message(channel_id=7, data="from the server")]
    assert pair.server.messages == [Message(channel_id=7, data="from the client")]
    for end in (pair.client, pair.server):
        assert end.events == [ChannelOpened(channel=channels[0], is_remote=False)]


def test_a_negotiated_channel_is_open_when_the_association_is() -> None:
    pair = Pair()
    channel = pair.server.core.open(now=0.0, negotiated_id=0)
    pair.run()
    assert pair.server.events == [DataEstablished(), ChannelOpened(channel=channel, is_remote=False)]


def test_messages_wait_for_a_channel_that_is_negotiated_later() -> None:
    pair = established()
    pair.client.core.open(now=pair.now, negotiated_id=3)
    for data in MESSAGES:
        pair.client.core.send(3, data, now=pair.now)
    pair.run()
    assert pair.server.messages == []
    pair.server.core.open(now=pair.now, negotiated_id=3)
    assert [message.data for message in pair.server.read()] == MESSAGES


@pytest.mark.parametrize(
    ("size", "count"), [(1, MAX_EARLY_MESSAGES), (MAX_EARLY_BYTES // 8, 8)], ids=["messages", "bytes"]
)
def test_so_much_may_wait_for_a_channel_and_then_it_is_refused(size: int, count: int) -> None:
    pair = established()
    channel = pair.client.core.open(now=pair.now, negotiated_id=3)
    for _ in range(count):
        pair.client.core.send(3, bytes(size), now=pair.now)
    pair.run()
    assert pair.client.said(ChannelClosed) == []
    pair.client.core.send(3, "one more", now=pair.now)
    pair.run()
    assert pair.client.said(ChannelClosed) == [ChannelClosed(channel=channel)]
    assert pair.server.core.statistics().dropped == {DropReason.TOO_EARLY: count + 1}
    # Nothing is left of it: neither in the window nor in the table.
    pair.server.core.open(now=pair.now, negotiated_id=3)
    pair.client.core.open(now=pair.now, negotiated_id=3)
    for _ in range(40):
        pair.client.core.send(3, bytes(65536), now=pair.now)
    pair.run_until(lambda: len(pair.server.messages) == 40)


def test_what_waits_for_a_channel_is_forgotten_when_the_peer_closes_it() -> None:
    pair = established()
    pair.client.core.open(now=pair.now, negotiated_id=3)
    pair.client.core.send(3, "too early", now=pair.now)
    pair.client.core.close_channel(3, now=pair.now)
    pair.run()
    pair.server.core.open(now=pair.now, negotiated_id=3)
    assert pair.server.read() == []
    assert pair.server.core.statistics().dropped == {DropReason.TOO_EARLY: 1}


def test_both_ends_begin_with_what_the_sdp_says() -> None:
    ends = [DataChannels(association(seed), is_dtls_client=not seed, max_message_size=0) for seed in (0, 1)]
    tokens = [association(seed).init.encode() for seed in (1, 0)]
    for end, token in zip(ends, tokens, strict=True):
        end.open(now=0.0, negotiated_id=1)
        end.start_with(decode_init(token), now=0.0)
        end.send(1, "no round trip", now=0.0)
    for sender, receiver in (ends, reversed(ends)):
        for data in iter(sender.poll_transmit, None):
            receiver.handle_datagram(data, now=0.1)
        assert receiver.poll_message() == Message(channel_id=1, data="no round trip")


# Closing


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("is_negotiated", [True, False])
def test_either_side_closes_and_the_number_is_free_again(is_client: bool, is_negotiated: bool) -> None:
    pair = established()
    for turn in range(3):
        label = f"channel {turn}"
        if is_negotiated:
            for end in (pair.client, pair.server):
                channel = end.core.open(now=pair.now, negotiated_id=0, label=label)
        else:
            channel = pair.client.core.open(now=pair.now, label=label)
        pair.run()
        pair.client.core.send(channel.id, label, now=pair.now)
        pair.server.core.send(channel.id, label, now=pair.now)
        pair.run()
        (pair.client if is_client else pair.server).core.close_channel(channel.id, now=pair.now)
        pair.run()
        for end in (pair.client, pair.server):
            assert [message.data for message in end.read()] == [label]
            assert end.events[-1] == ChannelClosed(channel=channel)
            assert end.core.channels == {}


@pytest.mark.parametrize("seed", range(6))
def test_what_was_sent_before_a_close_arrives(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.1, jitter=0.1)
    channel = pair.client.core.open(now=0.0, is_ordered=bool(seed % 2))
    for number in range(100):
        pair.client.core.send(channel.id, str(number) * 100, now=0.0)
    pair.client.core.close_channel(channel.id, now=0.0)
    pair.run_until(lambda: bool(pair.client.said(ChannelClosed) and pair.server.said(ChannelClosed)))
    assert len(pair.server.messages) == 100


def test_both_may_close_at_once() -> None:
    pair = established()
    channel = opened(pair)
    for end in (pair.client, pair.server):
        end.core.close_channel(0, now=pair.now)
        end.core.close_channel(0, now=pair.now)  # once more does no harm
    pair.run()
    for end in (pair.client, pair.server):
        assert end.events == [ChannelClosed(channel=channel)]
        end.events.clear()
    opened(pair)
    for end in (pair.client, pair.server):
        end.core.open(now=pair.now, negotiated_id=channel.id)


def test_a_closing_channel_takes_nothing_more() -> None:
    pair = established()
    opened(pair)
    pair.client.core.close_channel(0, now=pair.now)
    assert pair.client.core.channels == {}
    with pytest.raises(UsageError, match="not open"):
        pair.client.core.send(0, "late", now=pair.now)
    pair.server.core.send(0, "the peer does not know yet", now=pair.now)
    pair.run()
    assert pair.client.messages == []
    assert pair.client.core.statistics().dropped == {DropReason.CLOSING: 1}


def test_a_channel_is_not_closed_before_its_messages_are_read() -> None:
    pair = established()
    channel = opened(pair)
    pair.server.is_reading = False
    pair.client.core.send(0, "first", now=pair.now)
    pair.client.core.send(0, "last", now=pair.now)
    pair.client.core.close_channel(0, now=pair.now)
    pair.run()
    assert pair.client.events == pair.server.events == []
    assert pair.server.core.channels == {}
    with pytest.raises(UsageError, match="in use"):
        pair.client.core.open(now=pair.now, negotiated_id=0)
    pair.server.is_reading = True
    pair.run()
    assert [message.data for message in pair.server.messages] == ["first", "last"]
    assert ChannelClosed(channel=channel) in pair.server.events
    assert ChannelClosed(channel=channel) in pair.client.events


def test_messages_that_are_not_read_are_dropped_when_their_channel_is_closed_here() -> None:
    pair = established()
    pair.server.is_reading = False
    for _ in range(2):
        pair.client.core.open(now=pair.now)
    for number in range(20):
        pair.client.core.send(number % 2 * 2, f"{number}", now=pair.now)
    pair.run()
    pair.server.core.close_channel(0, now=pair.now)
    pair.run()
    assert [event.channel.id for event in pair.server.said(ChannelClosed)] == [0]
    assert [message.data for message in iter(pair.server.core.poll_message, None)] == [
        f"{number}" for number in range(1, 20, 2)
    ]
    assert pair.server.core.statistics().dropped == {DropReason.UNREAD: 10}


@pytest.mark.parametrize("seed", range(6))
def test_closing_goes_through_on_a_bad_network_again_and_again(seed: int) -> None:
    pair = Pair(seed=seed, loss=0.2, jitter=0.1, duplication=0.1)
    closed: list[ChannelClosed] = []
    for turn in range(10):
        channel = pair.client.core.open(now=pair.now, label=str(turn))
        pair.client.core.send(channel.id, f"message {turn}", now=pair.now)
        pair.client.core.close_channel(channel.id, now=pair.now)
        closed.append(ChannelClosed(channel=channel))
        pair.run_until(lambda: pair.client.said(ChannelClosed) == closed)
    pair.run_until(lambda: pair.server.said(ChannelClosed) == closed)
    assert [message.data for message in pair.server.messages] == [f"message {n}" for n in range(10)]
    assert pair.server.core.statistics().dropped == {}


# Bounds


def test_what_is_not_read_holds_the_window_and_then_goes_on() -> None:
    pair = established()
    opened(pair)
    pair.server.is_reading = False
    for number in range(40):
        pair.client.core.send(0, bytes((number,)) * 65536, now=pair.now)
    pair.run(30.0)
    statistics = pair.server.core.statistics()
    # One message more than the window, as what comes next in order is always taken.
    assert statistics.bytes_received <= 1_048_576 + MAX_MESSAGE_SIZE
    assert pair.client.core.buffered(0) >= 40 * 65536 - 1_048_576 - 2 * MAX_MESSAGE_SIZE
    pair.server.is_reading = True
    pair.run_until(lambda: len(pair.server.messages) == 40)
    assert [message.data for message in pair.server.messages] == [bytes((n,)) * 65536 for n in range(40)]


@pytest.mark.slow
def test_messages_that_are_not_read_are_bounded_in_number_too() -> None:
    pair = established()
    channel = opened(pair)
    pair.server.is_reading = False
    for _ in range(MAX_UNREAD_MESSAGES + 1):
        pair.client.core.send(0, b"", now=pair.now)
    pair.run(60.0)
    assert pair.server.core.channels == {}
    assert pair.server.core.statistics().dropped == {DropReason.TOO_MANY_UNREAD: 1}
    pair.server.is_reading = True
    pair.run()
    assert len(pair.server.messages) == MAX_UNREAD_MESSAGES
    assert pair.client.events == pair.server.events == [ChannelClosed(channel=channel)]


def test_a_message_longer_than_the_peer_takes_is_our_mistake() -> None:
    pair = Pair(max_message_size=1000)
    pair.server.core.open(now=0.0)
    pair.server.core.send(1, "ä" * 500, now=0.0)
    for data in ("ä" * 500 + "a", bytes(1001)):
        with pytest.raises(UsageError, match="1000"):
            pair.server.core.send(1, data, now=0.0)
    with pytest.raises(UsageError, match="1000"):
        pair.server.core.open(now=0.0, label="a" * 1000)
    assert pair.server.core.channels.keys() == {1}
    pair.run()
    assert [message.data for message in pair.client.messages] == ["ä" * 500]


def test_there_are_only_so_many_channels() -> None:
    pair = established()
    for _ in range(MAX_CHANNELS // 2):
        pair.client.core.open(now=pair.now)
        pair.server.core.open(now=pair.now)
    pair.run()
    for end in (pair.client, pair.server):
        assert len(end.core.channels) == MAX_CHANNELS
        with pytest.raises(UsageError, match=str(MAX_CHANNELS)):
            end.core.open(now=pair.now)
    pair.client.core.close_channel(1, now=pair.now)
    pair.run()
    pair.server.core.open(now=pair.now)


def test_a_channel_on_a_stream_that_the_peer_does_not_have_never_comes_to_be() -> None:
    pair = Pair(is_started=False, options={"streams": 4})
    client = DataChannels(association(5, streams=64), is_dtls_client=True, max_message_size=0)
    channels = [client.open(now=0.0) for _ in range(4)]
    assert [channel.id for channel in channels] == [0, 2, 4, 6]
    client.start_with(pair.server.core._association.init, now=0.0)
    events = list(iter(client.poll_event, None))
    assert events == [DataEstablished(), *(ChannelClosed(channel=channel) for channel in channels[2:])]
    with pytest.raises(UsageError, match="no stream"):
        client.open(now=0.0)


@pytest.mark.parametrize("number", [-1, 1024, 65535, 70000])
def test_a_negotiated_number_is_one_of_a_stream(number: int) -> None:
    with pytest.raises(UsageError, match="1023"):
        Pair().client.core.open(now=0.0, negotiated_id=number)


def test_a_number_is_negotiated_once() -> None:
    pair = Pair()
    pair.client.core.open(now=0.0, negotiated_id=0)
    with pytest.raises(UsageError, match="in use"):
        pair.client.core.open(now=0.0, negotiated_id=0)
    assert pair.client.core.open(now=0.0).id == 2


def test_what_cannot_be_is_our_mistake_and_changes_nothing() -> None:
    pair = Pair()
    for wrong in ({"max_retransmits": 1, "lifetime_ms": 1}, {"label": "\ud800"}, {"priority": 0}):
        with pytest.raises(UsageError):
            pair.client.core.open(now=0.0, **wrong)
    with pytest.raises(UsageError, match="not open"):
        pair.client.core.send(0, "to nobody", now=0.0)
    channel = pair.client.core.open(now=0.0)
    with pytest.raises(UsageError, match="UTF-8"):
        pair.client.core.send(channel.id, "\ud800", now=0.0)
    pair.client.core.close_channel(9, now=0.0)
    pair.run()
    assert pair.server.core.channels == {0: channel}


# The end


@pytest.mark.parametrize("is_negotiated", [True, False])
def test_the_end_of_the_association_closes_every_channel(is_negotiated: bool) -> None:
    pair = established()
    for number in range(3):
        for end in (pair.client, pair.server) if is_negotiated else (pair.client,):
            end.core.open(now=pair.now, negotiated_id=2 * number if is_negotiated else None)
    pair.run()
    pair.server.core.close(now=pair.now)
    pair.server.core.close(now=pair.now)  # once more does no harm
    pair.run()
    for end, is_remote in ((pair.server, False), (pair.client, True)):
        *_opened, first, second, third, failed = end.events
        assert [event.channel.id for event in (first, second, third)] == [0, 2, 4]  # type: ignore[union-attr]
        assert isinstance(failed, DataFailed)
        assert failed.is_remote is is_remote
        assert failed.detail
        assert end.core.channels == {}
        assert end.core.poll_timeout() is None
        with pytest.raises(UsageError, match="over"):
            end.core.open(now=pair.now)
        with pytest.raises(UsageError, match="not open"):
            end.core.send(0, "late", now=pair.now)
        end.core.close_channel(0, now=pair.now)
        assert end.core.poll_transmit() is None


def test_the_peers_last_words_can_be_read_after_its_end() -> None:
    pair = established()
    channel = opened(pair)
    pair.server.is_reading = False
    pair.client.core.send(0, "goodbye", now=pair.now)
    pair.run()
    pair.client.core.close(now=pair.now)
    pair.run()
    assert [type(event) for event in pair.server.events] == [DataFailed]
    assert pair.server.core.poll_message() == Message(channel_id=0, data="goodbye")
    assert pair.server.core.poll_event() == ChannelClosed(channel=channel)
    assert pair.server.core.poll_timeout() is None


def test_what_is_not_read_is_dropped_when_we_end() -> None:
    pair = established()
    channel = opened(pair)
    pair.server.is_reading = False
    pair.client.core.send(0, "unheard", now=pair.now)
    pair.run()
    pair.server.core.close(now=pair.now)
    assert pair.server.core.poll_message() is None
    pair.server.collect()
    assert pair.server.events[0] == ChannelClosed(channel=channel)
    assert pair.server.core.statistics().dropped == {DropReason.UNREAD: 1}


def test_a_peer_that_falls_silent_is_given_up() -> None:
    pair = established()
    channel = opened(pair)
    for link in pair.network.links:
        link.loss = 1.0
    pair.client.core.send(0, "anybody there?", now=pair.now)
    pair.network.run_until(lambda: bool(pair.client.said(DataFailed)), within=1000.0)
    assert pair.client.said(ChannelClosed) == [ChannelClosed(channel=channel)]


def test_everything_is_counted() -> None:
    pair = established()
    opened(pair)
    for data in MESSAGES:
        pair.client.core.send(0, data, now=pair.now)
    pair.run()
    ours, theirs = pair.client.core.statistics(), pair.server.core.statistics()
    assert ours.channels == theirs.channels == ours.channels_opened == theirs.channels_opened == 1
    assert ours.messages_sent == theirs.messages_received == len(MESSAGES)
    assert ours.bytes_sent == theirs.bytes_received == 2 + 2 + 3000 + 65536
    assert ours.dropped == theirs.dropped == {}
