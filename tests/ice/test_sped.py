"""DTLS inside checks, as Chromium does it and as nobody should."""

import json
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Final
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ice.checks import (
    answer,
    check,
    events,
    local_credentials,
    new_agent,
    path,
    transmits,
)
from voicegate.ice import (
    MAX_EMBEDDED_LENGTH,
    Credentials,
    EmbeddedDatagram,
    IceLiteAgent,
    Message,
    PathSelected,
    PathValidated,
)
from voicegate.ice.sped import MAX_CHECKSUMS, Sped, SpedState
from voicegate.ice.stun import AttributeType, MessageClass, sign
from voicegate.wire.path import address_bytes

VECTORS: Final = FilePath(__file__).parent.parent / "vectors" / "stun"
MANIFEST: Final = {
    entry["file"]: entry for entry in json.loads((VECTORS / "manifest.json").read_text()) if "file" in entry
}
HOME: Final = path(1)
DATA: Final = AttributeType.DTLS_IN_STUN_DATA
ACK: Final = AttributeType.DTLS_IN_STUN_ACK
SPEAKS: Final = ((ACK, b""),)
"""The least that a client says to show that it knows SPED."""
HELLO: Final = b"\x16\xfe\xff a ClientHello"


def sped_agent() -> IceLiteAgent:
    return new_agent(is_sped=True)


def datagram(name: str, length: int = 0) -> bytes:
    return (b"\x16\xfe\xfd " + name.encode()).ljust(length, b".")


def checksums(*datagrams: bytes) -> bytes:
    return b"".join(crc32(data).to_bytes(4, "big") for data in datagrams)


def ask(agent: IceLiteAgent, *extra: tuple[int, bytes], number: int = 1) -> Message:
    """Let the client check, and return the answer."""
    agent.handle_datagram(check(number=number, extra=extra), path=HOME, now=1.0)
    events(agent)
    return answer(agent)


def embedded(agent: IceLiteAgent, *extra: tuple[int, bytes]) -> bytes | None:
    return ask(agent, *(extra or SPEAKS)).get(DATA)


def rounds(agent: IceLiteAgent, count: int) -> list[bytes | None]:
    return [embedded(agent) for _ in range(count)]


# What Chromium sends


def agent_of(capture: str) -> IceLiteAgent:
    entry = MANIFEST[capture]
    return IceLiteAgent(
        local=Credentials(ufrag=entry["our_ice_ufrag"], pwd=entry["our_ice_pwd"]),
        remote_ufrag=entry["browser_ice_ufrag"],
        remote_pwd=entry["browser_ice_pwd"],
        now=0.0,
        is_sped=True,
    )


@pytest.mark.parametrize(
    "call",
    [
        "passive-warp-x25519-nopqc-rtt200",
        "passive-warp-mlkem-rtt200",
        "active-sped-snap-x25519-rtt200",
    ],
)
def test_the_answer_to_chromium_is_laid_out_like_the_one_it_accepted(call: str) -> None:
    stem = f"chromium-156.0.8078.79-{call}-stun"
    accepted = Message.decode((VECTORS / f"{stem}-resp-sped.bin").read_bytes())
    requests = [file.read_bytes() for file in sorted(VECTORS.glob(f"{stem}-req?.bin"))]
    agent = agent_of(f"{stem}-req1.bin")
    mapped = accepted.xor_mapped_address
    assert mapped is not None
    source = HOME._replace(host=mapped[0], port=mapped[1])
    flight = accepted.get(DATA)
    assert flight is not None
    for request in requests:
        transmits(agent)
        agent.handle_datagram(request, path=source, now=1.0)
        embedded = Message.decode(request).get(DATA)
        assert events(agent)[2 * (request is requests[0]) :] == (
            [EmbeddedDatagram(path=source, data=embedded)] if embedded is not None else []
        )
    assert agent.is_sped_active
    agent.embed([flight])
    response = answer(agent)
    assert response.attributes[:3] == accepted.attributes[:3]
    assert [type_ for type_, _ in response.attributes] == [type_ for type_, _ in accepted.attributes]
    assert len(response.received) == len(accepted.received)
    assert response.has_valid_integrity(MANIFEST[f"{stem}-req1.bin"]["our_ice_pwd"].encode())
    assert response.has_valid_fingerprint


