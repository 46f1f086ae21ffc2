from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls.handshake import (
    HEADER_LENGTH,
    MAX_AHEAD_LENGTH,
    MAX_MESSAGE_LENGTH,
    MAX_MESSAGES_AHEAD,
    Fragment,
    HandshakeType,
    Message,
    Reassembler,
)
from voicegate.errors import WireError
from voicegate.wire import Reader

messages = st.builds(
    Message, type=st.integers(0, 255), message_seq=st.integers(0, 0xFFFF), body=st.binary(max_size=300)
)
fragments = st.integers(0, 40_000).flatmap(
    lambda length: st.integers(0, length).flatmap(
        lambda offset: st.builds(
            Fragment,
            type=st.integers(0, 3),
            length=st.just(length),
            message_seq=st.integers(0, 12),
            offset=st.just(offset),
            body=st.integers(0, length - offset).map(bytes),
        )
    )
)


def pieces(message: Message, cuts: list[int]) -> list[Fragment]:
    """Cut a message at the given offsets, and then some: every two neighbours overlap."""
    edges = sorted({0, len(message.body), *(cut % (len(message.body) + 1) for cut in cuts)})
    return [
        Fragment(message.type, len(message.body), message.message_seq, start, message.body[start : stop + 3])
        for start, stop in zip(edges, [*edges[1:], len(message.body)], strict=True)
    ]


def test_the_header_is_laid_out_as_in_the_rfc() -> None:
    fragment = Fragment(HandshakeType.CLIENT_HELLO, 0x010203, 0x0405, 0x000607, b"ab")
    assert fragment.encode() == bytes.fromhex("01 010203 0405 000607 000002") + b"ab"


@given(fragments)
def test_a_fragment_survives_the_wire(fragment: Fragment) -> None:
    reader = Reader(fragment.encode())
    assert Fragment.read(reader) == fragment
    reader.finish()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_fragment_that_encodes_to_them_or_a_wire_error(data: bytes) -> None:
    reader = Reader(data)
    try:
        fragment = Fragment.read(reader)
    except WireError:
        return
    assert fragment.encode() == data[: reader.position]


def test_a_fragment_outside_its_message_is_refused() -> None:
    with pytest.raises(WireError, match="message of 4"):
        Fragment.read(Reader(Fragment(1, 4, 0, 3, b"ab").encode()))


@given(messages, st.integers(HEADER_LENGTH + 1, 100))
def test_a_message_is_cut_into_fragments_within_the_limit_that_make_it_up(
    message: Message, limit: int
) -> None:
    encoded = list(message.fragments(limit))
    assert all(len(piece) <= limit for piece in encoded)
    parts = [Fragment.read(Reader(piece)) for piece in encoded]
    assert b"".join(part.body for part in parts) == message.body
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]


@given(
    st.lists(st.binary(max_size=120), min_size=1, max_size=4),
    st.lists(st.integers(0, 200), max_size=6),
    st.lists(st.integers(0, 200), max_size=6),
    st.randoms(use_true_random=False),
)
def test_messages_come_together_from_any_order_overlap_repetition_and_cutting(
    bodies: list[bytes], cuts: list[int], other_cuts: list[int], random: Random
) -> None:
    sent = [Message(type=number, message_seq=number, body=body) for number, body in enumerate(bodies)]
    arriving = [piece for message in sent for piece in pieces(message, cuts) + pieces(message, other_cuts)]
    random.shuffle(arriving)
    reassembler = Reassembler()
    received = []
    for fragment in arriving:
        if fragment.message_seq >= reassembler.next_sequence:
            assert reassembler.push(fragment, epoch=0)
        received += list(iter(reassembler.pop, None))
    assert received == sent


@given(st.lists(fragments, max_size=40))
def test_whatever_comes_memory_stays_bounded(arriving: list[Fragment]) -> None:
    reassembler = Reassembler()
    for fragment in arriving:
        reassembler.push(fragment, epoch=0)
        held = [len(partial.body) for partial in reassembler._partials.values()]
        assert len(held) <= MAX_MESSAGES_AHEAD
        assert sum(held) <= MAX_MESSAGE_LENGTH + MAX_AHEAD_LENGTH


def test_the_next_message_always_has_room() -> None:
    reassembler = Reassembler()
    assert reassembler.push(Fragment(1, MAX_AHEAD_LENGTH, 1, 0, b""), epoch=0)
    assert not reassembler.push(Fragment(1, 1, 2, 0, b""), epoch=0)
    assert reassembler.push(Fragment(1, MAX_MESSAGE_LENGTH, 0, 0, b""), epoch=0)


@pytest.mark.parametrize(
    "fragment",
    [
        Fragment(1, 10, MAX_MESSAGES_AHEAD, 0, b""),
        Fragment(1, MAX_MESSAGE_LENGTH + 1, 0, 0, b""),
        Fragment(2, 10, 1, 0, b"other type"),
        Fragment(1, 11, 1, 0, b"other length"[:11]),
    ],
)
def test_a_fragment_that_does_not_fit_is_refused(fragment: Fragment) -> None:
    reassembler = Reassembler()
    reassembler.push(Fragment(1, 10, 1, 0, b"abc"), epoch=0)
    assert not reassembler.push(fragment, epoch=0)


def test_a_message_does_not_mix_epochs() -> None:
    reassembler = Reassembler()
    reassembler.push(Fragment(20, 4, 0, 0, b"ab"), epoch=1)
    assert not reassembler.push(Fragment(20, 4, 0, 2, b"cd"), epoch=0)
    assert reassembler.push(Fragment(20, 4, 0, 2, b"cd"), epoch=1)
    assert reassembler.pop() == Message(type=20, message_seq=0, body=b"abcd", epoch=1)


def test_a_peeked_message_is_still_there() -> None:
    reassembler = Reassembler()
    reassembler.push(Fragment(14, 0, 0, 0, b""), epoch=0)
    assert reassembler.peek() == reassembler.pop() == Message(type=14, message_seq=0, body=b"")
    assert reassembler.peek() is None
