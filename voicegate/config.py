"""What an operator can set, from a TOML file, the command line or Python.

Layer: shell (Trio).
"""

import ipaddress
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

import attrs

from voicegate.access import ApiKey
from voicegate.errors import UsageError

__all__ = ["Address", "AgentSpec", "Config", "SetUp"]

DEFAULT_UDP_PORT: Final = 3478
"""The STUN port: the one UDP port that firewalls most often let out."""

MIN_SECRET_BYTES: Final = 16
"""A cluster secret shorter than a key could be guessed, and with it every route."""

KEYS_VARIABLE: Final = "VOICEGATE_API_KEYS"
"""The environment variable with keys in plain, separated by commas or spaces."""


class Address(NamedTuple):
    """A literal IP address and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, default_port: int | None = None) -> Self:
        """Read ``IPv4:PORT``, ``[IPv6]:PORT``, or, with a default port, the address alone.

        Errors: UsageError, naming what is wrong.
        """
        host, colon, port = text.rpartition(":")
        # A bare IPv6 address has colons of its own; only brackets make the last one a port's.
        if not colon or (":" in host and not host.endswith("]")):
            host, port = text, "" if default_port is None else str(default_port)
        host = host.removeprefix("[").removesuffix("]")
        if host == "localhost":
            host = "127.0.0.1"
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise UsageError(f"{text!r}: {host!r} is not an IP address") from None
        if not port.isdecimal() or int(port) > 0xFFFF:
            raise UsageError(
                f"{text!r}: a port from 0 to 65535 is wanted after the address, as in 127.0.0.1:8080"
            )
        return cls(host, int(port))

    @property
    def is_ipv6(self) -> bool:
        """Whether it is an address of IPv6."""
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the machine."""
        return ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def _address(value: "Address | str") -> Address:
    return Address.parse(value if isinstance(value, str) else str(Address(*value)))


def _addresses(value: "Address | str | list[Any] | tuple[Any, ...]") -> tuple[Address, ...]:
    # An address is a tuple, too, but begins with its host alone.
    is_one = isinstance(value, str) or (len(value) == 2 and isinstance(value[1], int))
    return tuple(map(_address, [value] if is_one else value))


def _tcp(value: "Address | str | list[Any] | tuple[Any, ...] | None") -> tuple[Address, ...] | None:
    if value is None:
        return None
    return () if value in ("off", ["off"]) else _addresses(value)


def _path(value: "Path | str | None") -> Path | None:
    return None if value is None else Path(value)


def _advertised(values: "str | list[Any] | tuple[Any, ...]") -> tuple[Address, ...]:
    # Port 0 stands for "the port that the relay is bound to", known only once it is.
    listed = [values] if isinstance(values, str) else values
    return tuple(Address.parse(v, default_port=0) if isinstance(v, str) else Address(*v) for v in listed)


def _strings(values: "str | list[Any] | tuple[Any, ...]") -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)


def _secrets(values: "str | bytes | list[Any] | tuple[Any, ...]") -> tuple[bytes, ...]:
    listed = [values] if isinstance(values, str | bytes) else values
    return tuple(value.encode() if isinstance(value, str) else value for value in listed)


@attrs.frozen(kw_only=True)
class SetUp:
    """Which short cuts calls take on their way up, each where the client can; by default, all."""

    dtls: tuple[str, ...] = attrs.field(
        default=("1.3", "1.2"),
        converter=_strings,
        validator=[
            attrs.validators.min_len(1),
            attrs.validators.deep_iterable(attrs.validators.in_(("1.3", "1.2"))),
        ],
    )
    """Versions of DTLS."""
    early: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    """Speak right behind our DTLS 1.3 flight, before the client is verified (RFC 8446 §4.4.4).

    It has proven by its check that it knows the answer to the offer, but not yet that it holds the key the
    offer named."""
    sctp_init: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    """Open the SCTP association ourselves, rather than wait for the client to."""
    snap: bool = attrs.field(default=True, validator=attrs.validators.instance_of(bool))
    """Agree the SCTP association in offer and answer."""
    sped: Literal["full", "minimal", "off"] = attrs.field(
        default="full", validator=attrs.validators.in_(("full", "minimal", "off"))
    )
    """Take DTLS out of connectivity checks, and (full) embed ours in the answers to them, too."""


def _set_up(value: object) -> SetUp:
    if isinstance(value, SetUp):
        return value
    known = [field.name for field in attrs.fields(SetUp)]
    if not isinstance(value, dict) or not set(value) <= set(known):
        raise UsageError(f"set_up is a table of {', '.join(known)}, not {value}")
    return SetUp(**value)


