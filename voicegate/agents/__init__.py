"""What answers a call: the ready agents, and finding yours by name.

Layer: shell (Trio).
"""

from voicegate.agents.base import load_agent
from voicegate.agents.echo import echo
from voicegate.agents.parrot import parrot
from voicegate.agents.transcode import transcode

__all__ = ["echo", "load_agent", "parrot", "transcode"]
