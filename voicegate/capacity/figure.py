"""What calls cost: each figure with its unit and where it comes from.

A measured figure holds for the machine it was measured on, a small shared one with two cores. Whoever plans
for others measures there and gives figures of his own.
"""

from enum import Enum
from typing import Any, Final

import attrs

from voicegate.errors import UsageError

__all__ = ["Basis", "Figure", "Figures"]

_KEY: Final = "figure"


class Basis(Enum):
    """How sure a figure is."""

    MEASURED = "measured"
    DERIVED = "derived"
    """Follows from the protocols, or from constants of the program."""
    ASSUMED = "assumed"


@attrs.frozen(kw_only=True)
class Figure:
    """A figure, for people."""

    name: str
    value: float
    unit: str
    basis: Basis
    source: str
    """Where the default comes from."""
    is_default: bool


def _figure(default: float, unit: str, basis: Basis, source: str) -> Any:  # noqa: ANN401 - as attrs has it
    def check(_instance: object, attribute: "attrs.Attribute[float]", value: float) -> None:
        if not 0 < value < float("inf"):
            raise UsageError(f"{attribute.name}: {value:g} {unit} is no cost")

    return attrs.field(
        default=default, converter=float, validator=check, metadata={_KEY: (unit, basis, source)}
    )


@attrs.frozen(kw_only=True)
class Figures:
    """All that a plan is made of.

    Errors: UsageError for one that is not positive.
    """

    packets_per_second: float = _figure(
        50.8, "a second", Basis.DERIVED, "frames of 20 ms; a check each 2.5 s and RTCP each 2.5 s"
    )
    """Of one call, in each direction."""
    packet_bytes: float = _figure(
        116, "bytes", Basis.DERIVED, "Opus of 32 kbit/s, RTP, one header extension, AES-GCM's tag"
    )
    """Of media, without IP and UDP."""
    header_bytes: float = _figure(28, "bytes", Basis.DERIVED, "IPv4 and UDP; 48 with IPv6")
    hop_bytes: float = _figure(24, "bytes", Basis.DERIVED, "voicegate/wire/hop.py")

    relay_in_us: float = _figure(
        3.80, "µs a packet", Basis.MEASURED, "README, The relay: clients to transceiver, 60 000 a second"
    )
    relay_out_us: float = _figure(
        4.76, "µs a packet", Basis.MEASURED, "README, The relay: transceiver to clients, 60 000 a second"
    )
    relay_busy: float = _figure(
        0.5, "of a core", Basis.MEASURED, "both rates above together; without loss up to 336 000 a second"
    )
    """How busy a relay worker may be."""
    relay_worker_mb: float = _figure(
        62, "MB", Basis.MEASURED, "a worker without flows, 47 MB, and the table of 65 536 flows, 15 MB"
    )

    call_percent: float = _figure(
        0.19, "% of a core", Basis.MEASURED, "README, Frames on time: Opus passed through, not compiled"
    )
    """What a call takes of a transceiver worker's core."""
    transcoded_percent: float = _figure(
        0.60, "% of a core", Basis.MEASURED, "README, Frames on time: decoded and encoded"
    )
    """The same with PCM for agents."""
    shared_link_percent: float = _figure(
        0.10, "% of a core", Basis.MEASURED, "README, Links and models: 400 calls in one socket"
    )
    single_link_percent: float = _figure(
        1.3, "% of a core", Basis.MEASURED, "README, Links and models: a socket for each call"
    )
    link_bytes: float = _figure(
        110, "bytes a frame", Basis.ASSUMED, "80 of Opus; the frame's header, JSON and TCP in a shared socket"
    )
    transceiver_busy: float = _figure(
        0.76, "of a core", Basis.MEASURED, "README, Frames on time: 400 calls of 0.19 % held, 500 did not"
    )
    """How busy a transceiver worker may be until frames are late."""
    call_kb: float = _figure(82, "KB", Basis.MEASURED, "README, Frames on time: an idle call")
    transceiver_worker_mb: float = _figure(79, "MB", Basis.MEASURED, "a worker without calls")
    set_up_ms: float = _figure(
        10.3,
        "ms of a core",
        Basis.MEASURED,
        "README, On loopback: the answer after 9.7 ms, the browser's part included; a handshake's 0.6 ms",
    )
    """An upper bound."""

    flow_write_us: float = _figure(
        4.7, "µs a row", Basis.MEASURED, "bench/redis_cost.py: new rows, 512 at once"
    )
    flow_row_bytes: float = _figure(165, "bytes", Basis.MEASURED, "bench/redis_cost.py: memory of Redis")
    flow_renewal: float = _figure(20, "s", Basis.DERIVED, "voicegate.relay.flows.ROW_RENEWAL")
    flow_life: float = _figure(60, "s", Basis.DERIVED, "voicegate.directory.FLOW_ROW_SECONDS")
    flows_per_call: float = _figure(
        1.2, "rows", Basis.ASSUMED, "one path in use; some clients keep a second one checked"
    )
    announce_us: float = _figure(85, "µs", Basis.MEASURED, "bench/redis_cost.py: 1 and 15 leases at once")
    announce_row_us: float = _figure(9.5, "µs a row", Basis.MEASURED, "bench/redis_cost.py, as above")
    announce_seconds: float = _figure(5, "s", Basis.DERIVED, "a third of voicegate.directory.LEASE_SECONDS")
    poll_us: float = _figure(95, "µs", Basis.MEASURED, "bench/redis_cost.py: nothing new")
    poll_seconds: float = _figure(0.5, "s", Basis.DERIVED, "voicegate.directory.redis.Pace.poll")
    gather_seconds: float = _figure(
        0.025, "s", Basis.DERIVED, "a twentieth of that: what a poll waits for news"
    )
    lease_read_us: float = _figure(0.48, "µs a row", Basis.MEASURED, "bench/redis_cost.py: 128 at once")
    lease_bytes: float = _figure(400, "bytes", Basis.ASSUMED, "150 of the row; its key, two sorted sets")
    load_changes: float = _figure(
        0.1,
        "in a call's time",
        Basis.DERIVED,
        "voicegate.capacity.simulation: workers of 256 slots, 0.05 at 65 % load, 0.2 at 80 %",
    )
    """How often the load of a worker is news to all others: eighths of its slots apart, or full."""
    redis_busy: float = _figure(0.5, "of a core", Basis.ASSUMED, "half for failures, scans and slow minutes")
    member_limit: float = _figure(
        65_536, "leases", Basis.DERIVED, "voicegate.directory.ledger.MEMBER_LIMIT; ids would do for 1 048 576"
    )
    cluster_limit: float = _figure(4096, "clusters", Basis.DERIVED, "12 bits of the transceiver id")

    def listed(self) -> tuple[Figure, ...]:
        """Return each, with its source."""
        found = []
        for field in attrs.fields(type(self)):
            unit, basis, source = field.metadata[_KEY]
            value = getattr(self, field.name)
            found.append(
                Figure(
                    name=field.name,
                    value=value,
                    unit=unit,
                    basis=basis,
                    source=source,
                    is_default=value == field.default,
                )
            )
        return tuple(found)
