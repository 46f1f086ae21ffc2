import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transceiver.harness import CLIENT_CERTIFICATE, Harness, seeded
from voicegate.config import SetUp
from voicegate.dtls import Group
from voicegate.errors import UsageError
from voicegate.ice import Message
from voicegate.ice.stun import AttributeType, MessageClass
from voicegate.testing.client import ClientCore, ClientState
from voicegate.wire import PacketKind, classify


def new_client() -> ClientCore:
    return ClientCore(random=seeded(1), certificate=CLIENT_CERTIFICATE)


def test_a_client_without_an_answer_does_nothing() -> None:
    client = new_client()
    client.handle_datagram(b"\x00\x01" + bytes(18), now=0.0)
    client.handle_timeout(now=10.0)
    assert client.poll_timeout() is None
    assert client.poll_transmit() is None
    with pytest.raises(UsageError, match="no answer"):
        client.say(bytes(2))
    client.close(now=10.0)
    assert client.state is ClientState.CLOSED
    assert client.poll_transmit() is None


def test_a_client_is_silent_after_it_hung_up() -> None:
    call = Harness.connected()
    call.client.close(now=call.now)
    while call.client.poll_transmit() is not None:
        pass
    call.client.close(now=call.now)
    call.client.handle_datagram(call.sent[-1][1].data, now=call.now)
    assert call.client.poll_timeout() is None
    assert call.client.poll_transmit() is None


