"""Real offers, and our side of a call."""

from pathlib import Path
from typing import Final

from voicegate.sdp import Candidate, LocalParameters

__all__ = ["DATA", "LOCAL", "MINIMAL", "OFFERS", "edited"]

_VECTORS: Final = Path(__file__).parent.parent / "vectors" / "sdp"

OFFERS: Final = {path.stem: path.read_bytes().decode() for path in sorted(_VECTORS.glob("*.sdp"))}
"""Offers by name, with the line ends they came with."""

DIGEST: Final = ":".join(["AB"] * 32)

MINIMAL: Final = f"""v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
m=audio 9 UDP/TLS/RTP/SAVPF 0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuv
a=fingerprint:sha-256 {DIGEST}
a=setup:actpass
a=rtcp-mux
"""
"""The least that can be answered; lines are counted from 1."""

DATA: Final = (
    MINIMAL.replace("t=0 0\n", "t=0 0\na=group:BUNDLE 0 1\n").replace(
        "setup:actpass\n", "setup:actpass\na=mid:0\n"
    )
    + """m=application 9 UDP/DTLS/SCTP webrtc-datachannel
a=mid:1
a=sctp-port:6000
"""
)
"""The least that can be answered with data channels, which begin in line 13."""

LOCAL: Final = LocalParameters(
    ice_ufrag="u" * 48,
    ice_pwd="p" * 32,
    fingerprint=f"sha-256 {DIGEST}",
    candidates=(
        Candidate(foundation="1", transport="udp", priority=2_130_706_431, address="192.0.2.1", port=3478),
        Candidate(
            foundation="2",
            transport="tcp",
            priority=1_671_430_143,
            address="192.0.2.1",
            port=443,
            tcp_type="passive",
        ),
    ),
    session_id=4711,
    ssrc=0x1234_5678,
    cname="voicegate",
    stream_id="voicegate",
    track_id="audio",
)


def edited(text: str, *changes: tuple[str, str]) -> str:
    """Replace pieces of an offer, each of which must be there."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text
