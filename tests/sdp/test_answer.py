import asyncio
import re
from collections.abc import Callable

import attrs
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from hypothesis import given
from hypothesis import strategies as st

from tests.sdp.offers import DATA, LOCAL, MINIMAL, OFFERS, edited
from voicegate.errors import UsageError, WireError
from voicegate.sdp import (
    Candidate,
    DataParameters,
    LocalParameters,
    MediaDescription,
    Negotiated,
    OfferError,
    SessionDescription,
    answer,
    offered_data,
)


def answered(text: str, local: LocalParameters = LOCAL) -> Negotiated:
    return answer(SessionDescription.decode(text), local)


def values(section: MediaDescription | SessionDescription, name: str) -> list[str | None]:
    return [attribute.value for attribute in section.attributes_named(name)]


def audio_of(negotiated: Negotiated) -> MediaDescription:
    (section,) = (media for media in negotiated.answer.media if media.kind == "audio" and media.port)
    return section


def accepted_of(negotiated: Negotiated) -> list[str]:
    return [media.kind for media in negotiated.answer.media if media.port]


def test_the_offer_of_an_openai_client_is_answered_line_by_line() -> None:
    offer = OFFERS["chromium-156-audio-data"]
    negotiated = answered(offer)
    assert negotiated.answer.encode().split("\r\n") == [
        "v=0",
        "o=- 4711 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0 1",
        "a=ice-lite",
        "a=extmap-allow-mixed",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111 63 110",
        "c=IN IP4 192.0.2.1",
        "a=mid:0",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host",
        "a=candidate:2 1 tcp 1671430143 192.0.2.1 443 typ host tcptype passive",
        "a=end-of-candidates",
        f"a=ice-ufrag:{LOCAL.ice_ufrag}",
        f"a=ice-pwd:{LOCAL.ice_pwd}",
        f"a=fingerprint:{LOCAL.fingerprint}",
        "a=setup:passive",
        "a=sendrecv",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=rtcp-xr:rcvr-rtt=all",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtcp-fb:111 transport-cc",
        "a=rtpmap:63 red/48000/2",
        "a=fmtp:63 111/111",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=msid:voicegate audio",
        "a=ssrc:305419896 cname:voicegate",
        "a=ssrc:305419896 msid:voicegate audio",
        "m=application 3478 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 192.0.2.1",
        "a=mid:1",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host",
        "a=candidate:2 1 tcp 1671430143 192.0.2.1 443 typ host tcptype passive",
        "a=end-of-candidates",
        f"a=ice-ufrag:{LOCAL.ice_ufrag}",
        f"a=ice-pwd:{LOCAL.ice_pwd}",
        f"a=fingerprint:{LOCAL.fingerprint}",
        "a=setup:passive",
        "a=sctp-port:5000",
        "a=max-message-size:262144",
        "",
    ]
    assert f"a=ice-ufrag:{negotiated.remote_ice_ufrag}\r\n" in offer
    assert f"a=ice-pwd:{negotiated.remote_ice_pwd}\r\n" in offer
    assert [f"a=fingerprint:{each}" in offer for each in negotiated.remote_fingerprints] == [True]
    assert negotiated.remote_ice_options == ("trickle",)
    assert not negotiated.is_dtls_client
    assert negotiated.data == DataParameters(sctp_port=5000, max_message_size=262_144)
    assert not negotiated.is_sped


@pytest.mark.parametrize("text", OFFERS.values(), ids=OFFERS)
def test_every_real_offer_is_answered(text: str) -> None:
    offer = SessionDescription.decode(text)
    negotiated = answer(offer, LOCAL)
    result = negotiated.answer
    assert SessionDescription.decode(result.encode()) == result
    shape = [(media.kind, media.protocol, values(media, "mid")) for media in offer.media]
    assert [(media.kind, media.protocol, values(media, "mid")) for media in result.media] == shape
    accepted = audio_of(negotiated)
    assert accepted.kind == "audio"
    assert set(accepted.formats) <= set(next(media for media in offer.media if media.kind == "audio").formats)
    bundled = [str(values(media, "mid")[0]) for media in result.media if media.port]
    assert values(result, "group") == [f"BUNDLE {' '.join(bundled)}"]
    assert ("application" in accepted_of(negotiated)) == (negotiated.data is not None)
    assert (negotiated.data is not None) == any(media.kind == "application" for media in offer.media)
    assert values(result, "ice-lite") == [None]
    assert len(accepted.attributes_named("msid")) == negotiated.audio.is_sending
    assert len(accepted.attributes_named("ssrc")) == 2 * negotiated.audio.is_sending
    assert all(media.formats for media in result.media)


