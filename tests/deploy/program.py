"""What the program knows, for comparison with what is written about it elsewhere."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from voicegate.cli import app
from voicegate.config import Config, Role
from voicegate.relay.operation import OperationApp
from voicegate.signalling.access import AccessPolicy
from voicegate.signalling.app import SignallingApp

PACKAGE: Final = Path(__file__).parents[2] / "voicegate"
API_KEY: Final = "vg_" + "k" * 40


def parse_command(arguments: Sequence[str]) -> str:
    """Have the command line take some arguments, without doing it; returns the command."""
    command, _, ignored = app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    assert not ignored
    assert arguments[0] in [name for names in (each.name for each in app.subapps) for name in names]
    assert callable(command)
    return arguments[0]


def load_config(role: str, environment: Mapping[str, str]) -> Config:
    """Load what a server of that role would, of this environment; nothing in it may be without a meaning."""
    warnings: list[str] = []
    config = Config.load(None, environment=environment, role=cast("Role", role), warn=warnings.append)
    assert warnings == []
    return config


def paths_of(role: str) -> set[str]:
    """Return where a server of that role answers over HTTP."""
    if role == "relay":
        relay = OperationApp(cast("Any", None), admit=lambda _request: None)
        return set(relay._routes)
    service = cast("Any", SimpleNamespace(agent_name="parrot"))
    return {endpoint.path for endpoint in SignallingApp(service, access=AccessPolicy()).endpoints}


def metric_patterns() -> set[str]:
    """Return what the sources report under which name; of counters, without what Prometheus adds."""
    report = re.compile(r"metrics\.(?:gauge|counter|histogram)\(\s*f?\"([a-z_{}]+)\"")
    names = {name for path in PACKAGE.rglob("*.py") for name in report.findall(path.read_text())}
    return {f"voicegate_{re.sub('{[a-z]+}', '[a-z_]+', name)}" for name in names}


def write_secrets(path: Path) -> Path:
    """Make a file of two secrets, as while they are rotated."""
    path.write_text(f"{os.urandom(32).hex()}\n{os.urandom(32).hex()}\n")
    return path
