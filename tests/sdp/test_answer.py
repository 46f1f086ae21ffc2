import asyncio

import attrs
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from hypothesis import given
from hypothesis import strategies as st

from tests.sdp.offers import LOCAL, MINIMAL, OFFERS, edited
from voicegate.errors import UsageError, WireError
from voicegate.sdp import (
    Candidate,
    LocalParameters,
    MediaDescription,
    Negotiated,
    OfferError,
    SessionDescription,
    answer,
)


def answered(text: str, local: LocalParameters = LOCAL) -> Negotiated:
    return answer(SessionDescription.decode(text), local)


def values(section: MediaDescription | SessionDescription, name: str) -> list[str | None]:
    return [attribute.value for attribute in section.attributes_named(name)]


def audio_of(negotiated: Negotiated) -> MediaDescription:
    (section,) = (media for media in negotiated.answer.media if media.port)
    return section


def test_the_offer_of_an_openai_client_is_answered_line_by_line() -> None:
    offer = OFFERS["chromium-156-audio-data"]
    negotiated = answered(offer)
    assert negotiated.answer.encode().split("\r\n") == [
        "v=0",
        "o=- 4711 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=ice-lite",
        "a=extmap-allow-mixed",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111 110",
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
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=rtpmap:110 telephone-event/48000",
        "a=fmtp:110 0-15",
        "a=msid:voicegate audio",
        "a=ssrc:305419896 cname:voicegate",
        "a=ssrc:305419896 msid:voicegate audio",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:1",
        "a=inactive",
        "",
    ]
    assert f"a=ice-ufrag:{negotiated.remote_ice_ufrag}\r\n" in offer
    assert f"a=ice-pwd:{negotiated.remote_ice_pwd}\r\n" in offer
    assert [f"a=fingerprint:{each}" in offer for each in negotiated.remote_fingerprints] == [True]
    assert negotiated.remote_ice_options == ("trickle",)
    assert not negotiated.is_dtls_client


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
    assert values(result, "group") == [f"BUNDLE {negotiated.audio.mid}"]
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


@pytest.mark.interop
@pytest.mark.parametrize(("offered", "direction"), [("sendrecv", "sendrecv"), ("recvonly", "recvonly")])
def test_aiortc_takes_our_answer_to_its_offer(offered: str, direction: str) -> None:
    async def exchange() -> tuple[str, str | None, list[str]]:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        kinds: list[str] = []
        connection.on("track", lambda track: kinds.append(track.kind))
        try:
            transceiver = connection.addTransceiver("audio", direction=offered)
            await connection.setLocalDescription(await connection.createOffer())
            result = answered(connection.localDescription.sdp).answer.encode()
            await connection.setRemoteDescription(RTCSessionDescription(sdp=result, type="answer"))
            return connection.signalingState, transceiver.currentDirection, kinds
        finally:
            await connection.close()

    assert asyncio.run(asyncio.wait_for(exchange(), timeout=20)) == ("stable", direction, ["audio"])
