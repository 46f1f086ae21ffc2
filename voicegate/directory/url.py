"""Where a directory on Redis is, out of its URL.

``redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`` is one server, ``rediss://`` the same over TLS.
``redis+sentinel://HOST[:PORT],.../NAME`` asks sentinels who is the primary of that name,
``redis+cluster://HOST[:PORT],...`` is a cluster; both with ``rediss+`` over TLS. ``?ca=``, ``?cert=`` and
``?key=`` name PEM files: whom to believe, and who we are.
What is special in user and password is percent-encoded. No message repeats the URL: it has a password in it.
"""

import ssl
from enum import Enum
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qsl, unquote

import attrs

from voicegate.errors import UsageError

__all__ = ["DirectoryUrl", "Kind"]

_DEFAULT_PORT: Final = 6379
_DEFAULT_SENTINEL_PORT: Final = 26379
_FILES: Final = ("ca", "cert", "key")
_FORMS: Final = (
    "redis://HOST:PORT, rediss://HOST:PORT, redis+sentinel://HOST:PORT,HOST:PORT/NAME or "
    "redis+cluster://HOST:PORT,HOST:PORT, each with USER:PASSWORD@ before the first host if need be"
)


class Kind(Enum):
    """What there is at a URL."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES: Final = {
    "redis": Kind.SERVER,
    "redis+sentinel": Kind.SENTINEL,
    "redis+cluster": Kind.CLUSTER,
}


@attrs.frozen(kw_only=True)
class DirectoryUrl:
    """Where the directory is, and how to get in."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    """Names or addresses, with ports: one server, some sentinels, or some nodes of a cluster."""
    primary: str = ""
    """The name that sentinels know it by."""
    database: int = 0
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    is_tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a URL.

        Errors: UsageError, which never repeats what may be a password.
        """
        scheme, separator, rest = text.partition("://")
        base = scheme.replace("rediss", "redis", 1) if scheme.startswith("rediss") else scheme
        kind = _SCHEMES.get(base)
        if not separator or kind is None:
            raise UsageError(f"directory: a URL like {_FORMS} is wanted")
        rest, _, query = rest.partition("?")
        # The last @: a password in which somebody forgot to encode one still works.
        user, password, rest = _credentials(rest)
        authority, _, path = rest.partition("/")
        options = _options(query, is_tls=scheme != base)
        common = {"user": user, "password": password, "is_tls": scheme != base, **options}
        port = _DEFAULT_SENTINEL_PORT if kind is Kind.SENTINEL else _DEFAULT_PORT
        hosts = tuple(_host(each, port) for each in authority.split(","))
        if kind is Kind.SERVER and len(hosts) > 1:
            raise UsageError("directory: several hosts are a redis+cluster:// or redis+sentinel://HOSTS/NAME")
        return cls(kind=kind, hosts=hosts, **_path(kind, path), **common)  # type: ignore[arg-type]

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return how to speak TLS; None when it isn't spoken. It reads the files.

        Errors: UsageError, naming the file.
        """
        if not self.is_tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"directory: ca {self.ca}: {error}") from None
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"directory: cert {self.cert}, key {self.key}: {error}") from None
        return context

    def __str__(self) -> str:
        """Tell it without user and password."""
        scheme = "rediss" if self.is_tls else "redis"
        scheme += "" if self.kind is Kind.SERVER else f"+{self.kind.value}"
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        tail = f"/{self.primary}" if self.primary else ""
        return f"{scheme}://{hosts}{tail}" + (f"/{self.database}" if self.database else "")


def _credentials(rest: str) -> tuple[str | None, str | None, str]:
    credentials, at, hosts = rest.rpartition("@")
    if not at:
        return None, None, rest
    user, colon, password = credentials.partition(":")
    if not colon:
        raise UsageError("directory: USER:PASSWORD is wanted before the @, or :PASSWORD alone")
    return unquote(user) or None, unquote(password), hosts


def _host(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, str(default_port)
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise UsageError(f"directory: a host is missing; {_FORMS} is wanted")
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port) <= 0xFFFF:
        raise UsageError(f"directory: host {host}: its port is a number from 1 to 65535")
    return host, int(port)


def _path(kind: Kind, path: str) -> dict[str, str | int]:
    primary, _, database = path.partition("/") if kind is Kind.SENTINEL else ("", "", path)
    if kind is Kind.SENTINEL and not primary:
        raise UsageError("directory: redis+sentinel://HOSTS/NAME: the name of the primary is missing")
    if database and (kind is Kind.CLUSTER or not (database.isascii() and database.isdecimal())):
        is_cluster = kind is Kind.CLUSTER
        raise UsageError(
            "directory: a cluster has no databases to choose from"
            if is_cluster
            else "directory: after the host, the number of a database is wanted, as in redis://HOST/0"
        )
    return {"primary": unquote(primary), "database": int(database or 0)}


def _options(query: str, *, is_tls: bool) -> dict[str, Path]:
    options: dict[str, Path] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _FILES:
            raise UsageError(f"directory: options after the ? are {', '.join(_FILES)}, no others")
        if not value:
            raise UsageError(f"directory: {name} wants the path of a PEM file")
        options[name] = Path(value)
    if options and not is_tls:
        raise UsageError("directory: ca, cert and key are for TLS: rediss:// instead of redis://")
    if "key" in options and "cert" not in options:
        raise UsageError("directory: key is of no use without cert")
    return options
