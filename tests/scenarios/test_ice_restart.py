"""A client that begins an ICE restart in the middle of a call."""

import pytest

from tests.transceiver.harness import ELSEWHERE, HOME, Harness
from voicegate.errors import UsageError
from voicegate.ice import Credentials, Keyring, Route
from voicegate.transceiver.event import State


def renew(generation: int) -> Credentials:
    return Keyring([bytes(32)]).mint(Route(transceiver_id=1, session_id=bytes(8), generation=generation))


def restart(call: Harness, generation: int = 1) -> Credentials:
    """Let the server take the client's new credentials; what it says is on its way."""
    local = renew(generation)
    call.core.restart_ice(local=local, remote=call.client.restart_ice(), now=call.now)
    return local


def heard_in(call: Harness, seconds: float) -> int:
    """Return the milliseconds of audio that either end has heard, the less of both."""
    client, server = len(call.client.heard), len(call.heard)
    call.run(seconds)
    return min(len(call.client.heard) - client, len(call.heard) - server) // 16


@pytest.mark.parametrize("path", [HOME, ELSEWHERE], ids=["same address", "another network"])
def test_media_goes_on_without_a_gap(path: object) -> None:
    call = Harness.connected()
    call.run(0.5)
    local = restart(call)
    assert heard_in(call, 0.2) >= 180, "until the answer is there nothing changes"
    call.path = path  # type: ignore[assignment] # one of two paths
    call.client.handle_restart(local, now=call.now)
    assert heard_in(call, 1.0) >= 960
    assert call.core.path == path
    assert call.core.ufrags == (local.ufrag,)
    assert call.core.statistics().drops.get("ice_unknown_ufrag", 0) == 0
    call.run(40.0)
    assert call.core.state is State.CONNECTED, "its checks are good for consent"


def test_the_old_credentials_serve_until_the_new_ones_are_used() -> None:
    call = Harness.connected()
    old = call.core.ufrags
    local = restart(call)
    assert call.core.ufrags == (*old, local.ufrag)
    call.run(10.0)
    assert call.core.state is State.CONNECTED
    assert call.core.credentials[0] == local
    checks = call.core.statistics().datagrams_in
    call.client.handle_restart(local, now=call.now)
    call.run(0.1)
    assert call.core.ufrags == (local.ufrag,)
    assert call.core.statistics().datagrams_in > checks


def test_a_client_that_never_comes_back_loses_its_call_when_consent_expires() -> None:
    call = Harness.connected()
    restart(call)
    call.vanish()
    call.run(31.0)
    assert call.core.state is State.CLOSED


def test_a_restart_before_the_first_check_is_as_good() -> None:
    call = Harness.make()
    local = restart(call)
    call.client.handle_restart(local, now=call.now)
    call.connect()
    assert call.core.ufrags == (local.ufrag,)


def test_a_restart_with_credentials_in_use_is_a_fault_of_the_caller() -> None:
    call = Harness.connected()
    restart(call)
    with pytest.raises(UsageError):
        restart(call)
