"""Settings from where operators write them: a file, the environment, the command line."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeAlias, cast, get_args, get_origin

import attrs

from voicegate.access import ApiKey
from voicegate.config.conflict import KEYS_VARIABLE, nearest
from voicegate.config.form import Field, convert, short
from voicegate.config.role import Role, is_used
from voicegate.config.size import AUTO, SIZED, choose_sizes
from voicegate.errors import UsageError

__all__ = ["Fault", "Loaded", "find_line", "load_values", "read_secrets"]

MAX_FILE: Final = 1024 * 1024
"""Bytes of a file: what each of ten thousand keys and agents needs fits in easily."""

MAX_SECRETS_FILE: Final = 64 * 1024

COMMAND_LINE: Final = "command line"
PREFIX: Final = "VOICEGATE_"
FILE_VARIABLE: Final = "VOICEGATE_CONFIG"
OTHER_VARIABLES: Final = (
    KEYS_VARIABLE,
    FILE_VARIABLE,
    "VOICEGATE_KEY",
    "VOICEGATE_LOG_LEVEL",
    "VOICEGATE_LINK_KEY",
    "VOICEGATE_REALTIME_KEY",
)
"""Those that are no keys of a configuration."""

_SERVICE_LINK: Final = re.compile(r"_SERVICE_(HOST|PORT\w*)$|_PORT(_\d+_(TCP|UDP)(_\w+)?)?$")
"""What Kubernetes tells a container of a service that is called voicegate-something."""

MAX_KEY_PARTS: Final = 32
"""Parts of a key with dots: the parser takes the square of their number of steps."""

_KEY_PART: Final = r"(?:[\w-]++|\"[^\"\n]*\"|'[^'\n]*')"
_LONG_KEY: Final = re.compile(rf"(?<![\w-])(?:{_KEY_PART}[ \t]*+\.[ \t]*+){{{MAX_KEY_PARTS}}}", re.ASCII)

_HEADER: Final = re.compile(r"[ \t]*(\[\[?)([^\[\],#=]{1,200})\]")
_ASSIGNMENT: Final = re.compile(r"[ \t]*([^\[\]{},#=]{1,200})=")

Fields: TypeAlias = Mapping[str, Field]


@attrs.frozen(kw_only=True)
class Fault:
    """A mistake, and where it was made."""

    message: str
    key: str = ""
    source: str = ""
    """The file or variable; empty for the command line."""
    line: int | None = None

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{where}: {self.message}" if where else self.message


@attrs.define(kw_only=True)
class Loaded:
    """All that was written anywhere, and what is wrong with it."""

    path: Path | None = None
    text: str = ""
    """The file's; empty when it could not be read."""
    values: dict[str, Any] = attrs.field(factory=dict, repr=False)
    """As they were written: what counts of each key."""
    converted: dict[str, Any] = attrs.field(factory=dict, repr=False)
    """The same as the constructor makes them, of those that are right."""
    origins: dict[str, str] = attrs.field(factory=dict)
    """Where each comes from: the file, a variable, ``command line`` or ``auto``."""
    faults: list[Fault] = attrs.field(factory=list)
    warnings: list[str] = attrs.field(factory=list)

    def set(self, key: str, value: object, origin: str) -> None:
        """Take a value, which wins over those before."""
        self.values[key] = value
        self.origins[key] = origin

    def add_fault(self, message: str, key: str, part: str | int | None = None) -> None:
        """Note a mistake where the key, or a part of it, has its value from."""
        # Some come from two places, as keys that are added to those of the file.
        origins = self.origins.get(key, "").split(", ")
        is_of_file = str(self.path) in origins
        source = str(self.path) if is_of_file else origins[-1]
        self.faults.append(
            Fault(
                message=message,
                key=key,
                source="" if source == COMMAND_LINE else source,
                line=find_line(self.text, key, part) if is_of_file else None,
            )
        )


