from hypothesis import given
from hypothesis import strategies as st

from voicegate.transceiver.resends import Resends


def sent(count: int, *, first: int = 0) -> Resends:
    resends = Resends()
    for number in range(first, first + count):
        resends.note(number & 0xFFFF, b"%d" % (number & 0xFFFF))
    return resends


def test_what_is_missed_is_sent_again_as_it_was() -> None:
    assert list(sent(10).take((3, 7))) == [b"3", b"7"]


def test_what_is_too_old_or_was_never_sent_is_not() -> None:
    assert list(sent(40).take((0, 7, 8, 39, 40, 65535))) == [b"8", b"39"]


def test_sequence_numbers_wrap() -> None:
    assert list(sent(20, first=0xFFF6).take((0xFFFF, 0, 9))) == [b"65535", b"0", b"9"]


def test_nobody_makes_us_send_more_than_twice() -> None:
    resends = sent(20)
    assert len(list(resends.take(range(4, 20)))) == 16
    assert list(resends.take(range(20))) == []
    resends.note(20, b"20")
    assert list(resends.take((20, 20))) == [b"20"]


@given(asked=st.lists(st.lists(st.integers(0, 0xFFFF) | st.integers(0, 60), max_size=20), max_size=20))
def test_whatever_is_asked_for_less_is_sent_again_than_was_sent(asked: list[list[int]]) -> None:
    resends, again = Resends(), 0
    for number, wanted in enumerate(asked):
        resends.note(number, bytes([number]))
        again += len(list(resends.take(wanted)))
        assert again <= number + 1
