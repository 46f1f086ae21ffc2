"""What happens to a simulated fleet, and what came of it."""

from collections.abc import Mapping

import attrs

from voicegate.capacity.headroom import Loss, surviving_shares
from voicegate.errors import UsageError

__all__ = ["Deploy", "Outcome", "RegionLoss", "Scenario", "Stall"]


@attrs.frozen(kw_only=True)
class Deploy:
    """All machines are replaced, in each region a batch at a time."""

    at: float
    batch: float = 0.1
    """What part of a region's machines; one at least."""
    drain_seconds: float = 600.0
    start_seconds: float = 30.0


@attrs.frozen(kw_only=True)
class RegionLoss:
    """A region is gone, for good."""

    at: float
    region: str
    first_seconds: float = 5.0
    last_seconds: float = 30.0
    """Its clients notice at some time between, and call again."""
    detour_seconds: float = 10.0
    """Until whoever leads new calls to machines has noticed; those led there fail, and try again."""


@attrs.frozen(kw_only=True)
class Stall:
    """Nothing is heard of other machines: the directory is away."""

    at: float
    seconds: float


@attrs.frozen(kw_only=True)
class Scenario:
    """A fleet and its day.

    Errors: UsageError for regions without machines.
    """

    shares: Mapping[str, float]
    """What part of all calls is nearest to each region; further ones follow in the order given here."""
    machines: Mapping[str, int]
    slots: int
    """Calls of a machine."""
    calls: float
    """At the same time, on average, if none is refused."""
    call_seconds: float = 180.0
    """Mean of their lengths, which are exponential."""
    seconds: float = 600.0
    deploy: Deploy | None = None
    loss: RegionLoss | None = None
    stall: Stall | None = None
    lease_seconds: float = 1.0
    """How old what machines know of each other is at most."""
    grace_seconds: float = 30.0
    """How long a machine that is gone is still listed (`voicegate.directory.ledger.GRACE_SECONDS`)."""
    shun_seconds: float = 5.0
    """How long one that was out of reach is not asked again (`voicegate.fleet.calls.SHUN_SECONDS`)."""
    pending: int = 512
    """Set-ups of one machine at the same time (`Config.max_pending_calls`)."""
    set_up_seconds: float = 1.0
    retry_seconds: float = 5.0
    """What a refused caller is told to wait."""
    attempts: int = 5
    """After so many refusals a caller gives up."""

    def __attrs_post_init__(self) -> None:
        surviving_shares(self.shares, Loss.NOTHING)
        if set(self.machines) != set(self.shares) or min(self.machines.values()) < 1:
            raise UsageError("each region has a share and machines")
        if self.loss is not None and self.loss.region not in self.shares:
            raise UsageError(f"there is no region {self.loss.region} to lose")
        if min(self.slots, self.pending, self.attempts) < 1 or self.calls <= 0:
            raise UsageError("slots, pending, attempts and calls are positive")

    @property
    def capacity(self) -> int:
        """Calls for which there is room when nothing is missing."""
        return self.slots * sum(self.machines.values())


@attrs.define(kw_only=True)
class Outcome:
    """What came of a scenario."""

    callers: int = 0
    """Who called, those of lost and cut calls included, who called again."""
    placed: int = 0
    near: int = 0
    """Of those, placed in the region nearest to the caller."""
    asked: int = 0
    """Machines that were asked, in all."""
    refusals: int = 0
    """Attempts that nobody took; most callers try again."""
    refused_with_room: int = 0
    """Of these, while some machine had room and a set-up to spare."""
    given_up: int = 0
    lost: int = 0
    """Calls that went with a region."""
    cut: int = 0
    """Calls that a drain's deadline ended."""
    spread: float = 0.0
    """The most that two machines of a region were apart, as parts of their slots, in the second half."""
    fullest: float = 0.0
    """The fullest that a region was, among machines that take calls."""
    load_news: int = 0
    """How often a machine's load was news to the others."""
    deploy_seconds: float | None = None
    """How long the deploy took; None when there was none, or it was not over."""
    reconnected: list[float] = attrs.Factory(list)
    """Seconds from the loss of the region until each of its callers who came back had a call again."""
