"""Calls whose ends can do different versions of DTLS, in either role, on good and bad networks."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transceiver.harness import Harness
from voicegate.config import SetUp
from voicegate.dtls import Group, ProtocolVersion
from voicegate.testing.client import ClientState

SETUPS = ["actpass", "passive"]
NAMES = {"1.3": ProtocolVersion.DTLS_1_3, "1.2": ProtocolVersion.DTLS_1_2}
ABILITIES = [("1.3", "1.2"), ("1.3",), ("1.2",)]
COMMON = [(client, server) for client in ABILITIES for server in ABILITIES if set(client) & set(server)]


def make(client: tuple[str, ...], server: tuple[str, ...], *, setup: str, **network: Any) -> Harness:
    return Harness.make(
        codec="PCMU",
        setup=setup,
        client_options={"dtls_versions": [NAMES[name] for name in client]},
        set_up=SetUp(dtls=server),
        **network,
    )


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize(("client", "server"), COMMON)
def test_a_call_uses_the_newest_version_that_both_can_do(
    client: tuple[str, ...], server: tuple[str, ...], setup: str
) -> None:
    call = make(client, server, setup=setup)
    call.connect()
    newest = "1.3" if "1.3" in client and "1.3" in server else "1.2"
    assert call.core.security is not None
    assert call.core.security.version == NAMES[newest]
    call.run(1.0)
    assert call.heard
    assert call.client.heard
    assert not {reason for reason in call.drops if reason.startswith("dtls")}


@pytest.mark.slow
@given(
    st.sampled_from(COMMON),
    st.sampled_from(SETUPS),
    st.fixed_dictionaries(
        {
            "seed": st.integers(0, 2**32),
            "loss": st.floats(0, 0.3),
            "jitter": st.floats(0, 0.2),
            "duplication": st.floats(0, 0.5),
            "delay": st.floats(0, 0.3),
        }
    ),
)
@settings(max_examples=40)
def test_calls_of_every_pair_of_versions_connect_whatever_the_network_does(
    abilities: tuple[tuple[str, ...], tuple[str, ...]], setup: str, network: dict[str, Any]
) -> None:
    call = make(*abilities, setup=setup, **network)
    call.connect()
    assert call.client.state is ClientState.CONNECTED


@pytest.mark.parametrize("group", Group)
def test_a_call_gets_through_with_any_group(group: Group) -> None:
    call = Harness.make(codec="PCMU", client_options={"dtls_groups": [group]})
    call.connect()
    assert call.core.security is not None
    assert call.core.security.version == ProtocolVersion.DTLS_1_3