def test_an_offer_without_names_is_answered_without_names() -> None:
    negotiated = answered(MINIMAL)
    (accepted,) = negotiated.answer.media
    assert values(accepted, "mid") == []
    assert values(negotiated.answer, "group") == []
    assert accepted.formats == ("0",)
    assert values(accepted, "rtpmap") == ["0 PCMU/8000"]
    assert values(accepted, "fmtp") == []
    assert not accepted.attribute("rtcp-rsize")


def test_a_name_without_a_bundle_stays_without_a_bundle() -> None:
    negotiated = answered(MINIMAL + "a=mid:voice\n")
    assert values(audio_of(negotiated), "mid") == ["voice"]
    assert values(negotiated.answer, "group") == []


def swapped(text: str) -> str:
    """Put the second of two sections first, and its name first in the bundle."""
    session, first, second = re.split("(?m)^(?=m=)", text)
    return edited(session, ("BUNDLE 0 1", "BUNDLE 1 0")) + second + first


@pytest.mark.parametrize(
    "name", ["chromium-156-audio-data", "firefox-153-audio-data", "aiortc-1.16-audio-data"]
)
def test_data_channels_may_come_before_the_audio(name: str) -> None:
    negotiated = answered(swapped(OFFERS[name]))
    assert accepted_of(negotiated) == ["application", "audio"]
    assert values(negotiated.answer, "group") == ["BUNDLE 1 0"]
    assert negotiated.data is not None
    assert negotiated.audio.codec == "opus"


def test_a_group_in_another_order_than_the_sections_keeps_its_own() -> None:
    negotiated = answered(edited(DATA, ("BUNDLE 0 1", "BUNDLE 1 0 1 7")))
    assert values(negotiated.answer, "group") == ["BUNDLE 1 0"]
    assert accepted_of(negotiated) == ["audio", "application"]


def test_legacy_data_channels_are_answered_in_their_own_way() -> None:
    negotiated = answered(OFFERS["aiortc-1.16-audio-data-legacy"])
    _, section = negotiated.answer.media
    assert section.text == "m=application 3478 DTLS/SCTP 5000"
    assert values(section, "sctpmap") == ["5000 webrtc-datachannel 1024"]
    assert values(section, "sctp-port") == []
    assert values(section, "max-message-size") == ["262144"]


def test_data_channels_over_tcp_are_answered_over_tcp() -> None:
    negotiated = answered(edited(DATA, ("UDP/DTLS/SCTP", "TCP/DTLS/SCTP")))
    assert negotiated.answer.media[1].text == "m=application 3478 TCP/DTLS/SCTP webrtc-datachannel"
    assert negotiated.data == DataParameters(sctp_port=6000, max_message_size=65_536)


def test_our_message_size_is_said() -> None:
    _, section = answered(DATA, attrs.evolve(LOCAL, max_message_size=1000)).answer.media
    assert values(section, "max-message-size") == ["1000"]


@pytest.mark.parametrize(
    "change",
    [
        ("BUNDLE 0 1", "BUNDLE 0"),
        ("a=group:BUNDLE 0 1\n", ""),
        ("a=mid:1\n", ""),
        ("application 9", "application 0"),
        ("webrtc-datachannel", "bfcp"),
    ],
)
def test_data_channels_outside_of_the_audios_bundle_are_refused(change: tuple[str, str]) -> None:
    negotiated = answered(edited(DATA, change))
    assert (accepted_of(negotiated), negotiated.data) == (["audio"], None)


def test_a_second_section_for_data_channels_is_refused() -> None:
    second = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:2\n"
    negotiated = answered(edited(DATA, ("BUNDLE 0 1", "BUNDLE 0 1 2")) + second)
    assert [bool(media.port) for media in negotiated.answer.media] == [True, True, False]
    assert values(negotiated.answer, "group") == ["BUNDLE 0 1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MINIMAL, "the offer: there is no section for data channels"),
        (
            edited(DATA, ("BUNDLE 0 1", "BUNDLE 0")),
            "line 13 (m=application 9 UDP/DTLS/SCTP webrtc-datachannel): is not bundled with the audio",
        ),
    ],
)
def test_an_offer_without_the_data_channels_that_are_needed_is_refused(text: str, message: str) -> None:
    local = attrs.evolve(LOCAL, needs_data=True)
    assert answered(DATA, local).data is not None
    with pytest.raises(OfferError) as refusal:
        answered(text, local)
    assert str(refusal.value) == message
    assert (refusal.value.code, refusal.value.param) == ("no_data_section", "dcid")


