"""Who knows where clients are: a database, or headers that a content network sets."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import attrs

from voicegate.errors import UsageError

__all__ = ["Geo"]

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
"""A token, as names of headers are (RFC 9110 §5.6.2)."""


def _path(value: object) -> Path | None:
    if value is None or isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"database is the path of an .mmdb file, not {value!r}")
    return Path(value)


def _header(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of a header, such as CF-IPCountry")
    return value.lower()


@attrs.frozen(kw_only=True)
class Geo:
    """Sources of places. Its attributes are the keys of its table; without any, nothing is looked up."""

    database: Path | None = attrs.field(default=None, converter=_path)
    """A MaxMind database of cities, countries or enterprises; it may be replaced while it is used."""
    country_header: str | None = attrs.field(default=None, converter=_header)
    """The header with a country's ISO code; believed from trusted proxies only, as the others are."""
    latitude_header: str | None = attrs.field(default=None, converter=_header)
    """The header with degrees north."""
    longitude_header: str | None = attrs.field(default=None, converter=_header)
    """The header with degrees east."""

    def __attrs_post_init__(self) -> None:
        if (self.latitude_header is None) is not (self.longitude_header is None):
            raise ValueError("latitude_header and longitude_header are of no use without each other")

    @classmethod
    def of(cls, table: "Geo | Mapping[str, Any]") -> Self:
        """Read the table of a configuration.

        Errors: UsageError naming what is wrong.
        """
        if isinstance(table, cls):
            return table
        known = [field.name for field in attrs.fields(cls)]
        if not isinstance(table, Mapping) or not set(table) <= set(known):
            raise UsageError(f"geo is a table of {', '.join(known)}")
        try:
            return cls(**table)
        except ValueError as error:
            raise UsageError(f"geo: {error.args[0]}") from error

    @property
    def has_headers(self) -> bool:
        """Whether any header is looked at."""
        return self.country_header is not None or self.latitude_header is not None
