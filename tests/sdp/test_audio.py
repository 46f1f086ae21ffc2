import pytest

from tests.sdp.offers import MINIMAL, OFFERS, edited
from voicegate.rtp import OpusFormat
from voicegate.sdp import AudioParameters, OfferError, SessionDescription

LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
TRANSPORT = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
OPUS = edited(MINIMAL, ("SAVPF 0", "SAVPF 111 63")) + "a=rtpmap:111 opus/48000/2\n"
RED = OPUS + "a=rtpmap:63 red/48000/2\n"


def negotiate(text: str, *codecs: str) -> AudioParameters:
    offer = SessionDescription.decode(text)
    section = next(media for media in offer.media if media.kind == "audio")
    return AudioParameters.negotiate(
        offer, section, codecs=codecs or ("opus", "PCMU", "PCMA"), has_rtcp_reduced_size=True
    )


def test_chromium_gets_opus() -> None:
    assert negotiate(OFFERS["chromium-156-audio-data-warp"]) == AudioParameters(
        mid="0",
        codec="opus",
        payload_type=111,
        clock_rate=48_000,
        channels=2,
        fmtp={"minptime": "10", "useinbandfec": "1"},
        direction="sendrecv",
        remote_ssrcs=(2098383537,),
        extensions=((1, LEVEL), (3, TRANSPORT), (4, MID)),
        telephone_events=((110, 48_000),),
        has_rtcp_reduced_size=True,
        packet_time_ms=None,
        max_packet_time_ms=None,
        frame_ms=20,
        red=63,
        has_nack=False,
        has_transport_cc=True,
        opus=OpusFormat(minptime=10, useinbandfec=True),
    )


def test_firefox_gets_opus_without_an_event_codec_of_its_clock() -> None:
    audio = negotiate(OFFERS["firefox-153-audio"])
    assert (audio.codec, audio.payload_type, audio.telephone_events) == (
        "opus",
        109,
        ((101, 8_000),),
    )
    assert audio.fmtp["stereo"] == "1"
    assert audio.opus == OpusFormat(stereo=True, useinbandfec=True)
    assert (audio.has_transport_cc, audio.has_nack, audio.red) == (True, False, None)
    assert audio.extensions == ((1, LEVEL), (3, MID), (7, TRANSPORT))


def test_our_order_decides_between_codecs() -> None:
    audio = negotiate(OFFERS["chromium-156-audio"], "PCMA", "opus")
    assert (audio.codec, audio.payload_type, audio.telephone_events) == (
        "PCMA",
        8,
        ((126, 8_000),),
    )


def test_static_payload_types_need_no_description() -> None:
    audio = negotiate(MINIMAL)
    assert (audio.codec, audio.payload_type, audio.clock_rate, audio.channels) == ("PCMU", 0, 8000, 1)
    assert (audio.mid, audio.fmtp, audio.remote_ssrcs, audio.extensions) == (None, {}, (), ())


def test_a_payload_type_that_looks_like_rtcp_is_passed_over() -> None:
    text = (
        edited(MINIMAL, ("SAVPF 0", "SAVPF 72 0 97")) + "a=rtpmap:72 opus/48000/2\na=rtpmap:97 OPUS/48000/2\n"
    )
    assert negotiate(text).payload_type == 97


def test_formats_that_are_no_payload_types_are_passed_over() -> None:
    assert negotiate(edited(MINIMAL, ("SAVPF 0", "SAVPF * 1000 5 0"))).payload_type == 0


@pytest.mark.parametrize(
    ("offered", "ours", "is_sending"),
    [
        ("sendrecv", "sendrecv", True),
        ("sendonly", "recvonly", False),
        ("recvonly", "sendonly", True),
        ("inactive", "inactive", False),
    ],
)
def test_the_direction_is_mirrored(offered: str, ours: str, is_sending: bool) -> None:
    at_media = negotiate(edited(MINIMAL, ("t=0 0\n", "t=0 0\na=sendrecv\n")) + f"a={offered}\n")
    at_session = negotiate(edited(MINIMAL, ("t=0 0\n", f"t=0 0\na={offered}\n")))
    for audio in (at_media, at_session):
        assert (audio.direction, audio.is_sending) == (ours, is_sending)


def test_the_direction_is_both_ways_when_nothing_is_said() -> None:
    assert negotiate(MINIMAL).direction == "sendrecv"


def test_sources_are_listed_once() -> None:
    text = MINIMAL + "a=ssrc:7 cname:x\na=ssrc:9 cname:x\na=ssrc:7 msid:- y\n"
    assert negotiate(text).remote_ssrcs == (7, 9)


def test_header_extensions_we_cannot_use_are_left_out() -> None:
    text = (
        MINIMAL
        + f"a=extmap:15 {MID}\na=extmap:2/recvonly {MID}\na=extmap:3 urn:other\n"
        + f"a=extmap:4/sendrecv {LEVEL}\na=extmap:5 {LEVEL}\na=extmap:4 {MID}\n"
    )
    assert negotiate(text).extensions == ((4, LEVEL),)


def test_header_extensions_may_stand_at_session_level() -> None:
    assert negotiate(edited(MINIMAL, ("t=0 0\n", f"t=0 0\na=extmap:1 {LEVEL}\n"))).extensions == ((1, LEVEL),)


