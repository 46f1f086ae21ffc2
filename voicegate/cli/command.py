"""``voicegate``: what it can do, and how it says what went wrong."""

import json
import os
import signal
import sys
from base64 import urlsafe_b64encode
from importlib.metadata import version
from typing import Final

from cyclopts import App
from rich.console import Console
from rich.text import Text

from voicegate.access import hash_key, new_key
from voicegate.cli.drain import drain
from voicegate.cli.server import relay, serve, transceiver
from voicegate.errors import UsageError

__all__ = ["app", "main", "new_key_command", "new_secret_command"]

EXIT_USAGE: Final = 2

SECRET_BYTES: Final = 32
"""Of a cluster secret; all keys are derived from it."""

app = App(
    name="voicegate",
    help="A media server for talking with AI: WebRTC in front, plain audio behind.",
    version=lambda: version("voicegate-server"),
)
app.command(serve)
app.command(relay)
app.command(transceiver)
app.command(drain)
# By name, so that it is imported when it is wanted.
app.command(
    "voicegate.cli.configuration:app",
    name="config",
    help="What a server would run with, and what is wrong with it.",
)
app.command(
    "voicegate.bench.command:app",
    name="bench",
    help="Measure voicegate, beside a reference in the same run.",
)
app.command(
    "voicegate.bench.plan_command:app",
    name="plan",
    help="Say how many machines a number of calls takes, and how much of all else.",
)
app.command(
    "voicegate.testing.fuzz.command:app",
    name="fuzz",
    help="Feed hostile input to a parser or a protocol core until it breaks or the time is over.",
)

key_app = App(name="key", help="API keys of a server.")
secret_app = App(name="secret", help="The secret that the machines of a cluster share.")
app.command(key_app)
app.command(secret_app)


@key_app.command(name="new")
def new_key_command(name: str = "default") -> None:
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


@secret_app.command(name="new")
def new_secret_command() -> None:
    """Make a cluster secret: a line of the file that `secrets_file` names."""
    print(urlsafe_b64encode(os.urandom(SECRET_BYTES)).decode().rstrip("="))  # noqa: T201


def main() -> None:
    """Run the command line; a mistake in how it was called is one line, not a traceback."""
    # Until a server listens for it, Ctrl-C just ends the process.
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
        sys.exit(EXIT_USAGE)
