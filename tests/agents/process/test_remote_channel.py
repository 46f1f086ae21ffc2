from typing import cast

import pytest
import trio
import trio.testing

from tests.agents.process.line import FakeLink
from voicegate.agents.process.link import Link
from voicegate.agents.process.message import ChannelDismissed
from voicegate.agents.process.remote_channel import RemoteChannels
from voicegate.datachannel import Channel
from voicegate.errors import UsageError


def open_channels(*, is_offered: bool = True) -> tuple[RemoteChannels, FakeLink]:
    link = FakeLink()
    return RemoteChannels(1, cast("Link", link), is_offered=is_offered), link


def test_a_client_that_offered_none_gets_none() -> None:
    channels, link = open_channels(is_offered=False)
    with pytest.raises(UsageError, match="offered no data channels"):
        channels.open_channel("mine")
    assert not link.posted


def test_options_that_can_not_be_are_refused_at_once() -> None:
    channels, link = open_channels()
    channels.open_channel("agreed", negotiated_id=3)
    with pytest.raises(UsageError, match="3 is there already"):
        channels.open_channel("again", negotiated_id=3)
    with pytest.raises(UsageError, match="not by both"):
        channels.open_channel("both", max_retransmits=1, lifetime_ms=1)
    assert len(link.posted) == 1


def test_an_agent_that_never_looks_whether_the_client_follows_is_stopped() -> None:
    channels, _ = open_channels()
    channel = channels.open_channel("mine")
    channel.send_nowait(bytes(10_000_000))
    channel.send_nowait(bytes(10_000_000))
    with pytest.raises(UsageError, match="not acknowledged"):
        channel.send_nowait("x")
    channels.acknowledge(channel.id, 20_000_000)
    assert channel.buffered_bytes == 0
    channel.send_nowait("x")


def test_a_closed_channel_takes_nothing_and_is_forgotten() -> None:
    channels, link = open_channels()
    channel = channels.open_channel("mine")
    channel.close()
    channel.close()
    assert link.posted[1:] == [ChannelDismissed(number=channel.id)]
    channels.acknowledge(channel.id, 1)
    assert channel.buffered_bytes == 0
    with pytest.raises(trio.ClosedResourceError):
        channel.send_nowait("x")
    assert channels.dismiss(channel.id) is channel


async def test_whoever_waits_learns_of_progress_and_of_the_end(nursery: trio.Nursery) -> None:
    channels, link = open_channels()
    channel = channels.admit(Channel(id=2, label="theirs"))
    seen: list[str] = []

    async def watch() -> None:
        while True:
            await channels.wait_progress()
            seen.append("progress")

    async def run() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await watch()
        seen.append("end")

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    channels.receive(2, "hello")
    await trio.testing.wait_all_tasks_blocked()
    channels.close()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["progress", "end"]
    assert not channel.is_open
    assert channels.take_message() is None
    with pytest.raises(trio.ClosedResourceError):
        await channels.wait_progress()
    assert link.posted == []
