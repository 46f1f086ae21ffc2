"""A MaxMind database on disk: where in the world an address is."""

import ipaddress
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from voicegate.errors import UsageError
from voicegate.steering import Place
from voicegate.steering.place import MAX_LATITUDE, MAX_LONGITUDE, Location

if TYPE_CHECKING:
    from geoip2.database import Reader
    from geoip2.models import Country
    from geoip2.records import Location as LocationRecord

__all__ = ["GeoDatabase"]

_LOOK_SECONDS: Final = 10.0
"""How often to see whether the file is another one; they are published some times a week."""

_log = structlog.get_logger(__name__)


class GeoDatabase:
    """Looks addresses up in a file that is mapped into memory, and follows it when it is replaced.

    Whoever replaces it renames another one over it, as MaxMind's own program does: a file that is written
    anew in its place would change under our eyes.

    Errors: UsageError for a file that isn't there, or is no database of cities, countries or enterprises.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._find = _open(path)
        self._identity = _identity(path)
        self._looked_at = 0.0
        self.faults = 0
        """Lookups that failed in a broken record, and replacements that were no databases."""

    def find(self, address: str, *, now: float) -> Place | None:
        """Return where an address is; None when that is not known."""
        if now >= self._looked_at + _LOOK_SECONDS:
            self._looked_at = now
            self._follow()
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return None
        try:
            return self._find(address)
        # A file that is a database outside may be anything inside.
        except Exception:
            self.faults += 1
            return None

    def _follow(self) -> None:
        identity = _identity(self._path)
        # While one file is gone and the next not there yet, the old one is as good as before.
        if identity is None or identity == self._identity:
            return
        self._identity = identity
        try:
            self._find = _open(self._path)
        except UsageError as error:
            self.faults += 1
            _log.warning("geo_database_refused", cause=str(error))
        else:
            _log.info("geo_database_replaced")


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _open(path: Path) -> Callable[[str], Place | None]:
    try:
        from geoip2.database import Reader
        from geoip2.errors import AddressNotFoundError
        from maxminddb import InvalidDatabaseError
    except ImportError as error:
        raise UsageError("geo: a database wants more: pip install voicegate-server[fleet]") from error
    try:
        reader = Reader(os.fspath(path))
        look_up = _look_up(reader)
    except (OSError, ValueError, InvalidDatabaseError) as error:
        raise UsageError(f"geo: {path}: {error}") from error

    def find(address: str) -> Place | None:
        try:
            return _place(look_up(address))
        except AddressNotFoundError:
            return None

    return find


def _look_up(reader: "Reader") -> "Callable[[str], Country]":
    """Return how records of a database are read."""
    kind = reader.metadata().database_type
    for name, look_up in (
        ("Enterprise", reader.enterprise),
        ("City", reader.city),
        ("Country", reader.country),
    ):
        if name in kind:
            return look_up
    raise ValueError(f"a database of {kind!r} does not tell where an address is")


def _place(found: "Country") -> Place | None:
    place = Place(
        country=str(found.country.iso_code or found.registered_country.iso_code or ""),
        continent=str(found.continent.code or ""),
        location=_location(getattr(found, "location", None)),
    )
    return place if place != Place() else None


def _location(found: "LocationRecord | None") -> Location | None:
    if found is None or found.latitude is None or found.longitude is None:
        return None
    latitude, longitude = float(found.latitude), float(found.longitude)
    if not (abs(latitude) <= MAX_LATITUDE and abs(longitude) <= MAX_LONGITUDE):
        raise ValueError("not a place on Earth")
    return latitude, longitude
