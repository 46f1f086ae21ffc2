from collections.abc import Callable
from struct import Struct
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.wire import Reader, Writer

NUMBERS: Final = ("u8", "u16", "u24", "u32", "u48", "u64")
BLOCKS: Final = ("block8", "block16", "block24")
# What a parser may ask of a reader: a method and its arguments.
requests = st.lists(
    st.sampled_from((*NUMBERS, *BLOCKS, "rest", "finish")).map(lambda name: (name, ()))
    | st.integers(-2, 9).map(lambda length: ("read", (length,)))
    | st.sampled_from(("!H", "!BI", "!8s")).map(lambda layout: ("unpack", (Struct(layout),))),
    max_size=12,
)


@given(st.binary(max_size=40), requests)
def test_a_reader_only_raises_wire_error_and_never_passes_its_end(
    data: bytes, asked: list[tuple[str, tuple[object, ...]]]
) -> None:
    reader = Reader(data)
    for name, arguments in asked:
        before = reader.position
        try:
            getattr(reader, name)(*arguments)
        except WireError:
            if not name.startswith("block"):
                assert reader.position == before
        assert before <= reader.position <= len(data)
        assert reader.position + reader.remaining == len(data)


@given(st.data(), st.sampled_from(NUMBERS))
def test_a_number_is_read_as_it_was_written(data: st.DataObject, name: str) -> None:
    bits = int(name[1:])
    number = data.draw(st.integers(0, (1 << bits) - 1))
    writer = Writer()
    getattr(writer, name)(number)
    written = writer.finish()
    assert written == number.to_bytes(bits // 8, "big")
    reader = Reader(written)
    assert getattr(reader, name)() == number
    reader.finish()


@given(st.binary(max_size=255), st.sampled_from(BLOCKS))
def test_a_block_is_read_as_it_was_written(content: bytes, name: str) -> None:
    writer = Writer()
    getattr(writer, name)(content)
    reader = Reader(writer.finish())
    child = getattr(reader, name)()
    assert child.rest() == content
    child.finish()
    reader.finish()


def test_a_child_ends_where_its_block_does() -> None:
    reader = Reader(b"\x02abc")
    child = reader.block8()
    with pytest.raises(WireError, match="3 bytes wanted at offset 0, 2 left"):
        child.read(3)
    assert (child.read(2), reader.rest()) == (b"ab", b"c")


def test_a_block_longer_than_what_is_left_is_refused() -> None:
    with pytest.raises(WireError, match="5 bytes wanted"):
        Reader(b"\x05abc").block8()


def test_a_child_that_is_not_used_up_is_refused() -> None:
    child = Reader(b"\x02ab").block8()
    child.u8()
    with pytest.raises(WireError, match="1 bytes too many at offset 1"):
        child.finish()


def test_a_negative_length_is_refused() -> None:
    reader = Reader(b"abcd")
    reader.u16()
    with pytest.raises(WireError):
        reader.read(-1)


def test_a_fixed_header_is_taken_in_one_go() -> None:
    reader = Reader(b"\x01\x02\x03\x04")
    assert reader.unpack(Struct("!BH")) == (1, 0x0203)
    with pytest.raises(WireError, match="2 bytes wanted at offset 3"):
        reader.unpack(Struct("!H"))
    assert reader.remaining == 1


def test_a_writer_knows_its_length() -> None:
    writer = Writer()
    writer.write(b"abc")
    writer.u32(1)
    assert len(writer) == 7
    assert writer.finish() == b"abc\x00\x00\x00\x01"


@pytest.mark.parametrize(("method", "limit"), [("block8", 0xFF), ("block16", 0xFFFF), ("block24", 0xFFFFFF)])
def test_the_longest_block_is_written_whole(method: str, limit: int) -> None:
    writer = Writer()
    getattr(writer, method)(bytes(limit))
    read: Callable[[], Reader] = getattr(Reader(writer.finish()), method)
    assert read().remaining == limit
