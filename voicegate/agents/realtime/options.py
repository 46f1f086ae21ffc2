"""What the bridge to a Realtime server is told by its operator."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, get_args
from urllib.parse import parse_qs, quote, urlsplit

import attrs

from voicegate.errors import UsageError

__all__ = ["DialectChoice", "RealtimeOptions"]

DialectChoice: TypeAlias = Literal["auto", "ga", "beta"]

_KEY_VARIABLE: Final = "VOICEGATE_REALTIME_KEY"
"""Where the key is when nothing says otherwise. Not OPENAI_API_KEY: that one is not for any server's eyes."""

_RATES: Final = (16_000, 24_000)
_BATCH_MS: Final = (20, 100)


def _rate(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
    if value not in _RATES:
        raise UsageError(f"{attribute.name}: {value!r} is none of {_RATES}")


@attrs.frozen(kw_only=True)
class RealtimeOptions:
    """How to reach a server that speaks the Realtime API over a WebSocket, and what to ask of it."""

    url: str = ""
    """``ws://`` or ``wss://``, with path; a query is kept."""
    model: str = ""
    """Becomes ``?model=``, unless the URL has it."""
    key: str = attrs.field(default="", repr=False)
    """Goes out as ``Authorization: Bearer``."""
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    subprotocols: tuple[str, ...] = ()
    """Such as ``realtime``, which some servers insist on."""
    dialect: DialectChoice = "auto"
    """Of event names and session fields; ``auto`` learns it from the server's greeting."""
    input_rate: int = attrs.field(default=24_000, validator=_rate)
    """Samples per second of what the server hears."""
    output_rate: int = attrs.field(default=24_000, validator=_rate)
    """Samples per second of what it says."""
    voice: str = ""
    """Instead of the default one, for clients that do not choose."""
    instructions: str = ""
    """In front of what the client's session says."""
    batch_ms: int = 40
    """How much sound goes into one message: less is sooner, more is cheaper."""
    patience: float = 30.0
    """Seconds without a server until the call is given up."""
    traceparent: bool = False
    """Whether the server gets a ``traceparent`` header, a trace for each call."""

    def __attrs_post_init__(self) -> None:
        """Check what depends on more than a type.

        Errors: UsageError.
        """
        if self.dialect not in get_args(DialectChoice):
            raise UsageError(f"dialect: {self.dialect!r} is none of {get_args(DialectChoice)}")
        if not _BATCH_MS[0] <= self.batch_ms <= _BATCH_MS[1]:
            raise UsageError(f"batch_ms: {self.batch_ms} is not from {_BATCH_MS[0]} to {_BATCH_MS[1]}")
        if self.url:
            _check_url(self.url)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Read a table of a configuration; the key is named by ``key_env`` or ``key_file``, never given.

        Errors: UsageError that names the entry.
        """
        fields = attrs.fields_dict(cls)
        known = {name: value for name, value in mapping.items() if name not in {"use", "key_env", "key_file"}}
        for name, value in known.items():
            if name not in fields or name == "key":
                raise UsageError(f"{name}: no option of a realtime agent")
            if not _fits(value, fields[name].default):
                raise UsageError(f"{name}: {value!r} is of the wrong kind")
        if "subprotocols" in known:
            known["subprotocols"] = tuple(known["subprotocols"])
        return cls(**known, key=_read_key(mapping))

    def address(self, url: str = "") -> str:
        """Return the URL to connect to.

        Errors: UsageError when there is none, or no WebSocket's.
        """
        url = url or self.url
        _check_url(url)
        parts = urlsplit(url)
        if not self.model or "model" in parse_qs(parts.query):
            return url
        query = f"{parts.query}&" if parts.query else ""
        return parts._replace(query=f"{query}model={quote(self.model, safe='')}").geturl()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"ws", "wss"} or not parts.hostname:
        raise UsageError(f"url: {url!r} is no ws:// or wss:// address")


def _fits(value: object, default: object) -> bool:
    match default:
        case bool():
            return isinstance(value, bool)
        case int() | float():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case str():
            return isinstance(value, str)
        case tuple():
            return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
        case _:
            return isinstance(value, Mapping) and all(isinstance(each, str) for each in value.values())


def _read_key(mapping: Mapping[str, Any]) -> str:
    variable, path = mapping.get("key_env"), mapping.get("key_file")
    if path is not None:
        try:
            return Path(path).read_text().strip()
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"key_file: {error}") from error
    if variable is None:
        return os.environ.get(_KEY_VARIABLE, "")
    if not isinstance(variable, str) or variable not in os.environ:
        raise UsageError(f"key_env: {variable!r} is not in the environment")
    return os.environ[variable]