def test_both_init_chunks_are_exchanged() -> None:
    ours = bytes.fromhex("01000014 00000001 00010000 ffff ffff 00000002")
    offer = OFFERS["chromium-156-audio-data-warp"]
    negotiated = answered(offer, attrs.evolve(LOCAL, sctp_init=ours))
    _, section = negotiated.answer.media
    assert values(section, "sctp-init") == ["AQAAFAAAAAEAAQAA/////wAAAAI="]
    assert negotiated.data is not None
    assert negotiated.data == offered_data(SessionDescription.decode(offer))


@pytest.mark.parametrize(
    ("name", "ours"), [("chromium-156-audio-data-warp", None), ("chromium-156-audio-data", b"\1\0\0\4")]
)
def test_an_init_chunk_that_one_side_keeps_to_itself_counts_for_nothing(
    name: str, ours: bytes | None
) -> None:
    negotiated = answered(OFFERS[name], attrs.evolve(LOCAL, sctp_init=ours))
    assert "sctp-init" not in negotiated.answer.encode()
    assert negotiated.data is not None
    assert negotiated.data.sctp_init is None


def test_what_we_do_of_the_offered_ice_options_is_said() -> None:
    negotiated = answered(OFFERS["chromium-156-audio-data-warp"])
    assert [values(media, "ice-options") for media in negotiated.answer.media] == [["sped googspedv1"]] * 2
    assert negotiated.is_sped
    assert negotiated.remote_ice_options == ("trickle", "sped", "googspedv1")


@pytest.mark.parametrize(
    ("offered", "said", "is_sped"),
    [
        ("trickle", [], False),
        ("trickle ice2", ["ice2"], False),
        ("goog-sped-v1 renomination ice2 goog-sped-v1", ["goog-sped-v1 ice2"], True),
        ("SPED", [], False),
    ],
)
def test_ice_options_may_stand_at_session_level(offered: str, said: list[str], is_sped: bool) -> None:
    negotiated = answered(edited(MINIMAL, ("t=0 0\n", f"t=0 0\na=ice-options:{offered}\n")))
    assert values(audio_of(negotiated), "ice-options") == said
    assert negotiated.is_sped == is_sped


def test_sped_is_not_said_where_it_is_off() -> None:
    offer = edited(OFFERS["chromium-156-audio-data-warp"], ("trickle sped", "ice2 sped"))
    negotiated = answered(offer, attrs.evolve(LOCAL, has_sped=False))
    assert values(audio_of(negotiated), "ice-options") == ["ice2"]
    assert not negotiated.is_sped


@pytest.mark.parametrize(
    "name",
    ["chromium-156-video-first", "chromium-156-video-first-max-bundle", "firefox-153-video-first-max-bundle"],
)
def test_video_that_holds_the_transport_of_the_bundle_is_kept_idle(name: str) -> None:
    offer = SessionDescription.decode(OFFERS[name])
    negotiated = answer(offer, LOCAL)
    video, _ = negotiated.answer.media
    assert accepted_of(negotiated) == ["video", "audio"]
    assert values(negotiated.answer, "group") == ["BUNDLE 0 1"]
    assert video.formats == offer.media[0].formats[:1]
    assert values(video, "rtpmap") == [f"{video.formats[0]} VP8/90000"]
    assert video.attribute("inactive")
    assert video.attribute("rtcp-mux")
    assert values(video, "ice-ufrag") == [LOCAL.ice_ufrag]
    assert values(video, "msid") == []


def test_the_parameters_of_an_idle_format_are_repeated() -> None:
    offer = edited(OFFERS["firefox-153-video-first-max-bundle"], ("SAVPF 120 124", "SAVPF 121 124"))
    video = answered(edited(offer, ("a=fmtp:121 ", "a=fmtp:121 profile-id=0;"))).answer.media[0]
    assert values(video, "fmtp") == ["121 profile-id=0;max-fs=12288;max-fr=60"]
    assert values(video, "rtpmap") == ["121 VP9/90000"]


