"""An agent's data channels, end to end in virtual time: agent, transceiver, DTLS, SCTP, client."""

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.exchange import Exchange
from voicegate.call import Call, ChannelClosed, ChannelOpened, Connected
from voicegate.channel import DataChannel
from voicegate.errors import UsageError
from voicegate.testing.client import ClientState


async def say_back(call: Call) -> None:
    async for message in call.messages:
        await message.channel.send(message.data)


async def test_messages_of_all_kinds_come_back(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    exchange = await Exchange.open(nursery, say_back)
    caller = exchange.call(has_data=True)
    await caller.wait_for(ClientState.CONNECTED)
    sent: list[str | bytes] = ["hello", b"\x00\xff", "", b"", "ü" * 50_000, bytes(200_000)]
    caller.send(*sent)
    while len(caller.core.received) < len(sent):
        await trio.sleep(0.1)
    assert [message.data for message in caller.core.received] == sent


async def test_the_agent_greets_on_an_agreed_channel_before_the_client_is_verified(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    order = []

    async def greet(call: Call) -> None:
        assert list(call.channels) == [7]
        await call.send("welcome")
        order.append("sent")
        assert isinstance(await call.events.receive(), Connected)
        order.append("connected")
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, greet)
    caller = exchange.call(has_data=True, negotiated_id=7)
    while not caller.core.received:
        await trio.sleep(0.01)
    assert caller.core.received[0].data == "welcome"
    await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(1)
    assert order == ["sent", "connected"]


async def test_an_agent_opens_and_closes_a_channel(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    closed = trio.Event()

    async def open_and_close(call: Call) -> None:
        channel = call.open_channel("notes", protocol="text", max_retransmits=3, is_ordered=False)
        await channel.send("first")
        async for event in call.events:
            match event:
                case ChannelOpened(channel=opened) if opened is channel:
                    channel.close()
                    assert not channel.is_open
                    with pytest.raises(trio.ClosedResourceError):
                        await channel.send("too late")
                case ChannelClosed(channel=gone) if gone is channel:
                    closed.set()
                case _:
                    pass

    exchange = await Exchange.open(nursery, open_and_close)
    caller = exchange.call(has_data=True)
    with trio.fail_after(20):
        await closed.wait()
    assert [message.data for message in caller.core.received] == ["first"]


async def test_an_agent_that_reads_nothing_holds_the_client_back(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    read: list[str | bytes] = []
    may_read = trio.Event()

    async def sleepy(call: Call) -> None:
        await may_read.wait()
        while True:
            read.append((await call.messages.receive()).data)

    exchange = await Exchange.open(nursery, sleepy)
    caller = exchange.call(has_data=True)
    await caller.wait_for(ClientState.CONNECTED)
    assert caller.core.channels is not None
    (channel_id,) = caller.core.channels.channels
    caller.send(*(bytes([number]) * 100_000 for number in range(40)))
    await trio.sleep(30)
    assert caller.core.channels.buffered(channel_id) > 2_000_000
    may_read.set()
    with trio.fail_after(60):
        while len(read) < 40:
            await trio.sleep(0.1)
    assert read == [bytes([number]) * 100_000 for number in range(40)]


async def test_sending_waits_while_a_mebibyte_is_on_its_way(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    most = 0
    done = trio.Event()

    async def flood(call: Call) -> None:
        nonlocal most
        for _ in range(40):
            await call.send(bytes(100_000))
            most = max(most, *(channel.buffered_bytes for channel in call.channels.values()))
        done.set()
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, flood)
    caller = exchange.call(has_data=True)
    with trio.fail_after(120):
        await done.wait()
        while len(caller.core.received) < 40:
            await trio.sleep(0.1)
    assert 500_000 < most < 1_048_576 + 100_000


async def test_messages_end_with_the_call(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    seen: list[object] = []

    async def listen(call: Call) -> None:
        while not call.channels:
            await trio.sleep(0.01)
        seen.extend([*call.channels.values(), call])
        async for _message in call.messages:
            pass

    exchange = await Exchange.open(nursery, listen)
    caller = exchange.call(has_data=True)
    await caller.wait_for(ClientState.CONNECTED)
    await trio.sleep(2)
    caller.hang_up()
    await exchange.wait_for_end(caller)
    channel, call = seen
    assert isinstance(call, Call)
    assert isinstance(channel, DataChannel)
    assert not channel.is_open
    with pytest.raises(trio.ClosedResourceError):
        channel.send_nowait("too late")
    with pytest.raises(trio.EndOfChannel):
        await call.messages.receive()
    assert [message async for message in call.messages] == []


async def test_a_client_without_data_channels_says_so(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    refusals = []

    async def hopeful(call: Call) -> None:
        try:
            call.open_channel("notes")
        except UsageError as error:
            refusals.append(str(error))
        try:
            await call.send("anybody?")
        except UsageError as error:
            refusals.append(str(error))

    exchange = await Exchange.open(nursery, hopeful)
    exchange.call()
    await trio.sleep(5)
    assert refusals == ["this client offered no data channels"] * 2
