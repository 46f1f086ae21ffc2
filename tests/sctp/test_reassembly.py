import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.sctp.chunk import Data, DataFlag
from voicegate.sctp.event import MessageReceived
from voicegate.sctp.reassembly import Reassembly

messages = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 5)), min_size=1, max_size=12)


def fragments(said: list[tuple[int, bool, int]]) -> list[Data]:
    """Cut messages (stream, whether in order, fragments) as a sender does."""
    found: list[Data] = []
    sequences: dict[int, int] = {}
    for number, (stream_id, is_ordered, count) in enumerate(said):
        sequence = 0
        if is_ordered:
            sequence = sequences.get(stream_id, 0)
            sequences[stream_id] = sequence + 1
        for piece in range(count):
            flags = DataFlag.BEGIN * (piece == 0) | DataFlag.END * (piece == count - 1)
            flags |= DataFlag.UNORDERED * (not is_ordered)
            data = bytes([number, piece])
            found.append(Data(len(found) + 1, stream_id, sequence, 53, data, int(flags)))
    return found


@pytest.mark.slow
@given(messages, st.randoms(use_true_random=False))
def test_messages_come_out_whole_and_in_order_from_fragments_in_any_order(
    said: list[tuple[int, bool, int]], random: object
) -> None:
    pieces = fragments(said)
    random.shuffle(pieces)  # type: ignore[attr-defined]
    reassembly = Reassembly(1000)
    out: list[MessageReceived] = []
    arrived = {0}
    for piece in pieces:
        settled = 0
        while settled + 1 in arrived:
            settled += 1
        arrived.add(piece.tsn)
        release = reassembly.add(piece, piece.tsn, settled=settled)
        assert release.discarded == 0
        out += release.messages
    assert reassembly.pieces == 0
    assert sorted(message.data[0] for message in out) == list(range(len(said)))
    for message in out:
        number = message.data[0]
        assert message.data == b"".join(bytes([number, piece]) for piece in range(said[number][2]))
        assert message.stream_id == said[number][0]
    for stream_id in range(3):
        numbers = [message.data[0] for message in out if message.stream_id == stream_id]
        ordered = [number for number in numbers if said[number][1]]
        assert ordered == sorted(ordered)


@pytest.mark.slow
@given(messages, st.sets(st.integers(0, 11)), st.randoms(use_true_random=False))
def test_skipped_messages_leave_nothing_behind_and_stop_nobody(
    said: list[tuple[int, bool, int]], given_up: set[int], random: object
) -> None:
    pieces = fragments(said)
    lost = [piece for piece in pieces if piece.data[0] in given_up]
    there = [piece for piece in pieces if piece.data[0] not in given_up]
    # Some fragments of what is given up arrive all the same, but never all of them.
    there += [piece for piece in lost if piece.data[1] > 0]
    random.shuffle(there)  # type: ignore[attr-defined]
    reassembly = Reassembly(1000)
    held = 0
    out: list[MessageReceived] = []
    for piece in there:
        held += len(piece.data)
        release = reassembly.add(piece, piece.tsn, settled=0 if piece.tsn > 1 else -1)
        out += release.messages
        held -= release.discarded + sum(len(message.data) for message in release.messages)
    skipped = {
        piece.stream_id: piece.sequence_number for piece in lost if not piece.flags & DataFlag.UNORDERED
    }
    release = reassembly.forward(len(pieces), skipped.items())
    out += release.messages
    held -= release.discarded + sum(len(message.data) for message in release.messages)
    assert sorted(message.data[0] for message in out) == sorted(set(range(len(said))) - given_up)
    assert held == 0
    assert reassembly.pieces == 0


def test_streams_that_begin_anew_forget_what_waited() -> None:
    reassembly = Reassembly(1000)
    reassembly.add(Data(2, 1, 1, 53, b"later", 3), 2, settled=0)
    assert reassembly.pieces == 1
    assert reassembly.reset([1, 2]) == 5
    assert reassembly.pieces == 0
    assert reassembly.add(Data(3, 1, 0, 53, b"new", 3), 3, settled=0).messages[0].data == b"new"
