from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError, WireError
from voicegate.link.layout import MAX_INTEGER, MAX_ITEMS, kind_of
from voicegate.wire.json_value import decode_object, encode_object


class Inner(NamedTuple):
    text: str
    data: bytes = b""


@attrs.frozen(kw_only=True)
class Outer:
    is_so: bool
    number: int
    share: float
    inner: Inner
    items: tuple[int, ...] = ()
    choice: Literal["a", "b"] | None = None
    either: str | bytes = ""
    loose: Mapping[str, Any] = attrs.field(factory=dict)
    nothing: None = None


INNERS = st.builds(Inner, st.text(max_size=5), st.binary(max_size=5))
INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
OUTERS = st.builds(
    Outer,
    is_so=st.booleans(),
    number=INTEGERS,
    share=st.floats(-1e15, 1e15),
    inner=INNERS,
    items=st.lists(INTEGERS, max_size=3).map(tuple),
    choice=st.sampled_from(["a", "b", None]),
    either=st.text(max_size=5) | st.binary(max_size=5),
    loose=st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
)
KIND = kind_of(Outer)
LEAST: dict[str, Any] = {"is_so": True, "number": 1, "share": 1, "inner": {"text": "x"}}


@given(OUTERS)
def test_what_was_written_is_read(value: Outer) -> None:
    assert KIND.read(decode_object(encode_object(KIND.write(value)))) == value


def test_what_has_a_default_may_be_missing_and_what_is_unknown_is_skipped() -> None:
    read = KIND.read(LEAST | {"novelty": 1})
    assert read == Outer(is_so=True, number=1, share=1.0, inner=Inner("x"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_so", 1),
        ("number", True),
        ("number", 1.5),
        ("number", 2**53 + 1),
        ("share", "1"),
        ("share", True),
        ("inner", []),
        ("inner", {}),
        ("inner", {"text": 1}),
        ("inner", {"text": "x", "data": "x"}),
        ("inner", {"text": "x", "data": {"base64": "?"}}),
        ("items", {}),
        ("items", ["1"]),
        ("items", [0] * (MAX_ITEMS + 1)),
        ("choice", "c"),
        ("choice", []),
        ("either", 1),
        ("loose", []),
        ("nothing", 0),
    ],
)
def test_a_field_of_a_wrong_type_is_named(field: str, value: object) -> None:
    with pytest.raises(WireError, match=f"'{field}'"):
        KIND.read(LEAST | {field: value})


def test_a_field_that_must_be_there_is_named() -> None:
    with pytest.raises(WireError, match="'number' is missing"):
        KIND.read({key: value for key, value in LEAST.items() if key != "number"})
    with pytest.raises(WireError, match="an object is wanted"):
        KIND.read(None)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": NaN}', '{"a": 1e999}', "[" * 100_000, '{"a":' * 100_000]
)
def test_what_other_languages_could_not_read_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        decode_object(text)


def test_a_type_without_a_place_is_our_own_fault() -> None:
    with pytest.raises(UsageError):
        kind_of(set)
