"""A whole server whose agent is in a process of its own, and clients on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

import voicegate
from tests.agents.process.line import MODULE
from tests.harness import hear_back, make_client, run_server
from voicegate.agents.process import run_agent_process
from voicegate.testing import sound
from voicegate.testing.phone import Phone, open_phone

pytestmark = pytest.mark.slow


@asynccontextmanager
async def serve(function: str) -> AsyncIterator[voicegate.Server]:
    """Run a server with one of the naughty agents."""
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            agent = await nursery.start(run_agent_process, f"{MODULE}:{function}")
            async with run_server(agent=agent) as server:
                yield server
            nursery.cancel_scope.cancel()


async def wait_for_end(server: voicegate.Server, call_id: str) -> dict[str, object]:
    while True:
        described = server.transceiver.describe(call_id)
        assert described is not None
        if described["state"] == "ended":
            return described
        await trio.sleep(0.01)


@pytest.mark.parametrize("function", ["echo", "echo_packets", "loops_back", "blocks"])
@pytest.mark.parametrize("codec", ["opus", "PCMU"])
async def test_what_is_said_comes_back_through_the_agents_process(function: str, codec: str) -> None:
    async with serve(function) as server:
        async with open_phone(server.url, make_client(codec=codec)) as phone:
            await phone.wait_connected()
            await hear_back(phone, sound.speech_like(1.0, rate=48000 if codec == "opus" else 8000))
        assert (await wait_for_end(server, phone.call_id))["cause"] == "client_closed"


@pytest.mark.parametrize(
    ("order", "end"),
    [
        ("return", ("agent_finished", "the agent returned")),
        ("hang up", ("agent_finished", "the agent hung up")),
        ("raise", ("agent_failed", "AgentProcessError(\"RuntimeError('as you wish')\")")),
        ("die", ("agent_failed", 'AgentProcessError("the agent\'s process ended with exit status 3")')),
    ],
)
async def test_however_an_agent_leaves_its_call_ends_with_the_cause(order: str, end: tuple[str, str]) -> None:
    async with serve("obeys") as server:
        async with open_phone(server.url, make_client(has_data=True)) as phone:
            await tell(phone, order)
            ended = await wait_for_end(server, phone.call_id)
            assert (ended["cause"], ended["detail"]) == end
        # And there is somebody for the next one.
        async with open_phone(server.url, make_client(has_data=True)) as phone:
            await tell(phone, "anything")
            await phone.wait_until(lambda: bool(answers(phone)))
            assert answers(phone)[0] == "anything"


async def test_a_flood_can_be_interrupted_while_others_go_on() -> None:
    async with (
        serve("obeys") as server,
        open_phone(server.url, make_client(has_data=True)) as loud,
        open_phone(server.url, make_client(has_data=True)) as quiet,
    ):
        await tell(loud, "flood")
        await tell(quiet, "there?")
        await quiet.wait_until(lambda: bool(answers(quiet)))
        await tell(loud, "interrupt")
        await loud.wait_until(lambda: bool(answers(loud)))
        # Nothing was lost of ten minutes, but for what is between heard by the server and by the client.
        assert 590_000 <= int(answers(loud)[0]) <= 600_000
        found = server.transceiver.find(loud.call_id)
        assert found is not None
        assert found.control.output_state().queued_ms == 0


async def tell(phone: Phone, order: str) -> None:
    """Send a message to the agent, on a channel of its own."""
    await phone.wait_connected()
    await phone.wait_until(lambda: phone.core.is_data_ready)
    channels, now = phone.core.channels, trio.current_time()
    assert channels is not None
    known = [channel.id for channel in channels.channels.values() if channel.label == "orders"]
    number = known[0] if known else channels.open(label="orders", now=now).id
    channels.send(number, order, now=now)


def answers(phone: Phone) -> list[str | bytes]:
    """Return what the agent has said on that channel."""
    assert phone.core.channels is not None
    channels = phone.core.channels.channels
    return [
        message.data
        for message in phone.core.received
        if message.channel_id in channels and channels[message.channel_id].label == "orders"
    ]
