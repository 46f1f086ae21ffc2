"""Channels, and what is said of them on the wire."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.datachannel.channel import MAX_NAME_LENGTH, NORMAL_PRIORITY, Channel
from voicegate.datachannel.establishment import DataChannelOpen
from voicegate.errors import UsageError, WireError

bounds = st.just((None, None)) | st.one_of(
    st.tuples(st.integers(0, 0xFFFFFFFF), st.none()), st.tuples(st.none(), st.integers(0, 0xFFFFFFFF))
)


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    max_retransmits, lifetime_ms = draw(bounds)
    return Channel(
        id=draw(st.integers(0, 65534)),
        label=draw(st.text(max_size=20)),
        protocol=draw(st.text(max_size=20)),
        is_ordered=draw(st.booleans()),
        max_retransmits=max_retransmits,
        lifetime_ms=lifetime_ms,
        priority=draw(st.integers(1, 0xFFFF)),
    )


@given(channels())
def test_both_sides_have_the_same_channel(channel: Channel) -> None:
    channel.validate()
    assert Channel.from_open(channel.id, channel.to_open()) == channel


@pytest.mark.parametrize(
    ("channel_type", "is_ordered", "max_retransmits", "lifetime_ms"),
    [
        (0x00, True, None, None),
        (0x80, False, None, None),
        (0x01, True, 7, None),
        (0x81, False, 7, None),
        (0x02, True, None, 7),
        (0x82, False, None, 7),
    ],
)
def test_each_type_means_what_the_rfc_says(
    channel_type: int, is_ordered: bool, max_retransmits: int | None, lifetime_ms: int | None
) -> None:
    channel = Channel.from_open(1, DataChannelOpen(channel_type=channel_type, reliability=7))
    assert (channel.is_ordered, channel.max_retransmits, channel.lifetime_ms) == (
        is_ordered,
        max_retransmits,
        lifetime_ms,
    )
    assert channel.to_open().channel_type == channel_type


@pytest.mark.parametrize("channel_type", [0x03, 0x04, 0x7F, 0x83, 0xFF])
def test_an_unknown_type_is_refused(channel_type: int) -> None:
    with pytest.raises(WireError):
        Channel.from_open(1, DataChannelOpen(channel_type=channel_type))


def test_no_priority_is_the_normal_one() -> None:
    assert Channel.from_open(1, DataChannelOpen(priority=0)).priority == NORMAL_PRIORITY


@pytest.mark.parametrize("field", ["label", "protocol"])
def test_names_are_bounded_in_both_directions(field: str) -> None:
    evolve: Any = attrs.evolve
    longest, longer = "ä" * (MAX_NAME_LENGTH // 2), "ä" * (MAX_NAME_LENGTH // 2) + "a"
    channel = evolve(Channel(id=1), **{field: longest})
    channel.validate()
    assert Channel.from_open(1, channel.to_open()) == channel
    channel = evolve(channel, **{field: longer})
    with pytest.raises(WireError):
        Channel.from_open(1, channel.to_open())
    with pytest.raises(UsageError, match=str(MAX_NAME_LENGTH)):
        channel.validate()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retransmits": 1, "lifetime_ms": 1},
        {"max_retransmits": 0, "lifetime_ms": 0},
        {"max_retransmits": -1},
        {"max_retransmits": 1 << 32},
        {"lifetime_ms": -1},
        {"lifetime_ms": 1 << 32},
        {"priority": 0},
        {"priority": 1 << 16},
    ],
)
def test_what_cannot_be_is_our_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        attrs.evolve(Channel(id=1), **wrong).validate()
