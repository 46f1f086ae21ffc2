"""The way of the client's audio as a target: any packets at any time, in either mode, decoded or not.

Layer: core (sans-IO).
"""

from contextlib import suppress
from typing import Final

from voicegate.audio import open_codec
from voicegate.call import AudioFrame, Wants
from voicegate.errors import WireError
from voicegate.rtp import RtpPacket
from voicegate.sdp import AudioParameters
from voicegate.testing.script import read_script, require
from voicegate.transceiver.uplink import Uplink

__all__ = ["run_uplink"]

_RED: Final = 63
_WANTS: Final[tuple[Wants, ...]] = ("pcm", "encoded", "pcm", "nothing")
_MAX_POLLS: Final = 1000

_AUDIO: Final = AudioParameters(
    mid="0",
    codec="PCMU",
    payload_type=0,
    clock_rate=8000,
    channels=1,
    fmtp={},
    direction="sendrecv",
    remote_ssrcs=(),
    extensions=(),
    has_rtcp_reduced_size=False,
    packet_time_ms=None,
    red=_RED,
    has_nack=True,
)


def run_uplink(script: bytes) -> None:
    """Datagrams are RTP packets, heard by both modes; the low bits of the kind say what the agent wants."""
    uplinks = [Uplink(_AUDIO, open_codec("PCMU"), mode=mode) for mode in ("fast", "accurate")]
    positions = [0, 0]
    for kind, now, data in read_script(script):
        for index, uplink in enumerate(uplinks):
            uplink.wants = _WANTS[kind & 3]
            with suppress(WireError):
                packet = RtpPacket.decode(data)
                uplink.handle_packet(packet, level=None, is_voice=None, now=now)
            uplink.handle_timeout(now=now)
            due = uplink.poll_timeout()
            require(due is None or due > now, "what is due is done")
            require(len(uplink.poll_missing()) <= 32, "requests are bounded")
            for _ in range(_MAX_POLLS):
                frame = uplink.poll_frame()
                if isinstance(frame, AudioFrame):
                    require(len(frame.pcm) == 320, "a frame is 20 ms")
                    require(frame.position >= positions[index], "the client's clock only goes forward")
                    positions[index] = frame.position
                    require(0 <= frame.concealed_ms <= 20, "no more than a frame is made up")
            require(uplink.poll_frame() is None, "what one packet brings out is bounded")
            uplink.statistics()
