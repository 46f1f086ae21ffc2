"""All that is wrong with a configuration at once, for who has to put it right."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from voicegate.config.config import Config
from voicegate.config.conflict import find_conflicts, find_role_conflicts, find_warnings, nearest
from voicegate.config.load import Fault, Loaded, load_values, read_secrets
from voicegate.config.role import Role, is_used
from voicegate.errors import UsageError

__all__ = ["Report", "check_config"]

READY_AGENTS: Final = ("echo", "parrot", "transcode", "cascade", "realtime")

_AGENT: Final = re.compile(r"(realtime:)?wss?://\S+|[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
"""The address of an agent or a model, or a function in a module."""


@attrs.frozen(kw_only=True)
class Report:
    """What was found."""

    faults: tuple[Fault, ...]
    """Each would keep a server from starting."""
    warnings: tuple[str, ...]


def check_config(
    path: Path | None, *, environment: Mapping[str, str] | None = None, role: Role | None = None
) -> Report:
    """Look for mistakes in what `Config.load` would read, and for files that it names and that aren't there.

    Agents are not imported, and no address is tried.
    """
    loaded = load_values(attrs.fields_dict(Config), path, environment=environment, role=role)
    # What could not be read at all has said nothing yet that could be checked.
    if loaded.text or not loaded.faults or loaded.path is None:
        config = _assemble(loaded)
        _add_conflicts(loaded, find_conflicts(config))
        if role is not None:
            _add_conflicts(loaded, find_role_conflicts(config, role))
        for key, part, message in (*_missing_files(config), *_wrong_agents(config)):
            if role is None or is_used(key, role):
                loaded.add_fault(message, key, part)
        loaded.warnings.extend(find_warnings(config, role))
    faults = sorted(dict.fromkeys(loaded.faults), key=lambda fault: (fault.line is None, fault.line or 0))
    return Report(faults=tuple(faults), warnings=tuple(loaded.warnings))


def _assemble(loaded: Loaded) -> Config:
    """Make a configuration of what is right, with defaults for the rest, and not checked as a whole."""
    values = dict(loaded.converted)
    if (secrets_file := values.get("secrets_file")) is not None:
        try:
            values["secrets"] = read_secrets(secrets_file)
        except UsageError as error:
            loaded.add_fault(str(error), "secrets_file")
    config = object.__new__(Config)
    defaults = Config()
    for field in attrs.fields(Config):
        object.__setattr__(config, field.name, values.get(field.name, getattr(defaults, field.name)))
    return config


def _add_conflicts(loaded: Loaded, conflicts: Iterator[Any]) -> None:
    wrong = {fault.key for fault in loaded.faults}
    for conflict in conflicts:
        # What stands in for a wrong value is in conflict with nothing.
        if not wrong & set(conflict.keys):
            written = [key for key in conflict.keys if key in loaded.origins]
            loaded.add_fault(conflict.message, written[0] if written else conflict.keys[0])


def _missing_files(config: Config) -> Iterator[tuple[str, str | None, str]]:
    for key, part, path in (
        ("tls_certificate", None, config.tls_certificate),
        ("tls_key", None, config.tls_key),
        ("geo", "database", config.geo.database),
    ):
        if path is not None:
            try:
                with path.open("rb"):
                    pass
            except (OSError, ValueError) as error:
                yield key, part, f"{f'{key}.{part}' if part else key}: {error}"


def _wrong_agents(config: Config) -> Iterator[tuple[str, str | None, str]]:
    used: list[tuple[str, str | None, str]] = [
        ("agents", name, spec.use) for name, spec in config.agents.items()
    ]
    if config.agent not in config.agents:
        used.append(("agent", None, config.agent))
    for key, part, use in used:
        if use in READY_AGENTS or _AGENT.fullmatch(use):
            continue
        known = READY_AGENTS if part else (*READY_AGENTS, *config.agents)
        message = (
            f"{f'{key}.{part}' if part else key}: {use!r} is neither one of {', '.join(known)} nor "
            f"package.module:function nor an address{nearest(use, known)}"
        )
        yield key, part, message
