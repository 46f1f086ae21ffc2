"""The servers that are called: ours and the reference, each in a process of its own on one processor."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import attrs
import trio

from voicegate.bench.program import open_program, pin
from voicegate.errors import UsageError

__all__ = ["Callee", "Series", "open_callee", "require_callees"]

_HOST: Final = "127.0.0.1"
_PAGE: Final = 4096
_FAREWELL_SECONDS: Final = 10.0


class Series(Enum):
    """Who is called: voicegate, by the agent that answers, or the reference."""

    ECHO = "echo"
    TRANSCODE = "transcode"
    AIORTC = "aiortc"


@attrs.frozen(kw_only=True)
class Callee:
    """A running server."""

    url: str
    pid: int
    """Of the process that has the calls."""
    relays: Sequence[int] = ()
    """Process ids."""
    hop: int | None = None
    """The port where it takes hop datagrams, when it is to be called without a relay."""

    @property
    def resident(self) -> int:
        """Bytes of memory that the process with the calls has."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE


def require_callees(series: Sequence[Series]) -> None:
    """See that all are installed.

    Errors: UsageError, saying what to install.
    """
    if Series.AIORTC in series and find_spec("aiortc") is None:
        raise UsageError(
            "aiortc is missing: pip install 'voicegate-server[bench]', or --series echo transcode"
        )


@asynccontextmanager
async def open_callee(
    series: Series, *, processor: int, relay_processor: int, is_direct: bool
) -> AsyncIterator[Callee]:
    """Run a server; what has the calls gets one processor, its relay another.

    Errors: BenchError when it does not start.
    """
    name = "aiortc_server" if series is Series.AIORTC else "call_server"
    arguments = [_HOST, "echo"] if series is Series.AIORTC else [series.value]
    command = [sys.executable, "-m", f"voicegate.bench.{name}", *arguments]
    async with open_program(series.value, command, processor=processor) as (program, said):
        relays = said.get("relay", [])
        for pid in relays:
            pin(pid, relay_processor)
        try:
            yield Callee(
                url=f"http://{_HOST}:{said['port']}",
                pid=program.pid,
                relays=relays,
                hop=said.get("hop") if is_direct else None,
            )
        finally:
            # Ours takes its relay with it, unless it is killed.
            with trio.move_on_after(_FAREWELL_SECONDS if relays else 0.0, shield=True):
                await program.close()
