"""The command line.

Layer: shell (Trio).
"""

import json
import os
import signal
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import trio
from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from voicegate.access import hash_key, new_key
from voicegate.config import Address, Config
from voicegate.errors import UsageError

if TYPE_CHECKING:
    from voicegate.server import Server

__all__ = ["app", "main"]

_EXIT_USAGE: Final = 2

app = App(
    name="voicegate",
    help="A media server for talking with AI: WebRTC in front, plain audio behind.",
    version=lambda: version("voicegate-server"),
)
# By name, so that it is imported when it is wanted.
app.command(
    "voicegate.bench.command:app",
    name="bench",
    help="Measure voicegate, beside a reference in the same run.",
)
app.command(
    "voicegate.testing.fuzz.command:app",
    name="fuzz",
    help="Feed hostile input to a parser or a protocol core until it breaks or the time is over.",
)

key_app = App(name="key", help="API keys of a server.")
app.command(key_app)


@key_app.command(name="new")
def _new_key_command(name: str = "default") -> None:
    """Make an API key; it is shown this once, and the server only needs to know its hash.

    Args:
        name: What to call it, in the configuration, in logs and in sessions.
    """
    key = new_key(os.urandom)
    # The key alone is what a script wants to catch; the rest is for people.
    console = Console(stderr=True, highlight=False)
    console.print(Text("Put this into the configuration file, which --config names:\n", style="dim"))
    # What JSON writes as a string is one in TOML, too.
    console.print(Text(f'[[keys]]\nname = {json.dumps(name)}\nhash = "{hash_key(key)}"\n'), soft_wrap=True)
    console.print(Text("The key itself, for clients; it cannot be shown again:\n", style="dim"))
    print(key)  # noqa: T201


@app.command(name="serve")
def serve_command(
    *,
    http: str | None = None,
    udp: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    tcp: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    advertise: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    relay_workers: int | None = None,
    workers: int | None = None,
    uplink: Literal["fast", "accurate"] | None = None,
    agent: str | None = None,
    config: Path | None = None,
    insecure_no_auth: Annotated[bool, Parameter(negative="")] = False,
    log_level: Literal["debug", "info", "warning", "error"] = "info",
) -> None:
    """Serve calls until Ctrl-C.

    Args:
        http: HOST:PORT where offers are taken and the page is served [127.0.0.1:8080].
        udp: HOST:PORT of the relay's public address; or one for IPv4 and one for IPv6 [127.0.0.1:3478].
        tcp: HOST:PORT, once or more, for clients that get no UDP through; or off [as for UDP].
        tls_certificate: A PEM file; with it, such clients may speak TLS there.
        tls_key: A PEM file, if the key isn't in the same.
        advertise: IP[:PORT] that answers give to clients, when it is not what the relay is bound to.
        relay_workers: Processes that share the relay's public addresses [1].
        workers: Processes that share the calls, each on a core of its own [1].
        uplink: Whether agents hear received audio at once, or as complete as it gets [fast].
        agent: echo, parrot, package.module:function, ws://... of a server, or a name in --config [parrot].
        config: A TOML file with the same settings and more; options win over it.
        insecure_no_auth: Serve without API keys beyond this machine, too.
        log_level: How much is logged.
    """
    # Here and in `_serve`, not above: it takes a second, for which `main` has made Ctrl-C quiet.
    from voicegate.observability import configure_logging

    given = {
        "http": http,
        "udp": udp,
        "tcp": tcp,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "advertise": advertise,
        "relay_workers": relay_workers,
        "workers": workers,
        "uplink": uplink,
        "agent": agent,
    }
    overrides: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if insecure_no_auth:
        overrides["insecure_no_auth"] = True
    configure_logging(level=log_level)
    # `--agent module:function` means a module beside the user, as `python -m` would find it.
    sys.path.insert(0, "")
    trio.run(_serve, Config.load(config, overrides, environment=os.environ))


async def _serve(config: Config) -> None:
    # From before the server starts: a signal that comes meanwhile waits until all of it is there to be ended.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        from voicegate.server import serve

        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve, None, config, owns_process=True))
            _greet(server, config)
            async for _ in signals:
                nursery.cancel_scope.cancel()


def _greet(server: "Server", config: Config) -> None:
    console = Console(stderr=True, highlight=False)
    parts = ("voicegate", "bold"), " is ready: open ", (server.url, "bold cyan"), " and talk to "
    console.print(Text.assemble(*parts, (config.agent, "bold")), soft_wrap=True)
    udp = " and ".join(str(Address(*address)) for address in server.relay.public)
    console.print(Text(f"media on UDP {udp}; Ctrl-C ends it", style="dim"), soft_wrap=True)


def main() -> None:
    """Run the command line; a mistake in how it was called is one line, not a traceback."""
    # Until `_serve` listens for it, Ctrl-C just ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        app()
    except* UsageError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        # As `Text`, since users write square brackets too, and on one line, however long.
        line = Text.assemble(("voicegate:", "bold red"), f" {error}")
        Console(stderr=True, highlight=False).print(line, soft_wrap=True)
        sys.exit(_EXIT_USAGE)
