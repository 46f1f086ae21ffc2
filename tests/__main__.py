"""Runs every test: what needs but a processor side by side, then, one by one, what is real and has its pace.

Arguments are pytest's; when they name what to run, it is one run of just that.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent

SIDE_BY_SIDE: Final = (
    "access",
    "audio",
    "call",
    "capacity",
    "child",
    "config",
    "datachannel",
    "deploy",
    "directory",
    "dtls",
    "fleet",
    "ice",
    "link",
    "observability",
    "realtime",
    "relay/test_[!ch]*.py",
    "rtp",
    "scenarios",
    "sctp",
    "sdp",
    "signalling",
    "socket_call",
    "srtp",
    "steering",
    "test_architecture.py",
    "test_machine.py",
    "testing/fuzz",
    "testing/test_[!bnp]*.py",
    "transceiver",
    "wire",
    "worker",
)
"""By pattern. Nothing here has a browser, a crowd of callers, or a deadline of some milliseconds."""

NO_TESTS: Final = 5


def main() -> int:
    """Return the worse status of both runs."""
    given = sys.argv[1:]
    if any((ROOT.parent / each.partition("::")[0]).exists() for each in given):
        return run(*given)
    paths = [str(path) for pattern in SIDE_BY_SIDE for path in sorted(ROOT.glob(pattern))]
    workers = str(len(os.sched_getaffinity(0)) + 1)  # some of them wait at times
    first = run("-n", workers, "--dist", "worksteal", *given, *paths)
    second = run(*given, *(f"--ignore={path}" for path in paths))
    return max((status for status in (first, second) if status != NO_TESTS), default=NO_TESTS)


def run(*arguments: str) -> int:
    """Run pytest, in this folder's project."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT.parent, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
