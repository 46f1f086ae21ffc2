import pytest

from tests.sdp.offers import DATA, MINIMAL, OFFERS, edited
from voicegate.sdp import DataParameters, MediaDescription, OfferError, SessionDescription, offered_data
from voicegate.sdp.data import find_data_section

TOKEN = "AQAAHq+a8ksAUAAA/////0NP/L7AAAAEgAgABoLA"
"""Chromium's, as it stands in its offer."""


def section_of(text: str) -> MediaDescription:
    section = find_data_section(SessionDescription.decode(text))
    assert section is not None
    return section


def read(text: str) -> DataParameters:
    return DataParameters.read(section_of(text), has_sctp_init=True)


def init_of(text: str) -> bytes | None:
    offered = offered_data(SessionDescription.decode(text))
    return None if offered is None else offered.sctp_init


def test_what_browsers_offer_is_read() -> None:
    assert read(OFFERS["chromium-156-audio-data"]) == DataParameters(
        sctp_port=5000, max_message_size=262_144, sctp_init=None
    )
    assert read(OFFERS["firefox-153-audio-data"]).max_message_size == 1_073_741_823
    assert read(OFFERS["aiortc-1.16-audio-data-legacy"]) == read(OFFERS["chromium-156-audio-data"])


def test_what_is_not_said_has_its_default() -> None:
    assert read(edited(DATA, ("a=sctp-port:6000\n", ""))) == DataParameters(
        sctp_port=5000, max_message_size=65_536
    )


def test_what_is_said_counts() -> None:
    assert read(DATA + "a=max-message-size:0\n") == DataParameters(sctp_port=6000, max_message_size=0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UDP/DTLS/SCTP webrtc-datachannel", "UDP/DTLS/SCTP bfcp"),
        ("UDP/DTLS/SCTP webrtc-datachannel", "UDP/BFCP webrtc-datachannel"),
        ("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 6000"),
        ("UDP/DTLS/SCTP webrtc-datachannel\n", "DTLS/SCTP 6000\na=sctpmap:5000 webrtc-datachannel\n"),
        ("UDP/DTLS/SCTP webrtc-datachannel\n", "DTLS/SCTP 6000\na=sctpmap:6000 bfcp\n"),
        ("UDP/DTLS/SCTP webrtc-datachannel\n", "DTLS/SCTP 0\na=sctpmap:0 webrtc-datachannel\n"),
        ("a=sctp-port:6000", "a=sctp-port:0"),
        ("application 9", "application 0"),
        ("m=application", "m=text"),
    ],
)
def test_a_section_without_data_channels_is_passed_over(old: str, new: str) -> None:
    assert find_data_section(SessionDescription.decode(edited(DATA, (old, new)))) is None


def test_the_first_section_that_can_be_used_is_found() -> None:
    text = DATA + "m=application 9 TCP/DTLS/SCTP webrtc-datachannel\na=mid:2\n"
    assert section_of(text).protocol == "UDP/DTLS/SCTP"
    assert section_of(edited(text, ("port:6000", "port:0"))).protocol == "TCP/DTLS/SCTP"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a=sctp-port:65536", "line 15 (a=sctp-port:65536): a number from 0 to 65535 expected"),
        ("a=sctp-port", "line 15 (a=sctp-port): a number"),
        ("a=sctp-port:1\na=max-message-size:-1", "line 16 (a=max-message-size:-1): a number"),
        (f"a=max-message-size:{2**64}", "line 15 (a=max-message-size:18446744073709551616): a number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(line: str, message: str) -> None:
    with pytest.raises(OfferError) as refusal:
        read(edited(DATA, ("a=sctp-port:6000", line)))
    assert str(refusal.value).startswith(message)
    assert (refusal.value.code, refusal.value.param) == ("invalid_offer", "sdp")


def test_a_legacy_map_that_cannot_be_read_is_refused_with_its_line() -> None:
    legacy = edited(
        DATA, ("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 6000"), ("sctp-port:6000", "sctpmap:x")
    )
    with pytest.raises(OfferError, match=r"line 15 \(a=sctpmap:x\): <port> <application>"):
        find_data_section(SessionDescription.decode(legacy))


def test_the_clients_init_chunk_is_found() -> None:
    chunk = init_of(OFFERS["chromium-156-audio-data-warp"])
    assert chunk is not None
    assert (chunk[:4], len(chunk)) == (bytes.fromhex("0100001e"), 30)
    assert read(OFFERS["chromium-156-audio-data-warp"]).sctp_init == chunk
    section = section_of(OFFERS["chromium-156-audio-data-warp"])
    assert DataParameters.read(section, has_sctp_init=False).sctp_init is None


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "a=sctp-init\n",
        "a=sctp-init:\n",
        "a=sctp-init: \n",
        "a=sctp-init:AQAAH\n",
        "a=sctp-init:AQ\n",
        "a=sctp-init:AR==\n",
        "a=sctp-init:AQ==AQ==\n",
        "a=sctp-init:AQ_-\n",
        "a=sctp-init:AQ =\n",
        "a=sctp-init:ÄÄÄÄ\n",
        f"a=sctp-init:{TOKEN}\na=sctp-init:{TOKEN}\n",
    ],
)
def test_what_is_no_single_strict_token_is_no_token(lines: str) -> None:
    assert init_of(DATA + f"a=sctp-init:{TOKEN}\n") is not None
    assert init_of(DATA + lines) is None


def test_a_token_outside_a_data_section_is_no_token() -> None:
    assert init_of(MINIMAL + f"a=sctp-init:{TOKEN}\n") is None