def test_both_pieces_of_a_long_client_hello_are_acknowledged_in_the_order_they_came() -> None:
    agent = agent_of("chromium-156.0.8078.79-passive-warp-mlkem-rtt200-stun-req1.bin")
    for number in (1, 2):
        file = f"chromium-156.0.8078.79-passive-warp-mlkem-rtt200-stun-req{number}.bin"
        agent.handle_datagram((VECTORS / file).read_bytes(), path=HOME, now=1.0)
    for response in transmits(agent):
        # What is polled late knows all that came before.
        assert Message.decode(response.data).get(ACK) == bytes.fromhex("f4e524498b153374")


# Datagrams in checks


def test_a_datagram_in_a_check_comes_after_its_path_and_as_often_as_it_is_sent() -> None:
    agent = sped_agent()
    for _ in range(2):
        agent.handle_datagram(check(extra=[(ACK, b""), (DATA, HELLO)]), path=HOME, now=1.0)
    assert events(agent) == [
        PathValidated(path=HOME),
        PathSelected(path=HOME, previous=None),
        EmbeddedDatagram(path=HOME, data=HELLO),
        EmbeddedDatagram(path=HOME, data=HELLO),
    ]
    assert agent.statistics().embedded_in == 2
    assert Message.decode(transmits(agent)[-1].data).get(ACK) == checksums(HELLO)


def test_an_answer_is_put_together_when_it_is_polled() -> None:
    agent = sped_agent()
    agent.handle_datagram(check(extra=[(DATA, HELLO)]), path=HOME, now=1.0)
    agent.embed([datagram("ServerHello")])
    assert answer(agent).get(DATA) == datagram("ServerHello")


def test_the_answer_names_the_last_four_datagrams_however_they_came() -> None:
    agent = sped_agent()
    sent = [datagram(str(number)) for number in range(6)]
    for data in sent[:5]:
        ask(agent, (DATA, data))
    agent.note_dtls(sent[5])
    agent.note_dtls(sent[3])
    assert ask(agent, *SPEAKS).get(ACK) == checksums(*sent[2:])


@pytest.mark.parametrize("data", [b"", b"\x16", b"\x00\x01", b"\x13??", b"\x40??", b"\x80\x6f", b"\xff" * 9])
def test_what_is_no_dtls_is_neither_delivered_nor_acknowledged(data: bytes) -> None:
    agent = sped_agent()
    agent.handle_datagram(check(extra=[(DATA, data)]), path=HOME, now=1.0)
    assert not any(isinstance(event, EmbeddedDatagram) for event in events(agent))
    assert answer(agent).get(ACK) == b""
    assert agent.is_sped_active
    statistics = agent.statistics()
    assert (statistics.embedded_in, statistics.embedded_refused) == (0, 1)


def test_an_attribute_behind_the_integrity_does_not_count() -> None:
    agent = sped_agent()
    genuine = Message.decode(check())
    # Anybody on the way can add one there, and put the fingerprint right.
    appended = (*genuine.attributes[:-1], (int(DATA), HELLO), (int(ACK), b""))
    draft = Message(
        method=genuine.method,
        message_class=genuine.message_class,
        transaction_id=genuine.transaction_id,
        attributes=(*appended, (AttributeType.FINGERPRINT, bytes(4))),
    ).encode()
    fingerprint = (crc32(draft[:-8]) ^ 0x5354554E).to_bytes(4, "big")
    agent.handle_datagram(draft[:-4] + fingerprint, path=HOME, now=1.0)
    assert [type(event) for event in events(agent)] == [PathValidated, PathSelected]
    assert answer(agent).get(ACK) is None
    assert not agent.is_sped_active


@pytest.mark.parametrize(
    "refused",
    [
        {"key": "a guess"},
        {"peer_ufrag": "abcd"},
        {"controlled": True},
        {"extra": [(0x7ABC, b"?"), (DATA, HELLO), (ACK, b"")]},
    ],
    ids=lambda refused: next(iter(refused)),
)
def test_a_refused_check_brings_nothing_and_its_error_carries_nothing(refused: dict[str, object]) -> None:
    agent = sped_agent()
    agent.embed([datagram("flight")])
    arguments = {"extra": [(DATA, HELLO), (ACK, b"")], **refused}
    agent.handle_datagram(check(**arguments), path=HOME, now=1.0)  # type: ignore[arg-type] # as parametrized
    assert events(agent) == []
    assert not agent.is_sped_active
    for transmit in transmits(agent):
        response = Message.decode(transmit.data)
        assert response.message_class is MessageClass.ERROR
        assert response.get(DATA) is response.get(ACK) is None


