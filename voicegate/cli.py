"""The command line.

Layer: shell (Trio).
"""

import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import App, Parameter
from rich.console import Console

from voicegate.config import Config
from voicegate.errors import UsageError
from voicegate.observability import configure_logging
from voicegate.server import Server, serve

__all__ = ["app", "main"]

app = App(name="voicegate", help="A media server for talking with AI: WebRTC in front, plain audio behind.")


@app.command(name="serve")
def serve_command(
    *,
    http: str | None = None,
    udp: str | None = None,
    advertise: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    agent: str | None = None,
    config: Path | None = None,
    log_level: str = "info",
) -> None:
    """Serve calls until Ctrl-C.

    Args:
        http: HOST:PORT where offers are taken and the page is served [127.0.0.1:8080].
        udp: HOST:PORT of the relay's public socket [127.0.0.1:3478].
        advertise: IP[:PORT] that answers give to clients, when it is not what the relay is bound to.
        agent: echo, parrot or package.module:function [parrot].
        config: A TOML file with the same settings and more; options win over it.
        log_level: debug, info, warning or error.
    """
    given = {"http": http, "udp": udp, "advertise": advertise, "agent": agent}
    overrides = {name: value for name, value in given.items() if value is not None}
    configure_logging(level=log_level)
    # `--agent module:function` means a module beside the user, as `python -m` would find it.
    sys.path.insert(0, "")
    trio.run(_serve, Config.load(config, overrides))


async def _serve(config: Config) -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, None, config))
        _greet(server, config)
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                nursery.cancel_scope.cancel()


def _greet(server: Server, config: Config) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(
        f"[bold]voicegate[/] is ready: open [bold cyan]{server.url}[/] and talk to [bold]{config.agent}[/]"
    )
    console.print(f"media on UDP {server.udp}; Ctrl-C ends it", style="dim")


def main() -> None:
    """Run the command line; a mistake in how it was called is one line, not a traceback."""
    try:
        app()
    except* UsageError as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        Console(stderr=True, highlight=False).print(f"[bold red]voicegate:[/] {error}", soft_wrap=True)
        sys.exit(2)
