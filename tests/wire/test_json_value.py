import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.wire.json_value import decode_object, encode_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), VALUES))
def test_what_is_written_is_read_as_the_same(value: dict[str, Any]) -> None:
    assert decode_object(encode_object(value)) == value
    assert decode_object(json.dumps(value)) == value


@given(st.text())
def test_any_text_is_an_object_or_refused(text: str) -> None:
    with suppress(WireError):
        assert isinstance(decode_object(text), dict)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"a": "\udc80"}',
        '{"a": ' + "[" * 65 + "]" * 65 + "}",
        '{"a": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"a": [' + "0," * 100_000 + "0]}",
        '{"a": ' + "9" * 5000 + "}",
        '{"a": 1' + " " * 20_000_000 + "}",
    ],
    ids=range(13),
)
def test_what_could_not_be_sent_on_or_would_grow_too_large_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        decode_object(text)


def test_nesting_that_tools_have_is_read() -> None:
    assert decode_object('{"a": ' + "[" * 60 + "]" * 60 + "}")
    assert decode_object('{"a": [' + "[]," * 70 + "{}]}")
