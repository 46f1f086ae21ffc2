"""The command line.

Layer: shell (Trio).
"""

from voicegate.cli.command import app, main

__all__ = ["app", "main"]