@pytest.mark.slow
@given(datagrams=st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_from_the_server_are_survived(datagrams: list[bytes]) -> None:
    call = Harness.make()
    for data in (*datagrams, *(bytes([first]) + data for first in (0, 22, 128) for data in datagrams)):
        call.client.handle_datagram(data, now=call.now)
    assert call.client.state is ClientState.CHECKING
    call.connect()


def test_only_an_authentic_success_is_an_answer() -> None:
    call = Harness.make()
    forged = call.make_check(nominates=False)
    call.client.handle_datagram(forged, now=call.now)
    call.client.handle_datagram(b"\x01\x01" + forged[2:], now=call.now)
    assert call.client.state is ClientState.CHECKING


# Data


def say(call: Harness, text: str) -> None:
    channels = call.client.channels
    assert channels is not None
    channels.send(next(iter(channels.channels)), text, now=call.now)
    call.client.handle_timeout(now=call.now)


@pytest.mark.parametrize("negotiated_id", [None, 5])
@pytest.mark.parametrize("has_snap", [False, True])
@pytest.mark.parametrize("setup", ["actpass", "passive"])
def test_messages_go_both_ways(setup: str, has_snap: bool, negotiated_id: int | None) -> None:
    options = {"has_data": True, "has_snap": has_snap, "negotiated_id": negotiated_id}
    call = Harness.make(codec="PCMU", setup=setup, client_options=options)
    call.connect()
    say(call, "a question")
    call.run(0.5)
    message = call.take_message()
    assert message is not None
    assert message.data == "a question"
    assert message.channel_id == (5 if negotiated_id else 1 if setup == "passive" else 0)
    assert call.client.is_data_ready
    call.send_message(message.channel_id, "an answer")
    call.run(0.5)
    assert [received.data for received in call.client.received] == ["an answer"]


def test_a_client_without_data_channels_has_none() -> None:
    call = Harness.connected()
    assert call.client.channels is None
    assert call.core.channels is None


# DTLS inside checks


def checks(call: Harness) -> list[Message]:
    return [Message.decode(data) for data in call.captured if classify(data) is PacketKind.STUN]


def warp(*, setup: str = "actpass", **parameters: object) -> Harness:
    return Harness.make(
        codec="PCMU",
        setup=setup,
        client_options={"has_sped": True},
        delay=0.1,
        **parameters,  # type: ignore[arg-type] # as the tests say
    )


def test_the_first_checks_carry_the_client_hello_piece_by_piece() -> None:
    call = warp()
    call.run(0.19)
    assert all(classify(data) is PacketKind.STUN for data in call.captured)
    pieces = [check.get(AttributeType.DTLS_IN_STUN_DATA) for check in checks(call)]
    assert len(pieces) == 4
    assert None not in pieces
    count = len(set(pieces))
    assert pieces == (pieces[:count] * 4)[:4]
    call.connect()


def test_what_was_not_acknowledged_follows_the_first_answer_directly() -> None:
    call = warp()

    def lose_checks(data: bytes) -> bytes | None:
        """All checks but the first are lost, and with them what they carried."""
        return None if classify(data) is PacketKind.STUN and len(call.captured) > 1 else data

    call.tamper = lose_checks
    call.connect()
    assert call.now < 100.51, "an answer, the rest of the ClientHello, two flights: five times one way"


def test_a_client_that_is_the_dtls_server_has_nothing_to_embed_at_first() -> None:
    call = warp(setup="passive")
    call.run(0.01)
    (first,) = checks(call)
    assert first.get(AttributeType.DTLS_IN_STUN_ACK) == b""
    assert first.get(AttributeType.DTLS_IN_STUN_DATA) is None
    call.connect()


@pytest.mark.parametrize("setup", ["actpass", "passive"])
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_every_version_and_role_goes_with_sped(setup: str, version: str) -> None:
    call = warp(setup=setup, set_up=SetUp(dtls=(version,)))
    call.connect()
    call.run(6.0)
    assert checks(call)[-1].get(AttributeType.DTLS_IN_STUN_ACK) is None, "it is over"


def test_what_is_said_before_any_answer_to_a_check_follows_once_there_is_one() -> None:
    options = {"has_data": True, "has_snap": True, "has_sped": True, "dtls_groups": (Group.X25519,)}
    call = Harness.make(codec="PCMU", client_options=options, delay=0.1)
    say(call, "a question")
    lost: list[bytes] = []

    def lose_first(data: bytes) -> bytes | None:
        lost.append(data)
        return None if len(lost) == 1 else data

    call.tamper_down = lose_first
    call.run(0.24)
    assert call.client.state is ClientState.CONNECTED
    assert all(classify(data) is not PacketKind.DTLS for data in call.captured)
    call.run(0.12)
    message = call.take_message()
    assert message is not None
    assert message.data == "a question"


def test_a_lost_client_hello_is_repeated_two_round_trips_later() -> None:
    call = Harness.make(codec="PCMU", delay=0.1)
    call.tamper = lambda data: None if classify(data) is PacketKind.DTLS and call.now < 100.59 else data
    call.connect()
    assert call.now == pytest.approx(100.0 + 0.2 + 0.4 + 0.3)


def test_a_server_without_sped_is_reached_in_spite_of_it() -> None:
    call = warp(set_up=SetUp(sped="off"))
    call.connect()
    assert checks(call)[0].get(AttributeType.DTLS_IN_STUN_DATA) is not None
    assert call.now - 100.0 > 0.6 + 0.2, "it is punished as Chromium punishes"


def test_sped_survives_the_loss_of_all_that_is_no_stun_for_a_while() -> None:
    call = warp()
    answers: list[Message] = []

    def only_stun(data: bytes) -> bytes | None:
        if classify(data) is PacketKind.STUN:
            answers.append(Message.decode(data))
        return data if classify(data) is PacketKind.STUN or call.now > 100.25 else None

    call.tamper_down = only_stun
    call.connect()
    assert any(answer.get(AttributeType.DTLS_IN_STUN_DATA) for answer in answers)
    assert all(answer.message_class is MessageClass.SUCCESS for answer in answers)


# Early media


def test_media_that_overtakes_the_handshake_is_heard() -> None:
    call = Harness.make(codec="PCMU", delay=0.1)
    lost: list[bytes] = []

    def lose_flight(data: bytes) -> bytes | None:
        if classify(data) is PacketKind.DTLS and not lost:
            lost.append(data)
            return None
        return data

    call.tamper_down = lose_flight
    call.connect()
    call.run(0.5)
    media = call.client.media
    assert lost
    assert media is not None
    assert media.drops["before_keys"] == 0
    assert media.packets_in > 25
    assert media.uplink.statistics().concealed_ms == 0
