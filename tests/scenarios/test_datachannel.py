"""Many channels and many messages on a network that loses, delays, reorders and doubles datagrams."""

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datachannel.pair import MAX_MESSAGE_SIZE, End, Pair
from voicegate.datachannel import ChannelClosed, DataEstablished

Messages = defaultdict[int, list[str | bytes]]
"""By channel."""


def some_message(random: Random, longest: int) -> str | bytes:
    length = int(longest * random.random() ** 4)
    return "ä" * (length // 2) if random.random() < 0.4 else random.randbytes(length)


def heard(end: End) -> Messages:
    by_channel: Messages = defaultdict(list)
    for message in end.messages:
        by_channel[message.channel_id].append(message.data)
    return by_channel


@pytest.mark.slow
@pytest.mark.parametrize("is_ordered", [True, False])
def test_a_hundred_channels_carry_random_messages_both_ways(is_ordered: bool) -> None:
    pair, random = Pair(seed=1, loss=0.05, jitter=0.05, duplication=0.05), Random(1)
    for _ in range(50):
        pair.client.core.open(now=0.0, is_ordered=is_ordered)
        pair.server.core.open(now=0.0, is_ordered=is_ordered)
    pair.run_until(lambda: len(pair.client.core.channels) == len(pair.server.core.channels) == 100)
    said: list[Messages] = []
    for end in (pair.client, pair.server):
        messages: Messages = defaultdict(list)
        for number in range(400):
            data = bytes(MAX_MESSAGE_SIZE) if number % 100 == 99 else some_message(random, 20_000)
            channel_id = random.randrange(100)
            end.core.send(channel_id, data, now=pair.now)
            messages[channel_id].append(data)
        said.append(messages)
    pair.run_until(lambda: len(pair.client.messages) == len(pair.server.messages) == 400, within=600.0)
    for messages, other in zip(said, (pair.server, pair.client), strict=True):
        arrived = heard(other)
        assert arrived.keys() == messages.keys()
        for channel_id, sent in messages.items():
            if is_ordered:
                assert arrived[channel_id] == sent
            else:
                assert sorted(map(repr, arrived[channel_id])) == sorted(map(repr, sent))
    for end in (pair.client, pair.server):
        assert end.core.statistics().dropped == {}


@pytest.mark.slow
@given(
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.2),
    jitter=st.floats(0, 0.2),
    duplication=st.floats(0, 0.3),
    lengths=st.lists(st.integers(0, 5000) | st.just(MAX_MESSAGE_SIZE), min_size=1, max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_messages_arrive_intact_and_in_order_whatever_the_network_does(
    seed: int, loss: float, jitter: float, duplication: float, lengths: list[int]
) -> None:
    pair, random = Pair(seed=seed, loss=loss, jitter=jitter, duplication=duplication), Random(seed)
    channel = pair.client.core.open(now=0.0)
    messages = [random.randbytes(length) for length in lengths]
    for data in messages:
        pair.client.core.send(channel.id, data, now=0.0)
    pair.run_until(lambda: len(pair.server.messages) == len(messages), within=600.0)
    assert heard(pair.server)[channel.id] == messages
    pair.server.core.close_channel(channel.id, now=pair.now)
    pair.run_until(lambda: bool(pair.client.said(ChannelClosed) and pair.server.said(ChannelClosed)))


@pytest.mark.parametrize(
    "bounds", [{"max_retransmits": 0}, {"lifetime_ms": 50}, {"max_retransmits": 0, "is_ordered": False}]
)
def test_an_unreliable_channel_loses_messages_and_goes_on(bounds: dict[str, object]) -> None:
    pair = Pair(seed=3, loss=0.2, delay=0.05)
    channel = pair.client.core.open(now=0.0, **bounds)  # type: ignore[arg-type]
    pair.run(10.0)
    for number in range(100):
        pair.client.core.send(channel.id, str(number), now=pair.now)
        pair.run(0.02)
    pair.run_until(lambda: pair.client.core.buffered(channel.id) == 0)
    pair.run(10.0)
    arrived = [int(message.data) for message in pair.server.messages]
    assert arrived == sorted(arrived) or "is_ordered" in bounds
    assert len(set(arrived)) == len(arrived)
    assert 40 < len(arrived) < 100
    pair.client.core.close_channel(channel.id, now=pair.now)
    pair.run_until(lambda: bool(pair.client.said(ChannelClosed) and pair.server.said(ChannelClosed)))


def test_channels_share_the_line_by_priority() -> None:
    pair = Pair(seed=4)
    slow = pair.client.core.open(now=0.0, priority=128)
    urgent = pair.client.core.open(now=0.0, priority=1024)
    pair.run()
    for _ in range(80):
        for channel in (slow, urgent):
            pair.client.core.send(channel.id, bytes(5000), now=pair.now)
    pair.run_until(lambda: len(pair.server.messages) == 160)
    order = [message.channel_id for message in pair.server.messages]
    last_urgent = max(place for place, number in enumerate(order) if number == urgent.id)
    assert 85 < last_urgent < 100, "about one in nine before it is of the other"


def test_a_call_has_its_first_message_after_one_way_when_both_know_the_channel() -> None:
    """Cookies and all: the server's COOKIE ECHO carries what it had to say."""
    pair = Pair(is_started=False, delay=0.1)
    for end in (pair.client, pair.server):
        end.core.open(now=0.0, negotiated_id=0)
    pair.server.core.send(0, "welcome", now=0.0)
    pair.server.core.start(now=0.0)
    pair.run_until(lambda: bool(pair.client.messages))
    assert pair.now == pytest.approx(0.3)
    assert DataEstablished() in pair.client.events
