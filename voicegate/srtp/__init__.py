"""SRTP and SRTCP: protection and verification of RTP and RTCP packets.

Layer: core (sans-IO).
"""

from voicegate.srtp.session import SrtpSession, SrtpStatistics

__all__ = ["SrtpSession", "SrtpStatistics"]
