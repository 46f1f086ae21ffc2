"""All settings of a server in one value."""

import ipaddress
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

import attrs

from voicegate.access import ApiKey
from voicegate.config import convert as to
from voicegate.config.address import Address, Network
from voicegate.config.agent import AgentSpec
from voicegate.config.conflict import find_conflicts, find_role_conflicts, find_warnings
from voicegate.config.form import flag, line, name_faults, number, one_of, optional, some, text, whole
from voicegate.config.load import load_values, read_secrets
from voicegate.config.role import Role
from voicegate.config.set_up import SetUp
from voicegate.errors import UsageError
from voicegate.steering import Geo, Region

__all__ = ["Config"]

DEFAULT_UDP_PORT: Final = 3478
"""The STUN port: the one UDP port that firewalls most often let out."""

MAX_PROCESSES: Final = 1024
"""Workers of one machine; more cores than that are in none."""

MAX_RELAY_FLOWS: Final = 1 << 24
"""Rows of a relay worker's table; they are allocated at once."""

MAX_ANSWER_RELAYS: Final = 8
"""Relays that an answer lists, each by UDP and by TCP: clients try all of them, one after the other."""

PRIVATE_NETWORKS: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "fe80::/10",
            "fc00::/7",
        ),
    )
)
"""Loopback, RFC 1918, RFC 6598, link-local and RFC 4193: where nothing of the Internet is."""


def _host_name() -> str:
    return socket.gethostname() or "localhost"


