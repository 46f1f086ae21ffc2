"""An agent of three models: speech-to-text, chat and speech, over OpenAI-compatible HTTP.

Nothing waits for a whole: words are recognised as they come, the answer is cut into sentences, and each is
spoken while the next is written. See docs/cascade.md.

Layer: shell (Trio).
"""

from voicegate.agents.cascade.agent import open_cascade
from voicegate.agents.cascade.options import CascadeOptions, Endpoint, McpServer

__all__ = ["CascadeOptions", "Endpoint", "McpServer", "open_cascade"]