# When SPED is used


def test_without_negotiation_the_attributes_are_passed_over() -> None:
    agent = new_agent()
    agent.handle_datagram(check(extra=[(ACK, b""), (DATA, HELLO)]), path=HOME, now=1.0)
    assert [type(event) for event in events(agent)] == [PathValidated, PathSelected]
    agent.embed([datagram("flight")])
    agent.note_dtls(HELLO)
    response = answer(agent)
    assert response.get(ACK) is response.get(DATA) is None
    assert not agent.is_sped_active
    agent.end_sped()
    assert agent.statistics().embedded_in == 0


def test_a_client_that_does_not_begin_with_sped_never_gets_any() -> None:
    agent = sped_agent()
    agent.embed([datagram("flight")])
    assert ask(agent).get(ACK) is None
    response = ask(agent, (ACK, b""), (DATA, HELLO))
    assert response.get(ACK) is response.get(DATA) is None
    agent.end_sped()
    assert not agent.is_sped_active
    assert ask(agent, *SPEAKS).get(ACK) is None


def test_only_a_check_with_sped_is_answered_with_sped() -> None:
    agent = sped_agent()
    agent.embed([datagram("flight")])
    assert embedded(agent) == datagram("flight")
    plain = ask(agent)
    assert plain.get(ACK) is plain.get(DATA) is None
    assert agent.is_sped_active
    assert ask(agent, (DATA, HELLO)).get(DATA) == datagram("flight")


def test_once_ended_only_acknowledgements_are_sent() -> None:
    agent = sped_agent()
    agent.embed([datagram("flight")])
    ask(agent, *SPEAKS)
    agent.end_sped()
    assert not agent.is_sped_active
    agent.embed([datagram("another")])
    agent.note_dtls(datagram("application data"))
    response = ask(agent, (DATA, HELLO))
    assert response.get(ACK) == checksums(HELLO), "the client may have missed it, and asks"
    assert response.get(DATA) is None


# Our flight


def test_the_flight_goes_round_until_it_is_acknowledged() -> None:
    agent = sped_agent()
    one, two, three = flight = [datagram(name) for name in ("one", "two", "three")]
    agent.embed(flight)
    assert rounds(agent, 4) == [one, two, three, one]
    agent.embed(list(flight))
    assert rounds(agent, 1) == [two], "said again, it does not begin again"
    assert embedded(agent, (ACK, checksums(three, b"what we never sent"))) == one
    assert rounds(agent, 3) == [two, one, two]
    assert embedded(agent, (ACK, checksums(one, two))) is None
    agent.embed(flight)
    assert rounds(agent, 1) == [None]
    assert agent.statistics().embedded_out == 9


def test_a_new_flight_replaces_the_old_one_but_for_what_the_client_has() -> None:
    agent = sped_agent()
    agent.embed([datagram("one"), datagram("two")])
    embedded(agent, (ACK, checksums(datagram("two"))))
    agent.embed([datagram("two"), datagram("three")])
    assert rounds(agent, 2) == [datagram("three")] * 2
    agent.embed(())
    assert rounds(agent, 1) == [None]
    agent.embed([datagram("two")])
    assert rounds(agent, 1) == [datagram("two")], "nothing is known of a flight that was answered"


@pytest.mark.parametrize("length", [1, 2, 3, 5, 18])
def test_an_acknowledgement_of_odd_length_acknowledges_nothing(length: int) -> None:
    agent = sped_agent()
    agent.embed([datagram("one")])
    assert embedded(agent, (ACK, (checksums(datagram("one")) * 5)[:length])) == datagram("one")


def test_what_is_too_long_or_no_dtls_is_left_to_ordinary_datagrams() -> None:
    agent = sped_agent()
    fitting = datagram("fits", MAX_EMBEDDED_LENGTH)
    agent.embed([datagram("too long", MAX_EMBEDDED_LENGTH + 1), b"", b"\x80\x6f not DTLS", fitting])
    assert rounds(agent, 2) == [fitting] * 2


def test_the_longest_answer_has_twelve_hundred_bytes() -> None:
    agent = sped_agent()
    home = HOME._replace(host=address_bytes("2001:db8::7"))
    for number in range(MAX_CHECKSUMS + 1):
        agent.handle_datagram(check(extra=[(DATA, datagram(str(number)))]), path=home, now=1.0)
    events(agent)
    transmits(agent)
    agent.embed([datagram("flight", MAX_EMBEDDED_LENGTH)])
    agent.handle_datagram(check(extra=SPEAKS), path=home, now=1.0)
    response = answer(agent)
    assert len(response.received) == 1200
    assert response.get(DATA) == datagram("flight", MAX_EMBEDDED_LENGTH)
    assert response.has_valid_integrity(local_credentials().pwd.encode())


