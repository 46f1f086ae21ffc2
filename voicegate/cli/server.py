"""``voicegate serve``, ``relay`` and ``transceiver``: the kinds of server, and what can be said to each."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import attrs
import trio
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from voicegate.cli.run import run_server
from voicegate.config import Config, Role

__all__ = ["CallOptions", "Options", "RelayOptions", "relay", "serve", "transceiver"]

Several: TypeAlias = Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")]
Count: TypeAlias = int | Literal["auto"] | None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options:
    """What every server can be told.

    Args:
        http: HOST:PORT of HTTP: offers and the page where calls are taken, and what operators ask
            [127.0.0.1:8080].
        directory: Where the cluster's directory is, as in redis://127.0.0.1:6379 [none: a cluster of one].
        hop: HOST:PORT where relays and transceivers take each other's packets; port 0: any [127.0.0.1:0].
        region: The name of the region that this machine is in.
        drain_seconds: How long calls may go on after SIGTERM [60].
        config: A TOML file with the same settings and more; VOICEGATE_... in the environment win over it, and
            options over both.
        insecure_no_auth: Serve without API keys beyond this machine, too.
        log_level: How much is logged.
    """

    http: str | None = None
    directory: str | None = None
    hop: str | None = None
    region: str | None = None
    drain_seconds: float | None = None
    config: Path | None = None
    insecure_no_auth: Annotated[bool, Parameter(negative="")] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Parameter(env_var="VOICEGATE_LOG_LEVEL")
    ] = "info"


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class RelayOptions:
    """What goes with a relay.

    Args:
        udp: HOST:PORT of the relay's public address; or one for IPv4 and one for IPv6 [127.0.0.1:3478].
        tcp: HOST:PORT, once or more, for clients that get no UDP through; or off [as for UDP].
        tls_certificate: A PEM file; with it, such clients may speak TLS there.
        tls_key: A PEM file, if the key isn't in the same.
        advertise: IP[:PORT] that answers give to clients, when it is not what the relay is bound to.
        relay_workers: Processes that share the relay's public addresses; auto: as many as there are cores for
            them [1].
    """

    udp: Several = None
    tcp: Several = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    advertise: Several = None
    relay_workers: Count = None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class CallOptions:
    """What goes with calls.

    Args:
        workers: Processes that share the calls, each on a core of its own; auto: as many as there are cores
            for them [1].
        max_calls: Calls at once; auto: as many as cores and memory are for [1000].
        uplink: Whether agents hear received audio at once, or as complete as it gets [fast].
        agent: echo, parrot, package.module:function, ws://... of a server, or a name in --config [parrot].
        peer: HOST:PORT where other transceivers of the cluster hand on requests to [none].
    """

    workers: Count = None
    max_calls: Count = None
    uplink: Literal["fast", "accurate"] | None = None
    agent: str | None = None
    peer: str | None = None


_OPTIONS = Options()
_RELAY_OPTIONS = RelayOptions()
_CALL_OPTIONS = CallOptions()


def serve(
    *,
    options: Options = _OPTIONS,
    relay_options: RelayOptions = _RELAY_OPTIONS,
    call_options: CallOptions = _CALL_OPTIONS,
) -> None:
    """Serve calls until Ctrl-C: a relay and a transceiver in one."""
    _run("serve", options, relay_options, call_options)


def relay(*, options: Options = _OPTIONS, relay_options: RelayOptions = _RELAY_OPTIONS) -> None:
    """Carry the packets of a cluster's calls between clients and transceivers."""
    _run("relay", options, relay_options)


def transceiver(*, options: Options = _OPTIONS, call_options: CallOptions = _CALL_OPTIONS) -> None:
    """Have calls of a cluster, whose clients come in over its relays."""
    _run("transceiver", options, call_options)


def _run(role: Role, options: Options, *others: RelayOptions | CallOptions) -> None:
    # Here and in `run_server`, not above: it takes a second, for which `main` has made Ctrl-C quiet.
    from voicegate.observability import configure_logging

    given: dict[str, object] = {}
    for each in (options, *others):
        given |= {key: value for key, value in attrs.asdict(each).items() if value is not None}
    path, log_level = given.pop("config", None), given.pop("log_level")
    if not given["insecure_no_auth"]:
        del given["insecure_no_auth"]
    configure_logging(level=str(log_level))
    # `--agent module:function` means a module beside the user, as `python -m` would find it.
    sys.path.insert(0, "")
    config = Config.load(
        Path(str(path)) if path else None, given, environment=os.environ, role=role, warn=_warn
    )
    trio.run(run_server, role, config)


def _warn(line: str) -> None:
    text = Text.assemble(("voicegate:", "bold yellow"), f" {line}")
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)
