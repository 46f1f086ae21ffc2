"""Our command lines, each in a process of its own that does not have to import everything once more."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from voicegate import cli


class CommandLine:
    """A process that has imported what command lines take, and forks for each."""

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
