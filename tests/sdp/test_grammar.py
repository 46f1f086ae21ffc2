import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sdp.offers import MINIMAL, OFFERS
from voicegate.errors import WireError
from voicegate.sdp import MediaDescription, SessionDescription
from voicegate.sdp.grammar import MAX_LENGTH, MAX_LINES, MAX_MEDIA, Attribute, Line, read_number

HEAD = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"

_TOKENS = st.text("!#$%&'*+-.09AZ^_`az{|}~", min_size=1, max_size=8)
_VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
_LINES = st.one_of(
    st.builds(Line, st.sampled_from("bciktuz"), _VALUES),
    st.builds(Attribute, _TOKENS, st.none() | _VALUES),
)
_MEDIA = st.builds(
    MediaDescription,
    kind=_TOKENS,
    port=st.integers(0, 65535),
    port_count=st.none() | st.integers(0, 99999),
    protocol=st.lists(_TOKENS, min_size=1, max_size=4).map("/".join),
    formats=st.lists(_TOKENS, min_size=1, max_size=5).map(tuple),
    lines=st.lists(_LINES, max_size=5).map(tuple),
)
_HEAD_LINES = (Line("v", "0"), Line("o", "- 1 1 IN IP4 0.0.0.0"), Line("s", ""), Line("t", "0 0"))
_DESCRIPTIONS = st.builds(
    SessionDescription,
    lines=st.lists(_LINES, max_size=5).map(lambda lines: (*_HEAD_LINES, *lines)),
    media=st.lists(_MEDIA, max_size=3).map(tuple),
)


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_real_offers_are_written_as_they_were_read(offer: str) -> None:
    assert SessionDescription.decode(offer).encode() == offer


@pytest.mark.slow
@given(_DESCRIPTIONS)
def test_what_is_written_is_read_back(description: SessionDescription) -> None:
    assert SessionDescription.decode(description.encode()) == description


@given(st.text() | st.text("vostmac=:/ 0-\r\n").map(lambda tail: HEAD + tail))
def test_only_wire_error_leaves_decode(text: str) -> None:
    try:
        description = SessionDescription.decode(text)
    except WireError:
        return
    assert SessionDescription.decode(description.encode()) == description


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        MINIMAL.rstrip(),
        MINIMAL.replace("\n", "\r\n"),
        MINIMAL + "\r\n\r\n",
        MINIMAL.replace("\n", "\r\n", 3),
    ],
    ids=["LF", "no last line end", "CRLF", "several last line ends", "mixed"],
)
def test_every_line_end_that_clients_send_is_taken(text: str) -> None:
    assert SessionDescription.decode(text).encode() == MINIMAL.replace("\n", "\r\n")


def test_lines_know_their_number() -> None:
    description = SessionDescription.decode(OFFERS["chromium-156-audio-data"])
    text = OFFERS["chromium-156-audio-data"].split("\r\n")
    for section in (description, *description.media):
        for line in section.lines:
            assert line.text == text[line.number - 1]
    assert [text[media.number - 1] for media in description.media] == [
        media.text for media in description.media
    ]


def test_attributes_are_found_by_name() -> None:
    section = SessionDescription.decode(HEAD + "a=x:1\r\na=y\r\na=x:2:3\r\na=z:\r\n")
    assert section.attribute("x") == Attribute("x", "1")
    assert section.attribute("y") == Attribute("y", None)
    assert section.attribute("z") == Attribute("z", "")
    assert section.attribute("none") is None
    assert section.attributes_named("x") == (Attribute("x", "1"), Attribute("x", "2:3"))
    assert section.attributes_named("none") == ()


def test_unknown_lines_are_kept_in_their_place() -> None:
    text = HEAD + "q=what\r\na=x\r\nm=audio 9/2 RTP/AVP 0\r\na=x\r\nq=this\r\nc=IN IP4 0.0.0.0\r\n"
    description = SessionDescription.decode(text)
    assert description.encode() == text
    assert description.media[0].port_count == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: a small letter and an equals sign"),
        ("v=1\r\n", "line 2: o= expected"),
        (HEAD.replace("v=0", "v=1"), "line 1: v=0 expected"),
        (HEAD.replace("v=0\r\n", ""), "line 1: v= expected"),
        (HEAD.replace("s=-\r\n", ""), "line 3: s= expected"),
        (HEAD.replace("- 1 1 IN", "- 1 IN"), "line 2: o= with 6 fields"),
        (HEAD.replace("t=0 0\r\n", "m=audio 9 RTP/AVP 0\r\nt=0 0\r\n"), "line 4: t= expected before"),
        (HEAD + "\r\na=x", "line 5: a small letter"),
        (HEAD + "A=x", "line 5: a small letter"),
        (HEAD + "a =x", "line 5: a small letter"),
        (HEAD + "a=\0", "line 5: control character"),
        (HEAD + "a=x\r\na=y:\ud800", "line 6: control character"),
        (HEAD + "a=x\ry", "line 5: control character"),
        (HEAD + "a=:x", "line 5: not the name of an attribute"),
        (HEAD + "a=x y", "line 5: not the name of an attribute"),
        (HEAD + "m=audio 9 RTP/AVP", "line 5: m=<media>"),
        (HEAD + "m=audio 9  RTP/AVP 0", "line 5: m=<media>"),
        (HEAD + "m=audio -1 RTP/AVP 0", "line 5: m=<media>"),
        (HEAD + "m=audio ٣ RTP/AVP 0", "line 5: m=<media>"),
        (HEAD + "a=x\r\nm=audio 65536 RTP/AVP 0", "line 6: port 65536"),
    ],
)
def test_faults_are_refused_with_their_line(text: str, message: str) -> None:
    with pytest.raises(WireError) as refusal:
        SessionDescription.decode(text)
    assert str(refusal.value).startswith(message)


def test_what_is_too_long_is_refused() -> None:
    filled = HEAD + "a=x:" + "y" * (MAX_LENGTH - len(HEAD) - 6) + "\r\n"
    assert SessionDescription.decode(filled).encode() == filled
    with pytest.raises(WireError, match="65537 characters"):
        SessionDescription.decode(filled + "z")


def test_too_many_lines_are_refused() -> None:
    filled = HEAD + "a=x\r\n" * (MAX_LINES - 4)
    assert SessionDescription.decode(filled).encode() == filled
    with pytest.raises(WireError, match=f"line {MAX_LINES + 1}: "):
        SessionDescription.decode(filled + "a=x\r\n")


def test_too_many_media_are_refused() -> None:
    filled = HEAD + "m=audio 9 RTP/AVP 0\r\n" * MAX_MEDIA
    assert len(SessionDescription.decode(filled).media) == MAX_MEDIA
    with pytest.raises(WireError, match=f"line {4 + MAX_MEDIA + 1}: "):
        SessionDescription.decode(filled + "m=audio 9 RTP/AVP 0\r\n")


@pytest.mark.parametrize("text", ["", "-1", "+1", "1_0", " 1", "٣", "²", "128", "1" * 5000])
def test_only_plain_numbers_in_range_are_read(text: str) -> None:
    with pytest.raises(WireError):
        read_number(text, maximum=127)


def test_numbers_are_read_up_to_their_maximum() -> None:
    assert [read_number(text, maximum=127) for text in ("0", "007", "127")] == [0, 7, 127]
