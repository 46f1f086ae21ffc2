"""Every state of a call x everything that can happen to it; what crosses parts is in tests/scenarios."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transceiver.harness import ELSEWHERE, HOME, Harness
from voicegate.call import EndCause
from voicegate.config import SetUp
from voicegate.dtls import DtlsConnection
from voicegate.transceiver.event import Ended, State
from voicegate.wire import PacketKind, Path, classify

THIRD = Path(("127.0.0.1", 4001), HOME.host, HOME.port)
PATHS = [HOME, ELSEWHERE, THIRD]


def make(state: State, *, setup: str, seed: int = 1) -> Harness:
    # Of DTLS 1.3 a client hears nothing before the flight that completes it.
    is_old = setup == "passive" and state is State.HANDSHAKING
    set_up = SetUp(dtls=("1.2",)) if is_old else SetUp()
    return Harness.make(codec="PCMU", setup=setup, seed=seed, set_up=set_up)


def in_state(state: State, *, setup: str, seed: int = 1) -> Harness:
    call = make(state, setup=setup, seed=seed)
    call.run(5, until=lambda: call.core.state is state or call.core.state is State.CONNECTED)
    if state is State.CLOSED:
        call.connect()
        call.core.close(now=call.now)
        call.drain()
    assert call.core.state is state
    return call


first_bytes = st.sampled_from([0, 1, 2, 20, 21, 22, 23, 25, 63, 64, 127, 128, 129, 144, 191, 192, 255])
datagrams = st.binary(max_size=80) | st.builds(
    lambda first, rest: bytes([first]) + rest, first_bytes, st.binary(max_size=120)
)


def pick(data: st.DataObject, datagrams: list[bytes]) -> bytes:
    """Choose one; signatures differ in length from run to run, so what is drawn must not depend on it."""
    return datagrams[data.draw(st.integers(0, 1000)) % len(datagrams)]


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["actpass", "passive"])
@pytest.mark.parametrize("state", list(State))
@given(data=st.data())
@settings(max_examples=25)
def test_nothing_that_arrives_or_passes_breaks_a_call(state: State, setup: str, data: st.DataObject) -> None:
    call = in_state(state, setup=setup, seed=data.draw(st.integers(1, 50)))
    stock = [*call.captured, call.make_check(nominates=True), call.make_check(nominates=False, number=1)]
    known = [transmit.data for _at, transmit in call.sent]
    validated = {HOME} if call.sent else set()
    has_moved_on = state is State.CLOSED
    for _ in range(data.draw(st.integers(1, 25))):
        sent = len(call.sent)
        match data.draw(
            st.sampled_from(["noise", "copy", "changed", "reflected", "time", "late", "refused", "close"])
        ):
            case "noise":
                call.inject(data.draw(datagrams), data.draw(st.sampled_from(PATHS)))
            case "copy":
                call.inject(pick(data, stock), data.draw(st.sampled_from(PATHS)))
            case "changed":
                changed = bytearray(pick(data, stock))
                changed[data.draw(st.integers(0, 2000)) % len(changed)] ^= data.draw(st.integers(1, 255))
                call.inject(bytes(changed), data.draw(st.sampled_from(PATHS)))
            case "reflected" if known:
                call.inject(pick(data, known), data.draw(st.sampled_from(PATHS)))
            case "time":
                if (due := call.core.poll_timeout()) is not None:
                    call.now = max(call.now, due)
                call.core.handle_timeout(now=call.now)
                after = call.core.poll_timeout()
                assert after is None or after > call.now
            case "late":
                call.now += data.draw(st.floats(0, 40))
                call.core.handle_timeout(now=call.now)
                after = call.core.poll_timeout()
                assert after is None or after > call.now
            case "refused":
                call.core.handle_refused_check()
            case "close" if data.draw(st.integers(0, 5)) == 0:
                call.core.close(now=call.now)
        call.drain()
        for _at, transmit in call.sent[sent:]:
            # An answer to a check is what makes a path valid; it is the first thing that goes there.
            if classify(transmit.data) is PacketKind.STUN:
                validated.add(transmit.path)
            assert transmit.path in validated
        if call.core.state is State.CLOSED:
            if has_moved_on:
                assert len(call.sent) == sent, "a closed call is silent"
            has_moved_on = True
            assert call.core.poll_timeout() is None
    assert sum(isinstance(event, Ended) for event in call.events) <= 1
    assert len(call.core.statistics().drops) < 40


@pytest.mark.parametrize("state", list(State))
def test_time_alone_ends_every_call_whose_client_is_gone(state: State) -> None:
    call = in_state(state, setup="actpass")
    call.vanish()
    call.run(31)
    assert call.core.state is State.CLOSED
    assert call.core.poll_timeout() is None


@pytest.mark.parametrize("setup", ["actpass", "passive"])
@pytest.mark.parametrize("state", [State.AWAITING_CHECK, State.AWAITING_CLIENT_HELLO, State.HANDSHAKING])
def test_a_call_can_be_closed_before_it_is_connected(state: State, setup: str) -> None:
    call = make(state, setup=setup)
    if state is State.AWAITING_CLIENT_HELLO:
        call.check(HOME, nominates=True)
    elif state is State.HANDSHAKING:
        call.run(5, until=lambda: call.core.state is state)
    assert call.core.state is state
    call.core.close(now=call.now)
    call.drain()
    kinds = [classify(transmit.data) for _, transmit in call.sent]
    is_farewell_owed = state is State.HANDSHAKING or (
        setup == "passive" and state is not State.AWAITING_CHECK
    )
    assert (bool(kinds) and kinds[-1] is PacketKind.DTLS) == is_farewell_owed
    assert call.events == [event for event in call.events if not isinstance(event, Ended)]


def test_statistics_count_both_directions() -> None:
    call = Harness.connected()
    call.run(1.0)
    statistics = call.core.statistics()
    assert statistics.datagrams_out == len(call.sent)
    assert len(call.captured) - 3 <= statistics.datagrams_in <= len(call.captured)
    assert statistics.audio_packets_in >= 49
    assert statistics.audio_packets_out >= 50
    assert statistics.concealed_ms == statistics.slots_missed == 0


def test_data_on_the_dtls_connection_is_authentic_but_has_no_channel_yet() -> None:
    call = Harness.connected()
    dtls = call.client._dtls
    assert isinstance(dtls, DtlsConnection)
    call.check(ELSEWHERE, nominates=True)
    dtls.send(b"sctp", now=call.now)
    data = dtls.poll_transmit()
    assert data is not None
    call.inject(data, ELSEWHERE)
    assert call.drops == {"no_data_channel": 1}
    assert call.core.path == ELSEWHERE, "what DTLS has authenticated shows where the client is"


def test_an_alert_of_the_client_before_completion_is_a_failed_handshake() -> None:
    call = Harness.make()
    call.run(5, until=lambda: call.core.state is State.HANDSHAKING)
    call.vanish()
    call.inject(bytes.fromhex("15 fefd 0000 000000000009 0002 0228"), HOME)
    assert call.ended.cause is EndCause.DTLS_FAILED
    assert "alert 40" in call.ended.detail


@pytest.mark.parametrize("state", list(State))
def test_a_timeout_that_came_too_early_does_nothing(state: State) -> None:
    call = in_state(state, setup="actpass")
    before = call.core.poll_timeout()
    assert before is None or before > call.now
    call.core.handle_timeout(now=call.now)
    assert call.core.poll_timeout() == before
    assert call.core.poll_transmit() is None


@pytest.mark.parametrize(
    "command",
    [lambda call: call.core.close(now=call.now), lambda call: call.run(60)],
    ids=["closed", "expired"],
)
def test_a_dead_call_keeps_its_milestones(command: Callable[[Harness], None]) -> None:
    call = Harness.connected()
    call.run(0.2)
    call.vanish()
    before = call.core.phases
    command(call)
    assert call.core.state is State.CLOSED
    assert call.core.phases == before
