"""Your agent anywhere, in any language: at the other end of a WebSocket.

Layer: shell (Trio).
"""

from voicegate.agents.link.client import AgentLinkError, run_link_agent
from voicegate.agents.link.option import LinkOptions
from voicegate.agents.link.server import serve_agent

__all__ = ["AgentLinkError", "LinkOptions", "run_link_agent", "serve_agent"]
