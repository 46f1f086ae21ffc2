"""What runs on a machine, whole: a relay, a transceiver with its signalling, or both.

Layer: shell (Trio).
"""

from voicegate.server.handle import RelayServer, Server
from voicegate.server.serve import serve, serve_relay, serve_transceiver

__all__ = ["RelayServer", "Server", "serve", "serve_relay", "serve_transceiver"]
