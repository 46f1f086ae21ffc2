"""Which relays an answer names."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeVar

__all__ = ["Relay", "pick_relays"]

_DRAW_LENGTH: Final = 8
"""Random bytes that a relay is drawn by: so many that the remainder favours none to speak of."""


class Relay(Protocol):
    """What a relay says of itself, as far as it matters here."""

    @property
    def region(self) -> str:
        """The name of its region; empty when it has none."""

    @property
    def is_draining(self) -> bool:
        """Whether new answers leave it out."""


_R = TypeVar("_R", bound=Relay)


def pick_relays(
    order: Sequence[str], relays: Iterable[_R], *, count: int, random: Callable[[int], bytes]
) -> tuple[_R, ...]:
    """Return the relays to name to a client, the best first; none only when there are none.

    Each region takes half of the places left, rounded up, so that the client has a way when its nearest
    region is gone; places that nobody takes go to the nearest region that has more. Within one, chance
    decides, which spreads the load.

    Args:
        order: Regions, the best first. Relays of others come last.
        relays: All that there are. Those that drain are named when there are no others.
        count: The most to name.
        random: Returns so many random bytes.
    """
    listed = list(relays)
    listed = [relay for relay in listed if not relay.is_draining] or listed
    rank = {name: number for number, name in enumerate(order)}
    regions: dict[int, list[_R]] = {}
    for relay in listed:
        regions.setdefault(rank.get(relay.region, len(rank)), []).append(relay)
    queues = [regions[number] for number in sorted(regions)]
    taken, left = [0] * len(queues), count
    for number, queue in enumerate(queues):
        taken[number] = min(len(queue), (left + 1) // 2)
        left -= taken[number]
    for number, queue in enumerate(queues):
        more = min(len(queue) - taken[number], left)
        taken[number] += more
        left -= more
    return tuple(
        relay for queue, share in zip(queues, taken, strict=True) for relay in _draw(queue, share, random)
    )


def _draw(relays: list[_R], count: int, random: Callable[[int], bytes]) -> list[_R]:
    """Draw some relays by lot; the list is left in another order."""
    for place in range(count):
        drawn = place + int.from_bytes(random(_DRAW_LENGTH)) % (len(relays) - place)
        relays[place], relays[drawn] = relays[drawn], relays[place]
    return relays[:count]
