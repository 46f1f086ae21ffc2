"""A server under a terminal or a supervisor: what it says when it is up, and how signals end it.

1. SIGTERM: no new calls; those there are may go on for a while (`Config.drain_seconds`), then it ends.
2. A second signal, or SIGINT, which is Ctrl-C: it ends at once, with goodbyes to all calls.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from math import ceil
from typing import Final, Protocol

import trio
from rich.console import Console
from rich.text import Text

from voicegate.config import Config, Role

__all__ = ["Running", "run_server", "run_until_signal"]

PROGRESS_SECONDS: Final = 5.0
"""Between two lines about a drain, where they stay; on a terminal, one line changes each second."""


class Running(Protocol):
    """A server that is up."""

    @property
    def url(self) -> str:
        """Where its HTTP is."""

    async def drain(self, seconds: float) -> bool:
        """Take no new calls, and return when all have ended; false if some could not be ended."""

    async def calls_left(self) -> int:
        """Count them; for a relay, its clients."""

    def describe(self) -> str:
        """Say in a line what is where."""


async def run_server(role: Role, config: Config) -> None:
    """Run a server until a signal ends it."""
    # From before it starts: a signal that comes meanwhile is no traceback.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        from voicegate.server import serve, serve_relay, serve_transceiver

        start: Mapping[Role, Callable[..., Awaitable[None]]] = {
            "serve": partial(serve, None, config, owns_process=True),
            "transceiver": partial(serve_transceiver, None, config, owns_process=True),
            "relay": partial(serve_relay, config),
        }
        await run_until_signal(
            start[role], signals, drain_seconds=config.drain_seconds, greet=partial(_greet, role, config)
        )


async def run_until_signal(
    start: Callable[..., Awaitable[None]],
    signals: AsyncIterator[int],
    *,
    drain_seconds: float,
    greet: Callable[[Running], None],
) -> None:
    """Run what ``start`` starts until ``signals`` end it.

    Args:
        start: Runs a server; tells its ``task_status`` of a `Running`.
        signals: Numbers of those that arrive.
        drain_seconds: How long calls may go on after SIGTERM.
        greet: Told once the server is up.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_heed, nursery, signals, up := _Up(), drain_seconds)
        up.server = await nursery.start(start)
        greet(up.server)


class _Up:
    """What is up, once it is."""

    server: Running | None = None


async def _heed(nursery: trio.Nursery, signals: AsyncIterator[int], up: _Up, drain_seconds: float) -> None:
    is_draining = False
    async for number in signals:
        if number == signal.SIGINT or is_draining or up.server is None or drain_seconds == 0:
            nursery.cancel_scope.cancel()
        else:
            is_draining = True
            nursery.start_soon(_drain, nursery, up.server, drain_seconds)


async def _drain(nursery: trio.Nursery, server: Running, seconds: float) -> None:
    async with trio.open_nursery() as own:
        own.start_soon(_show_progress, server, trio.current_time() + seconds)
        await server.drain(seconds)
        own.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


async def _show_progress(server: Running, deadline: float) -> None:
    console = Console(stderr=True, highlight=False)
    while True:
        if calls := await server.calls_left():
            left = max(0, ceil(deadline - trio.current_time()))
            line = f"draining: {calls} left, for {left} s at most; another signal ends it at once"
            console.print(Text(line, style="dim"), soft_wrap=True, end="\r" if console.is_terminal else "\n")
        await trio.sleep(1.0 if console.is_terminal else PROGRESS_SECONDS)


def _greet(role: Role, config: Config, server: Running) -> None:
    console = Console(stderr=True, highlight=False)
    if role == "relay":
        ready = Text.assemble(("voicegate", "bold"), " relay is ready")
    else:
        parts = ("voicegate", "bold"), " is ready: open ", (server.url, "bold cyan"), " and talk to "
        ready = Text.assemble(*parts, (config.agent, "bold"))
    console.print(ready, soft_wrap=True)
    console.print(Text(f"{server.describe()}; Ctrl-C ends it", style="dim"), soft_wrap=True)