@attrs.frozen(kw_only=True, field_transformer=name_faults)
class Config:
    """All settings, with defaults that work at once on one machine and expose nothing beyond it.

    Errors: UsageError for a value or a combination that cannot work, naming the key.
    """

    http: Address = attrs.field(default=Address("127.0.0.1", 8080), converter=to.to_address)
    """Where offers are taken and the page is served; for a relay, where operators ask how it is."""
    udp: tuple[Address, ...] = attrs.field(
        default=Address("127.0.0.1", DEFAULT_UDP_PORT),
        converter=to.to_addresses,
        validator=some,
    )
    """The relay's public address; or one for IPv4 and one for IPv6, the one that clients should prefer first.
    """
    tcp: tuple[Address, ...] | None = attrs.field(default=None, converter=to.to_tcp)
    """Where clients that get no UDP through connect to. None: the same as ``udp``. None at all: ``()``, or
    ``off``."""
    tls_certificate: Path | None = attrs.field(default=None, converter=to.to_path)
    """A PEM file: with it, TLS is spoken there, too, by clients that begin with it."""
    tls_key: Path | None = attrs.field(default=None, converter=to.to_path)
    """A PEM file, if the key isn't in that of the certificate."""
    advertise: tuple[Address, ...] = attrs.field(default=(), converter=to.to_advertised)
    """Addresses that answers give to clients instead of the relay's own. Port 0: the relay's."""
    relay_workers: int = attrs.field(default=1, validator=whole(1, MAX_PROCESSES))
    """Processes that share the relay's public addresses; as many as there are cores for them."""
    relay_flows: int = attrs.field(default=65_536, validator=whole(1, MAX_RELAY_FLOWS))
    """Clients that one of them can tell apart; several for each call."""
    relay_name: str = attrs.field(factory=_host_name, validator=text)
    """What the relay is called in the directory, unlike any other relay of the cluster."""
    workers: int = attrs.field(default=1, validator=whole(1, MAX_PROCESSES))
    """Processes that share the calls, as many as there are cores for them. One: this process itself."""
    uplink: Literal["fast", "accurate"] = attrs.field(default="fast", validator=one_of("fast", "accurate"))
    """What counts in received audio: that agents hear it at once, or that little of it is missing."""
    agent: str = attrs.field(default="parrot", validator=text)
    """What answers calls: a name in ``agents``, or whatever `AgentSpec.use` can be."""
    agents: Mapping[str, AgentSpec] = attrs.field(factory=dict, converter=to.to_agents)
    """Agents by name: a client's ``model`` picks one of these, any other name the default one."""
    keys: tuple[ApiKey, ...] = attrs.field(default=(), converter=to.to_keys)
    """API keys that are let in. None: only this machine is served."""
    insecure_no_auth: bool = attrs.field(default=False, validator=flag)
    """Serve whoever can reach ``http``, without any key."""
    ice_servers: tuple[Mapping[str, Any], ...] = attrs.field(
        default=(), converter=to.to_ice_servers, repr=False
    )
    """STUN and TURN servers that clients are told of when they ask; most need none."""
    secrets: tuple[bytes, ...] = attrs.field(default=(), converter=to.to_secrets, repr=False)
    """Cluster secrets: the first makes credentials, all are accepted. None: one is made at start."""
    secrets_file: Path | None = attrs.field(default=None, converter=to.to_path)
    """A file with them instead, one a line; read when this is made and there are none in ``secrets``."""
    cluster: int = attrs.field(default=0, validator=whole(0, 4095))
    """Number of the cluster, 0 to 4095; it is part of every call id."""
    directory: str | None = attrs.field(default=None, converter=to.to_directory, repr=to.hide_password)
    """Where the cluster's directory is: ``redis://``, ``rediss://``, or these with ``+sentinel`` or
    ``+cluster``. None: this process is all there is."""
    hop: Address = attrs.field(default=Address("127.0.0.1", 0), converter=to.to_address)
    """Where relays and transceivers take each other's packets, each worker at a port of its own from this one
    on. Port 0: free ones. A wildcard host: that of this machine towards the directory."""
    hop_networks: tuple[Network, ...] = attrs.field(default=PRIVATE_NETWORKS, converter=to.to_networks)
    """Networks in which addresses that the directory gives for ``hop`` and ``peer`` are believed."""
    peer: Address | None = attrs.field(default=None, converter=to.to_optional_address)
    """Where other transceivers of the cluster hand on requests to. None: nowhere."""
    region: str = attrs.field(default="", validator=line)
    """Which region this machine is in."""
    regions: Mapping[str, Region] = attrs.field(factory=dict, converter=to.to_regions)
    """Regions by name: where they are, and for whom."""
    geo: Geo = attrs.field(factory=Geo, converter=to.to_geo)
    """What says where in the world a client is; a table of its own in TOML."""
    trusted_proxies: tuple[Network, ...] = attrs.field(default=(), converter=to.to_networks)
    """Networks of proxies whose X-Forwarded-For and geo headers are believed."""
    answer_relays: int = attrs.field(default=3, validator=whole(1, MAX_ANSWER_RELAYS))
    """Relays that an answer lists."""
    drain_seconds: float = attrs.field(default=60.0, validator=number(0))
    """How long calls may go on after SIGTERM."""
    max_calls: int = attrs.field(default=1000, validator=whole(1))
    """Calls at once, of all workers together; the next offer is answered with 503."""
    max_call_seconds: float = attrs.field(default=3600.0, validator=number(0, is_open=True))
    """The longest call."""
    max_calls_per_client: int | None = attrs.field(default=None, validator=optional(whole(1)))
    """Calls at once from one IP address; the next offer is answered with 429. None: as many as there are."""
    max_pending_calls: int = attrs.field(default=512, validator=whole(1))
    """Calls at once that are answered but not connected, of all workers together: half-open handshakes; then
    503."""
    max_pending_calls_per_client: int = attrs.field(default=64, validator=whole(1))
    """The same for one client's IP address, at each worker; then 429."""
    set_up: SetUp = attrs.field(factory=SetUp, converter=to.to_set_up)
    """Short cuts of call set-up; a table of its own in TOML."""
    cors_origins: tuple[str, ...] = attrs.field(default=("*",), converter=to.to_strings)
    """Web origins whose pages may make calls."""
    hosts: tuple[str, ...] = attrs.field(default=(), converter=to.to_strings)
    """Host names that the HTTP side answers to on loopback, besides addresses and ``localhost``."""

    def __attrs_post_init__(self) -> None:
        if self.secrets_file is not None and not self.secrets:
            object.__setattr__(self, "secrets", read_secrets(self.secrets_file))
        for conflict in find_conflicts(self):
            raise UsageError(conflict.message)

    @property
    def default_agent(self) -> AgentSpec:
        """What answers calls that name no agent."""
        return self.agents.get(self.agent) or AgentSpec.of(self.agent)

    def check_role(self, role: Role) -> None:
        """Check that nothing is missing for what a server is to be.

        Errors: UsageError.
        """
        for conflict in find_role_conflicts(self, role):
            raise UsageError(conflict.message)

    @classmethod
    def load(
        cls,
        path: Path | None,
        overrides: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        role: Role | None = None,
        warn: Callable[[str], object] = lambda _: None,
    ) -> Self:
        """Read a TOML file whose keys are the attributes of this class.

        Args:
            path: The file; None: the one that the environment names, if any.
            overrides: Win over all else.
            environment: ``VOICEGATE_<KEY>`` win over the file, and ``VOICEGATE_API_KEYS`` has keys in plain
                that are let in besides those of the file.
            role: What `check_role` is asked for.
            warn: Told, in a line each, what is there and has no effect.

        Errors: UsageError, naming the file, or the variable, and the key.
        """
        loaded = load_values(attrs.fields_dict(cls), path, overrides, environment=environment, role=role)
        for warning in loaded.warnings:
            warn(warning)
        for fault in loaded.faults:
            raise UsageError(str(fault))
        try:
            config = cls(**loaded.values)
            if role is not None:
                config.check_role(role)
        except UsageError as error:
            raise UsageError(f"{loaded.path}: {error}" if loaded.path else f"{error}") from error
        for warning in find_warnings(config, role):
            warn(warning)
        return config
