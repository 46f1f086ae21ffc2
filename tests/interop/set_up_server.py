"""The server of `test_browser_set_up`: an agent that says and hears all there is.

It says a tone, opens a channel, pings on every channel and answers pings; when it has heard the client in
every way, it says on its own channel, as JSON, what the call has come to.
"""

import json
from collections import defaultdict

import trio

import voicegate
from tests.interop.process import run_module
from voicegate.testing.sound import tone

FRAMES = 5
"""Of sound: enough to know that it goes on."""

REPETITIONS = {"dtls_repeated message", "dtls_replayed", "dtls_unprotected"}
"""What is dropped of flights that a starved client sends again; other drops would be faults."""


class Conversation:
    """What is said and heard in one call."""

    def __init__(self, server: voicegate.Server, call: voicegate.Call) -> None:
        self._server = server
        self._call = call
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
        while self._frames < FRAMES or not self._has_heard_all():
            await trio.sleep(0.02)
        active = self._server.transceiver.find(self._call.id)
        assert active is not None
        core = active.core
        assert core.security is not None
        report = {
            "dtls": core.security.version,
            "cipher_suite": core.security.cipher_suite,
            "srtp_profile": core.security.srtp_profile,
            "is_connected": self._is_connected,
            "phases": sorted(core.phases, key=core.phases.__getitem__),
            "channels": {each.label: id_ for id_, each in self._call.channels.items()},
            "drops": dict(core.statistics().drops),
        }
        await channel.send(json.dumps(report, default=lambda phase: phase.value))

    def _has_heard_all(self) -> bool:
        labels = {"theirs", *(channel.label for channel in self._call.channels.values())}
        return all(self._heard[label] == {"ping", "pong"} for label in labels)


async def converse(server: voicegate.Server, call: voicegate.Call) -> None:
    await Conversation(server, call).hold()


if __name__ == "__main__":
    run_module(converse)
