"""A cascade behind a whole server, named by its configuration: HTTP, UDP and processes are real."""

import json
import signal
from pathlib import Path

import pytest
import trio

from tests.agents.cascade.stub import open_stub
from tests.harness import make_client
from tests.test_cli import FREE, serve
from voicegate.testing import sound
from voicegate.testing.phone import open_phone

pytestmark = pytest.mark.slow


async def test_a_call_is_answered_by_the_cascade_that_the_configuration_names(tmp_path: Path) -> None:
    with trio.fail_after(240):
        async with open_stub() as stub:
            lines = ['agent = "helper"', "[agents.helper]", 'use = "cascade"']
            for kind, table in stub.options.items():
                lines += [f"[agents.helper.{kind}]", *(f"{key} = {json.dumps(table[key])}" for key in table)]
            config = tmp_path / "voicegate.toml"
            config.write_text("\n".join(lines))
            async with serve(*FREE, "--config", str(config)) as server:
                async with open_phone(server.url, make_client(codec="PCMU")) as phone:
                    await phone.wait_connected()

                    def hears_answer() -> bool:
                        return max(memoryview(bytes(phone.core.heard)).cast("h"), default=0) > 1000

                    while not hears_answer():  # a stalled machine may spoil a sound
                        phone.say((sound.speech_like(1.0, rate=8000) + sound.silence(1.0, rate=8000)).pcm)
                        with trio.move_on_after(6):
                            await phone.wait_until(hears_answer)
                server.signal(signal.SIGINT)
    assert stub.asked("completions")[0].words == "what time is it"
