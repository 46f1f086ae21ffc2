"""Checks go on for as long as a call does (RFC 7675); Firefox nominates once and never again."""

import pytest

from tests.transceiver.harness import Harness
from voicegate.ice import Message
from voicegate.ice.stun import MessageClass
from voicegate.testing.client import ClientState
from voicegate.transceiver.event import State
from voicegate.wire import PacketKind, classify


@pytest.mark.slow
def test_checks_without_nomination_keep_a_call_for_longer_than_any_timer() -> None:
    call = Harness.make(codec="PCMU", keepalive_interval=5.0)
    call.connect()
    connected_at = call.now
    call.run(70)
    assert call.core.state is State.CONNECTED
    assert call.client.state is ClientState.CONNECTED
    checks = [Message.decode(data) for data in call.captured if classify(data) is PacketKind.STUN]
    assert sum(check.has_use_candidate for check in checks) == 1
    answers = [
        Message.decode(transmit.data)
        for at, transmit in call.sent
        if at > connected_at and classify(transmit.data) is PacketKind.STUN
    ]
    assert len(answers) >= 13
    assert {answer.message_class for answer in answers} == {MessageClass.SUCCESS}
    assert call.drops == {}
