"""What tests of the whole share: a server on free ports, and clients for it."""

import datetime
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import Any

import trio

import voicegate
from voicegate.dtls import Certificate
from voicegate.testing.client import ClientCore
from voicegate.testing.phone import Phone
from voicegate.testing.sound import Sound, recognise


@asynccontextmanager
async def run_server(
    agent: voicegate.Agent | None = None, **settings: object
) -> AsyncIterator[voicegate.Server]:
    """Run a whole server (relay process, transceiver, HTTP) on free ports of this machine."""
    config = voicegate.Config(**{"http": "127.0.0.1:0", "udp": "127.0.0.1:0", **settings})  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(voicegate.serve, agent, config))
        nursery.cancel_scope.cancel()


@cache
def client_certificate() -> Certificate:
    return Certificate.generate(not_before=datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1))


def make_client(**parameters: Any) -> ClientCore:
    return ClientCore(random=os.urandom, certificate=client_certificate(), **parameters)


async def hear_back(phone: Phone, spoken: Sound) -> None:
    """Say something to an echo until it has come back whole.

    A stalled machine may spoil a sound, but never makes one.
    """
    heard = phone.core.heard
    while True:
        heard.clear()
        phone.say(spoken.pcm)
        for enough in (1.3, 1.6, 2.0):  # times what was said
            await phone.wait_until(lambda enough=enough: len(heard) > enough * len(spoken.pcm))  # type: ignore[misc]
            if recognise(Sound.from_pcm(bytes(heard), rate=spoken.rate), spoken).peak > 0.8:
                return
