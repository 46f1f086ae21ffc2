"""An agent that bridges a call to any server which speaks the Realtime API over a WebSocket.

Layer: shell (Trio).
"""

from voicegate.agents.realtime.agent import RealtimeServerError, open_realtime_agent
from voicegate.agents.realtime.options import RealtimeOptions

__all__ = ["RealtimeOptions", "RealtimeServerError", "open_realtime_agent"]
