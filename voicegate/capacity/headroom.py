"""How much more there has to be than calls: for the loss of a region or a zone, and for deploys."""

from collections.abc import Mapping
from enum import Enum

from voicegate.errors import UsageError

__all__ = ["Loss", "surviving_shares"]


class Loss(Enum):
    """What may be lost without a call that is refused."""

    NOTHING = "nothing"
    ZONE = "zone"
    """One of several in each region."""
    REGION = "region"


def surviving_shares(shares: Mapping[str, float], loss: Loss, *, zones: int = 3) -> dict[str, float]:
    """Return the capacity that each region needs, in parts of all calls.

    With a region to lose, the total is the least that does: whichever goes, the others have room for all. The
    largest then is as large as it has to be, and the others are brought nearer to it, in proportion.

    Args:
        shares: What part of all calls is nearest to each region.
        loss: What may go.
        zones: How many each region has.

    Errors: UsageError for shares that are none, and for a loss that leaves nothing.
    """
    if not shares or not abs(sum(shares.values()) - 1) <= 1e-6 or min(shares.values()) <= 0:
        raise UsageError("the shares of regions are positive and come to 1")
    match loss:
        case Loss.NOTHING:
            return dict(shares)
        case Loss.ZONE:
            if zones < 2:
                raise UsageError("a region of one zone does not survive its loss")
            return {name: share * zones / (zones - 1) for name, share in shares.items()}
        case Loss.REGION:
            count = len(shares)
            if count < 2:
                raise UsageError("a single region does not survive its own loss: name two, or a zone to lose")
            largest = max(*shares.values(), 1 / (count - 1))
            lift = largest / (count * largest - 1)
            return {name: share + (largest - share) * lift for name, share in shares.items()}
