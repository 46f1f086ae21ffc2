"""Signalling: the HTTP surface that turns an SDP offer into a call, and the page to try it with.

Layer: shell (Trio).
"""

from voicegate.signalling.door import Door, UnixDoor
from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.remote import RemoteCalls
from voicegate.signalling.server import hold_address, serve_app, serve_http, serve_privately, serve_trusted
from voicegate.signalling.service import JSON, CallService, CreatedCall, OfferRefused

__all__ = [
    "JSON",
    "CallService",
    "CreatedCall",
    "Door",
    "OfferRefused",
    "RemoteCalls",
    "RequestRefused",
    "UnixDoor",
    "hold_address",
    "serve_app",
    "serve_http",
    "serve_privately",
    "serve_trusted",
]
