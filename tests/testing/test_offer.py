import pytest

from tests.transceiver.harness import seeded
from voicegate.ice import Credentials
from voicegate.sctp import SctpAssociation
from voicegate.sdp import SessionDescription, offered_data
from voicegate.testing.offer import ClientOffer

LOCAL = Credentials(ufrag="abcd", pwd="x" * 22)


def offer(**parameters: object) -> SessionDescription:
    text = ClientOffer(
        session_id=1,
        local=LOCAL,
        fingerprint="sha-256 AB",
        setup="actpass",
        **{"codec": "opus", **parameters},  # type: ignore[arg-type] # as the tests say
    ).encode()
    decoded = SessionDescription.decode(text)
    assert decoded.encode() == text, "it is in the order that SDP demands"
    return decoded


def values(offered: SessionDescription, section: int) -> dict[str, str | None]:
    return {attribute.name: attribute.value for attribute in offered.media[section].attributes}


@pytest.mark.parametrize(("codec", "payload_type"), [("opus", "111"), ("PCMU", "0"), ("PCMA", "8")])
def test_audio_alone_is_the_usual_offer(codec: str, payload_type: str) -> None:
    offered = offer(codec=codec)
    (audio,) = offered.media
    assert audio.formats == (payload_type,)
    assert values(offered, 0)["setup"] == "actpass"
    assert "ice-options" not in values(offered, 0)


def test_data_channels_are_bundled_with_audio() -> None:
    offered = offer(has_data=True)
    audio, data = (values(offered, section) for section in range(2))
    assert offered.attribute("group") is not None
    assert (audio["mid"], data["mid"]) == ("0", "1")
    assert data["sctp-port"] == "5000"
    assert data["max-message-size"] == "262144"
    assert data["ice-ufrag"] == audio["ice-ufrag"] == "abcd"
    data_parameters = offered_data(offered)
    assert data_parameters is not None
    assert data_parameters.sctp_init is None


def test_snap_and_sped_are_said_where_they_are_wanted() -> None:
    token = SctpAssociation(random=seeded(1), now=0.0).init.encode()
    offered = offer(has_data=True, sctp_init=token, has_sped=True)
    data = offered_data(offered)
    assert data is not None
    assert data.sctp_init == token
    for section in range(2):
        assert values(offered, section)["ice-options"] == "trickle sped googspedv1"
