"""The order in which regions suit a client."""

from collections.abc import Mapping
from math import inf

from voicegate.errors import UsageError
from voicegate.steering.place import Location, Place, distance_km
from voicegate.steering.region import Region

__all__ = ["Steering"]


class Steering:
    """The regions there are.

    Args:
        regions: By name.
        default: The one for clients of whom nothing is known, unless a region says it is; if it is none
            of the regions, the first of these.

    Errors: UsageError when two regions say so.
    """

    def __init__(self, regions: Mapping[str, Region], *, default: str = "") -> None:
        said = [name for name, region in regions.items() if region.default]
        if len(said) > 1:
            raise UsageError(f"regions: one can be the default, not each of {', '.join(said)}")
        self._regions = dict(regions)
        self._default = next(iter(said or [name for name in (default, *regions) if name in regions]), "")
        self.unknown_hints = 0
        """Hints that named no region."""

    def order(self, hint: str | None = None, place: Place | None = None) -> tuple[str, ...]:
        """Return all regions, the one that suits best first.

        That is the one the client asks for; else one that lists its country; else its continent; else the
        nearest; else the default. The others follow by the same rules, and by their distance from the client,
        or, when nobody knows where that is, from the first.
        """
        if hint is not None and hint not in self._regions:
            self.unknown_hints += 1
            hint = None
        if hint is not None:
            return self._sort(hint, Place())
        place = place or Place()
        names = self._sort(None, place)
        return names if place.location is not None or not names else self._sort(names[0], place)

    def _sort(self, first: str | None, place: Place) -> tuple[str, ...]:
        start = place.location if first is None or place.location else self._regions[first].location
        return tuple(
            sorted(
                self._regions,
                key=lambda name: (
                    name != first,
                    _rank(self._regions[name], place),
                    _distance(start, self._regions[name].location),
                    # Of those that are equally good; after it they stay as they are listed.
                    name != self._default,
                ),
            )
        )


def _rank(region: Region, place: Place) -> int:
    if place.country in region.countries:
        return 0
    return 1 if place.continent in region.continents else 2


def _distance(start: Location | None, region: Location | None) -> float:
    return inf if start is None or region is None else distance_km(start, region)
