"""What is right for itself and yet cannot be together, or not in a role."""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, NamedTuple

from voicegate.config.address import Address
from voicegate.config.convert import directory_hosts
from voicegate.config.role import ROLES, Role
from voicegate.errors import UsageError

if TYPE_CHECKING:
    from voicegate.config.config import Config

__all__ = ["Conflict", "find_conflicts", "find_role_conflicts", "find_warnings", "nearest"]

MIN_SECRET_BYTES: Final = 16
"""A cluster secret shorter than a key could be guessed, and with it every route."""

KEYS_VARIABLE: Final = "VOICEGATE_API_KEYS"
"""The environment variable with keys in plain, separated by commas or spaces."""

MAX_PORT: Final = 0xFFFF


class Conflict(NamedTuple):
    """What cannot be, and the keys that it is about."""

    message: str
    keys: tuple[str, ...]


def find_conflicts(config: "Config") -> Iterator[Conflict]:
    """Find what cannot be, whatever the role."""
    yield from _find_in_addresses(config)
    yield from _find_in_keys(config)
    for name in ("max_calls", "max_pending_calls"):
        if (limit := getattr(config, name)) < config.workers:
            message = f"{name} {limit} cannot be shared out among {config.workers} workers"
            yield Conflict(message, (name, "workers"))
    if len(config.secrets) > 2:
        yield Conflict("secrets: two generations at most are valid at once", ("secrets", "secrets_file"))
    if any(len(secret) < MIN_SECRET_BYTES for secret in config.secrets):
        message = f"secrets: each must have at least {MIN_SECRET_BYTES} bytes"
        yield Conflict(message, ("secrets", "secrets_file"))
    if len(chosen := [name for name, region in config.regions.items() if region.default]) > 1:
        yield Conflict(f"regions: one can be the default, not each of {', '.join(chosen)}", ("regions",))


def _find_in_keys(config: "Config") -> Iterator[Conflict]:
    if not config.http.is_loopback and not config.keys and not config.insecure_no_auth:
        message = (
            f"http {config.http} would let anybody who can reach it make calls: add a key "
            f"(`voicegate key new` makes one, {KEYS_VARIABLE} in the environment has them in plain), "
            "or insist with --insecure-no-auth"
        )
        yield Conflict(message, ("http", "keys", "insecure_no_auth"))
    for name, count in Counter(key.name for key in config.keys).items():
        if count > 1:
            yield Conflict(f"keys: {name!r} is there twice", ("keys",))
    for key in config.keys:
        if key.agent is not None and key.agent not in {config.agent, *config.agents}:
            message = f"keys: {key.name!r}: no agent {key.agent!r} is configured"
            yield Conflict(message, ("keys", "agents", "agent"))


def _find_in_addresses(config: "Config") -> Iterator[Conflict]:
    for name, addresses in (("udp", config.udp), ("tcp", config.tcp or ())):
        for address in addresses:
            if address.is_wildcard and not config.advertise:
                message = (
                    f"{name} {address} listens on every address, but clients must be told one: "
                    "add advertise (--advertise IP)"
                )
                yield Conflict(message, (name, "advertise"))
    if any(count > 1 for count in Counter(address.is_ipv6 for address in config.udp).values()):
        yield Conflict(f"udp {config.udp[0]}: one address for IPv4 and one for IPv6 at most", ("udp",))
    if config.tls_key is not None and config.tls_certificate is None:
        yield Conflict("tls_key is of no use without tls_certificate", ("tls_key", "tls_certificate"))
    for address in config.advertise:
        if address.is_wildcard:
            message = f"advertise {address.host}: clients cannot send to a wildcard address"
            yield Conflict(message, ("advertise",))


def find_role_conflicts(config: "Config", role: Role) -> Iterator[Conflict]:
    """Find what is missing, or cannot be, for what a server is to be.

    Errors: UsageError when it is to be nothing we know.
    """
    if role not in ROLES:
        raise UsageError(f"{role!r} is none of {', '.join(ROLES)}")
    is_alone = role == "serve" and config.directory is None
    if not is_alone and not config.secrets:
        message = (
            f"secrets: {_described(role)} has the cluster's secret, as all others: `voicegate secret new` "
            "makes one, secrets_file names a file with it"
        )
        yield Conflict(message, ("secrets", "secrets_file"))
    if not is_alone and config.directory is None:
        message = f"directory: {_described(role)} finds the others in it, as in redis://127.0.0.1:6379"
        yield Conflict(message, ("directory",))
    if config.directory is not None:
        addresses = {"hop": config.hop} if role == "relay" else {"hop": config.hop, "peer": config.peer}
        for name, address in addresses.items():
            if address is not None:
                yield from _find_in_hop(config, name, address, config.directory)
    workers = {"relay": config.relay_workers, "transceiver": config.workers}
    count = workers.get(role, sum(workers.values()))
    if config.hop.port and config.hop.port + count - 1 > MAX_PORT:
        message = f"hop {config.hop}: {count} ports from this one on are wanted, one for each worker"
        yield Conflict(message, ("hop",))
    if role != "relay" and config.regions and config.region and config.region not in config.regions:
        message = f"region {config.region!r} is none of regions{nearest(config.region, config.regions)}"
        yield Conflict(message, ("region", "regions"))


def _described(role: Role) -> str:
    return "a server with a directory" if role == "serve" else f"a {role}"


def _find_in_hop(config: "Config", name: str, address: Address, directory: str) -> Iterator[Conflict]:
    if address.is_loopback and not all(map(_is_loopback, directory_hosts(directory))):
        message = (
            f"{name} {address}: other machines cannot reach it; name this machine's private address, "
            "or a wildcard host for whatever it is"
        )
        yield Conflict(message, (name, "directory"))
    elif not address.is_wildcard and not any(
        ipaddress.ip_address(address.host) in network for network in config.hop_networks
    ):
        message = f"{name} {address} is in none of hop_networks: nobody would believe it"
        yield Conflict(message, (name, "hop_networks"))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def nearest(word: str, known: Iterable[str], *, shown: Mapping[str, str] | None = None) -> str:
    """Say which word was perhaps meant; ``shown``: how each is called."""
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {(shown or {}).get(found[0], found[0])}?" if found else ""


def find_warnings(config: "Config", role: Role | None) -> Iterator[str]:
    """Find what can be, but is hardly what somebody wants."""
    if role == "relay":
        return
    if config.geo.has_headers and not config.trusted_proxies:
        yield "geo: its headers are believed from trusted_proxies only, and there are none"
    if (config.geo.has_headers or config.geo.database) and not config.regions:
        yield "geo: it says where clients are, but there are no regions to choose from"
    for network in config.trusted_proxies:
        if network.prefixlen == 0:
            yield f"trusted_proxies: {network} lets anybody claim any address"
    if role is not None and config.directory is not None and config.peer is None:
        yield "peer is not set: other machines cannot hand on requests about this one's calls, or calls to it"
