"""Runs every test: what needs but a processor side by side, then, likewise, what waits for real programs,
and one by one what is to have the whole machine.

Arguments are pytest's; when they name what to run, it is one run of just that.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
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
    "server",
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

WITH_PROGRAMS: Final = (
    "agents",
    "bench/test_*command.py",
    "bench/test_quality.py",
    "bench/test_setup.py",
    "cli",
    "interop",
    "test_*.py",
    "testing/test_[bnp]*.py",
    "world/test_example.py",
)
"""By pattern, what is not above: browsers, peers, examples, and our own programs as processes."""

NO_TESTS: Final = 5


def main() -> int:
    """Return the worst status of the runs."""
    given = sys.argv[1:]
    if any((ROOT.parent / each.partition("::")[0]).exists() for each in given):
        return run(*given)
    first = find(SIDE_BY_SIDE)
    second = [path for path in find(WITH_PROGRAMS) if path not in first]
    workers = str(len(os.sched_getaffinity(0)) + 1)  # some of them wait at times
    statuses = (
        run("-n", workers, "--dist", "worksteal", *given, *first),
        run("-n", workers, "--dist", "worksteal", *given, *second),
        run(*given, *(f"--ignore={path}" for path in (*first, *second))),
    )
    return max((status for status in statuses if status != NO_TESTS), default=NO_TESTS)


def find(patterns: Sequence[str]) -> list[str]:
    """Return the paths of what matches."""
    return [str(path) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def run(*arguments: str) -> int:
    """Run pytest, in this folder's project."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT.parent, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
