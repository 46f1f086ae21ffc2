"""The three kinds of fault, by who is to blame for them.

Layer: core (sans-IO).
"""

__all__ = ["PeerError", "UsageError", "VoicegateError", "WireError"]


class VoicegateError(Exception):
    """Anything that voicegate itself raises on purpose."""


class WireError(VoicegateError, ValueError):
    """Bytes (or text) that are not what their format says; the only exception a ``decode`` lets out."""


class PeerError(VoicegateError):
    """The peer broke its protocol in a way that ends the session."""


class UsageError(VoicegateError):
    """Our own caller asked for something that makes no sense, such as sending on a closed call."""
