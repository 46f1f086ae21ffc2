"""Tools for testing voicegate and what is built on it: agents without a network, real browsers, sounds.

Layer: shell (Trio).
"""

from voicegate.testing.agent import Caller, open_call

__all__ = ["Caller", "open_call"]
