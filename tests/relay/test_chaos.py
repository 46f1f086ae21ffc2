"""Relay workers killed under many live calls: nobody hangs up, and media is back at once."""

import os
import signal

import pytest
import trio

from tests.relay.place import open_place

pytestmark = pytest.mark.slow

CALLS = 200
PACKET_MS = 120
"""Callers and server together take two processors of a slow machine with 20, and nobody gets a word in; with
60, whenever others want some of them."""


@pytest.mark.parametrize("whole", [False, True], ids=["one worker", "the whole relay"])
async def test_no_call_ends_when_a_relay_is_killed(whole: bool) -> None:
    with trio.fail_after(540):
        async with open_place(workers=2, calls=CALLS, packet_ms=PACKET_MS) as place:
            before = await place.wait_heard(1.0)
            assert len(before["silences"]) == CALLS
            assert len(before["relays"]) == 2
            victims = before["relays"][: None if whole else 1]
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            await trio.sleep(1.0)
            after = await place.wait_heard(1.0)
            while len(after["relays"]) < 2 or set(victims) & set(after["relays"]):
                after = await place.wait_heard(0.1)  # calls need but one worker
            assert len({*before["relays"], *after["relays"]}) == 2 + len(victims)
            assert after["silences"].keys() == before["silences"].keys(), "every call goes on"
