"""One line per fact, with the call's id bound once; never one per packet."""

import logging
import sys
from typing import Final

import structlog
from structlog.typing import EventDict

__all__ = ["configure_logging", "redact"]

_PRIVATE_KEYS: Final = frozenset({"address", "client", "path", "host"})


def redact(address: str) -> str:
    """Keep of an address only what tells networks apart: the first half of it."""
    separator = ":" if address.count(":") > 1 else "."
    parts = address.split(separator)
    return separator.join(parts[: len(parts) // 2]) + separator + "x" if len(parts) > 1 else "x"


def _redact_addresses(_logger: object, _method: str, event: EventDict) -> EventDict:
    for key in _PRIVATE_KEYS & event.keys():
        event[key] = redact(str(event[key]))
    return event


def configure_logging(*, level: str = "info", json: bool | None = None) -> None:
    """Write logs to standard error: as JSON when it is not a terminal, for people when it is."""
    as_json = not sys.stderr.isatty() if json is None else json
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact_addresses,
            *([structlog.processors.format_exc_info] if as_json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
