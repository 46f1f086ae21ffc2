import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sdp.offers import OFFERS
from voicegate.errors import WireError
from voicegate.sdp import Candidate, SessionDescription
from voicegate.sdp.attribute import (
    ExtensionMap,
    Fingerprint,
    FormatParameters,
    Group,
    MediaStreamId,
    RtcpFeedback,
    RtpMap,
    SctpInit,
    SctpMap,
    SourceAttribute,
)

_TOKENS = st.text("!#$%&'*+-.09AZ^_`az{|}~", min_size=1, max_size=8)
_WORDS = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=" "), min_size=1, max_size=8
)
_TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=12)
_PARAMETER_NAMES = st.text("abc019/-", min_size=1, max_size=8)
_PARAMETER_TEXTS = st.text("abcABC019/-=", max_size=8)
_EXTENSION_NAMES = _WORDS.filter(lambda name: name not in {"raddr", "rport", "tcptype", "ufrag"})

Value = (
    Candidate
    | RtpMap
    | FormatParameters
    | ExtensionMap
    | Fingerprint
    | Group
    | MediaStreamId
    | SourceAttribute
    | RtcpFeedback
    | SctpInit
    | SctpMap
)

_MESSAGES: dict[type[Value], st.SearchStrategy[Value]] = {
    Candidate: st.builds(
        Candidate,
        foundation=_WORDS,
        component=st.integers(0, 256),
        transport=st.sampled_from(["udp", "tcp"]),
        priority=st.integers(0, 2**31 - 1),
        address=_WORDS,
        port=st.integers(0, 65535),
        type=_WORDS,
        related_address=st.none() | _WORDS,
        related_port=st.none() | st.integers(0, 65535),
        tcp_type=st.none() | _WORDS,
        extensions=st.lists(st.tuples(_EXTENSION_NAMES, _WORDS), max_size=4).map(tuple),
    ),
    RtpMap: st.builds(
        RtpMap,
        payload_type=st.integers(0, 127),
        encoding=_TOKENS,
        clock_rate=st.integers(0, 2**32 - 1),
        channels=st.integers(0, 255),
    ),
    FormatParameters: st.builds(
        FormatParameters,
        format=_TOKENS,
        parameters=st.lists(
            st.tuples(_PARAMETER_NAMES, st.none() | _PARAMETER_TEXTS), min_size=1, max_size=4
        ).map(tuple),
    ),
    ExtensionMap: st.builds(
        ExtensionMap,
        id=st.integers(0, 4351),
        uri=_WORDS,
        direction=st.sampled_from([None, "sendonly", "recvonly", "sendrecv", "inactive"]),
        parameters=st.none() | _TEXTS.filter(bool),
    ),
    Fingerprint: st.builds(
        Fingerprint, algorithm=_TOKENS.map(str.lower), digest=st.binary(min_size=1, max_size=64)
    ),
    Group: st.builds(Group, semantics=_TOKENS, mids=st.lists(_TOKENS, max_size=4).map(tuple)),
    MediaStreamId: st.builds(MediaStreamId, stream_id=_TOKENS, track_id=st.none() | _TOKENS),
    SourceAttribute: st.builds(
        SourceAttribute, ssrc=st.integers(0, 2**32 - 1), name=_TOKENS, value=st.none() | _TEXTS
    ),
    RtcpFeedback: st.builds(
        RtcpFeedback,
        payload_type=st.none() | st.integers(0, 127),
        feedback=st.builds(str.__add__, _WORDS, _TEXTS),
    ),
    SctpInit: st.builds(SctpInit, chunk=st.binary(min_size=1, max_size=64)),
    SctpMap: st.builds(
        SctpMap,
        port=st.integers(0, 65535),
        application=_TOKENS,
        streams=st.none() | st.integers(0, 65535),
    ),
}
_TYPES: dict[str, type[Value]] = {
    "candidate": Candidate,
    "rtpmap": RtpMap,
    "fmtp": FormatParameters,
    "extmap": ExtensionMap,
    "fingerprint": Fingerprint,
    "group": Group,
    "msid": MediaStreamId,
    "ssrc": SourceAttribute,
    "rtcp-fb": RtcpFeedback,
    "sctp-init": SctpInit,
    "sctpmap": SctpMap,
}


@pytest.mark.slow
@given(st.one_of(*_MESSAGES.values()))
def test_what_is_written_is_read_back(message: Value) -> None:
    assert type(message).decode(message.encode()) == message


