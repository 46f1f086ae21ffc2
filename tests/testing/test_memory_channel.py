import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from voicegate.call import CallEvent, ChannelOpened
from voicegate.testing.memory_channel import MemoryChannels


async def test_whoever_waits_is_told_that_the_call_is_over(nursery: trio.Nursery) -> None:
    channels = MemoryChannels(is_offered=True, tell=lambda _event: None)
    ended = trio.Event()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await channels.wait_progress()
        ended.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    channels.close()
    await ended.wait()
    with pytest.raises(trio.ClosedResourceError):
        await channels.wait_progress()


def test_a_message_opens_its_channel_once() -> None:
    events: list[CallEvent] = []
    channels = MemoryChannels(is_offered=True, tell=events.append)
    for data in ("one", "two"):
        channels.send(data, label="chat")
    assert [message.data for message in (channels.take_message(), channels.take_message()) if message] == [
        "one",
        "two",
    ]
    assert channels.take_message() is None
    assert events == [ChannelOpened(channels.channels[0])]
