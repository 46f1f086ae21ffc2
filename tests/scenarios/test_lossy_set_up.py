"""Set-up on a network that loses, delays, reorders and doubles datagrams."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transceiver.harness import Harness
from voicegate.testing.client import ClientState
from voicegate.transceiver.event import State
from voicegate.wire import PacketKind, classify

SETUPS = ["actpass", "passive"]


@pytest.mark.slow
@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("loss", [0.1, 0.2, 0.3])
def test_calls_connect_in_spite_of_loss_reordering_and_doubles(setup: str, loss: float) -> None:
    for seed in range(20):
        call = Harness.make(codec="PCMU", setup=setup, seed=seed, loss=loss, jitter=0.06, duplication=0.1)
        call.connect()
        call.run(1.0)
        assert call.client.state is ClientState.CONNECTED
        assert call.heard, f"seed {seed}"
        assert call.client.heard, f"seed {seed}"


@pytest.mark.slow
@given(
    setup=st.sampled_from(SETUPS),
    seed=st.integers(0, 2**32),
    loss=st.floats(0, 0.25),
    jitter=st.floats(0, 0.2),
    duplication=st.floats(0, 0.5),
    delay=st.floats(0, 0.3),
)
@settings(max_examples=60)
def test_calls_connect_whatever_the_network_does(
    setup: str, seed: int, loss: float, jitter: float, duplication: float, delay: float
) -> None:
    call = Harness.make(
        codec="PCMU", setup=setup, seed=seed, loss=loss, jitter=jitter, duplication=duplication, delay=delay
    )
    call.connect()


@pytest.mark.parametrize("setup", SETUPS)
def test_doubled_datagrams_change_nothing(setup: str) -> None:
    call = Harness.make(codec="PCMU", setup=setup, duplication=1.0)
    call.connect()
    call.run(1.0)
    assert len(call.heard) <= 52 * 320, "a second, and what was on its way"
    assert call.core.statistics().concealed_ms == 0
    assert call.drops["srtp_replayed"] > 40


def test_a_handshake_may_be_over_before_the_client_has_any_answer_to_its_checks() -> None:
    call = Harness.make(codec="PCMU", setup="passive")

    def lose_answers(data: bytes) -> bytes | None:
        is_early = call.client.state is not ClientState.CONNECTED or call.core.state is not State.CONNECTED
        return None if is_early and classify(data) is PacketKind.STUN else data

    call.tamper_down = lose_answers
    call.connect()
    call.run(1.0)
    assert call.client.state is ClientState.CONNECTED
    assert call.heard
    assert call.client.heard