# Laws

_SPED_VALUES: Final = st.binary(max_size=30) | st.sampled_from([datagram(str(number)) for number in range(6)])
_ACKS: Final = st.binary(max_size=20) | st.lists(st.integers(0, 5), max_size=5).map(
    lambda numbers: checksums(*(datagram(str(number)) for number in numbers))
)
_CHECKS: Final = st.tuples(st.none() | _SPED_VALUES, st.none() | _ACKS)
_FLIGHTS: Final = st.lists(_SPED_VALUES, max_size=4)


@given(st.lists(_CHECKS | _FLIGHTS | st.just("end"), max_size=20))
def test_whatever_comes_an_answer_keeps_to_the_draft(
    script: Sequence[tuple[bytes | None, bytes | None] | list[bytes] | str],
) -> None:
    sped, flight, got, acknowledged = Sped(), list[bytes](), list[bytes](), set[bytes]()
    state = sped.state
    for step in script:
        if isinstance(step, list):
            sped.embed(step)
            flight = step if sped.state is not SpedState.COMPLETE else flight
            acknowledged &= set(flight)
        elif isinstance(step, str):
            sped.end()
            flight = []
        else:
            data, ack = step
            extra = [(int(type_), value) for type_, value in ((DATA, data), (ACK, ack)) if value is not None]
            request = Message.decode(check(extra=extra))
            delivered = sped.handle_message(request)
            if delivered is not None:
                assert delivered == data
                got.append(delivered)
            if ack is not None and len(ack) % 4 == 0 and sped.state is not SpedState.OFF:
                acknowledged |= {sent for sent in flight if crc32(sent).to_bytes(4, "big") in _words(ack)}
            attributes = sped.answer(request)
            assert not set(sped.pending) & acknowledged
            assert [type_ for type_, _ in attributes] in ([], [ACK], [ACK, DATA])
            assert bool(attributes) == (bool(extra) and sped.state is not SpedState.OFF)
            for type_, value in attributes:
                if type_ == ACK:
                    assert len(value) <= 4 * MAX_CHECKSUMS
                    assert set(_words(value)) <= set(_words(checksums(*got)))
                else:
                    assert value in flight
                    assert value not in acknowledged
        states = list(SpedState)
        assert states.index(sped.state) >= states.index(state), "it never goes back"
        state = sped.state


def _words(value: bytes) -> list[bytes]:
    return [value[start : start + 4] for start in range(0, len(value), 4)]


@given(flight=st.lists(st.integers(0, 9).map(lambda number: datagram(str(number))), min_size=1, unique=True))
def test_every_datagram_has_its_turn(flight: list[bytes]) -> None:
    agent = sped_agent()
    agent.embed(flight)
    assert rounds(agent, 2 * len(flight)) == flight * 2


@given(st.binary(max_size=40), st.sampled_from([DATA, ACK]))
def test_any_value_of_an_attribute_is_survived(value: bytes, type_: int) -> None:
    agent = sped_agent()
    agent.embed([datagram("flight")])
    assert ask(agent, (type_, value)).get(DATA) == datagram("flight")


def test_answers_come_in_the_order_of_their_checks_errors_included() -> None:
    agent = sped_agent()
    agent.handle_datagram(check(number=1, extra=SPEAKS), path=HOME, now=1.0)
    agent.handle_datagram(check(number=2, controlled=True), path=path(2), now=1.0)
    agent.handle_datagram(check(number=3), path=path(3), now=1.0)
    answered = [(Message.decode(sent.data).transaction_id[-1], sent.path) for sent in transmits(agent)]
    assert answered == [(1, HOME), (2, path(2)), (3, path(3))]


def test_a_check_signed_by_nobody_brings_no_datagram() -> None:
    agent = sped_agent()
    request = Message.decode(check(extra=[(DATA, HELLO)]))
    forged = Message(
        method=request.method,
        message_class=request.message_class,
        transaction_id=request.transaction_id,
        attributes=request.attributes[:-2],
    )
    agent.handle_datagram(sign(forged, key=b"a guess"), path=HOME, now=1.0)
    assert events(agent) == []
