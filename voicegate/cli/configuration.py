"""``voicegate config``: what a server would run with, and what is wrong with it."""

import os
import sys
from pathlib import Path
from typing import Final

import attrs
from cyclopts import App
from rich.console import Console
from rich.text import Text

from voicegate.config import Config, Role
from voicegate.config.check import check_config
from voicegate.config.load import load_values
from voicegate.config.role import is_used
from voicegate.config.show import list_settings

__all__ = ["app", "check", "show"]

EXIT_FAULTS: Final = 2

app = App(name="config")


@app.command
def check(file: Path | None = None, *, role: Role = "serve") -> None:
    """Say all that is wrong with a configuration; end with 2 if a server would not start with it.

    What the environment has in VOICEGATE_... counts, as it would for the server.

    Args:
        file: The TOML file [the one that VOICEGATE_CONFIG names, if any].
        role: What the server is to be.
    """
    report = check_config(file, environment=os.environ, role=role)
    console = Console(stderr=True, highlight=False)
    for fault in report.faults:
        console.print(Text.assemble(("error: ", "bold red"), str(fault)), soft_wrap=True)
    for warning in report.warnings:
        console.print(Text.assemble(("warning: ", "bold yellow"), warning), soft_wrap=True)
    if report.faults:
        sys.exit(EXIT_FAULTS)
    console.print(Text(f"{file or 'The environment'} is good for `voicegate {role}`"), soft_wrap=True)


@app.command
def show(file: Path | None = None, *, role: Role | None = None) -> None:
    """Print the value of each key and where it comes from; secrets and hashes are hidden.

    Args:
        file: The TOML file [the one that VOICEGATE_CONFIG names, if any].
        role: What the server is to be: it matters to `auto`, and to what is missing.
    """
    config = Config.load(file, environment=os.environ, role=role)
    loaded = load_values(attrs.fields_dict(Config), file, environment=os.environ, role=role)
    for setting in list_settings(config, loaded):
        if role is not None and not is_used(setting.key, role):
            continue
        line = f"{setting.key} = {setting.value}" if setting.value else f"# {setting.key} is not set"
        print(f"{line}  # {setting.origin}")  # noqa: T201
