import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.link import Journal
from voicegate.link.journal import ACKNOWLEDGE_BYTES, ACKNOWLEDGE_EVERY, HELD_BYTES


@given(st.lists(st.sampled_from(["send", "arrive", "acknowledge", "break"]), max_size=60))
def test_nothing_is_lost_and_nothing_comes_twice_however_sockets_break(script: list[str]) -> None:
    sender, receiver = Journal(), Journal()
    wire: list[bytes | str] = []
    received: list[bytes | str] = []
    for number, step in enumerate(script):
        match step:
            case "send":
                message = str(number)
                sender.send(message)
                wire.append(message)
            case "arrive" if wire:
                received.append(wire.pop(0))
                receiver.receive(received[-1])
            case "acknowledge":
                if (count := receiver.poll_acknowledgement(is_late=True)) is not None:
                    sender.acknowledge(count)
            case "break":
                wire = sender.resume(receiver.received)
            case _:
                pass
    sent = [str(number) for number, step in enumerate(script) if step == "send"]
    assert received + sender.resume(receiver.received) == sent


def test_acknowledgements_come_after_so_many_messages_or_bytes_or_a_while() -> None:
    journal = Journal()
    assert journal.poll_acknowledgement(is_late=True) is None
    journal.receive("x")
    assert journal.poll_acknowledgement() is None
    assert journal.poll_acknowledgement(is_late=True) == 1
    for _ in range(ACKNOWLEDGE_EVERY):
        assert journal.poll_acknowledgement() is None
        journal.receive("x")
    assert journal.poll_acknowledgement() == 1 + ACKNOWLEDGE_EVERY
    journal.receive(bytes(ACKNOWLEDGE_BYTES))
    assert journal.poll_acknowledgement() == 2 + ACKNOWLEDGE_EVERY


def test_who_acknowledges_nothing_gets_no_more() -> None:
    journal = Journal()
    journal.send(bytes(HELD_BYTES))
    assert journal.is_full
    journal.acknowledge(1)
    assert not journal.is_full


@pytest.mark.parametrize("count", [-1, 0, 3])
def test_what_was_not_sent_or_is_gone_cannot_be_acknowledged(count: int) -> None:
    journal = Journal()
    journal.send("a")
    journal.send("b")
    journal.acknowledge(1)
    assert not journal.can_resume(count)
    with pytest.raises(WireError, match="acknowledged"):
        journal.acknowledge(count)
