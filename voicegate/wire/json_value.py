"""JSON as both sides send it, within bounds that hold before anything is built of it."""

import json
from collections.abc import Mapping
from math import isinf
from typing import Any, Final, TypeAlias

from voicegate.errors import WireError

__all__ = ["JSON", "JSONObject", "decode_object", "encode_object"]

JSON: TypeAlias = Any
"""A value that `json.loads` returns: None, bool, int, float, str, list or dict of such."""

JSONObject: TypeAlias = Mapping[str, JSON]

MAX_EVENT: Final = 16 * 1024 * 1024
"""Characters of one event: 15 MiB of audio in base64, which the service allows, or a large image."""

_MAX_MARKS: Final = 100_000
"""Brackets and commas in a text, so at most as many values: large tools have thousands, and what each value
takes in memory is many times what it took in the text."""

_MAX_DEPTH: Final = 64
"""Nesting; JSON Schemas of tools reach about twenty."""


def decode_object(text: str, *, limit: int = MAX_EVENT) -> dict[str, JSON]:
    """Read a text that is one JSON object."""
    if len(text) > limit:
        raise WireError(f"more than {limit} characters")
    brackets = text.count("[") + text.count("{")
    if brackets + text.count(",") > _MAX_MARKS:
        raise WireError("too many values")
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_read_float)
        if not text.isascii() or "\\u" in text:
            # Half a surrogate pair is JSON, but no text that could be sent on.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise WireError("not JSON") from error
    if not isinstance(value, dict):
        raise WireError("not a JSON object")
    if brackets > _MAX_DEPTH and _is_deeper(value, _MAX_DEPTH):
        raise WireError("nested too deep")
    return value


def encode_object(value: JSONObject) -> str:
    """Write an object as short as it gets."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _refuse_constant(name: str) -> JSON:
    raise ValueError(name)  # NaN and Infinity, which Python reads and JSON does not have


def _read_float(text: str) -> float:
    if isinf(value := float(text)):
        raise ValueError(text)  # JSON could not say it back
    return value


def _is_deeper(value: JSON, limit: int) -> bool:
    level: list[JSON] = [value]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True
