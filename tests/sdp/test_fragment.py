import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.sdp import Candidate, IceCredentials, IceFragment

CREDENTIALS = IceCredentials("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
CANDIDATE = Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.1", port=61764)

# The example of RFC 9725 §4.3.2.
EXAMPLE = "".join(
    f"{line}\r\n"
    for line in (
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        (
            "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw "
            "network-id 1"
        ),
        "a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0",
        "a=end-of-candidates",
    )
)


def test_the_fragment_of_a_trickling_client_is_read_and_written_back() -> None:
    fragment = IceFragment.decode(EXAMPLE)
    assert fragment.credentials == CREDENTIALS
    assert [each.address for each in fragment.candidates] == ["192.0.2.1"] * 2
    assert [each.tcp_type for each in fragment.candidates] == [None, "active"]
    assert fragment.encode() == EXAMPLE


def test_credentials_stand_at_either_level_or_not_at_all() -> None:
    bare = IceFragment.decode("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n")
    assert (bare.credentials, bare.candidates) == (CREDENTIALS, ())
    assert IceFragment.decode("m=audio 9 RTP/AVP 0\na=mid:0\na=end-of-candidates").credentials is None
    both = EXAMPLE.replace("a=group", "a=ice-ufrag:EsAw\r\na=group")
    assert IceFragment.decode(both).credentials == CREDENTIALS


def test_what_is_unknown_is_kept() -> None:
    text = "a=ice-pacing:50\r\na=something\r\nm=video 9 RTP/AVP 0\r\na=mid:1\r\na=new:thing\r\n"
    assert IceFragment.decode(text).encode() == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "line 1: a small letter"),
        ("v=0\r\n", "line 1: only m= and a="),
        ("a=ice-lite\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\nc=IN IP4 0.0.0.0\r\n", "line 4: only m= and a="),
        ("m=audio 9 RTP/AVP 0\r\na=end-of-candidates\r\n", "line 1: a=mid is missing"),
        ("a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n", "line 1: a candidate belongs to"),
        ("a=end-of-candidates\r\n", "line 1: a candidate belongs to"),
        ("m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9\r\n", "line 3: <foundation>"),
        ("m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate\r\n", "line 3: <foundation>"),
        ("a=ice-ufrag:EsAw\r\n", "line 1: a=ice-pwd is missing"),
        ("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", "line 1: a=ice-ufrag is missing"),
        ("a=ice-ufrag:abc\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", "line 1: does not match"),
        ("a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n", "line 2: does not match"),
        ("a=ice-ufrag\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n", "line 1: does not match"),
        (EXAMPLE + "m=video 9 RTP/AVP 0\r\na=mid:1\r\na=ice-ufrag:Other\r\n", "line 11: another a=ice-ufrag"),
    ],
)
def test_what_breaks_the_grammar_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(WireError) as refused:
        IceFragment.decode(text)
    assert str(refused.value).startswith(complaint)


def test_an_answer_repeats_the_section_that_it_was_asked_in() -> None:
    answer = IceFragment.of(CREDENTIALS, [CANDIDATE], like=IceFragment.decode(EXAMPLE))
    assert answer.encode().split("\r\n") == [
        "a=ice-lite",
        "a=ice-ufrag:EsAw",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "a=candidate:1 1 udp 1 192.0.2.1 61764 typ host",
        "a=end-of-candidates",
        "",
    ]
    assert IceFragment.decode(answer.encode()) == answer


def test_an_answer_to_bare_credentials_is_as_bare() -> None:
    bare = IceFragment.decode("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n")
    answer = IceFragment.of(CREDENTIALS, [CANDIDATE], like=bare)
    assert answer.encode() == "a=ice-lite\r\n" + bare.encode()
    assert IceFragment.decode(answer.encode()) == answer


@given(st.lists(st.sampled_from([*EXAMPLE.split("\r\n"), "m=", "a=candidate:x", "v=0", "a=mid"])))
def test_what_is_read_is_written_and_read_the_same(lines: list[str]) -> None:
    try:
        fragment = IceFragment.decode("\r\n".join(lines))
    except WireError:
        return
    assert IceFragment.decode(fragment.encode()) == fragment
