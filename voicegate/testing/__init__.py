"""Tools for testing voicegate and what is built on it: agents without a network, real browsers, sounds.

Layer: shell (Trio).
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voicegate.testing.agent import Caller, open_call

__all__ = ["Caller", "open_call"]


def __getattr__(name: str) -> object:
    # At first use: a fuzzer sees only into what is imported after it has begun to look.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("voicegate.testing.agent"), name)
