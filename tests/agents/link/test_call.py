"""A whole server whose agent is at the other end of a link, and clients on real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import pytest
import trio

import voicegate
from tests.agents.process import naughty
from tests.agents.process.test_server import answers, tell, wait_for_end
from tests.harness import hear_back, make_client, run_server
from voicegate.agents.link import LinkOptions, run_link_agent, serve_agent
from voicegate.testing import sound
from voicegate.testing.phone import open_phone

pytestmark = pytest.mark.slow

SHAPES: tuple[Literal["calls", "call"], ...] = ("calls", "call")


@asynccontextmanager
async def serve(agent: voicegate.Agent, **options: object) -> AsyncIterator[voicegate.Server]:
    """Run a server with an agent behind a link."""
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(partial(serve_agent, agent, "127.0.0.1", 0, key="open sesame"))
            linked = await nursery.start(
                run_link_agent,
                f"ws://127.0.0.1:{port}/",
                LinkOptions(key="open sesame", **options),  # type: ignore[arg-type]
            )
            async with run_server(agent=linked) as server:
                yield server
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("agent", [naughty.echo, naughty.echo_packets, naughty.loops_back])
@pytest.mark.parametrize("codec", ["opus", "PCMU"])
async def test_what_is_said_comes_back_over_the_link(
    agent: voicegate.Agent, codec: str, shape: Literal["calls", "call"]
) -> None:
    async with serve(agent, shape=shape) as server:
        async with open_phone(server.url, make_client(codec=codec)) as phone:
            await phone.wait_connected()
            await hear_back(phone, sound.speech_like(1.0, rate=48000 if codec == "opus" else 8000))
        assert (await wait_for_end(server, phone.call_id))["cause"] == "client_closed"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("order", "end"),
    [
        ("return", ("agent_finished", "the agent returned")),
        ("hang up", ("agent_finished", "the agent hung up")),
        ("raise", ("agent_failed", "AgentLinkError(\"RuntimeError('as you wish')\")")),
    ],
)
async def test_however_an_agent_leaves_its_call_ends_with_the_cause(
    order: str, end: tuple[str, str], shape: Literal["calls", "call"]
) -> None:
    async with serve(naughty.obeys, shape=shape) as server:
        async with open_phone(server.url, make_client(has_data=True)) as phone:
            await tell(phone, order)
            ended = await wait_for_end(server, phone.call_id)
            assert (ended["cause"], ended["detail"]) == end
        # And there is somebody for the next one.
        async with open_phone(server.url, make_client(has_data=True)) as phone:
            await tell(phone, "anything")
            await phone.wait_until(lambda: bool(answers(phone)))
            assert answers(phone)[0] == "anything"
