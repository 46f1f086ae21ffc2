"""Session descriptions: the RFC 8866 grammar, the attributes WebRTC uses, and how an offer is answered.

Layer: core (sans-IO).
"""

from voicegate.sdp.answer import LocalParameters, Negotiated, answer
from voicegate.sdp.attribute import Candidate
from voicegate.sdp.audio import AudioParameters
from voicegate.sdp.data import DataParameters, offered_data
from voicegate.sdp.fault import OfferError
from voicegate.sdp.fragment import IceCredentials, IceFragment
from voicegate.sdp.grammar import MediaDescription, SessionDescription

__all__ = [
    "AudioParameters",
    "Candidate",
    "DataParameters",
    "IceCredentials",
    "IceFragment",
    "LocalParameters",
    "MediaDescription",
    "Negotiated",
    "OfferError",
    "SessionDescription",
    "answer",
    "offered_data",
]