@pytest.mark.slow
@given(st.sampled_from(list(_TYPES.values())), st.data())
def test_only_wire_error_leaves_decode(kind: type[Value], data: st.DataObject) -> None:
    written = data.draw(_MESSAGES[kind].map(lambda message: message.encode()))
    cut = data.draw(st.integers(0, len(written)))
    text = data.draw(
        _TEXTS | st.just(written[:cut]) | _TEXTS.map(lambda inset: written[:cut] + inset + written[cut:])
    )
    try:
        message = kind.decode(text)
    except WireError:
        return
    assert kind.decode(message.encode()).encode() == message.encode()


@pytest.mark.parametrize("name", _TYPES)
def test_what_browsers_wrote_is_written_again(name: str) -> None:
    count = 0
    for offer in OFFERS.values():
        description = SessionDescription.decode(offer)
        for section in (description, *description.media):
            for attribute in section.attributes_named(name):
                value = attribute.value or ""
                # Firefox names the single channel of G722.
                assert _TYPES[name].decode(value).encode() == value.removesuffix("/1")
                count += 1
    assert count


def test_a_passive_tcp_candidate_is_understood() -> None:
    candidate = Candidate.decode("2 1 TCP 1671430143 2001:db8::1 443 typ host tcptype passive generation 0")
    assert candidate == Candidate(
        foundation="2",
        transport="tcp",
        priority=1671430143,
        address="2001:db8::1",
        port=443,
        tcp_type="passive",
        extensions=(("generation", "0"),),
    )


def test_a_reflexive_candidate_is_understood() -> None:
    value = (
        "842163049 1 udp 1677729535 203.0.113.7 40678 typ srflx raddr 192.0.2.4 rport 40678 network-cost 999"
    )
    candidate = Candidate.decode(value)
    assert (candidate.related_address, candidate.related_port) == ("192.0.2.4", 40678)
    assert candidate.extensions == (("network-cost", "999"),)
    assert candidate.encode() == value


def test_the_ufrag_extension_is_never_written() -> None:
    candidate = Candidate.decode("1 1 udp 1 192.0.2.1 9 typ host ufrag ab/cd generation 0")
    assert candidate.extensions == (("ufrag", "ab/cd"), ("generation", "0"))
    assert candidate.encode() == "1 1 udp 1 192.0.2.1 9 typ host generation 0"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "1 1 udp 1 192.0.2.1 9 typ",
        "1 1 udp 1 192.0.2.1 9 typ host generation",
        "1 1 udp 1 192.0.2.1 9 tip host",
        " 1 udp 1 192.0.2.1 9 typ host",
        "1 257 udp 1 192.0.2.1 9 typ host",
        "1 1 udp 2147483648 192.0.2.1 9 typ host",
        "1 1 udp 1 192.0.2.1 65536 typ host",
        "1 1 udp 1 192.0.2.1 9 typ host raddr 0.0.0.0 rport x",
    ],
)
def test_broken_candidates_are_refused(value: str) -> None:
    with pytest.raises(WireError):
        Candidate.decode(value)


def test_format_parameters_are_read_with_the_spaces_that_clients_put() -> None:
    described = FormatParameters.decode("111 MinPTime=10; useinbandfec=1 ;;x")
    assert described.parameters == (("minptime", "10"), ("useinbandfec", "1"), ("x", None))


def test_fingerprints_are_written_in_upper_case() -> None:
    assert Fingerprint.decode("SHA-256 ab:0c").encode() == "sha-256 AB:0C"


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (RtpMap, "128 opus/48000"),
        (RtpMap, "111 opus"),
        (RtpMap, "111 opus/48000/256"),
        (FormatParameters, "111"),
        (FormatParameters, "111 ;"),
        (ExtensionMap, "1/sideways urn:x"),
        (ExtensionMap, "5000 urn:x"),
        (ExtensionMap, "1"),
        (Fingerprint, "sha-256 ABC"),
        (Fingerprint, "sha-256"),
        (Group, ""),
        (Group, "BUNDLE  0"),
        (MediaStreamId, "a b c"),
        (MediaStreamId, "a "),
        (SourceAttribute, "1"),
        (SourceAttribute, "4294967296 cname:x"),
        (RtcpFeedback, "111"),
        (RtcpFeedback, "128 nack"),
        (SctpInit, ""),
        (SctpInit, "AQ"),
        (SctpInit, "AR=="),
        (SctpInit, "AQ==\n"),
        (SctpInit, "²"),
        (SctpMap, "5000"),
        (SctpMap, "65536 webrtc-datachannel"),
        (SctpMap, "5000 webrtc-datachannel 65536"),
        (SctpMap, "5000 webrtc-datachannel "),
    ],
)
def test_broken_values_are_refused(kind: type[Value], value: str) -> None:
    with pytest.raises(WireError):
        kind.decode(value)
