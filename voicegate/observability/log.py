"""One line per fact, with the call's id bound once; never one per packet."""

import logging
import sys
from contextlib import suppress
from typing import Any, Final

import structlog
from structlog.typing import EventDict

from voicegate.errors import UsageError

__all__ = ["configure_logging", "logging_settings", "redact"]

_PRIVATE_KEYS: Final = frozenset({"address", "client", "path", "host"})

_settings: dict[str, Any] = {}
"""What `configure_logging` was told last."""


def redact(address: str) -> str:
    """Keep of an address only what tells networks apart: the first half of it."""
    separator = ":" if address.count(":") > 1 else "."
    parts = address.split(separator)
    return separator.join(parts[: len(parts) // 2]) + separator + "x" if len(parts) > 1 else "x"


def _redact_addresses(_logger: object, _method: str, event: EventDict) -> EventDict:
    for key in _PRIVATE_KEYS & event.keys():
        event[key] = redact(str(event[key]))
    return event


class _StderrLogger:
    """Writes lines to standard error, and loses them when nobody reads there any more: calls go on."""

    def __init__(self, *_: object) -> None:
        self._stream = sys.stderr

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            print(line, file=self._stream, flush=True)

    debug = info = warning = error = critical = msg


def configure_logging(*, level: str = "info", json: bool | None = None) -> None:
    """Write logs to standard error: as JSON when it is not a terminal, for people when it is.

    Errors: UsageError for a level that logging does not have.
    """
    threshold = logging.getLevelNamesMapping().get(level.upper())
    if threshold is None:
        raise UsageError(f"log level {level!r}: debug, info, warning and error are known")
    as_json = not sys.stderr.isatty() if json is None else json
    _settings.update(level=level, json=as_json)
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
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_StderrLogger,
        cache_logger_on_first_use=True,
    )


def logging_settings() -> dict[str, Any] | None:
    """Return the arguments for `configure_logging` to do the same in a child process, if it was used here."""
    return dict(_settings) or None
