from voicegate.dtls.v13.message import Ack, RecordNumber
from voicegate.dtls.v13.receipt import Receipt


def receipt_of(*numbers: int) -> Receipt:
    """Make a receipt that is owed, twice over."""
    receipt = Receipt()
    for number in numbers:
        receipt.note(RecordNumber(2, number))
    receipt.is_owed = True
    receipt.due_at = 1.0
    return receipt


def test_what_has_come_is_acknowledged_each_record_once() -> None:
    receipt = receipt_of(1, 0, 1)
    assert receipt.acknowledge() == Ack(record_numbers=(RecordNumber(2, 1), RecordNumber(2, 0)))
    assert not receipt.is_owed
    assert receipt.due_at is None
    # Until the next flight begins it is all said again.
    assert len(receipt.acknowledge().record_numbers) == len(receipt) == 2


def test_with_the_next_flight_nothing_has_come_yet() -> None:
    receipt = receipt_of(0)
    receipt.clear()
    assert len(receipt) == 0
    assert not receipt.is_owed
    assert receipt.due_at is None


def test_only_the_latest_records_are_listed() -> None:
    receipt = Receipt()
    for number in range(100):
        receipt.note(RecordNumber(3, number))
    numbers = [number.sequence_number for number in receipt.acknowledge().record_numbers]
    assert numbers == list(range(68, 100))