@attrs.frozen(kw_only=True)
class AgentSpec:
    """Where an agent is, and what else there is to say to it."""

    use: str
    """``echo``, ``parrot``, ``transcode`` or ``cascade``; ``package.module:function``; ``ws://`` or ``wss://``
    of an agent server; ``realtime:`` and the same of a model's, or ``realtime`` with a ``url``."""
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """What goes with it, as its own documentation says."""

    @classmethod
    def of(cls, value: "AgentSpec | str | Mapping[str, Any]") -> Self:
        """Read a table with ``use`` and the options, or ``use`` alone.

        Errors: UsageError.
        """
        if isinstance(value, cls):
            return value
        table = {"use": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping) or not isinstance(table.get("use"), str) or not table["use"]:
            raise UsageError("agents: each is a table with `use`, which says what it is")
        return cls(use=table["use"], options={key: each for key, each in table.items() if key != "use"})


def _agents(value: object) -> Mapping[str, AgentSpec]:
    if not isinstance(value, Mapping):
        raise UsageError("agents is a table of tables, [agents.NAME]")
    return {str(name): AgentSpec.of(each) for name, each in value.items()}


def _keys(values: object) -> tuple[ApiKey, ...]:
    if not isinstance(values, list | tuple):
        raise UsageError("keys is a list of tables, [[keys]]")
    return tuple(ApiKey.of(each) for each in values)


