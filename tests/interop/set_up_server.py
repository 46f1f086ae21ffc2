"""The server of `test_browser_set_up`, in a process that can run in a network namespace.

    python -m tests.interop.set_up_server ADDRESS SET_UP

Binds UDP to ADDRESS and uses SET_UP, which is `voicegate.config.SetUp` as JSON. Prints the port of HTTP. Its agent
says a tone, opens a channel, pings on every channel and answers pings; when it has heard the client in every way,
it says on its own channel, as JSON, what the call has come to.
"""

import json
import sys
from collections import defaultdict
from functools import partial

import trio

import voicegate
from voicegate.observability import configure_logging
from voicegate.testing.sound import tone

FRAMES = 5
"""Of sound: enough to know that it goes on."""


class Conversation:
    """What is said and heard in one call."""

    def __init__(self, call: voicegate.Call, server: voicegate.Server) -> None:
        self._call = call
        self._server = server
        self._heard: dict[str, set[str]] = defaultdict(set)
        self._frames = 0
        self._is_connected = False

    async def hold(self) -> None:
        """Say all there is to say until the call ends."""
        ours = self._call.open_channel("ours")
        for channel in tuple(self._call.channels.values()):  # more of them may come meanwhile
            await channel.send("ping")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._speak)
            nursery.start_soon(self._listen)
            nursery.start_soon(self._greet)
            nursery.start_soon(self._report, ours)
            async for message in self._call.messages:
                self._heard[message.channel.label].add(str(message.data))
                if message.data == "ping":
                    await message.channel.send("pong")
            nursery.cancel_scope.cancel()

    async def _speak(self) -> None:
        second = tone(1000, 1.0, rate=self._call.sample_rate).pcm
        while True:
            await self._call.audio_out.send(second)

    async def _listen(self) -> None:
        async for frame in self._call.audio_in:
            # Silence would not tell that anything was decrypted.
            self._frames += not frame.is_concealed and any(frame.pcm)

    async def _greet(self) -> None:
        async for event in self._call.events:
            match event:
                case voicegate.Connected():
                    self._is_connected = True
                case voicegate.ChannelOpened(channel=channel) if channel.label == "theirs":
                    await channel.send("ping")

    async def _report(self, channel: voicegate.DataChannel) -> None:
        while self._frames < FRAMES or any(
            self._heard[each.label] != {"ping", "pong"} for each in self._call.channels.values()
        ):
            await trio.sleep(0.02)
        active = self._server.transceiver.find(self._call.id)
        assert active is not None
        core = active.core
        report = {
            "dtls": core.dtls_version,
            "cipher_suite": core._dtls.cipher_suite,
            "srtp_profile": core._dtls.srtp_profile,
            "is_connected": self._is_connected,
            "phases": sorted(core.phases, key=core.phases.__getitem__),
            "channels": {each.label: id_ for id_, each in self._call.channels.items()},
            "drops": dict(core.statistics().drops),
        }
        await channel.send(json.dumps(report, default=lambda phase: phase.value))


async def main(address: str, set_up: dict[str, object]) -> None:
    async def agent(call: voicegate.Call) -> None:
        await Conversation(call, server).hold()

    config = voicegate.Config(http="127.0.0.1:0", udp=f"{address}:0", set_up=set_up)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        server: voicegate.Server = await nursery.start(partial(voicegate.serve, agent, config))
        print(server.http.port, flush=True)


if __name__ == "__main__":
    configure_logging(level="warning")
    trio.run(main, sys.argv[1], json.loads(sys.argv[2]))