OTHER_TRANSPORT = f"""a=mid:1
a=ice-ufrag:wxyz
a=ice-pwd:{"w" * 22}
a=fingerprint:sha-256 {":".join(["CD"] * 32)}
a=setup:passive
a=ice-options:sped
"""


@pytest.mark.parametrize(
    ("section", "bundle", "ufrag"),
    [
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "1 0", "wxyz"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "0 1", "abcd"),
        ("m=video 9 UDP/TLS/RTP/SAVPF 96", "1 0", "wxyz"),
        ("m=video 9 UDP/TLS/RTP/SAVPF 96", "0 1", "abcd"),
        ("m=application 9 UDP/DTLS/SCTP bfcp", "1 0", "abcd"),
    ],
)
def test_the_transport_is_that_of_the_first_section_in_the_answers_bundle(
    section: str, bundle: str, ufrag: str
) -> None:
    offer = edited(MINIMAL, ("t=0 0\n", f"t=0 0\na=group:BUNDLE {bundle}\n"))
    negotiated = answered(f"{offer}a=mid:0\na=ice-options:trickle\n{section}\n{OTHER_TRANSPORT}")
    is_other = ufrag == "wxyz"
    assert negotiated.remote_ice_ufrag == ufrag
    assert negotiated.is_dtls_client == negotiated.is_sped == is_other
    assert (negotiated.remote_fingerprints == (f"sha-256 {':'.join(['CD'] * 32)}",)) == is_other
    setups = {value for media in negotiated.answer.media for value in values(media, "setup")}
    assert setups == {"active" if is_other else "passive"}


@pytest.mark.parametrize(
    "section",
    [
        "m=video 0 UDP/TLS/RTP/SAVPF 96\na=mid:0\n",
        "m=application 9 UDP/BFCP *\na=mid:0\n",
        "m=application 9 UDP/DTLS/SCTP bfcp\na=mid:0\n",
    ],
)
def test_what_cannot_be_kept_idle_is_refused(section: str) -> None:
    offer = edited(MINIMAL, ("t=0 0\n", "t=0 0\na=group:BUNDLE 0 1\n"), ("m=audio", section + "m=audio"))
    negotiated = answered(offer + "a=mid:1\n")
    assert accepted_of(negotiated) == ["audio"]
    assert values(negotiated.answer, "group") == ["BUNDLE 1"]


def test_only_the_first_audio_in_use_is_accepted() -> None:
    result = answered(OFFERS["chromium-156-two-audio"]).answer
    assert [bool(media.port) for media in result.media] == [True, False]
    unused = "m=audio 0 UDP/TLS/RTP/SAVPF 0\na=inactive\n"
    result = answered(edited(MINIMAL, ("m=audio", unused + "m=audio"))).answer
    assert [bool(media.port) for media in result.media] == [False, True]


@pytest.mark.parametrize(
    ("offered", "ours", "is_client"),
    [("actpass", "passive", False), ("active", "passive", False), ("passive", "active", True)],
)
def test_the_dtls_role_is_passive_unless_the_client_must_be(offered: str, ours: str, is_client: bool) -> None:
    negotiated = answered(edited(MINIMAL, ("actpass", offered)))
    assert values(audio_of(negotiated), "setup") == [ours]
    assert negotiated.is_dtls_client == is_client


OPUS = (
    edited(MINIMAL, ("SAVPF 0", "SAVPF 111 63 9"))
    + "a=rtpmap:111 opus/48000/2\na=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n"
)


def test_redundant_audio_comes_first_where_it_is_preferred() -> None:
    assert audio_of(answered(OPUS)).formats == ("111", "63")
    assert audio_of(answered(OPUS, attrs.evolve(LOCAL, prefers_red=True))).formats == ("63", "111")


@pytest.mark.parametrize("name", [name for name in OFFERS if "pcmu" not in name])
def test_nothing_that_the_client_asks_of_our_opus_is_said_back(name: str) -> None:
    accepted = audio_of(answered(OFFERS[name]))
    assert values(accepted, "fmtp")[0] == f"{accepted.formats[0]} minptime=10;useinbandfec=1"


def test_feedback_is_answered_as_far_as_it_is_offered() -> None:
    offered = ("111 nack pli", "9 transport-cc", "* nack", "111 ccm fir")
    text = OPUS + "".join(f"a=rtcp-fb:{each}\n" for each in offered)
    assert values(audio_of(answered(text)), "rtcp-fb") == ["111 nack"]
    assert values(audio_of(answered(OPUS)), "rtcp-fb") == []


