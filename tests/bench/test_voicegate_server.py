"""What the server under test says, heard by a client without a browser."""

import os

import pytest

from tests.harness import client_certificate, run_server
from voicegate.bench.voicegate_server import speak
from voicegate.testing.client import ClientCore
from voicegate.testing.phone import open_phone
from voicegate.testing.sound import Sound

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("codec", "rate"), [("opus", 48000), ("PCMU", 8000)])
async def test_a_client_hears_a_tone_and_gets_a_message_at_once(codec: str, rate: int) -> None:
    client = ClientCore(random=os.urandom, certificate=client_certificate(), codec=codec, has_data=True)
    async with run_server(agent=speak) as server, open_phone(server.url, client) as phone:
        await phone.wait_connected()
        await phone.wait_until(lambda: bool(client.received) and len(client.heard) > 2 * rate)
    assert client.received[0].data == "hello"
    assert Sound.from_pcm(bytes(client.heard), rate=rate).dominant_frequency() == pytest.approx(1000, abs=20)
