"""The machines of a cluster, as the directory tells of their transceivers, and which of them to ask first."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from voicegate.directory import Address, TransceiverLease
from voicegate.steering.placement import Listed, order_places

__all__ = ["Machine", "list_machines", "order_machines"]


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

    See `order_places`.

    Args:
        machines: The other machines.
        own_region: Where this one is.
        regions: The client's, nearest first; empty when nobody knows where it is.
        random: Returns so many random bytes.
    """
    listed = (Listed(number, machine.region, machine.load) for number, machine in enumerate(machines))
    order = order_places(listed, own_region=own_region, regions=regions, random=random)
    return [None if number is None else machines[number].peer for number in order]


def _sum_up(peer: Address, leases: Sequence[TransceiverLease]) -> Machine:
    slots = sum(lease.max_calls for lease in leases)
    calls = sum(lease.calls for lease in leases)
    return Machine(peer, leases[0].region, calls / slots if slots > 0 else 1.0)