def test_the_packet_time_is_read() -> None:
    audio = negotiate(MINIMAL + "a=ptime:60\na=maxptime:90\n")
    assert (audio.packet_time_ms, audio.max_packet_time_ms) == (60, 90)


@pytest.mark.parametrize(
    ("lines", "frame_ms"),
    [
        ("", 20),
        ("a=ptime:10\n", 10),
        ("a=ptime:30\n", 20),
        ("a=ptime:40\n", 40),
        ("a=ptime:120\n", 60),
        ("a=ptime:60\na=maxptime:40\n", 40),
        ("a=maxptime:10\n", 10),
        ("a=maxptime:60\n", 20),
        ("a=ptime:3\n", 10),
        ("a=ptime:0\na=maxptime:0\n", 20),
        ("a=fmtp:111 minptime=40\n", 40),
        ("a=fmtp:111 minptime=60\na=maxptime:20\n", 20),
        ("a=fmtp:111 minptime=10\n", 20),
    ],
)
def test_our_packets_are_as_long_as_the_client_likes_and_can_take(lines: str, frame_ms: int) -> None:
    assert negotiate(OPUS + lines).frame_ms == frame_ms


@pytest.mark.parametrize(
    ("lines", "red"),
    [
        ("a=fmtp:63 111/111\n", 63),
        ("a=fmtp:63 111/111/111\n", 63),
        ("a=fmtp:63 111\n", None),
        ("a=fmtp:63 111/0\n", None),
        ("a=fmtp:63 0/111\n", None),
        ("", None),
    ],
)
def test_redundant_audio_is_of_one_codec(lines: str, red: int | None) -> None:
    assert negotiate(RED + lines).red == red


def test_redundant_audio_of_another_clock_is_not_taken() -> None:
    assert negotiate(edited(RED, ("red/48000/2", "red/8000")) + "a=fmtp:63 111/111\n").red is None


@pytest.mark.parametrize(
    ("lines", "has_nack"),
    [
        ("a=rtcp-fb:111 nack\n", True),
        ("a=rtcp-fb:* nack\n", True),
        ("a=rtcp-fb:63 nack\n", False),
        ("a=rtcp-fb:111 nack pli\n", False),
        ("a=rtcp-fb\na=rtcp-fb:999 nack\n", False),
    ],
)
def test_packets_are_asked_for_again_where_that_is_offered(lines: str, has_nack: bool) -> None:
    assert negotiate(OPUS + lines).has_nack == has_nack
    assert not negotiate(edited(OPUS, ("SAVPF", "SAVP")) + lines).has_nack


def test_the_transport_is_counted_where_both_the_number_and_the_feedback_are_offered() -> None:
    number, feedback = f"a=extmap:3 {TRANSPORT}\n", "a=rtcp-fb:111 transport-cc\n"
    for lines, has_both in ((number, False), (feedback, False), (number + feedback, True)):
        audio = negotiate(OPUS + lines)
        assert audio.has_transport_cc == has_both
        assert audio.extensions == (((3, TRANSPORT),) if has_both else ())


def test_g722_has_a_static_payload_type() -> None:
    audio = negotiate(edited(MINIMAL, ("SAVPF 0", "SAVPF 0 9")), "G722", "PCMU")
    assert (audio.codec, audio.payload_type, audio.clock_rate, audio.opus) == ("G722", 9, 8000, None)


def test_parameters_of_other_formats_are_not_taken() -> None:
    assert negotiate(MINIMAL + "a=fmtp:8 x=1\na=fmtp:0 0-15;y=2\n").fmtp == {"0-15": "", "y": "2"}


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            edited(MINIMAL, ("SAVPF 0", "SAVPF 9 18 96")) + "a=rtpmap:9 G722/8000\na=rtpmap:96 opus/48000\n",
            "unsupported_offer",
            "line 5 (m=audio 9 UDP/TLS/RTP/SAVPF 9 18 96): no codec in common; offered: 9 G722/8000, 96 opus",
        ),
        (
            edited(MINIMAL, ("SAVPF 0", "SAVPF 18")),
            "unsupported_offer",
            "line 5 (m=audio 9 UDP/TLS/RTP/SAVPF 18): no codec in common; offered: none that is described",
        ),
        (MINIMAL + "a=rtpmap:x\n", "invalid_offer", "line 11 (a=rtpmap:x): <payload type>"),
        (MINIMAL + "a=fmtp\n", "invalid_offer", "line 11 (a=fmtp): "),
        (MINIMAL + "a=ssrc:x cname:y\n", "invalid_offer", "line 11 (a=ssrc:x cname:y): "),
        (MINIMAL + "a=extmap:x\n", "invalid_offer", "line 11 (a=extmap:x): "),
        (MINIMAL + "a=ptime:2000\n", "invalid_offer", "line 11 (a=ptime:2000): a number from 0 to 1000"),
    ],
)
def test_faults_are_refused_with_their_line(text: str, code: str, message: str) -> None:
    with pytest.raises(OfferError) as refusal:
        negotiate(text)
    assert str(refusal.value).startswith(message)
    assert refusal.value.code == code


def test_a_long_line_is_quoted_in_part() -> None:
    with pytest.raises(OfferError) as refusal:
        negotiate(MINIMAL + f"a=rtpmap:{'x' * 1000}\n")
    assert len(str(refusal.value)) < 200
