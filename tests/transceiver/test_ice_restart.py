"""ICE restarts of calls of a transceiver: new names for the same call, and none left behind."""

import trio
from trio.testing import MockClock

from tests.transceiver.exchange import Caller, Exchange, sleep
from voicegate.ice import Credentials
from voicegate.testing.client import ClientState


def restart(exchange: Exchange, caller: Caller) -> Credentials:
    call = exchange.transceiver.find(caller.call_id)
    assert call is not None
    return exchange.transceiver.restart_ice(call, caller.core.restart_ice())


async def test_checks_with_the_new_credentials_find_the_call_and_the_old_ones_are_forgotten(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    exchange = await Exchange.open(nursery, sleep)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    local = restart(exchange, caller)
    assert exchange.transceiver.engine.footprint["ufrags"] == 2
    caller.core.handle_restart(local, now=trio.current_time())
    await trio.sleep(60)
    assert caller.core.state is ClientState.CONNECTED
    assert exchange.describe(caller)["state"] == "connected"
    second = restart(exchange, caller)
    assert second.ufrag != local.ufrag
    assert exchange.transceiver.engine.footprint["ufrags"] == 2, "that of the first call has gone"
    caller.hang_up()
    await exchange.wait_for_end(caller)
    assert exchange.is_empty
    exchange.scope.cancel()


async def test_restarts_without_end_leave_two_names(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    exchange = await Exchange.open(nursery, sleep)
    caller = exchange.call()
    await caller.wait_for(ClientState.CONNECTED)
    ufrags = {restart(exchange, caller).ufrag for _ in range(300)}
    assert len(ufrags) == 255, "the generation is a byte, and the first is in use all the time"
    assert exchange.transceiver.engine.footprint["ufrags"] == 2
    caller.hang_up()
    await exchange.wait_for_end(caller)
    assert exchange.is_empty
    exchange.scope.cancel()
