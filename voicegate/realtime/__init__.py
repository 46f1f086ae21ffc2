"""The session of a client of the OpenAI Realtime API: its events in and out, the conversation, the responses.

Layer: core (sans-IO).
"""

from voicegate.realtime.client_session import ClientSession, ServerEventOut
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.session import RealtimeSession

__all__ = ["ClientSession", "EventRefused", "RealtimeSession", "ServerEventOut"]
