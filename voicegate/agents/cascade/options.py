"""What an operator says of a cascade: where its three models are, and how they are to be used."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Self
from urllib.parse import urlsplit

import attrs

from voicegate.audio.resample import SAMPLE_RATES
from voicegate.errors import UsageError
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["CascadeOptions", "Endpoint", "McpServer"]

_DEFAULT_URL: Final = "https://api.openai.com/v1"
_DEFAULT_KEY: Final = "OPENAI_API_KEY"

_MAX_HISTORY: Final = 40
"""Items: some minutes of talking; what is longer costs more than it helps."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """A model behind an OpenAI-compatible HTTP API."""

    base_url: str = _DEFAULT_URL
    """Up to and with ``/v1``."""
    model: str
    key: str | None = None
    """The environment's name for the API key. If not given, ``OPENAI_API_KEY``, for OpenAI only."""
    extra: JSONObject = attrs.field(factory=dict)
    """More fields for each request, as they are; they win over those of voicegate."""

    def read_key(self) -> str | None:
        """Return the API key, if one is wanted.

        Errors: UsageError when the environment lacks it though it was named.
        """
        if self.key is not None and self.key not in os.environ:
            raise UsageError(
                f"the environment has no {self.key}, which was to hold the key for {self.base_url}"
            )
        if self.key is not None:
            return os.environ[self.key]
        return os.environ.get(_DEFAULT_KEY) if self.base_url == _DEFAULT_URL else None


@attrs.frozen(kw_only=True)
class McpServer:
    """An MCP server whose tools the model may use: at an address, or a program to be run."""

    label: str
    url: str = ""
    command: tuple[str, ...] = ()
    key: str | None = None
    """The environment's name for the bearer token; for a program, the name of a variable to pass on."""
    allowed_tools: tuple[str, ...] | None = None
    """None: all of them."""
    require_approval: Literal["always", "never"] = "never"
    """Whether the client is asked before each call; it can ask to be asked, but not the other way round."""


@attrs.frozen(kw_only=True)
class CascadeOptions:
    """Speech-to-text, chat and speech, one after the other."""

    transcription: Endpoint = Endpoint(model="gpt-4o-mini-transcribe")
    chat: Endpoint = Endpoint(model="gpt-4.1-mini")
    speech: Endpoint = Endpoint(model="gpt-4o-mini-tts")
    instructions: str = "You are talking with the user by voice. Be brief, and use no markup."
    """For sessions whose client gives none."""
    voice: str = "alloy"
    voices: tuple[str, ...] = ()
    """What clients may choose from; a voice that is not listed becomes `voice`."""
    sample_rate: int = 24_000
    """Of the samples that the speech endpoint sends; the recogniser gets as many."""
    languages: tuple[str, ...] = ()
    """As ISO 639-1 codes; the recogniser is told if there is one, and a client may choose among several."""
    max_history: int = _MAX_HISTORY
    """How many items of the conversation the chat model gets to see."""
    guesses: bool = True
    """Whether to recognise, think and synthesise at each pause already, before it is certain that the turn
    is over: sooner answers for more requests."""
    partial_seconds: float | None = None
    """How often to recognise what has been said so far while the user talks on; for recognisers that are
    quick and cost nothing."""
    mcp: tuple[McpServer, ...] = ()
    allows_client_mcp: bool = False
    """Whether a client may have us connect to MCP servers that it names. It can make us send requests to
    any address that we reach, so never by default."""

    def read_keys(self) -> dict[str, str | None]:
        """Return the API keys of the three endpoints, by their names.

        Errors: UsageError when the environment lacks one that was named.
        """
        return {name: getattr(self, name).read_key() for name in ("transcription", "chat", "speech")}

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any]) -> Self:
        """Read the table of a configuration file.

        Errors: UsageError naming the key.
        """
        return cls(**_read(value, _OPTIONS, "", cls))


