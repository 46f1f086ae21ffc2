"""The settings that count, and where each comes from, without what nobody should see over a shoulder."""

import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Final, NamedTuple

import attrs

from voicegate.access import ApiKey
from voicegate.config.address import Address
from voicegate.config.agent import AgentSpec
from voicegate.config.config import Config
from voicegate.config.convert import hide_password
from voicegate.config.load import Loaded
from voicegate.config.set_up import SetUp
from voicegate.steering import Geo, Region

__all__ = ["Setting", "list_settings"]

HIDDEN: Final = "***"

_SECRET: Final = re.compile(r"key|secret|token|pass|credential|auth|header|hash", re.IGNORECASE)
"""Names of options whose values are nobody's business; a word too many does no harm."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Setting(NamedTuple):
    """One key."""

    key: str
    value: str
    """As TOML; empty when there is none."""
    origin: str


def list_settings(config: Config, loaded: Loaded) -> Iterator[Setting]:
    """List all keys with their values."""
    for field in attrs.fields(Config):
        value = getattr(config, field.name)
        origin = loaded.origins.get(field.name, "default")
        if field.name == "secrets":
            if loaded.values.get("secrets_file") is not None:
                origin = "secrets_file"
            yield Setting(field.name, _written([HIDDEN for _ in value]), origin)
        else:
            yield Setting(field.name, "" if value is None else _written(value), origin)


def _written(value: object, name: str = "") -> str:
    match value:
        case SetUp() | ApiKey() | Region() | Geo():
            fields = attrs.asdict(value, recurse=False)
            return _written({key: each for key, each in fields.items() if each is not None})
        case AgentSpec():
            return _written({"use": value.use, **value.options})
        case Address() | Path() | IPv4Network() | IPv6Network():
            return _written(str(value))
        case Mapping():
            items = (f"{_key(key)} = {_written(each, str(key))}" for key, each in value.items())
            return "{" + ", ".join(items) + "}"
        case tuple() | list():
            return "[" + ", ".join(_written(each, name) for each in value) + "]"
        case bool() | int() | float():
            return str(value).lower()
        case str():
            return json.dumps(HIDDEN if _SECRET.search(name) else _public(value), ensure_ascii=False)
        case _:  # A date of TOML, among an agent's options.
            return str(value)


def _key(key: object) -> str:
    return str(key) if _BARE.fullmatch(str(key)) else json.dumps(str(key), ensure_ascii=False)


def _public(text: str) -> str:
    """Leave out what an address says of who asks."""
    if "://" not in text:
        return text
    address, mark, _ = text.partition("?")
    return hide_password(address) + (f"?{HIDDEN}" if mark else "")
