"""Where a client is, as far as anybody says."""

import math
import re
from typing import Final, Self, TypeAlias

import attrs

from voicegate.errors import WireError
from voicegate.steering.continent import continent_of

__all__ = ["Location", "Place", "distance_km"]

Location: TypeAlias = tuple[float, float]
"""Latitude and longitude in degrees."""

EARTH_RADIUS_KM: Final = 6371.0

_COUNTRY: Final = re.compile(r"[A-Za-z]{2}", re.ASCII)
_UNKNOWN: Final = frozenset({"", "XX", "ZZ", "T1", "A1", "A2", "AP", "EU", "-"})
"""What content networks and databases say where there is no country: anonymous proxies, Tor, satellites,
continents."""
_DEGREES: Final = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{1,20})?", re.ASCII)
MAX_LATITUDE: Final = 90.0
MAX_LONGITUDE: Final = 180.0


@attrs.frozen(kw_only=True)
class Place:
    """A place in the world; what is not known is empty, or None."""

    country: str = ""
    """ISO 3166 code of two letters."""
    continent: str = ""
    """Code of two letters, such as EU."""
    location: Location | None = None
    """Latitude and longitude in degrees."""

    @classmethod
    def decode(cls, *, country: str = "", latitude: str = "", longitude: str = "") -> Self | None:
        """Read what headers say; None when they say nothing.

        Errors: WireError.
        """
        country = country.strip()
        if country.upper() in _UNKNOWN:
            country = ""
        elif not _COUNTRY.fullmatch(country):
            raise WireError("no code of a country")
        country = country.upper()
        location = None
        if latitude.strip() or longitude.strip():
            location = _degrees(latitude, MAX_LATITUDE), _degrees(longitude, MAX_LONGITUDE)
        if not country and location is None:
            return None
        return cls(country=country, continent=continent_of(country), location=location)


def _degrees(text: str, limit: float) -> float:
    text = text.strip()
    if not _DEGREES.fullmatch(text) or abs(float(text)) > limit:
        raise WireError(f"no degrees from -{limit:g} to {limit:g}")
    return float(text)


def distance_km(a: Location, b: Location) -> float:
    """Return the length of the great circle's arc between two places."""
    (latitude, longitude), (other_latitude, other_longitude) = (
        (math.radians(north), math.radians(east)) for north, east in (a, b)
    )
    # The haversine: exact for near places too, where the cosine of the angle is not.
    half_chord = (
        math.sin((other_latitude - latitude) / 2) ** 2
        + math.cos(latitude) * math.cos(other_latitude) * math.sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half_chord)))
