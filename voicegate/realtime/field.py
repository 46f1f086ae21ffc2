"""Fields of a JSON object, read with what they may be; what is wrong is refused with its path."""

from collections.abc import Collection, Mapping
from typing import Final

from voicegate.realtime.fault import EventRefused
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["Fields"]

_SHOWN: Final = 40
"""Characters of a wrong value in a message."""


class Fields:
    """An object and where it stands in its event. Unknown fields are nobody's business here.

    Each reader returns the value if it may be that, and None (or ``default``) where there is none.
    """

    def __init__(self, value: JSON, path: str = "") -> None:
        if not isinstance(value, Mapping):
            raise EventRefused(
                f"Invalid type for '{path}': expected an object.", code="invalid_type", param=path or None
            )
        self.value: JSONObject = value
        self.path = path

    def name(self, key: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def has(self, key: str) -> bool:
        """Return whether a field is there and not null."""
        return self.value.get(key) is not None

    def require(self, key: str) -> None:
        """Refuse the object if a field is missing."""
        if not self.has(key):
            raise EventRefused(
                f"Missing required parameter: '{self.name(key)}'.",
                code="missing_required_parameter",
                param=self.name(key),
            )

    def text(self, key: str, *, limit: int | None = None) -> str | None:
        """Read a string."""
        value = self._of_type(key, str, "a string")
        if limit is not None and isinstance(value, str) and len(value) > limit:
            raise self.refusal(key, f"at most {limit} characters", code="string_above_max_length")
        return value  # type: ignore[no-any-return]

    def required_text(self, key: str, *, limit: int | None = None) -> str:
        """Read a string that must be there."""
        self.require(key)
        return self.text(key, limit=limit) or ""

    def flag(self, key: str) -> bool | None:
        """Read a boolean."""
        return self._of_type(key, bool, "a boolean")  # type: ignore[no-any-return]

    def number(self, key: str, low: float, high: float) -> float | None:
        """Read a number within bounds."""
        value = self._of_type(key, (int, float), "a number")
        if value is not None and not low <= value <= high:
            raise self.refusal(key, f"a number from {low} to {high}")
        return value  # type: ignore[no-any-return]

    def integer(self, key: str, low: int, high: int) -> int | None:
        """Read an integer within bounds; JavaScript may write one as 1.0."""
        value = self.number(key, low, high)
        if value is not None and value != int(value):
            raise self.refusal(key, "an integer")
        return None if value is None else int(value)

    def choice(self, key: str, choices: Collection[str]) -> str | None:
        """Read one of some words."""
        value = self.text(key)
        if value is not None and value not in choices:
            raise self.refusal(key, " or ".join(repr(choice) for choice in choices))
        return value

    def items(self, key: str, *, limit: int) -> list[JSON] | None:
        """Read an array."""
        value = self._of_type(key, list, "an array")
        if isinstance(value, list) and len(value) > limit:
            raise self.refusal(key, f"an array of at most {limit}", code="array_above_max_length")
        return value  # type: ignore[no-any-return]

    def texts(self, key: str, *, limit: int) -> list[str] | None:
        """Read an array of strings."""
        values = self.items(key, limit=limit)
        if values is not None and not all(isinstance(value, str) for value in values):
            raise self.refusal(key, "an array of strings", code="invalid_type")
        return values

    def child(self, key: str) -> "Fields | None":
        """Read an object."""
        return Fields(self.value[key], self.name(key)) if self.has(key) else None

    def children(self, key: str, *, limit: int) -> "list[Fields]":
        """Read an array of objects."""
        return [
            Fields(value, f"{self.name(key)}[{index}]")
            for index, value in enumerate(self.items(key, limit=limit) or ())
        ]

    def refusal(self, key: str, expected: str, *, code: str = "invalid_value") -> EventRefused:
        """Return what to raise for a field that is something else."""
        shown = repr(self.value.get(key))[:_SHOWN] if not isinstance(self.value.get(key), dict | list) else ""
        return EventRefused(
            f"Invalid value for '{self.name(key)}': {shown}{' is not ' if shown else 'expected '}{expected}.",
            code=code,
            param=self.name(key),
        )

    def _of_type(self, key: str, kind: type | tuple[type, ...], expected: str) -> JSON:
        value = self.value.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refusal(key, expected, code="invalid_type")
        return value
