"""What each key is made of, in any of the forms that files, the environment and Python write it in."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from voicegate.access import ApiKey
from voicegate.config.address import Address, Network, parse_network
from voicegate.config.agent import AgentSpec
from voicegate.config.form import read_table, short
from voicegate.config.set_up import SetUp
from voicegate.errors import UsageError
from voicegate.steering import Geo, Region

__all__ = [
    "directory_hosts",
    "hide_password",
    "to_address",
    "to_addresses",
    "to_advertised",
    "to_agents",
    "to_directory",
    "to_geo",
    "to_ice_servers",
    "to_keys",
    "to_networks",
    "to_optional_address",
    "to_path",
    "to_regions",
    "to_secrets",
    "to_set_up",
    "to_strings",
    "to_tcp",
]

DIRECTORY_SCHEMES = tuple(
    f"{scheme}{kind}" for scheme in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster")
)


def to_address(value: Address | str) -> Address:
    """Read an address with its port."""
    return Address.parse(value if isinstance(value, str) else str(Address(*value)))


def to_optional_address(value: Address | str | None) -> Address | None:
    """Read one, or none."""
    return None if value is None else to_address(value)


def to_addresses(value: Address | str | list[Any] | tuple[Any, ...]) -> tuple[Address, ...]:
    """Read one address or several."""
    # An address is a tuple, too, but begins with its host alone.
    is_one = not isinstance(value, list | tuple) or (len(value) == 2 and isinstance(value[1], int))
    return tuple(map(to_address, [value] if is_one else value))


def to_tcp(value: Address | str | list[Any] | tuple[Any, ...] | None) -> tuple[Address, ...] | None:
    """Read addresses, or ``off``."""
    if value is None:
        return None
    return () if value in ("off", ["off"]) else to_addresses(value)


def to_advertised(values: str | list[Any] | tuple[Any, ...]) -> tuple[Address, ...]:
    """Read addresses with or without ports."""
    # Port 0 stands for "the port that the relay is bound to", known only once it is.
    listed = [values] if isinstance(values, str) else values
    return tuple(
        Address.parse(value, default_port=0) if isinstance(value, str) else to_address(value)
        for value in listed
    )


def to_path(value: Path | str | None) -> Path | None:
    """Read the name of a file."""
    if value is None or isinstance(value, Path):
        return value
    if not _is_text(value) or not value or "\0" in value:
        raise UsageError(f"the name of a file is wanted, not {short(value)}")
    return Path(value)


def to_strings(values: str | list[Any] | tuple[Any, ...]) -> tuple[str, ...]:
    """Read one text or several."""
    listed = (values,) if isinstance(values, str) else tuple(values)
    if isinstance(values, Mapping) or not all(isinstance(value, str) and value for value in listed):
        raise UsageError(f"a list of texts is wanted, not {short(values)}")
    return listed


def to_networks(values: str | list[Any] | tuple[Any, ...]) -> tuple[Network, ...]:
    """Read one network or several."""
    listed = (values,) if isinstance(values, str) else tuple(values)
    if isinstance(values, Mapping) or not all(
        isinstance(value, str | ipaddress.IPv4Network | ipaddress.IPv6Network) for value in listed
    ):
        raise UsageError(f"a list of networks is wanted, as 10.0.0.0/8 is one, not {short(values)}")
    return tuple(parse_network(value) if isinstance(value, str) else value for value in listed)


def to_secrets(values: str | bytes | list[Any] | tuple[Any, ...]) -> tuple[bytes, ...]:
    """Read one secret or several; no message repeats them."""
    listed = (values,) if isinstance(values, str | bytes) else tuple(values)
    if isinstance(values, Mapping) or not all(isinstance(value, str | bytes) for value in listed):
        raise UsageError("a list of texts is wanted")
    return tuple(value.encode() if isinstance(value, str) else value for value in listed)


def to_directory(value: str | None) -> str | None:
    """Read the address of a directory; no message repeats its password."""
    if value is None:
        return None
    if not _is_text(value) or not value.isprintable():
        raise UsageError(f"an address such as redis://127.0.0.1:6379 is wanted, not a {type(value).__name__}")
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in DIRECTORY_SCHEMES:
        raise UsageError(f"it begins with one of {', '.join(each + '://' for each in DIRECTORY_SCHEMES)}")
    hosts, _, master = rest.rpartition("@")[2].partition("/")
    if not all(host.rpartition(":")[0] or host for host in hosts.split(",")):
        raise UsageError(f"a host is wanted behind {scheme}://, as in {scheme}://127.0.0.1:6379")
    if scheme.endswith("sentinel") and not master:
        raise UsageError(
            f"{scheme}:// ends with the name of the master: {scheme}://HOST:26379,HOST:26379/NAME"
        )
    if "," in hosts and "+" not in scheme:
        raise UsageError(f"several hosts are of {scheme}+sentinel:// or {scheme}+cluster://")
    return value


def to_agents(value: object) -> Mapping[str, AgentSpec]:
    """Read the table of agents."""
    if not isinstance(value, Mapping):
        raise UsageError("agents is a table of tables, [agents.NAME]")
    agents = {}
    for name, each in value.items():
        try:
            agents[str(name)] = AgentSpec.of(each)
        except UsageError as error:
            raise UsageError(f"agents.{name}: {error}") from error
    return agents


def to_keys(values: object) -> tuple[ApiKey, ...]:
    """Read the list of API keys."""
    if not isinstance(values, list | tuple):
        raise UsageError("keys is a list of tables, [[keys]]")
    return tuple(ApiKey.of(each) for each in values)


def to_ice_servers(values: object) -> tuple[Mapping[str, Any], ...]:
    """Read what an RTCPeerConnection takes."""
    if not isinstance(values, list | tuple) or not all(
        isinstance(each, Mapping) and "urls" in each for each in values
    ):
        raise UsageError("ice_servers is a list of tables with `urls`, as an RTCPeerConnection takes them")
    return tuple(values)


def to_regions(value: object) -> Mapping[str, Region]:
    """Read the table of regions."""
    if not isinstance(value, Mapping):
        raise UsageError("regions is a table of tables, [regions.NAME]")
    return {str(name): Region.of(str(name), each) for name, each in value.items()}


def to_geo(value: Geo | Mapping[str, Any]) -> Geo:
    """Read how places are found."""
    return Geo.of(value)


def to_set_up(value: SetUp | Mapping[str, Any]) -> SetUp:
    """Read which short cuts are taken."""
    return read_table(SetUp, value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def hide_password(url: str | None) -> str:
    """Write an address without what only its server should know."""
    if url is None:
        return "None"
    scheme, separator, rest = url.partition("://")
    user, at, hosts = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0] + ':***@' if at else ''}{hosts}"


def directory_hosts(url: str) -> list[str]:
    """List the hosts of a directory's address, without ports."""
    hosts = url.partition("://")[2].rpartition("@")[2].partition("/")[0]
    return [urlsplit(f"//{host}").hostname or "" for host in hosts.split(",")]
