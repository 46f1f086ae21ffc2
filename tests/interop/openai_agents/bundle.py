"""The OpenAI Agents SDK as npm has it, and an app of ours on top of it, bundled for a browser."""

import hashlib
import shutil
import sys
from pathlib import Path
from subprocess import STDOUT
from typing import Final

import trio

__all__ = ["build_app"]

HOME: Final = Path(__file__).parent
BUILD: Final = Path(sys.prefix) / "openai_agents"
"""With the other things that tests need installed; made once, and again when a source has changed."""

_SOURCES: Final = ("package.json", "package-lock.json", "app.mjs")


async def build_app() -> Path:
    """Return a script for a page, which needs npm, its registry, and some seconds once."""
    bundle, stamp = BUILD / "app.js", BUILD / "stamp"
    digest = hashlib.sha256(b"".join((HOME / name).read_bytes() for name in _SOURCES)).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return bundle
    BUILD.mkdir(exist_ok=True)
    for name in _SOURCES:
        shutil.copy(HOME / name, BUILD / name)
    # Nothing of what is fetched is run while it is installed; the versions and their hashes are in the lock.
    await _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    await _run(
        "node_modules/.bin/esbuild",
        "app.mjs",
        "--bundle",
        "--format=iife",
        "--platform=browser",
        "--log-level=warning",
        "--outfile=app.js",
    )
    stamp.write_text(digest)
    return bundle


async def _run(*command: str) -> None:
    if shutil.which(command[0]) is None and not (BUILD / command[0]).exists():
        raise RuntimeError(f"{command[0]} is not installed: apt install {command[0]}")
    done = await trio.run_process(command, cwd=BUILD, capture_stdout=True, stderr=STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout.decode()}")
