"""How a value of a class is written: its fields in their order, each as its annotation says.

``bool`` is a byte, ``int`` and ``float`` take eight, ``str`` and ``bytes`` follow their length, a tuple
follows its count; a union begins with the number of the member that is present, and a class within a class is
its fields in turn. So a field added to a class is on the wire without another word.
"""

from collections.abc import Callable
from math import isfinite
from struct import Struct
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import attrs

from voicegate.errors import UsageError, WireError
from voicegate.wire import Reader, Writer

__all__ = ["Kind", "kind_of"]

MAX_ITEMS: Final = 65_536
"""Members of a tuple; more than any list of ours has."""

_I64: Final = Struct("!q")
_F64: Final = Struct("!d")


class Kind(NamedTuple):
    """How values of one type are written and read."""

    write: Callable[[Writer, Any], None]
    read: Callable[[Reader], Any]


def kind_of(annotation: object) -> Kind:
    """Return how values with this annotation are written.

    Errors: UsageError for a type that has no place on the wire.
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
    raise UsageError(f"{annotation!r} has no place on the link")


# What is made of other kinds


def _fields(owner: type) -> Kind:
    hints = get_type_hints(owner)
    names = (
        tuple(field.name for field in attrs.fields(owner)) if attrs.has(owner) else tuple(owner._fields)  # type: ignore[attr-defined]
    )
    kinds = {name: kind_of(hints[name]) for name in names}

    def write(writer: Writer, value: object) -> None:
        for name, kind in kinds.items():
            kind.write(writer, getattr(value, name))

    def read(reader: Reader) -> object:
        return owner(**{name: kind.read(reader) for name, kind in kinds.items()})

    return Kind(write, read)


def _union(members: tuple[Any, ...]) -> Kind:
    kinds = tuple(kind_of(member) for member in members)

    def write(writer: Writer, value: object) -> None:
        number = next((i for i, member in enumerate(members) if isinstance(value, member)), None)
        if number is None:
            raise TypeError(f"{type(value).__name__}, one of {members} possible")
        writer.u8(number)
        kinds[number].write(writer, value)

    def read(reader: Reader) -> object:
        number = reader.u8()
        if number >= len(kinds):
            raise WireError(f"member {number} of a union of {len(kinds)}")
        return kinds[number].read(reader)

    return Kind(write, read)


def _choice(values: tuple[Any, ...]) -> Kind:
    def write(writer: Writer, value: object) -> None:
        writer.u8(values.index(value))

    def read(reader: Reader) -> object:
        number = reader.u8()
        if number >= len(values):
            raise WireError(f"choice {number} of {len(values)}")
        return values[number]

    return Kind(write, read)


def _items(kind: Kind) -> Kind:
    def write(writer: Writer, values: tuple[object, ...]) -> None:
        writer.u32(len(values))
        for value in values:
            kind.write(writer, value)

    def read(reader: Reader) -> object:
        count = reader.u32()
        if count > MAX_ITEMS:
            raise WireError(f"{count} items, at most {MAX_ITEMS} are sent")
        return tuple(kind.read(reader) for _ in range(count))

    return Kind(write, read)


# What is not


def _write_bool(writer: Writer, value: bool) -> None:
    writer.u8(value)


def _read_bool(reader: Reader) -> bool:
    value = reader.u8()
    if value > 1:
        raise WireError(f"a truth value of {value}")
    return bool(value)


def _write_int(writer: Writer, value: int) -> None:
    writer.write(_I64.pack(value))


def _read_int(reader: Reader) -> int:
    return int(reader.unpack(_I64)[0])


def _write_float(writer: Writer, value: float) -> None:
    writer.write(_F64.pack(value))


def _read_float(reader: Reader) -> float:
    value = float(reader.unpack(_F64)[0])
    if not isfinite(value):
        raise WireError(f"a number that is {value}")
    return value


def _write_bytes(writer: Writer, value: bytes) -> None:
    writer.u32(len(value))
    writer.write(value)


def _read_bytes(reader: Reader) -> bytes:
    return reader.read(reader.u32())


def _write_text(writer: Writer, value: str) -> None:
    # What a program calls its channels and marks may hold half a surrogate pair, and comes back as it was.
    _write_bytes(writer, value.encode(errors="surrogatepass"))


def _read_text(reader: Reader) -> str:
    try:
        return _read_bytes(reader).decode(errors="surrogatepass")
    except UnicodeDecodeError as error:
        raise WireError("text that is not UTF-8") from error


def _write_nothing(_writer: Writer, _value: None) -> None:
    return


def _read_nothing(_reader: Reader) -> None:
    return


_SCALARS: Final[dict[Any, Kind]] = {
    bool: Kind(_write_bool, _read_bool),
    int: Kind(_write_int, _read_int),
    float: Kind(_write_float, _read_float),
    str: Kind(_write_text, _read_text),
    bytes: Kind(_write_bytes, _read_bytes),
    NoneType: Kind(_write_nothing, _read_nothing),
}
