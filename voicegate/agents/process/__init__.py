"""Your agent in a process of its own: whatever it does, media goes on.

Layer: shell (Trio).
"""

from voicegate.agents.process.proxy import run_agent_process
from voicegate.agents.process.session import AgentProcessError

__all__ = ["AgentProcessError", "run_agent_process"]
