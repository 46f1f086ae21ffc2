"""Logs and metrics: what an operator sees.

Layer: shell (Trio).
"""

from voicegate.observability.log import configure_logging, redact
from voicegate.observability.metrics import Histogram, Metrics

__all__ = ["Histogram", "Metrics", "configure_logging", "redact"]
