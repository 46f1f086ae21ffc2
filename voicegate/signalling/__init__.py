"""Signalling: the HTTP surface that turns an SDP offer into a call, and the page to try it with.

Layer: shell (Trio).
"""

from voicegate.signalling.server import serve_http
from voicegate.signalling.service import CallService, CreatedCall, OfferRefused

__all__ = ["CallService", "CreatedCall", "OfferRefused", "serve_http"]
