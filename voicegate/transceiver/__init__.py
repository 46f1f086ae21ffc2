"""Owns calls whole: one core per call for all its protocols, and the one loop that feeds them all.

Layer: shell (Trio), around `voicegate.transceiver.core` and `voicegate.transceiver.media`, which are sans-IO.
"""

from voicegate.transceiver.transceiver import (
    TooManyPendingError,
    Transceiver,
    TransceiverDrainingError,
    TransceiverFullError,
)

__all__ = ["TooManyPendingError", "Transceiver", "TransceiverDrainingError", "TransceiverFullError"]
