"""``voicegate`` as a shell runs it, but in this process: a mistake is not worth another one's start."""

import io
import signal
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from voicegate.cli import main


def run_here(*arguments: str) -> tuple[int, str]:
    """Return its exit status, and what it says."""
    said, heeded = io.StringIO(), signal.getsignal(signal.SIGINT)
    try:
        with (
            patch.object(sys, "argv", ["voicegate", *arguments]),
            redirect_stdout(said),
            redirect_stderr(said),
            warnings.catch_warnings(),
        ):
            # Cyclopts wonders whether a test means its own command line.
            warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens", UserWarning)
            main()
    except SystemExit as ended:
        return (ended.code if isinstance(ended.code, int) else bool(ended.code)), said.getvalue()
    finally:
        signal.signal(signal.SIGINT, heeded)
    return 0, said.getvalue()