def test_g722_is_answered_by_its_static_payload_type() -> None:
    accepted = audio_of(answered(edited(MINIMAL, ("SAVPF 0", "SAVPF 0 9"))))
    assert (accepted.formats, values(accepted, "rtpmap")) == (("9",), ["9 G722/8000"])


def test_the_packet_time_is_answered_to_who_speaks_of_it() -> None:
    accepted = audio_of(answered(MINIMAL + "a=ptime:50\na=maxptime:60\n"))
    assert (values(accepted, "ptime"), values(accepted, "maxptime")) == (["40"], ["120"])
    assert values(audio_of(answered(MINIMAL)), "ptime") == []


@pytest.mark.parametrize(
    ("offered", "said"),
    [
        ("rcvr-rtt=all", ["rcvr-rtt=all"]),
        ("stat-summary=loss rcvr-rtt=sender", ["rcvr-rtt=sender"]),
        ("rcvr-rtt=all:9", []),
        ("pkt-loss-rle", []),
    ],
)
def test_round_trips_of_receivers_are_agreed_to(offered: str, said: list[str]) -> None:
    assert values(audio_of(answered(MINIMAL + f"a=rtcp-xr:{offered}\n")), "rtcp-xr") == said


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
def test_no_track_is_named_when_we_send_nothing(direction: str) -> None:
    accepted = audio_of(answered(MINIMAL + f"a={direction}\n"))
    assert values(accepted, "msid") == values(accepted, "ssrc") == []


def test_mixed_header_forms_are_allowed_where_the_client_allows_them() -> None:
    assert audio_of(answered(MINIMAL + "a=extmap-allow-mixed\n")).attribute("extmap-allow-mixed")
    assert not audio_of(answered(OFFERS["chromium-156-audio"])).attribute("extmap-allow-mixed")


@pytest.mark.parametrize(
    ("candidates", "port", "connection"),
    [
        ((), 9, "c=IN IP4 0.0.0.0"),
        (LOCAL.candidates[1:], 9, "c=IN IP4 0.0.0.0"),
        (LOCAL.candidates[::-1], 3478, "c=IN IP4 192.0.2.1"),
        (
            (Candidate(foundation="1", transport="udp", priority=1, address="2001:db8::1", port=5000),),
            5000,
            "c=IN IP6 2001:db8::1",
        ),
    ],
    ids=["none", "only TCP", "UDP after TCP", "IPv6"],
)
def test_the_default_candidate_is_named(
    candidates: tuple[Candidate, ...], port: int, connection: str
) -> None:
    accepted = audio_of(answered(MINIMAL, attrs.evolve(LOCAL, candidates=candidates)))
    assert (accepted.port, accepted.lines[0].text) == (port, connection)
    assert values(accepted, "candidate") == [candidate.encode() for candidate in candidates]


@pytest.mark.parametrize("protocol", ["RTP/SAVPF", "UDP/TLS/RTP/SAVP", "TCP/DTLS/RTP/SAVPF", "RTP/AVP"])
def test_the_offered_profile_is_repeated(protocol: str) -> None:
    assert audio_of(answered(edited(MINIMAL, ("UDP/TLS/RTP/SAVPF", protocol)))).protocol == protocol


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            edited(MINIMAL, ("t=0 0\n", "t=0 0\na=ice-lite\n")),
            "unsupported_offer",
            "line 5 (a=ice-lite): this server is ICE-lite as well",
        ),
        (edited(MINIMAL, ("audio", "video")), "unsupported_offer", "the offer: there is no m=audio line"),
        (
            edited(MINIMAL, ("audio 9", "audio 0")),
            "unsupported_offer",
            "line 5 (m=audio 0 UDP/TLS/RTP/SAVPF 0): port 0",
        ),
        (
            edited(MINIMAL, ("UDP/TLS/RTP/SAVPF", "UDP/BFCP")),
            "unsupported_offer",
            "line 5 (m=audio 9 UDP/BFCP 0): UDP/BFCP is not among",
        ),
        (MINIMAL + "a=mid\n", "invalid_offer", "line 11 (a=mid): "),
        (MINIMAL + "a=mid:a b\n", "invalid_offer", "line 11 (a=mid:a b): "),
        (
            MINIMAL + "a=mid:0\nm=video 9 RTP/AVP 96\na=mid:0\n",
            "invalid_offer",
            "line 13 (a=mid:0): another section has this name",
        ),
    ],
)
def test_faults_are_refused_with_their_line(text: str, code: str, message: str) -> None:
    with pytest.raises(OfferError) as refusal:
        answered(text)
    assert str(refusal.value).startswith(message)
    assert (refusal.value.code, refusal.value.param) == (code, "sdp")