def _ice_servers(values: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(values, list | tuple) or not all(
        isinstance(each, Mapping) and "urls" in each for each in values
    ):
        raise UsageError("ice_servers is a list of tables with `urls`, as an RTCPeerConnection takes them")
    return tuple(values)


@attrs.frozen(kw_only=True)
class Config:
    """All settings, with defaults that work at once on one machine and expose nothing beyond it.

    Errors: UsageError for a combination that cannot work.
    """

    http: Address = attrs.field(default=Address("127.0.0.1", 8080), converter=_address)
    """Where offers are taken and the page is served."""
    udp: tuple[Address, ...] = attrs.field(
        default=Address("127.0.0.1", DEFAULT_UDP_PORT),
        converter=_addresses,
        validator=attrs.validators.min_len(1),
    )
    """The relay's public address; or one for IPv4 and one for IPv6, the one that clients should prefer first.
    """
    tcp: tuple[Address, ...] | None = attrs.field(default=None, converter=_tcp)
    """Where clients that get no UDP through connect to. None: the same as ``udp``. None at all: ``()``, or
    ``off``."""
    tls_certificate: Path | None = attrs.field(default=None, converter=_path)
    """A PEM file: with it, TLS is spoken there, too, by clients that begin with it."""
    tls_key: Path | None = attrs.field(default=None, converter=_path)
    """A PEM file, if the key isn't in that of the certificate."""
    advertise: tuple[Address, ...] = attrs.field(default=(), converter=_advertised)
    """Addresses that answers give to clients instead of the relay's own. Port 0: the relay's."""
    relay_workers: int = attrs.field(
        default=1, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)]
    )
    """Processes that share the relay's public addresses; as many as there are cores for them."""
    relay_flows: int = attrs.field(
        default=65_536, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)]
    )
    """Clients that one of them can tell apart; several for each call."""
    workers: int = attrs.field(
        default=1, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)]
    )
    """Processes that share the calls, as many as there are cores for them. One: this process itself."""
    uplink: Literal["fast", "accurate"] = attrs.field(
        default="fast", validator=attrs.validators.in_(("fast", "accurate"))
    )
    """What counts in received audio: that agents hear it at once, or that little of it is missing."""
    agent: str = attrs.field(default="parrot", validator=attrs.validators.instance_of(str))
    """What answers calls: a name in ``agents``, or whatever `AgentSpec.use` can be."""
    agents: Mapping[str, AgentSpec] = attrs.field(factory=dict, converter=_agents)
    """Agents by name: a client's ``model`` picks one of these, any other name the default one."""
    keys: tuple[ApiKey, ...] = attrs.field(default=(), converter=_keys)
    """API keys that are let in. None: only this machine is served."""
    insecure_no_auth: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    """Serve whoever can reach ``http``, without any key."""
    ice_servers: tuple[Mapping[str, Any], ...] = attrs.field(default=(), converter=_ice_servers, repr=False)
    """STUN and TURN servers that clients are told of when they ask; most need none."""
    secrets: tuple[bytes, ...] = attrs.field(default=(), converter=_secrets, repr=False)
    """Cluster secrets: the first makes credentials, all are accepted. None: one is made at start."""
    cluster: int = attrs.field(default=0, validator=[attrs.validators.ge(0), attrs.validators.lt(4096)])
    """Number of the cluster, 0 to 4095; it is part of every call id."""
    max_calls: int = attrs.field(default=1000, validator=attrs.validators.ge(1))
    """Calls at once, of all workers together; the next offer is answered with 503."""
    max_call_seconds: float = attrs.field(default=3600.0, validator=attrs.validators.gt(0))
    """The longest call."""
    max_calls_per_client: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.ge(1))
    )
    """Calls at once from one IP address; the next offer is answered with 429. None: as many as there are."""
    max_pending_calls: int = attrs.field(default=512, validator=attrs.validators.ge(1))
    """Calls at once that are answered but not connected, of all workers together: half-open handshakes; then
    503."""
    max_pending_calls_per_client: int = attrs.field(default=64, validator=attrs.validators.ge(1))
    """The same for one client's IP address, at each worker; then 429."""
    set_up: SetUp = attrs.field(factory=SetUp, converter=_set_up)
    """Short cuts of call set-up; a table of its own in TOML."""
    cors_origins: tuple[str, ...] = attrs.field(default=("*",), converter=_strings)
    """Web origins whose pages may make calls."""
    hosts: tuple[str, ...] = attrs.field(default=(), converter=_strings)
    """Host names that the HTTP side answers to on loopback, besides addresses and ``localhost``."""

    def __attrs_post_init__(self) -> None:
        self._check_addresses()
        self._check_keys()
        for name in ("max_calls", "max_pending_calls"):
            if (limit := getattr(self, name)) < self.workers:
                raise UsageError(f"{name} {limit} cannot be shared out among {self.workers} workers")
        if len(self.secrets) > 2:
            raise UsageError("secrets: two generations at most are valid at once")
        if any(len(secret) < MIN_SECRET_BYTES for secret in self.secrets):
            raise UsageError(f"secrets: each must have at least {MIN_SECRET_BYTES} bytes")

    @property
    def default_agent(self) -> AgentSpec:
        """What answers calls that name no agent."""
        return self.agents.get(self.agent) or AgentSpec.of(self.agent)

    def _check_keys(self) -> None:
        if not self.http.is_loopback and not self.keys and not self.insecure_no_auth:
            raise UsageError(
                f"http {self.http} would let anybody who can reach it make calls: add a key "
                f"(`voicegate key new` makes one, {KEYS_VARIABLE} in the environment has them in plain), "
                "or insist with --insecure-no-auth"
            )
        for name, count in Counter(key.name for key in self.keys).items():
            if count > 1:
                raise UsageError(f"keys: {name!r} is there twice")
        for key in self.keys:
            if key.agent is not None and key.agent not in {self.agent, *self.agents}:
                raise UsageError(f"keys: {key.name!r}: no agent {key.agent!r} is configured")

    def _check_addresses(self) -> None:
        for name, address in [("udp", each) for each in self.udp] + [
            ("tcp", each) for each in self.tcp or ()
        ]:
            if address.is_wildcard and not self.advertise:
                raise UsageError(
                    f"{name} {address} listens on every address, but clients must be told one: "
                    "add advertise (--advertise IP)"
                )
        for address in self.udp:
            if any(other.is_ipv6 == address.is_ipv6 for other in self.udp if other is not address):
                raise UsageError(f"udp {address}: one address for IPv4 and one for IPv6 at most")
        if self.tls_key is not None and self.tls_certificate is None:
            raise UsageError("tls_key is of no use without tls_certificate")
        for address in self.advertise:
            if address.is_wildcard:
                raise UsageError(f"advertise {address.host}: clients cannot send to a wildcard address")

    @classmethod
    def load(
        cls,
        path: Path | None,
        overrides: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Read a TOML file whose keys are the attributes of this class; ``overrides`` win over it.

        ``environment`` may have `KEYS_VARIABLE`, whose keys are let in besides those of the file.

        Errors: UsageError, naming the file and the key.
        """
        values = {} if path is None else cls._read(path)
        where = "" if path is None else f"{path}: "
        plain = (environment or {}).get(KEYS_VARIABLE, "").replace(",", " ").split()
        named = [ApiKey.of_plain(key, name=f"environment-{n}") for n, key in enumerate(plain, 1)]
        try:
            if named:
                values["keys"] = [*_keys(values.get("keys", [])), *named]
            return cls(**{**values, **(overrides or {})})
        except (TypeError, ValueError, AttributeError) as error:
            # Validators tell what is wrong first, and then all they know.
            raise UsageError(f"{where}{error.args[0] if error.args else error}") from error

    @classmethod
    def _read(cls, path: Path) -> dict[str, Any]:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path}: {error}") from error
        known = {field.name for field in attrs.fields(cls)}
        for key in values:
            if key not in known:
                raise UsageError(f"{path}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        return values
