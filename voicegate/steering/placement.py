"""Which machine is asked to take a call, and which next.

What is known of the others is some seconds old, so this only decides whom to ask: whether there is room, each
machine knows best itself.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

__all__ = ["LOAD_STEPS", "MAX_OTHERS", "Listed", "order_places"]

MAX_OTHERS: Final = 3
"""Other machines asked for one call: each one costs the caller a round trip, and the fleet a request, just
when it has the least to spare."""
LOAD_STEPS: Final = 20
"""Loads that differ by less than a twentieth are alike: who is a hair's breadth emptier than the others does
not get all that comes until the next lease tells how that went."""


class Listed(NamedTuple):
    """A machine as the others know it."""

    number: int
    region: str
    load: float
    """The share of its slots that are taken, as its lease says."""


def order_places(
    others: Iterable[Listed], *, own_region: str, regions: Sequence[str], random: Callable[[int], bytes]
) -> list[int | None]:
    """Return whom a machine asks, in order; None is itself.

    The nearest region comes first; in each, the machine itself if it is there, then the emptiest. Who said
    that it is full comes last.

    Args:
        others: Those that take calls, as far as known.
        own_region: Of the machine.
        regions: Of the client, nearest first.
        random: Returns so many random bytes, which decide among those that are alike.
    """
    ranks = {region: rank for rank, region in enumerate(dict.fromkeys((*regions, own_region)))}
    chosen = sorted(
        (load >= 1, ranks.get(region, len(ranks)), int(load * LOAD_STEPS), random(4), number)
        for number, region, load in others
    )[:MAX_OTHERS]
    own_place = (False, ranks[own_region])
    before: list[int | None] = [number for full, rank, *_, number in chosen if (full, rank) < own_place]
    after = [number for full, rank, *_, number in chosen if (full, rank) >= own_place]
    return [*before, None, *after]
