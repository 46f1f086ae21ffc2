"""An echo whose process waits long for a first check: a client that a test does not connect stays a call."""

import sys

from voicegate.agents import echo
from voicegate.transceiver import core

__all__ = ["NAME", "SECONDS", "agent"]

NAME = "tests.worker.patient:agent"
SECONDS = 600.0

agent = echo

if "pytest" not in sys.modules:
    core.CHECK_SECONDS = SECONDS  # type: ignore[misc] # a worker is there for one test
