"""How often a directory on Redis does things; tests have it done more often."""

import attrs

from voicegate.directory.ledger import GRACE_SECONDS, LEASE_SECONDS

__all__ = ["Pace"]


@attrs.frozen(kw_only=True)
class Pace:
    """How often things are done, in seconds; what is done again and again is jittered by a fifth."""

    lease: float = LEASE_SECONDS
    """Life of a lease."""
    renewal: float = LEASE_SECONDS / 3
    poll: float = 0.5
    """Between two questions for changes, so that none takes a second to be seen, however many messages get
    lost."""
    spread: float = 0.05
    """Within which those look who were told of the same change."""
    reread: float = 300.0
    """Between two times that all rows are read, in case a replica that became the primary had missed some."""
    grace: float = GRACE_SECONDS
    """See there."""
    look: float = 0.25
    """Between two looks at the address that this machine has towards Redis."""
    answer: float = 2.0
    """An answer that takes longer ends the session."""
    lookup: float = 0.5
    """An answer about flows that takes longer is not waited for: the client's next check is as near."""
    first_pause: float = 0.1
    last_pause: float = 5.0
    """Between two sessions; doubled each time."""
    farewell: float = 1.0
    """For goodbyes, at the end."""
    flows: float = 0.05
    """Flow rows are gathered for so long."""