def load_values(
    fields: Fields,
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    role: Role | None = None,
) -> Loaded:
    """Gather what was written, the command line over the environment over the file; nothing is raised."""
    environment = environment or {}
    if path is None and environment.get(FILE_VARIABLE):
        path = Path(environment[FILE_VARIABLE])
    loaded = Loaded(path=path)
    if path is not None:
        _read_file(loaded, path, fields)
    _read_environment(loaded, environment, fields)
    for key, value in (overrides or {}).items():
        if key in fields:
            loaded.set(key, value, COMMAND_LINE)
        else:
            loaded.faults.append(Fault(message=f"unknown key {short(key)}{nearest(key, fields)}"))
    _settle_secrets(loaded)
    _add_plain_keys(loaded, environment)
    _resolve_sizes(loaded, role)
    for key, value in loaded.values.items():
        _convert(loaded, fields[key], value)
    for key in loaded.values:
        if role is not None and not is_used(key, role):
            loaded.warnings.append(f"{key} ({loaded.origins[key]}) has no meaning for a {role}")
    return loaded


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Read the cluster's secrets, one a line.

    Errors: UsageError, which does not repeat them.
    """
    data = _read_bytes(path, MAX_SECRETS_FILE)
    secrets = tuple(stripped for each in data.splitlines() if (stripped := each.strip()))
    if not secrets:
        raise UsageError(f"secrets_file: {path} has no secret in it: `voicegate secret new` makes one")
    return secrets


def find_line(text: str, key: str, part: str | int | None = None) -> int | None:
    """Find the line where a key of the first level is written, or a part of it; None when it can't be told.

    Args:
        text: The file.
        key: The key.
        part: The name of a table in it, or the number of an element, from 0.
    """
    found, count = None, -1
    for number, path, is_element in _places(text):
        if path != key and not path.startswith(f"{key}."):
            continue
        found = number if found is None else found
        count += is_element and path == key
        if part == count if isinstance(part, int) else f"{path}.".startswith(f"{key}.{part}."):
            return number
    return found


def _places(text: str) -> Iterator[tuple[int, str, bool]]:
    """List the lines where tables and keys begin, with their paths, and whether it is an element of a list.

    The parser tells no lines; what stands in texts and lists over several lines may look like a key's.
    """
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _path(header[2])
            yield number, table, header[1] == "[["
        elif assignment := _ASSIGNMENT.match(line):
            key = _path(assignment[1])
            yield number, f"{table}.{key}" if table else key, False


def _path(text: str) -> str:
    return ".".join(part.strip(" \t\"'") for part in text.split("."))


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    if len(data) > limit:
        raise UsageError(f"{path} has more than {limit} bytes")
    return data


def _parse(text: str) -> dict[str, Any]:
    # Numbers of many thousand digits are a plain ValueError; brackets in brackets may go too deep.
    if _LONG_KEY.search(text):
        raise ValueError(f"a key has more than {MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _read_file(loaded: Loaded, path: Path, fields: Fields) -> None:
    try:
        text = _read_bytes(path, MAX_FILE).decode()
        values = _parse(text)
    except UsageError as error:
        loaded.faults.append(Fault(message=str(error)))
        return
    except ValueError as error:
        loaded.faults.append(Fault(message=str(error), source=str(path)))
        return
    loaded.text = text
    for key, value in values.items():
        if key in fields:
            loaded.set(key, value, str(path))
        else:
            hint = nearest(key, fields) or f"; known are {', '.join(sorted(fields))}"
            message = f"unknown key {short(key)}{hint}"
            loaded.faults.append(
                Fault(message=message, key=key, source=str(path), line=find_line(loaded.text, key))
            )


def _read_environment(loaded: Loaded, environment: Mapping[str, str], fields: Fields) -> None:
    known = {f"{PREFIX}{name.upper()}": field for name, field in fields.items()}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or not text:
            continue
        if variable not in known:
            if variable not in OTHER_VARIABLES and not _SERVICE_LINK.search(variable):
                # Without what all of them have in common, which would make any two alike.
                bare = {name.removeprefix(PREFIX): name for name in (*known, *OTHER_VARIABLES)}
                hint = nearest(variable.removeprefix(PREFIX), bare, shown=bare)
                loaded.warnings.append(f"{variable} in the environment has no meaning{hint}")
            continue
        field = known[variable]
        try:
            loaded.set(field.name, _read_variable(field, text), variable)
        except ValueError as error:
            loaded.faults.append(Fault(message=f"{field.name}: {error}", key=field.name, source=variable))


def _read_variable(field: Field, text: str) -> object:
    shape = _shape(field)
    if shape is Mapping:
        return _read_table(field.name, text)
    if shape is list:
        return [each.strip() for each in text.split(",") if each.strip()]
    if shape is bool and text.lower() in ("true", "false", "1", "0"):
        return text.lower() in ("true", "1")
    if shape in (int, float) and re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        return int(text)
    if shape is float and re.fullmatch(r"-?\d{1,18}\.\d{1,18}", text, re.ASCII):
        return float(text)
    return text


def _read_table(key: str, text: str) -> object:
    # Either a value, as behind `key =`, or lines of a file of its own.
    try:
        return _parse(f"value = {text}")["value"]
    except ValueError:
        lines = _parse(text)
        return lines.get(key, lines)


def _shape(field: Field) -> type:
    """Tell what a variable has to be read as."""
    declared: Any = field.type
    kinds: tuple[Any, ...] = get_args(declared) if isinstance(declared, UnionType) else (declared,)
    for kind in kinds:
        if get_origin(kind) is tuple:
            inner = get_args(kind)[0]
            return Mapping if inner is ApiKey or get_origin(inner) is Mapping else list
        if get_origin(kind) is Mapping or (isinstance(kind, type) and attrs.has(kind)):
            return Mapping
        if kind in (bool, int, float):
            return cast("type", kind)
    return str


def _rank(origin: str) -> int:
    return 2 if origin == COMMAND_LINE else int(origin.startswith(PREFIX))


def _settle_secrets(loaded: Loaded) -> None:
    """Have either `secrets` or `secrets_file`: what is written in the stronger place."""
    if not {"secrets", "secrets_file"} <= loaded.values.keys():
        return
    ranks = {key: _rank(loaded.origins[key]) for key in ("secrets", "secrets_file")}
    if ranks["secrets"] == ranks["secrets_file"]:
        loaded.add_fault("secrets_file stands instead of secrets, not beside them", "secrets_file")
    del loaded.values[min(ranks, key=lambda key: (ranks[key], key))]


def _add_plain_keys(loaded: Loaded, environment: Mapping[str, str]) -> None:
    plain = environment.get(KEYS_VARIABLE, "").replace(",", " ").split()
    listed = loaded.values.get("keys", [])
    if not plain or not isinstance(listed, list | tuple):
        return
    try:
        named = [ApiKey.of_plain(key, name=f"environment-{number}") for number, key in enumerate(plain, 1)]
    except UsageError as error:
        loaded.faults.append(Fault(message=str(error), key="keys", source=KEYS_VARIABLE))
        return
    origin = loaded.origins.get("keys")
    loaded.set("keys", [*listed, *named], f"{origin}, {KEYS_VARIABLE}" if origin else KEYS_VARIABLE)


def _resolve_sizes(loaded: Loaded, role: Role | None) -> None:
    if all(loaded.values.get(key) != AUTO for key in SIZED):
        return
    sizes = choose_sizes({key: loaded.values.get(key, 1) for key in SIZED}, role or "serve")
    for key in SIZED:
        if loaded.values.get(key) == AUTO:
            loaded.set(key, sizes[key], f"{AUTO}, {loaded.origins[key]}")


def _convert(loaded: Loaded, field: Field, value: object) -> None:
    try:
        loaded.converted[field.name] = convert(field, value)
    except UsageError as error:
        # Of a list or table, each mistake that can be seen by itself.
        faults = list(_each_fault(field, value))
        for part, said in faults:
            loaded.add_fault(said, field.name, part)
        if not faults:
            loaded.add_fault(str(error), field.name)


def _each_fault(field: Field, value: object) -> Iterator[tuple[str | int, str]]:
    parts: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, list):
        parts = ((number, [each]) for number, each in enumerate(value))
    elif isinstance(value, dict):
        parts = ((name, {name: each}) for name, each in value.items())
    for part, alone in parts:
        try:
            convert(field, alone)
        except UsageError as error:
            yield part, str(error)
