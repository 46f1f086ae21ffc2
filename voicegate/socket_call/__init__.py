"""Calls without WebRTC: a client speaks the Realtime API over a WebSocket, audio and all, to the same agents.

Layer: shell (Trio).
"""

from voicegate.socket_call.call import SocketCall, run_socket_call

__all__ = ["SocketCall", "run_socket_call"]
