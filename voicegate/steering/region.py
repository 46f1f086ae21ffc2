"""A region, as an operator describes it: where it is, whom it is for, and relays that no directory lists."""

import ipaddress
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final, Self

import attrs

from voicegate.errors import UsageError
from voicegate.wire.path import Address

__all__ = ["Region"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
"""What a region may be called: it is said in queries, headers and labels."""

_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_CONTINENTS: Final = ("AF", "AN", "AS", "EU", "NA", "OC", "SA")
_MAX_PORT: Final = 0xFFFF


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("countries, continents and relays are lists of strings")
    return tuple(value)


def _codes(value: object) -> tuple[str, ...]:
    return tuple(code.upper() for code in _strings(value))


def _location(value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    match value:
        case [int() | float() as latitude, int() | float() as longitude] if not isinstance(
            latitude, bool
        ) and not isinstance(longitude, bool):
            if isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180:
                return float(latitude), float(longitude)
    raise ValueError(f"location is [latitude, longitude] in degrees, as in [50.1, 8.7], not {value}")


@attrs.frozen(kw_only=True)
class Region:
    """One region. Its attributes are the keys of its table."""

    location: tuple[float, float] | None = attrs.field(default=None, converter=_location)
    """Latitude and longitude in degrees, north and east of zero."""
    countries: tuple[str, ...] = attrs.field(default=(), converter=_codes)
    """ISO 3166 codes of countries whose clients it is for, however far."""
    continents: tuple[str, ...] = attrs.field(default=(), converter=_codes)
    """Codes of continents, likewise; a country that is listed anywhere goes before."""
    relays: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    """``IP:port`` of relays besides those in the directory; each is asked by UDP and by TCP."""
    default: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    """Whether it is for clients of whom nothing is known."""

    def __attrs_post_init__(self) -> None:
        for country in self.countries:
            if not _COUNTRY.fullmatch(country):
                raise ValueError(f"countries: {country!r} is not a country's code of two letters, such as DE")
        for continent in self.continents:
            if continent not in _CONTINENTS:
                raise ValueError(f"continents: {continent!r} is none of {', '.join(_CONTINENTS)}")
        for relay in self.relays:
            _read_address(relay)

    @classmethod
    def of(cls, name: str, table: "Region | Mapping[str, Any]") -> Self:
        """Read a table of a configuration.

        Errors: UsageError naming the region and what is wrong.
        """
        if isinstance(table, cls):
            return table
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"regions: {name[:80]!r} is no name: letters, digits, `_`, `.` and `-`, 63 at most"
            )
        known = [field.name for field in attrs.fields(cls)]
        if not isinstance(table, Mapping) or not set(table) <= set(known):
            raise UsageError(f"regions: {name!r}: a region is a table of {', '.join(known)}")
        try:
            return cls(**table)
        except (TypeError, ValueError) as error:
            # Validators tell what is wrong first, and then all they know.
            raise UsageError(f"regions: {name!r}: {error.args[0]}") from error

    @property
    def relay_addresses(self) -> tuple[Address, ...]:
        """Its own relays, as sockets take addresses."""
        return tuple(map(_read_address, self.relays))


def _read_address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]") if "]" in host else host)
        is_address = not address.is_unspecified and (address.version == 4 or host.startswith("["))
    except ValueError:
        is_address = False
    if not is_address or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= _MAX_PORT:
        raise ValueError(f"relays: {text!r} is not IP:port, as in 192.0.2.1:3478 or [2001:db8::1]:3478")
    return str(address), int(port)
