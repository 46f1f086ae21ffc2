"""The examples in four languages, each in its own toolchain, behind a whole server with a real call."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
import trio

import voicegate
from tests.harness import make_client, run_server
from voicegate.agents.link import LinkOptions, run_link_agent
from voicegate.call import Interruption
from voicegate.testing import sound
from voicegate.testing.phone import Phone, open_phone
from voicegate.testing.sound import Sound, recognise
from voicegate.transceiver.task import ActiveCall

pytestmark = [pytest.mark.slow, pytest.mark.interop]

EXAMPLES = Path(__file__).parents[3] / "examples" / "agents"
KEY = "open sesame"


def prepare_node(folder: Path) -> list[str]:
    shutil.copytree(
        EXAMPLES / "node", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules")
    )
    install = ["npm", "install", "--prefer-offline", "--no-package-lock", "--no-audit", "--no-fund"]
    subprocess.run([*install, "--ignore-scripts"], cwd=folder, check=True, capture_output=True, timeout=300)
    return ["node", str(folder / "parrot.mjs"), "0"]


def prepare_go(folder: Path) -> list[str]:
    program = folder / "parrot"
    subprocess.run(
        ["go", "build", "-o", str(program), "."],
        cwd=EXAMPLES / "go",
        check=True,
        capture_output=True,
        timeout=300,
        env=os.environ | {"CGO_ENABLED": "0"},
    )
    return [str(program), "127.0.0.1:0"]


PREPARE: dict[str, Callable[[Path], list[str]]] = {
    "trio": lambda _: [sys.executable, str(EXAMPLES / "parrot_trio.py"), "0"],
    "asyncio": lambda _: [sys.executable, str(EXAMPLES / "parrot_asyncio.py"), "0"],
    "node": prepare_node,
    "go": prepare_go,
}


@asynccontextmanager
async def run_example(command: list[str]) -> AsyncIterator[str]:
    """Have an agent's server in a process; gives its URL."""
    environment = os.environ | {"VOICEGATE_LINK_KEY": KEY, "PYTHONPATH": str(EXAMPLES.parents[1])}
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        async with process.stdout:
            said = b""
            while b"\n" not in said:
                said += (more := await process.stdout.receive_some())
                assert more, "it ended"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read_on, process.stdout)
                yield said.decode().split()[0]
                nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _read_on(stream: trio.abc.ReceiveStream) -> None:
    async for _ in stream:
        pass


@asynccontextmanager
async def serve(
    url: str, shape: Literal["calls", "call"], interruptions: list[Interruption]
) -> AsyncIterator[voicegate.Server]:
    """Run a server with an agent of that URL; interruptions that the agent is told of are noted."""

    async def watched(call: voicegate.Call) -> None:
        push_event = call.push_event

        def note(event: voicegate.CallEvent) -> None:
            if isinstance(event, voicegate.Interrupted):
                interruptions.append(event.interruption)
            push_event(event)

        call.push_event = note  # type: ignore[method-assign]
        await agent(call)

    async with trio.open_nursery() as nursery:
        options = LinkOptions(key=KEY, shape=shape)
        agent = await nursery.start(run_link_agent, url, options)
        async with run_server(agent=watched) as server:
            yield server
        nursery.cancel_scope.cancel()


async def hear_parrot(phone: Phone, sentence: Sound) -> None:
    """Say something until it has been said back."""
    heard = phone.core.heard
    while True:
        heard.clear()
        phone.say(sentence.pcm)
        for seconds in (3.0, 3.5, 4.5):
            await phone.wait_until(lambda seconds=seconds: len(heard) > seconds * 2 * sound.RATE)  # type: ignore[misc]
            if recognise(Sound.from_pcm(bytes(heard), rate=sentence.rate), sentence).peak > 0.8:
                return


async def talk_over_parrot(phone: Phone, call: ActiveCall, interruptions: list[Interruption]) -> None:
    """Say something long, and then something else while it is said back, until that has ended it."""
    interruptions.clear()
    while not any(each.dropped_ms > 0 for each in interruptions):
        with trio.move_on_after(30):  # a stalled machine may spoil a sound, so that not much of it comes back
            phone.say(sound.speech_like(3.0).pcm)
            await phone.wait_until(lambda: call.control.output_state().queued_ms > 1500)
            phone.say(sound.speech_like(1.0, seed=7).pcm)
            await phone.wait_until(lambda: call.control.output_state().queued_ms == 0)


@pytest.mark.parametrize(
    ("language", "shape"),
    [
        ("trio", "calls"),
        ("trio", "call"),
        ("asyncio", "calls"),
        ("asyncio", "call"),
        ("node", "calls"),
        ("go", "calls"),
    ],
)
async def test_an_example_says_back_a_sentence_and_stops_when_it_is_talked_over(
    language: str, shape: Literal["calls", "call"], tmp_path: Path
) -> None:
    command = await trio.to_thread.run_sync(PREPARE[language], tmp_path)
    interruptions: list[Interruption] = []
    with trio.fail_after(240):
        async with (
            run_example(command) as url,
            serve(url, shape, interruptions) as server,
            open_phone(server.url, make_client()) as phone,
        ):
            await phone.wait_connected()
            await hear_parrot(phone, sound.speech_like(1.0))
            # What an agent is told and does not know, it passes over.
            server.transceiver.begin_drain(seconds=600)
            call = server.transceiver.find(phone.call_id)
            assert call is not None
            await talk_over_parrot(phone, call, interruptions)
