"""Which machine is asked to take a call, and which next: a pure function of what the directory says.

What it says is some seconds old, so this only decides whom to ask: whether there is room, each machine knows
best itself. It is plain data and needs neither clock nor network.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from voicegate.directory import Address, TransceiverLease

__all__ = ["MAX_OTHERS", "Machine", "list_machines", "order_machines"]

MAX_OTHERS: Final = 3
"""Other machines asked for one call: each one costs the caller a round trip, and the fleet a request, just
when it has the least to spare."""
LOAD_STEPS: Final = 20
"""Loads that differ by less than a twentieth are alike: who is a hair's breadth emptier than the others does
not get all that comes until the next lease tells how that went."""


class Machine(NamedTuple):
    """What the transceivers behind one peer address say together."""

    peer: Address
    region: str
    load: float
    """The share of its slots that are taken; 1 when nothing is said of slots."""


def list_machines(transceivers: Mapping[int, TransceiverLease], *, own: Collection[int]) -> Sequence[Machine]:
    """List the other machines that take calls.

    Args:
        transceivers: Those of the cluster, by id.
        own: The ids of those of this machine.
    """
    ours = {transceivers[id_].peer for id_ in own if id_ in transceivers}
    together: dict[Address, list[TransceiverLease]] = {}
    for lease in transceivers.values():
        if lease.peer is not None and lease.peer not in ours and not lease.is_draining:
            together.setdefault(lease.peer, []).append(lease)
    return [_sum_up(peer, leases) for peer, leases in together.items()]


def order_machines(
    machines: Sequence[Machine],
    *,
    own_region: str,
    regions: Sequence[str],
    random: Callable[[int], bytes],
) -> Sequence[Address | None]:
    """Return whom to ask for a call, in order: the peers of other machines, and None for this one.

    The nearest region comes first; in each, this machine if it is there, then the emptiest. A machine that
    said that it is full comes after all that did not.

    Args:
        machines: The other machines.
        own_region: Where this one is.
        regions: The client's, nearest first; empty when nobody knows where it is.
        random: Returns so many random bytes.
    """
    ranks = {region: rank for rank, region in enumerate(dict.fromkeys((*regions, own_region)))}
    others = sorted(
        (
            machine.load >= 1,
            ranks.get(machine.region, len(ranks)),
            int(machine.load * LOAD_STEPS),
            random(4),
            i,
        )
        for i, machine in enumerate(machines)
    )[:MAX_OTHERS]
    own_place = (False, ranks[own_region])
    before = [machines[i].peer for is_full, rank, *_, i in others if (is_full, rank) < own_place]
    after = [machines[i].peer for is_full, rank, *_, i in others if (is_full, rank) >= own_place]
    return [*before, None, *after]


def _sum_up(peer: Address, leases: Sequence[TransceiverLease]) -> Machine:
    slots = sum(lease.max_calls for lease in leases)
    calls = sum(lease.calls for lease in leases)
    return Machine(peer, leases[0].region, calls / slots if slots > 0 else 1.0)
