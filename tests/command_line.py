"""Our command lines as a shell runs them, without importing everything once more for each."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from voicegate import cli


class CommandLine:
    """A process that has imported what command lines take, and forks for each: nothing of one is left."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )

    def run(self, *arguments: str, cwd: Path | None = None) -> tuple[int, str]:
        """Run ``voicegate`` with arguments; return its status and what it said."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([arguments, str(cwd or Path.cwd())]).encode() + b"\n")
        self._process.stdin.flush()
        status, said = json.loads(self._process.stdout.readline())
        return status, said

    def close(self) -> None:
        """Wait for the end of the process."""
        self._process.communicate()


def run_here(*arguments: str) -> tuple[int, str]:
    """Run ``voicegate`` here, where what a test has patched is patched; return its status and what it said.

    Only for commands that leave nothing behind: a server sets up logging for good.
    """
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
            cli.main()
    except SystemExit as ended:
        return (ended.code if isinstance(ended.code, int) else bool(ended.code)), said.getvalue()
    finally:
        signal.signal(signal.SIGINT, heeded)
    return 0, said.getvalue()


def main() -> None:
    """Run what lines on stdin say; in a child, just that one."""
    for line in sys.stdin:
        arguments, cwd = json.loads(line)
        with tempfile.TemporaryFile() as said:
            if (child := os.fork()) == 0:
                os.chdir(cwd)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                sys.path[0], sys.argv[1:] = cwd, arguments
                cli.main()
                return
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            sys.stdout.write(json.dumps([status, said.read().decode()]) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
