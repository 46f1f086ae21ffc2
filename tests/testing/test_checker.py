import pytest

from tests.transceiver.harness import seeded
from voicegate.ice import Credentials, Message
from voicegate.ice.sped import Sped, SpedState
from voicegate.ice.stun import AttributeType, binding_success
from voicegate.testing.checker import CHECK_INTERVAL, Checker
from voicegate.wire.path import address_bytes

LOCAL = Credentials(ufrag="abcd", pwd="x" * 22)
REMOTE = Credentials(ufrag="efgh", pwd="y" * 22)
FLIGHT = b"\x16\xfe\xfd a flight"


def new_checker(*, sped: Sped | None = None) -> Checker:
    return Checker(local=LOCAL, random=seeded(1), keepalive_interval=2.5, sped=sped)


def checks(checker: Checker) -> list[Message]:
    return [Message.decode(data) for data in iter(checker.poll_transmit, None)]


def answer_to(check: Message, *, key: str = REMOTE.pwd, extra: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    host = address_bytes("192.0.2.1")
    return binding_success(check, host=host, port=5000, key=key.encode(), extra=extra)


def test_it_checks_until_there_is_an_answer_then_nominates_and_keeps_alive() -> None:
    checker = new_checker()
    checker.handle_timeout(now=1.0)
    assert checker.poll_timeout() is None
    checker.start(REMOTE, now=1.0)
    for number in range(3):
        assert checker.poll_timeout() == pytest.approx(1.0 + number * CHECK_INTERVAL)
        checker.handle_timeout(now=1.0 + number * CHECK_INTERVAL)
    made = checks(checker)
    assert len({check.transaction_id for check in made}) == 3
    assert all(check.has_valid_integrity(REMOTE.pwd.encode()) for check in made)
    assert {check.username for check in made} == {"efgh:abcd"}
    assert not any(check.has_use_candidate for check in made)
    for _ in range(2):
        checker.handle_datagram(answer_to(made[0]), now=1.2)
    assert checker.is_reached
    assert checker.round_trip == pytest.approx(0.2)
    assert [check.has_use_candidate for check in checks(checker)] == [True]
    assert checker.poll_timeout() == pytest.approx(1.2 + 2.5)
    checker.stop()
    assert checker.poll_timeout() is None


def test_what_is_no_authentic_answer_is_passed_over() -> None:
    checker = new_checker()
    assert checker.handle_datagram(b"\x00\x01", now=0.0) is None
    checker.start(REMOTE, now=0.0)
    checker.handle_timeout(now=0.0)
    (check,) = checks(checker)
    for data in (b"\x00\x01", check.received, answer_to(check, key="a guess")):
        assert checker.handle_datagram(data, now=0.1) is None
    assert not checker.is_reached


def test_with_sped_checks_carry_the_flight_and_answers_bring_the_servers() -> None:
    sped = Sped()
    sped.embed([FLIGHT])
    checker = new_checker(sped=sped)
    checker.start(REMOTE, now=0.0)
    checker.handle_timeout(now=0.0)
    (check,) = checks(checker)
    assert check.get(AttributeType.DTLS_IN_STUN_DATA) == FLIGHT
    extra = ((int(AttributeType.DTLS_IN_STUN_DATA), FLIGHT),)
    assert checker.handle_datagram(answer_to(check, extra=extra), now=0.1) == FLIGHT
    (nomination,) = checks(checker)
    assert nomination.get(AttributeType.DTLS_IN_STUN_ACK) is not None
    sped.end()
    checker.handle_timeout(now=5.0)
    (keepalive,) = checks(checker)
    assert keepalive.get(AttributeType.DTLS_IN_STUN_ACK) is None


def test_after_an_answer_without_sped_no_check_has_any() -> None:
    sped = Sped()
    checker = new_checker(sped=sped)
    checker.start(REMOTE, now=0.0)
    checker.handle_timeout(now=0.0)
    (check,) = checks(checker)
    assert checker.handle_datagram(answer_to(check), now=0.1) is None
    assert sped.state is SpedState.OFF
    (nomination,) = checks(checker)
    assert nomination.get(AttributeType.DTLS_IN_STUN_ACK) is None
