import datetime
import os

import pytest

from voicegate.bench.caller import Caller, CallerState, derive_key
from voicegate.dtls import Certificate
from voicegate.errors import UsageError, WireError

CERTIFICATE = Certificate.generate(not_before=datetime.datetime.now(datetime.UTC))
ADDRESS = ("127.0.0.1", 4000)


def make_caller() -> Caller:
    return Caller(number=1, address=ADDRESS, certificate=CERTIFICATE, random=os.urandom)


def test_keys_are_derived_as_the_example_of_the_rfc_has_them() -> None:
    # RFC 3711 Appendix B.3
    key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert derive_key(key, salt, label=0, length=16).hex() == "c61e7a93744f39ee10734afe3ff7a087"
    assert derive_key(key, salt, label=2, length=14).hex() == "30cbbc08863d8c85d49db34a9ae1"


def test_the_offer_has_one_candidate_and_no_more_will_come() -> None:
    lines = make_caller().offer().splitlines()
    assert [line for line in lines if line.startswith("a=candidate")] == [
        "a=candidate:1 1 udp 2113937151 127.0.0.1 4000 typ host"
    ]
    assert lines[-1] == "a=end-of-candidates"


ANSWER = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuv
a=setup:passive
a=fingerprint:sha-256 {fingerprint}
a=candidate:1 1 udp 1 127.0.0.1 3478 typ host
"""


@pytest.mark.parametrize("lacking", ["ice-pwd", "setup", "candidate"])
def test_an_answer_that_lacks_something_is_refused(lacking: str) -> None:
    answer = ANSWER.format(fingerprint=str(CERTIFICATE.fingerprint).partition(" ")[2])
    lines = [line for line in answer.splitlines() if f"a={lacking}:" not in line]
    with pytest.raises(WireError):
        make_caller().handle_answer("\r\n".join((*lines, "")), now=0.0)


def test_it_checks_until_it_is_answered_and_takes_no_noise() -> None:
    caller = make_caller()
    caller.handle_datagram(b"\0", now=0.0)
    answer = ANSWER.format(fingerprint=str(CERTIFICATE.fingerprint).partition(" ")[2])
    caller.handle_answer(answer.replace("\n", "\r\n"), now=0.0)
    assert caller.server == ("127.0.0.1", 3478)
    assert caller.poll_transmit() is not None
    for noise in (b"", b"\0" * 20, b"\x16" * 40, b"\x80" * 40, b"\xff"):
        caller.handle_datagram(noise, now=0.01)
    assert caller.poll_transmit() is None
    deadline = caller.poll_timeout()
    assert deadline is not None
    caller.handle_timeout(now=deadline)
    assert caller.poll_transmit() is not None
    assert caller.state is CallerState.CHECKING
    with pytest.raises(UsageError):
        caller.hand_over(has_relay=True)
