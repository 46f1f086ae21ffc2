"""The offer of our test client, line by line as the usual page makes it in Chromium.

Layer: core (sans-IO).
"""

from base64 import b64encode
from typing import Final

import attrs

from voicegate.ice import Credentials

__all__ = ["ClientOffer"]

_CODECS: Final = {
    "opus": (111, ["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"]),
    "PCMU": (0, ["a=rtpmap:0 PCMU/8000"]),
    "PCMA": (8, ["a=rtpmap:8 PCMA/8000"]),
}
_NOWHERE: Final = "c=IN IP4 0.0.0.0"
_SPED_LINE: Final = "a=ice-options:trickle sped googspedv1"
"""What Chromium 156 says with SPED switched on."""


@attrs.frozen(kw_only=True)
class ClientOffer:
    """Audio, data channels perhaps, no candidates."""

    session_id: int
    codec: str
    local: Credentials
    fingerprint: str
    setup: str
    has_data: bool = False
    sctp_init: bytes | None = None
    """For SNAP."""
    has_sped: bool = False
    packet_ms: int | None = None
    """How much audio the client wants in a packet, if it says so."""

    def encode(self) -> str:
        """Return the SDP."""
        payload_type, codec = _CODECS[self.codec]
        lines = [
            "v=0",
            f"o=- {self.session_id} 2 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            f"a=group:BUNDLE {'0 1' if self.has_data else '0'}",
            f"m=audio 9 UDP/TLS/RTP/SAVPF {payload_type}",
            _NOWHERE,
            *codec,
            *([] if self.packet_ms is None else [f"a=ptime:{self.packet_ms}"]),
            "a=mid:0",
            "a=sendrecv",
            "a=rtcp-mux",
            *self._transport(),
        ]
        if self.has_data:
            lines += [
                "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
                _NOWHERE,
                "a=mid:1",
                *self._transport(),
                "a=sctp-port:5000",
                "a=max-message-size:262144",
            ]
        if self.sctp_init is not None:
            lines.append(f"a=sctp-init:{b64encode(self.sctp_init).decode()}")
        return "\r\n".join((*lines, ""))

    def _transport(self) -> list[str]:
        return [
            *([_SPED_LINE] if self.has_sped else []),
            f"a=ice-ufrag:{self.local.ufrag}",
            f"a=ice-pwd:{self.local.pwd}",
            f"a=fingerprint:{self.fingerprint}",
            f"a=setup:{self.setup}",
        ]
