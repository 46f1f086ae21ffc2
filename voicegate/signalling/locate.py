"""Where a client is: its address behind proxies, and the regions in the order in which they suit it.

What counts, the first that says something: the region that a client asks for (``?region=`` or the header
``X-Voicegate-Region``); the headers of a content network, from a trusted proxy; the database. Each may say
nothing, or nonsense, which is counted: then the next counts, and in the end the default region.
"""

from collections import Counter
from typing import Final

import trio
from starlette.requests import HTTPConnection

from voicegate.config import Config
from voicegate.errors import WireError
from voicegate.observability import Metrics
from voicegate.signalling.geo_database import GeoDatabase
from voicegate.steering import Forwarded, Place, Steering

__all__ = ["REGION_HEADER", "REGION_QUERY", "Locator"]

REGION_QUERY: Final = "region"
REGION_HEADER: Final = "X-Voicegate-Region"

_FORWARDED: Final = "X-Forwarded-For"


class Locator:
    """Tells where requests come from.

    Args:
        config: Has the regions, and what to go by.

    Errors: UsageError for a database that cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self._geo = config.geo
        self._regions = config.regions
        self._steering = Steering(config.regions, default=config.region)
        self._forwarded = Forwarded(config.trusted_proxies)
        self._database = None if self._geo.database is None else GeoDatabase(self._geo.database)
        self._located: Counter[str] = Counter()
        self._malformed_headers = 0

    def client(self, request: HTTPConnection) -> str:
        """Return the IP address that a request came from, before all trusted proxies; empty when unknown."""
        return self._forwarded.client(_peer(request), ",".join(request.headers.getlist(_FORWARDED)))

    def locate(self, request: HTTPConnection, *, client: str) -> tuple[str, ...]:
        """Return all regions, the one that suits best first; ``client`` is the address that was found."""
        if not self._regions:
            return ()
        hint = request.query_params.get(REGION_QUERY) or request.headers.get(REGION_HEADER) or None
        if hint in self._regions:
            evidence, place = "hint", None
        else:
            evidence, place = self._find(request, client)
        self._located[evidence] += 1
        return self._steering.order(hint, place)

    def report(self, metrics: Metrics) -> None:
        """Add what there is to say to a scrape."""
        metrics.counter(
            "steering_offers", "Offers by what told where they come from", self._located, label="evidence"
        )
        metrics.counter(
            "steering_ignored",
            "What was said of clients and not believed, by reason",
            {
                "unknown_region": self._steering.unknown_hints,
                "malformed_geo_header": self._malformed_headers,
                "malformed_forwarded": self._forwarded.malformed,
                "database_fault": 0 if self._database is None else self._database.faults,
            },
            label="reason",
        )

    def _find(self, request: HTTPConnection, client: str) -> tuple[str, Place | None]:
        """Return what tells where a client is, and the place."""
        if self._geo.has_headers and self._forwarded.is_trusted(_peer(request)):
            try:
                place = Place.decode(
                    country=_value(request, self._geo.country_header),
                    latitude=_value(request, self._geo.latitude_header),
                    longitude=_value(request, self._geo.longitude_header),
                )
            except WireError:
                self._malformed_headers += 1
            else:
                if place is not None:
                    return "header", place
        if self._database is not None:
            place = self._database.find(client, now=trio.current_time())
            if place is not None:
                return "database", place
        return "default", None


def _peer(request: HTTPConnection) -> str:
    return request.client.host if request.client else ""


def _value(request: HTTPConnection, name: str | None) -> str:
    values = [] if name is None else request.headers.getlist(name)
    if len(values) > 1:
        # One of them is the client's own, and nobody can say which.
        raise WireError("a header that is there twice")
    return values[0] if values else ""
