"""Builds the programs that `voicegate bench` runs beside us, from the sources in ``reference``."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import trio

from voicegate.bench.server import BenchError
from voicegate.errors import UsageError

__all__ = ["build", "require_tools"]

_SOURCES: Final = Path(__file__).parent / "reference"

_PACKAGES: Final[Mapping[str, str]] = {
    "gcc": "gcc libc6-dev",
    "go": "golang-go",
    "perf": "linux-perf",
}
"""Tool to the packages of Debian that bring it."""

_LIBRARIES: Final[Mapping[str, Sequence[str]]] = {"calls.c": ["-lcrypto"]}
"""What a source is linked with."""

_HEADERS: Final = Path("/usr/include/openssl/evp.h")


def require_tools(*, has_go: bool = False, has_perf: bool = False, has_openssl: bool = False) -> None:
    """See that all tools are there, before minutes of measuring.

    Errors: UsageError, saying what to install.
    """
    for tool, is_wanted in (("gcc", True), ("go", has_go), ("perf", has_perf)):
        if is_wanted and shutil.which(tool) is None:
            hint = ", or --references c" if tool == "go" else ""
            raise UsageError(f"{tool} is missing: apt install {_PACKAGES[tool]}{hint}")
    if has_openssl and not _HEADERS.exists():
        raise UsageError("the headers of OpenSSL are missing: apt install libssl-dev")


async def build(source: str, folder: Path) -> Path:
    """Compile a source such as ``relay.go`` and return the program, which is put into the folder.

    Errors: BenchError, with what the compiler said.
    """
    program = folder / source.replace(".", "_")
    compilers = {".c": ["gcc", "-O2", "-o"], ".go": ["go", "build", "-o"]}
    command = [*compilers[Path(source).suffix], str(program), str(_SOURCES / source)]
    command += _LIBRARIES.get(source, ())
    # Out of reach of the terminal's Ctrl-C, which would look like a fault of the source.
    done = await trio.run_process(
        command, check=False, capture_stdout=True, stderr=subprocess.STDOUT, process_group=0
    )
    if done.returncode:
        said = " ".join(done.stdout.decode(errors="replace").split())
        raise BenchError(f"{source} cannot be compiled: {said[:300]}")
    return program
