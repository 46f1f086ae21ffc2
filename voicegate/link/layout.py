"""How a value of a class is written as JSON: an object of its fields, each as its annotation says.

Bytes are ``{"base64": ...}``, a tuple is an array, a class within a class is an object within an object. What
has a default may be missing, and what is not known here is skipped, so a later version can add to both.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    Literal,
    NamedTuple,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.wire.json_value import JSON

__all__ = ["Kind", "kind_of"]

MAX_INTEGER: Final = 2**53
"""Beyond it, languages whose numbers are all floating ones could not tell two apart."""

MAX_ITEMS: Final = 4096
"""Members of an array; more than any list of the protocol has."""


class Kind(NamedTuple):
    """How values of one type are written and read."""

    write: Callable[[Any], JSON]
    read: Callable[[JSON], Any]


def kind_of(annotation: object) -> Kind:
    """Return how values with this annotation are written.

    Errors: UsageError for a type that has no place in JSON.
    """
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _union(arguments)
    if origin is Literal:
        return _choice(arguments)
    if origin is tuple and arguments[1:] == (...,):
        return _items(kind_of(arguments[0]))
    if isinstance(annotation, type) and (attrs.has(annotation) or hasattr(annotation, "_fields")):
        return _fields(annotation)
    raise UsageError(f"{annotation!r} has no place in JSON")


def _fields(owner: type) -> Kind:
    hints = get_type_hints(owner)
    if attrs.has(owner):
        optional = {field.name: field.default is not attrs.NOTHING for field in attrs.fields(owner)}
    else:
        defaults = owner._field_defaults  # type: ignore[attr-defined]
        optional = {name: name in defaults for name in owner._fields}  # type: ignore[attr-defined]
    kinds = {name: kind_of(hints[name]) for name in optional}

    def write(value: object) -> JSON:
        return {name: kind.write(getattr(value, name)) for name, kind in kinds.items()}

    def read(value: JSON) -> object:
        if not isinstance(value, Mapping):
            raise WireError("an object is wanted")
        found = {}
        for name, kind in kinds.items():
            if name in value:
                try:
                    found[name] = kind.read(value[name])
                except WireError as error:
                    raise WireError(f"{name!r}: {error}") from error
            elif not optional[name]:
                raise WireError(f"{name!r} is missing")
        return owner(**found)

    return Kind(write, read)


def _union(members: tuple[Any, ...]) -> Kind:
    kinds = tuple((member, kind_of(member)) for member in members)

    def write(value: object) -> JSON:
        return next(kind.write(value) for member, kind in kinds if _is_of(value, member))

    def read(value: JSON) -> object:
        for _, kind in kinds:
            try:
                return kind.read(value)
            except WireError:
                continue
        raise WireError("of a wrong type")

    return Kind(write, read)


def _is_of(value: object, member: type) -> bool:
    return value in get_args(member) if get_origin(member) is Literal else isinstance(value, member)


def _choice(values: tuple[Any, ...]) -> Kind:
    def read(value: JSON) -> object:
        if not isinstance(value, str) or value not in values:
            raise WireError(f"none of {', '.join(map(repr, values))}")
        return value

    return Kind(_same, read)


def _items(kind: Kind) -> Kind:
    def write(values: tuple[object, ...]) -> JSON:
        return [kind.write(value) for value in values]

    def read(value: JSON) -> object:
        if not isinstance(value, list):
            raise WireError("an array is wanted")
        if len(value) > MAX_ITEMS:
            raise WireError(f"{len(value)} items, at most {MAX_ITEMS} are possible")
        return tuple(kind.read(item) for item in value)

    return Kind(write, read)


# What is not


def _same(value: object) -> JSON:
    return value


def _read_bool(value: JSON) -> bool:
    if not isinstance(value, bool):
        raise WireError("true or false is wanted")
    return value


def _read_int(value: JSON) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_INTEGER:
        raise WireError("an integer below 2**53 is wanted")
    return value


def _read_float(value: JSON) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > MAX_INTEGER:
        raise WireError("a number below 2**53 is wanted")
    return float(value)


def _read_text(value: JSON) -> str:
    if not isinstance(value, str):
        raise WireError("a string is wanted")
    return value


def _write_bytes(value: bytes) -> JSON:
    return {"base64": b64encode(value).decode()}


def _read_bytes(value: JSON) -> bytes:
    if not isinstance(value, Mapping) or not isinstance(value.get("base64"), str):
        raise WireError("an object with base64 is wanted")
    try:
        return b64decode(value["base64"], validate=True)
    except (Base64Error, ValueError) as error:
        raise WireError("not base64") from error


def _read_nothing(value: JSON) -> None:
    if value is not None:
        raise WireError("null is wanted")


def _read_object(value: JSON) -> Mapping[str, JSON]:
    if not isinstance(value, Mapping):
        raise WireError("an object is wanted")
    return value


_SCALARS: Final[dict[Any, Kind]] = {
    bool: Kind(_same, _read_bool),
    int: Kind(_same, _read_int),
    float: Kind(_same, _read_float),
    str: Kind(_same, _read_text),
    bytes: Kind(_write_bytes, _read_bytes),
    NoneType: Kind(_same, _read_nothing),
    Mapping[str, Any]: Kind(_same, _read_object),
}
