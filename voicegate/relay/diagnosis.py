"""What a relay's figures say is wrong with it, in words for whoever runs it."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from voicegate.relay.counter import Count, DropReason, RelayStatistics

__all__ = ["Finding", "diagnose"]

_SUSPICIOUS: Final = 20
"""Checks in vain between two looks that are no accident any more: a client repeats one that isn't answered
some twenty times in ten seconds."""


@attrs.frozen(kw_only=True)
class Finding:
    """Something that is wrong."""

    event: str
    """What happened, as the log says it."""
    count: int
    """How often, since the last look."""
    cause: str
    """Why it is likely to have happened, and what helps."""


def diagnose(before: RelayStatistics, after: RelayStatistics) -> list[Finding]:
    """Compare two looks at a relay, a minute or so apart."""
    verified = _count(Count.CHECKS_VERIFIED, before, after)
    return [
        Finding(event=event, count=count, cause=" ".join(cause.split()))
        for what, event, is_wrong, cause in _CAUSES
        if is_wrong(count := _count(what, before, after), verified)
    ]


def _count(what: Count | DropReason, before: RelayStatistics, after: RelayStatistics) -> int:
    return _figures(after, what)[what.value] - _figures(before, what)[what.value]


def _figures(statistics: RelayStatistics, what: Count | DropReason) -> Mapping[str, int]:
    return statistics.counts if isinstance(what, Count) else statistics.dropped


def _is_all_there_is(count: int, verified: int) -> bool:
    """Strangers send such checks too, so a few are nothing as long as those of clients are there."""
    return count >= _SUSPICIOUS and not verified


def _is_often(count: int, _verified: int) -> bool:
    return count >= _SUSPICIOUS


def _is_at_all(count: int, _verified: int) -> bool:
    return count > 0


_CAUSES: Final[tuple[tuple[Count | DropReason, str, Callable[[int, int], bool], str], ...]] = (
    (
        DropReason.FOREIGN_UFRAG,
        "relay_checks_foreign",
        _is_all_there_is,
        """no check is for this cluster: the relay has another secret than the transceivers, or answers of
        another cluster name its address""",
    ),
    (
        DropReason.BAD_INTEGRITY,
        "relay_checks_forged",
        _is_all_there_is,
        """no check has the right password: answers are altered on their way to clients, or somebody
        guesses""",
    ),
    (
        DropReason.UNKNOWN_TRANSCEIVER,
        "relay_transceivers_unknown",
        _is_often,
        """calls belong to transceivers that this relay does not know: they are gone, they are not in its
        directory, or their addresses are not in its hop_networks""",
    ),
    (
        Count.LOOKUPS_UNLISTED,
        "relay_flow_rows_wrong",
        _is_at_all,
        """flow rows of the directory lead to transceivers that are not listed: these ended lately, or
        somebody else writes there""",
    ),
    (
        Count.FLOWS_DISOWNED,
        "relay_flow_rows_disowned",
        _is_at_all,
        """flow rows of the directory led to transceivers that know nothing of them: the calls ended lately,
        or somebody else writes there""",
    ),
)
"""What to look at, the event, from when on it is one, and its likely cause."""
