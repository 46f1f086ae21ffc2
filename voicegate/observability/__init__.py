"""Logs and metrics: what an operator sees.

Layer: shell (Trio).
"""

from voicegate.observability.log import configure_logging, logging_settings, redact
from voicegate.observability.metrics import Histogram, Metrics

__all__ = ["Histogram", "Metrics", "configure_logging", "logging_settings", "redact"]
