"""An agent that hangs up, with or without a last word."""

import pytest
import trio
from trio.testing import MockClock

from tests.transceiver.exchange import Exchange
from voicegate.call import Call
from voicegate.testing import sound
from voicegate.testing.client import ClientState

RATE = 8000
LAST_WORDS = sound.speech_like(1.0, rate=RATE)


@pytest.mark.parametrize("returns", [False, True])
async def test_the_last_words_are_heard_before_the_agent_hangs_up(
    returns: bool, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def agent(call: Call) -> None:
        call.audio_out.send_nowait(LAST_WORDS.pcm)
        call.hangup(after="drain")
        if not returns:
            await trio.sleep_forever()

    exchange = await Exchange.open(nursery, agent)
    caller = exchange.call()
    ended = await exchange.wait_for_end(caller)
    assert (ended["cause"], ended["detail"]) == ("agent_finished", "the agent hung up")
    await caller.wait_for(ClientState.CLOSED)
    heard = sound.Sound.from_pcm(bytes(caller.core.heard), rate=RATE)
    assert sound.correlate(LAST_WORDS, heard).peak > 0.99
    assert exchange.is_empty


async def test_hanging_up_now_cuts_the_speech(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    async def agent(call: Call) -> None:
        await call.events.receive()
        call.audio_out.send_nowait(LAST_WORDS.pcm)
        await trio.sleep(0.1)
        call.hangup()
        await trio.sleep_forever()

    exchange = await Exchange.open(nursery, agent)
    caller = exchange.call()
    assert (await exchange.wait_for_end(caller))["duration_ms"] < 500


async def test_a_client_that_talks_over_the_last_words_ends_the_call_sooner(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def agent(call: Call) -> None:
        call.detect_speech()
        call.audio_out.send_nowait(bytes(2 * RATE * 20))
        call.hangup(after="drain")

    exchange = await Exchange.open(nursery, agent)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    caller.core.say(LAST_WORDS.pcm)
    ended = await exchange.wait_for_end(caller)
    assert ended["cause"] == "agent_finished"
    assert ended["duration_ms"] < 2000