_Reader = Callable[[JSON, str], Any]


def _read(value: object, readers: Mapping[str, _Reader], place: str, target: type) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{place.rstrip('.')}: a table is wanted")
    if unknown := value.keys() - readers.keys():
        names = ", ".join(f"{place}{name}" for name in sorted(unknown))
        raise UsageError(f"{names}: no such key; there are {', '.join(readers)}")
    required = {
        field.name for field in attrs.fields(target) if field.default is attrs.NOTHING
    } & readers.keys()
    if missing := required - value.keys():
        raise UsageError(f"{place}{min(missing)}: is missing")
    return {key: readers[key](given, place + key) for key, given in value.items()}


def _text(value: JSON, place: str) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{place}: a text is wanted, not {value!r}")
    return value


def _texts(value: JSON, place: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) and each for each in value):
        raise UsageError(f"{place}: a list of texts is wanted, not {value!r}")
    return tuple(value)


def _flag(value: JSON, place: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{place}: true or false is wanted, not {value!r}")
    return value


def _url(value: JSON, place: str) -> str:
    text = _text(value, place)
    try:
        parts = urlsplit(text)
        is_right = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or True)
    except ValueError:
        is_right = False
    if not is_right:
        raise UsageError(f"{place}: {text!r} is no address of the form https://host/path")
    return text.rstrip("/")


def _mapping(value: JSON, place: str) -> JSONObject:
    if not isinstance(value, Mapping):
        raise UsageError(f"{place}: a table is wanted, not {value!r}")
    return dict(value)


def _number(least: float, most: float, *, kind: type[int] | type[float]) -> _Reader:
    def read(value: JSON, place: str) -> int | float:
        is_right = isinstance(value, kind | int) and not isinstance(value, bool) and least <= value <= most
        if not is_right:
            raise UsageError(f"{place}: a number from {least:g} to {most:g} is wanted, not {value!r}")
        return kind(value)

    return read


def _sample_rate(value: JSON, place: str) -> int:
    if value not in SAMPLE_RATES or isinstance(value, float):
        raise UsageError(f"{place}: one of {', '.join(map(str, SAMPLE_RATES))} is wanted, not {value!r}")
    return int(value)


def _approval(value: JSON, place: str) -> Literal["always", "never"]:
    if value == "always":
        return "always"
    if value == "never":
        return "never"
    raise UsageError(f"{place}: always or never is wanted, not {value!r}")


def _endpoint(value: JSON, place: str) -> Endpoint:
    return Endpoint(**_read(value, _ENDPOINT, f"{place}.", Endpoint))


def _servers(value: JSON, place: str) -> tuple[McpServer, ...]:
    """Read a table of tables, by label."""
    servers = []
    for label, given in _mapping(value, place).items():
        read = _read(given, _MCP_SERVER, f"{place}.{label}.", McpServer)
        if ("url" in read) == ("command" in read):
            raise UsageError(f"{place}.{label}: either url or command is wanted")
        servers.append(McpServer(label=label, **read))
    return tuple(servers)


_ENDPOINT: Final[Mapping[str, _Reader]] = {"base_url": _url, "model": _text, "key": _text, "extra": _mapping}

_MCP_SERVER: Final[Mapping[str, _Reader]] = {
    "url": _url,
    "command": _texts,
    "key": _text,
    "allowed_tools": _texts,
    "require_approval": _approval,
}

_OPTIONS: Final[Mapping[str, _Reader]] = {
    "transcription": _endpoint,
    "chat": _endpoint,
    "speech": _endpoint,
    "instructions": _text,
    "voice": _text,
    "voices": _texts,
    "sample_rate": _sample_rate,
    "languages": _texts,
    "max_history": _number(1, 4096, kind=int),
    "guesses": _flag,
    "partial_seconds": _number(0.2, 60, kind=float),
    "mcp": _servers,
    "allows_client_mcp": _flag,
}
