import pytest

from voicegate.relay.counter import Count, Counters, DropReason
from voicegate.relay.diagnosis import diagnose


def events(changes: dict[DropReason | Count, int]) -> list[str]:
    """Return what is said of these changes, in a relay that has counted before."""
    counters = Counters()
    for what in (*DropReason, *Count):
        counters.add(what, 1000)
    before = counters.snapshot()
    for what, count in changes.items():
        counters.add(what, count)
    findings = diagnose(before, counters.snapshot())
    assert all(finding.count in changes.values() for finding in findings)
    assert not any("  " in finding.cause or "\n" in finding.cause for finding in findings)
    return [finding.event for finding in findings]


@pytest.mark.parametrize(
    ("what", "event"),
    [
        (DropReason.FOREIGN_UFRAG, "relay_checks_foreign"),
        (DropReason.BAD_INTEGRITY, "relay_checks_forged"),
    ],
)
def test_checks_in_vain_are_a_warning_when_no_other_comes(what: DropReason, event: str) -> None:
    assert events({what: 20}) == [event]
    assert events({what: 19}) == []
    assert events({what: 10_000, Count.CHECKS_VERIFIED: 1}) == []


def test_checks_for_transceivers_that_are_not_listed_are_a_warning_beside_others_too() -> None:
    assert events({DropReason.UNKNOWN_TRANSCEIVER: 20, Count.CHECKS_VERIFIED: 1000}) == [
        "relay_transceivers_unknown"
    ]
    assert events({DropReason.UNKNOWN_TRANSCEIVER: 19}) == []


def test_each_wrong_row_of_the_directory_is_one() -> None:
    changes: dict[DropReason | Count, int] = {Count.LOOKUPS_UNLISTED: 1, Count.FLOWS_DISOWNED: 2}
    assert events(changes) == ["relay_flow_rows_wrong", "relay_flow_rows_disowned"]


def test_a_relay_without_anything_new_is_well() -> None:
    assert events({}) == []
