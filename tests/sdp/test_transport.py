import pytest

from tests.sdp.offers import DIGEST, MINIMAL, OFFERS, edited
from voicegate.sdp import OfferError, SessionDescription
from voicegate.sdp.transport import RemoteTransport, bundle_mids, is_disabled


def read(text: str) -> RemoteTransport:
    offer = SessionDescription.decode(text)
    return RemoteTransport.read(offer, offer.media[0])


def moved_to_session(text: str, *names: str) -> str:
    lines = text.splitlines(keepends=True)
    moved = [line for line in lines if line.startswith(tuple(f"a={name}" for name in names))]
    rest = [line for line in lines if line not in moved]
    media = next(index for index, line in enumerate(rest) if line.startswith("m="))
    return "".join((*rest[:media], *moved, *rest[media:]))


def test_the_transport_is_found_in_the_section() -> None:
    assert read(MINIMAL) == RemoteTransport(
        ice_ufrag="abcd",
        ice_pwd="abcdefghijklmnopqrstuv",
        ice_options=(),
        fingerprints=(f"sha-256 {DIGEST}",),
        setup="actpass",
        is_rtcp_reduced_size=False,
    )


def test_the_transport_is_found_at_session_level() -> None:
    moved = moved_to_session(MINIMAL, "ice-", "fingerprint", "setup")
    assert moved != MINIMAL
    assert read(moved) == read(MINIMAL)


def test_the_section_overrides_the_session() -> None:
    text = edited(MINIMAL, ("t=0 0\n", "t=0 0\na=ice-ufrag:wxyz\na=setup:passive\na=fingerprint:sha-1 00\n"))
    assert read(text) == read(MINIMAL)


def test_a_bundle_only_section_takes_the_transport_of_its_group() -> None:
    offer = SessionDescription.decode(OFFERS["firefox-153-video-first-max-bundle"])
    _, audio = offer.media
    assert audio.attribute("bundle-only")
    assert audio.port == 0
    assert bundle_mids(offer, audio) == ("0", "1")
    assert not is_disabled(offer, audio)
    stripped = "".join(
        line
        for index, line in enumerate(offer.encode().splitlines(keepends=True), 1)
        if index < audio.number or not line.startswith(("a=ice-", "a=setup", "a=fingerprint", "a=rtcp-mux"))
    )
    offer = SessionDescription.decode(stripped)
    assert RemoteTransport.read(offer, offer.media[1]) == RemoteTransport.read(offer, offer.media[0])


def test_port_zero_without_a_bundle_is_not_in_use() -> None:
    offer = SessionDescription.decode(edited(MINIMAL, ("audio 9", "audio 0")) + "a=bundle-only\na=mid:0\n")
    assert is_disabled(offer, offer.media[0])
    offer = SessionDescription.decode(edited(MINIMAL, ("audio 9", "audio 0")))
    assert is_disabled(offer, offer.media[0])


def test_another_kind_of_group_is_no_bundle() -> None:
    text = edited(MINIMAL, ("t=0 0\n", "t=0 0\na=group:LS 0\na=group:BUNDLE 1\n")) + "a=mid:0\n"
    offer = SessionDescription.decode(text)
    assert bundle_mids(offer, offer.media[0]) == ()


def test_several_fingerprints_are_kept_and_forgeable_ones_left_out() -> None:
    longer = ":".join(["CD"] * 64)
    text = edited(
        MINIMAL, ("a=setup", f"a=fingerprint:sha-1 00\na=fingerprint:SHA-512 {longer.lower()}\na=setup")
    )
    assert read(text).fingerprints == (f"sha-256 {DIGEST}", f"sha-512 {longer}")
    assert len(read(OFFERS["aiortc-1.16-audio-data"]).fingerprints) == 3


def test_ice_options_are_listed() -> None:
    assert read(OFFERS["chromium-156-audio-data-warp"]).ice_options == ("trickle", "sped", "googspedv1")


@pytest.mark.parametrize(("line", "setup"), [("a=setup:passive\n", "passive"), ("", "active")])
def test_the_offered_dtls_role_is_read(line: str, setup: str) -> None:
    assert read(edited(MINIMAL, ("a=setup:actpass\n", line))).setup == setup


@pytest.mark.parametrize("line", ["a=rtcp-mux-only\n", "a=rtcp-mux-only\na=rtcp-mux\na=rtcp-rsize\n"])
def test_exclusive_multiplexing_is_multiplexing(line: str) -> None:
    assert read(edited(MINIMAL, ("a=rtcp-mux\n", line))).is_rtcp_reduced_size == ("rsize" in line)


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("a=rtcp-mux\n", "", "unsupported_offer", "line 5 (m=audio 9 UDP/TLS/RTP/SAVPF 0): a=rtcp-mux is"),
        ("a=ice-ufrag:abcd\n", "", "invalid_offer", "line 5 (m=audio 9 UDP/TLS/RTP/SAVPF 0): a=ice-ufrag is"),
        ("a=ice-ufrag:abcd\n", "a=ice-ufrag:abc\n", "invalid_offer", "line 6 (a=ice-ufrag:abc): "),
        ("a=ice-ufrag:abcd\n", "a=ice-ufrag\n", "invalid_offer", "line 6 (a=ice-ufrag): "),
        ("a=ice-ufrag:abcd\n", f"a=ice-ufrag:{'a' * 257}\n", "invalid_offer", "line 6 (a=ice-ufrag:aaa"),
        ("tuv\n", "tu\n", "invalid_offer", "line 7 (a=ice-pwd:abcdefghijklmnopqrstu): "),
        ("tuv\n", "tuv=\n", "invalid_offer", "line 7 (a=ice-pwd:abcdefghijklmnopqrstuv=): "),
        ("a=ice-pwd:abcdefghijklmnopqrstuv\n", "", "invalid_offer", "line 5 (m=audio 9"),
        (f"a=fingerprint:sha-256 {DIGEST}\n", "", "invalid_offer", "line 5 (m=audio 9"),
        (
            f"a=fingerprint:sha-256 {DIGEST}\n",
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\n",
            "unsupported_offer",
            "line 8 (a=crypto:1 AES_CM_128",
        ),
        (f"sha-256 {DIGEST}", f"sha-256 {DIGEST}:00", "invalid_offer", "line 8 (a=fingerprint:sha-256 AB:"),
        (f"sha-256 {DIGEST}", "sha-256 junk", "invalid_offer", "line 8 (a=fingerprint:sha-256 junk): "),
        (f"sha-256 {DIGEST}", "sha-1 00:01", "unsupported_offer", "line 8 (a=fingerprint:sha-1 00:01): "),
        ("actpass", "holdconn", "unsupported_offer", "line 9 (a=setup:holdconn): "),
        ("actpass", "both", "invalid_offer", "line 9 (a=setup:both): "),
    ],
)
def test_faults_are_refused_with_their_line(old: str, new: str, code: str, message: str) -> None:
    with pytest.raises(OfferError) as refusal:
        read(edited(MINIMAL, (old, new)))
    assert str(refusal.value).startswith(message)
    assert (refusal.value.code, refusal.value.param) == (code, "sdp")


def test_a_group_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(OfferError, match=r"line 5 \(a=group:\): "):
        read(edited(MINIMAL, ("t=0 0\n", "t=0 0\na=group:\n")))
