"""Every reason for which the network or the client ends a call, each with its own cause."""

import pytest

from tests.transceiver.harness import CLIENT_CERTIFICATE, EPOCH, HOME, Harness
from voicegate.call import EndCause
from voicegate.config import SetUp
from voicegate.datachannel import ChannelClosed, ChannelOpened
from voicegate.dtls import Certificate
from voicegate.testing.client import ClientState
from voicegate.transceiver.event import PathRemoved, State
from voicegate.wire import PacketKind, classify

SETUPS = ["actpass", "passive"]


def test_a_client_that_never_checks_is_given_up_after_15_s() -> None:
    call = Harness.make()
    call.vanish()
    call.run(14.9)
    assert call.core.state is State.AWAITING_CHECK
    call.run(0.2)
    assert call.ended.cause is EndCause.NO_STUN
    assert call.sent == []


def test_a_wrong_password_explains_why_no_check_came() -> None:
    call = Harness.make()
    call.vanish()
    call.core.handle_refused_check()
    call.run(16)
    assert call.ended.cause is EndCause.BAD_INTEGRITY


def test_a_refused_check_later_explains_nothing() -> None:
    call = Harness.make()
    call.check(HOME, nominates=True)
    call.core.handle_refused_check()
    call.vanish()
    call.run(16)
    assert call.ended.cause is EndCause.NO_CLIENT_HELLO
    connected = Harness.connected()
    connected.core.handle_refused_check()
    connected.run(16)
    assert connected.core.state is State.CONNECTED


@pytest.mark.parametrize("setup", SETUPS)
def test_a_client_that_checks_but_never_starts_dtls_is_given_up_after_10_s(setup: str) -> None:
    call = Harness.make(setup=setup)
    call.check(HOME, nominates=True)
    call.vanish()
    call.run(9.9)
    assert call.core.state is State.AWAITING_CLIENT_HELLO
    call.run(0.2)
    assert call.ended.cause is EndCause.NO_CLIENT_HELLO


@pytest.mark.parametrize(("setup", "version"), [("actpass", "1.3"), ("actpass", "1.2"), ("passive", "1.2")])
def test_a_client_that_vanishes_in_its_handshake_is_given_up_10_s_later(setup: str, version: str) -> None:
    call = Harness.make(setup=setup, set_up=SetUp(dtls=(version,)))
    call.run(5, until=lambda: call.core.state is State.HANDSHAKING)
    started = call.now
    call.vanish()
    call.run(20, until=lambda: call.core.state is State.CLOSED)
    assert call.ended.cause is EndCause.DTLS_TIMEOUT
    assert call.now - started == pytest.approx(10.0)


def test_a_handshake_of_nonsense_fails() -> None:
    call = Harness.make()
    call.check(HOME, nominates=True)
    call.vanish()
    # A record of one whole handshake message: a ServerHello, which is not for a client to say.
    body = bytes(40)
    message = (
        b"\x02" + len(body).to_bytes(3, "big") + bytes(2) + bytes(3) + len(body).to_bytes(3, "big") + body
    )
    call.inject(b"\x16\xfe\xfd" + bytes(8) + len(message).to_bytes(2, "big") + message, HOME)
    assert call.ended.cause is EndCause.DTLS_FAILED
    assert "ClientHello" in call.ended.detail
    alert = call.sent[-1][1].data
    assert (alert[0], alert[-1]) == (21, 10), "unexpected_message is owed to whoever it was"


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("is_early", [True, False])
def test_a_certificate_that_was_not_promised_ends_the_call(setup: str, is_early: bool) -> None:
    other = Certificate.generate(not_before=EPOCH)
    promised = str(CLIENT_CERTIFICATE.fingerprint)
    call = Harness.make(
        setup=setup,
        certificate=other,
        edit_offer=lambda sdp: sdp.replace(str(other.fingerprint), promised),
        set_up=SetUp(early=is_early),
    )
    call.run(5)
    assert call.ended.cause is EndCause.FINGERPRINT_MISMATCH
    assert call.client.state is ClientState.FAILED
    assert "alert" in call.client.failure
    # What we say early is for whoever knows our password; what such a one says is for nobody.
    assert (call.core.statistics().audio_packets_out > 0) == (is_early and setup == "actpass")
    assert call.heard == b""


def test_a_client_that_vanishes_in_a_call_is_given_up_30_s_after_its_last_check() -> None:
    call = Harness.connected()
    checks: list[float] = []

    def note_check(data: bytes) -> bytes:
        if classify(data) is PacketKind.STUN:
            checks.append(call.now)
        return data

    call.tamper = note_check
    call.run(6)
    call.vanish()
    call.run(60, until=lambda: call.core.state is State.CLOSED)
    assert call.ended.cause is EndCause.CONSENT_EXPIRED
    assert call.now - checks[-1] == pytest.approx(30.02)
    assert PathRemoved(HOME) in call.events
    assert call.sent[-1][0] < call.now, "without consent not even a goodbye is sent"


@pytest.mark.parametrize("setup", SETUPS)
def test_a_client_that_hangs_up_ends_the_call_at_once(setup: str) -> None:
    call = Harness.connected(setup=setup)
    call.run(1)
    call.client.close(now=call.now)
    call.run(0.1)
    assert call.ended.cause is EndCause.CLIENT_CLOSED
    sent = len(call.sent)
    call.run(60)
    assert len(call.sent) == sent, "a closed call is silent"
    assert call.core.poll_timeout() is None


@pytest.mark.parametrize("setup", SETUPS)
def test_a_client_that_hangs_up_in_its_handshake_has_closed(setup: str) -> None:
    call = Harness.make(setup=setup)
    call.run(5, until=lambda: call.core.state is State.HANDSHAKING)
    call.client.close(now=call.now)
    call.run(0.1)
    assert call.ended.cause is EndCause.CLIENT_CLOSED


@pytest.mark.parametrize("setup", SETUPS)
def test_closing_says_goodbye_to_the_client(setup: str) -> None:
    call = Harness.connected(setup=setup)
    call.run(1)
    call.core.close(now=call.now)
    call.run(0.1)
    assert call.client.state is ClientState.CLOSED
    kinds = [classify(transmit.data) for _, transmit in call.sent[-2:]]
    assert kinds == [PacketKind.RTCP, PacketKind.DTLS]
    call.core.close(now=call.now)
    call.run(1)
    assert [classify(transmit.data) for _, transmit in call.sent[-2:]] == kinds, "once is enough"
    assert not call.events[2:], "who closes knows it"


@pytest.mark.parametrize("is_ours", [True, False])
def test_whoever_hangs_up_aborts_the_data_channels_and_nothing_counts_as_dropped(is_ours: bool) -> None:
    call = Harness.make(codec="PCMU", client_options={"has_data": True})
    call.connect()
    call.run(1)
    assert any(isinstance(event, ChannelOpened) for event in call.events)
    if is_ours:
        call.core.close(now=call.now)
        call.drain()
    else:
        call.client.close(now=call.now)
    call.run(1)
    assert call.core.state is State.CLOSED
    assert any(isinstance(event, ChannelClosed) for event in call.events)
    assert call.drops == {}


def test_after_the_end_nothing_has_any_effect() -> None:
    call = Harness.connected()
    call.core.close(now=call.now)
    call.drain()
    before = call.core.statistics()
    call.check(HOME, nominates=True)
    call.core.handle_timeout(now=call.now + 1000)
    assert call.core.poll_timeout() is None
    assert call.core.statistics() == before