@pytest.mark.parametrize("codecs", [(), ("opus", "speex")])
def test_codecs_that_we_do_not_have_are_our_own_fault(codecs: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        attrs.evolve(LOCAL, codecs=codecs)


_SNIPPETS = st.sampled_from(
    [
        "",
        "0",
        "65536",
        "/",
        ":",
        " ",
        ";",
        "=",
        "\r\n",
        "a=",
        "m=audio 0 RTP/AVP 0",
        "a=group:BUNDLE 0 0",
        "a=sctp-port:0",
        "a=sctp-init:AQ==",
        "m=application 9 DTLS/SCTP 5000",
        "²",
        "\0",
    ]
)


@pytest.mark.slow
@given(st.sampled_from(list(OFFERS.values())), st.data())
def test_only_the_two_promised_errors_come_out_of_a_mutated_offer(offer: str, data: st.DataObject) -> None:
    lines = offer.split("\r\n")
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        start = data.draw(st.integers(0, len(lines[index])))
        stop = data.draw(st.integers(start, len(lines[index])))
        inset = data.draw(_SNIPPETS | st.sampled_from(lines) | st.text(max_size=4))
        lines[index] = lines[index][:start] + inset + lines[index][stop:]
    try:
        description = SessionDescription.decode("\r\n".join(lines))
        negotiated = answer(description, LOCAL)
    except (WireError, OfferError):
        return
    assert SessionDescription.decode(negotiated.answer.encode()) == negotiated.answer
    assert len(negotiated.answer.media) == len(description.media)


async def exchange_with_aiortc(
    offer: Callable[[RTCPeerConnection], None],
) -> tuple[str, list[str | None], list[str], Negotiated]:
    """Have aiortc offer and take our answer: its state, its directions, and the tracks it got."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    kinds: list[str] = []
    connection.on("track", lambda track: kinds.append(track.kind))
    try:
        offer(connection)
        await connection.setLocalDescription(await connection.createOffer())
        negotiated = answered(connection.localDescription.sdp)
        result = RTCSessionDescription(sdp=negotiated.answer.encode(), type="answer")
        await connection.setRemoteDescription(result)
        directions = [transceiver.currentDirection for transceiver in connection.getTransceivers()]
        return connection.signalingState, directions, kinds, negotiated
    finally:
        await connection.close()


@pytest.mark.interop
@pytest.mark.parametrize("direction", ["sendrecv", "recvonly"])
def test_aiortc_takes_our_answer_to_its_offer(direction: str) -> None:
    def offer(connection: RTCPeerConnection) -> None:
        connection.addTransceiver("audio", direction=direction)

    state, directions, kinds, _ = asyncio.run(asyncio.wait_for(exchange_with_aiortc(offer), timeout=120))
    assert (state, directions, kinds) == ("stable", [direction], ["audio"])


@pytest.mark.interop
@pytest.mark.parametrize("is_legacy", [False, True])
def test_aiortc_takes_our_answer_with_data_channels(is_legacy: bool) -> None:
    def offer(connection: RTCPeerConnection) -> None:
        connection.addTransceiver("audio")
        connection.createDataChannel("oai-events")
        connection._sctpLegacySdp = is_legacy

    state, directions, kinds, negotiated = asyncio.run(
        asyncio.wait_for(exchange_with_aiortc(offer), timeout=120)
    )
    assert (state, directions, kinds) == ("stable", ["sendrecv"], ["audio"])
    assert negotiated.data == DataParameters(sctp_port=5000, max_message_size=262_144)


@pytest.mark.interop
def test_aiortc_takes_our_answer_with_idle_video() -> None:
    def offer(connection: RTCPeerConnection) -> None:
        connection.addTransceiver("video")
        connection.addTransceiver("audio")

    state, directions, kinds, _ = asyncio.run(asyncio.wait_for(exchange_with_aiortc(offer), timeout=120))
    assert (state, directions, kinds) == ("stable", ["inactive", "sendrecv"], ["audio"])
