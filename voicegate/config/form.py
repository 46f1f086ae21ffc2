"""The forms that values have: validators whose messages name the key and say what is wanted."""

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

import attrs

from voicegate.errors import UsageError

__all__ = [
    "Field",
    "Validator",
    "convert",
    "flag",
    "line",
    "name_faults",
    "number",
    "one_of",
    "optional",
    "read_table",
    "short",
    "some",
    "some_of",
    "text",
    "whole",
]

MAX_SHOWN: Final = 80
"""Characters of a wrong value in a message: enough to find it, and one line."""

Field: TypeAlias = "attrs.Attribute[Any]"
T = TypeVar("T")


class Validator(Protocol):
    """What attrs calls with each value of a field."""

    def __call__(self, _instance: object, field: Field, value: object, /) -> None:
        """Raise UsageError for what the field cannot be."""


def short(value: object) -> str:
    """Write a value into a message."""
    try:
        shown = repr(value)
    except ValueError:
        return "a number of so many digits"
    return shown if len(shown) <= MAX_SHOWN else f"{shown[: MAX_SHOWN - 3]}..."


def _wanted(field: Field, what: str, value: object) -> UsageError:
    return UsageError(f"{field.name}: {what} is wanted, not {short(value)}")


def flag(_instance: object, field: Field, value: object) -> None:
    """Want true or false."""
    if not isinstance(value, bool):
        raise _wanted(field, "true or false", value)


def text(_instance: object, field: Field, value: object) -> None:
    """Want a text that has something in it, on one line."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _wanted(field, "a text", value)


def line(_instance: object, field: Field, value: object) -> None:
    """Want a text on one line, or an empty one."""
    if not isinstance(value, str) or not value.isprintable():
        raise _wanted(field, "a text", value)


def some(_instance: object, field: Field, value: object) -> None:
    """Want one of them at least."""
    if not value:
        raise UsageError(f"{field.name}: one is wanted at least")


def whole(least: int, most: int | None = None) -> Validator:
    """Want a whole number within bounds."""

    def validate(_instance: object, field: Field, value: object) -> None:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not least <= cast("int", value) or (most and cast("int", value) > most):
            bounds = f"from {least} on" if most is None else f"from {least} to {most}"
            raise _wanted(field, f"a whole number {bounds}", value)

    return validate


def number(least: float, *, is_open: bool = False) -> Validator:
    """Want a number from ``least`` on, or (open) above it."""

    def validate(_instance: object, field: Field, value: object) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= cast("float", value) < inf or (is_open and value == least):
            bound = f"above {least:g}" if is_open else f"from {least:g} on"
            raise _wanted(field, f"a number {bound}", value)

    return validate


def one_of(*choices: str) -> Validator:
    """Want one of some words."""

    def validate(_instance: object, field: Field, value: object) -> None:
        if value not in choices:
            raise _wanted(field, f"one of {', '.join(choices)}", value)

    return validate


def some_of(*choices: str) -> Validator:
    """Want one or more of some words."""

    def validate(_instance: object, field: Field, value: object) -> None:
        if not isinstance(value, tuple) or not value or any(each not in choices for each in value):
            raise _wanted(field, f"one or more of {', '.join(choices)}", value)

    return validate


def optional(inner: Validator) -> Validator:
    """Want nothing, or what ``inner`` wants."""

    def validate(instance: object, field: Field, value: object) -> None:
        if value is not None:
            inner(instance, field, value)

    return validate


def read_table(kind: type[T], value: object) -> T:
    """Make a value of its table, of which each key has a default.

    Errors: UsageError.
    """
    if isinstance(value, kind):
        return value
    known = list(attrs.fields_dict(cast("type[attrs.AttrsInstance]", kind)))
    if not isinstance(value, Mapping) or not set(value) <= set(known):
        raise UsageError(f"a table of {', '.join(known)} is wanted, not {short(value)}")
    try:
        return kind(**value)
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{error}") from error


def name_faults(_class: type, fields: Iterable[Field]) -> list[Field]:
    """Have every converter of a class say whose value it could not take (a ``field_transformer``)."""
    return [
        field
        if field.converter is None
        else field.evolve(converter=_named(cast("Callable[[Any], object]", field.converter)))
        for field in fields
    ]


def convert(field: Field, value: object) -> object:
    """Take one value as the constructor would, and check it alone.

    Errors: UsageError that names the key.
    """
    if field.converter is not None:
        value = cast("Callable[..., object]", field.converter)(value, None, field)
    if field.validator is not None:
        field.validator(None, field, value)
    return value


def _named(plain: Callable[[Any], object]) -> object:
    def converted(value: object, field: Field) -> object:
        try:
            return plain(value)
        except UsageError as error:
            said = str(error)
            raise UsageError(said if said.startswith(field.name) else f"{field.name}: {said}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{field.name}: {short(value)} has the wrong form") from error

    return attrs.Converter(converted, takes_field=True)
