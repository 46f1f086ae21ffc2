from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.dtls import extension
from voicegate.dtls.extension import Extension, find_extension, has_repeats, read_extensions, write_extensions
from voicegate.errors import WireError
from voicegate.wire import Reader, Writer

points = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20).map(tuple)
extensions = st.lists(st.builds(Extension, st.integers(0, 0xFFFF), st.binary(max_size=20)), max_size=6).map(
    tuple
)

_DECODERS = [
    extension.decode_code_points,
    extension.decode_versions,
    extension.decode_point_formats,
    extension.decode_renegotiation_info,
]


@given(extensions)
def test_extensions_keep_their_order_repeats_and_unknowns(sent: tuple[Extension, ...]) -> None:
    writer = Writer()
    write_extensions(writer, sent)
    reader = Reader(writer.finish())
    assert read_extensions(reader) == sent
    reader.finish()


def test_an_extension_that_overruns_its_block_is_refused() -> None:
    with pytest.raises(WireError):
        read_extensions(Reader(bytes.fromhex("0006 0017 7fff 0000")))


def test_no_extensions_are_no_block() -> None:
    writer = Writer()
    write_extensions(writer, ())
    assert writer.finish() == b""


def test_the_first_of_a_type_is_found_and_repeats_are_noticed() -> None:
    both = (Extension(1, b"a"), Extension(1, b"b"))
    assert find_extension(both, 1) == b"a"
    assert find_extension(both, 2) is None
    assert has_repeats(both)
    assert not has_repeats(both[:1])


@given(points)
def test_lists_of_code_points_survive_the_wire(sent: tuple[int, ...]) -> None:
    assert extension.decode_code_points(extension.encode_code_points(sent)) == sent
    assert extension.decode_versions(extension.encode_versions(sent)) == sent


@given(st.binary(max_size=255))
def test_short_blocks_survive_the_wire(sent: bytes) -> None:
    assert extension.decode_point_formats(extension.encode_point_formats(sent)) == sent
    assert extension.decode_renegotiation_info(extension.encode_renegotiation_info(sent)) == sent


@pytest.mark.parametrize("decode", _DECODERS)
@given(data=st.binary(max_size=30))
def test_any_bytes_decode_or_raise_a_wire_error(decode: Callable[[bytes], object], data: bytes) -> None:
    try:
        decode(data)
    except WireError:
        return
    assert data


@pytest.mark.parametrize("decode", _DECODERS)
def test_trailing_bytes_are_refused(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(WireError):
        decode(b"\x00\x02\x00\x1d\x00\x00\x00")


shares = st.lists(
    st.builds(extension.KeyShareEntry, st.integers(0, 0xFFFF), st.binary(min_size=1, max_size=9)), max_size=4
).map(tuple)


@given(shares, st.integers(0, 0xFFFF))
def test_key_shares_and_choices_survive_the_wire(
    sent: tuple[extension.KeyShareEntry, ...], selected: int
) -> None:
    assert extension.decode_key_shares(extension.encode_key_shares(sent)) == sent
    for share in sent:
        assert extension.decode_key_share(extension.encode_key_share(share)) == share
    assert extension.decode_selected(extension.encode_selected(selected)) == selected


@pytest.mark.parametrize(
    ("decode", "data"),
    [
        (extension.decode_key_share, b"\0\x1d\0\0"),
        (extension.decode_key_share, b"\0\x1d\0\1kk"),
        (extension.decode_key_shares, b"\0\4\0\x1d\0\0"),
        (extension.decode_key_shares, b"\0\5\0\x1d\0\2k"),
        (extension.decode_selected, b"\xfe"),
        (extension.decode_selected, b"\xfe\xfc\0"),
    ],
)
def test_malformed_key_shares_and_choices_are_refused(decode: Callable[[bytes], object], data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_an_empty_list_of_code_points_is_refused() -> None:
    with pytest.raises(WireError, match="empty"):
        extension.decode_code_points(b"\0\0")
