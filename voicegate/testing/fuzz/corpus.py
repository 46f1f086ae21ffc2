"""Inputs that are kept: a folder for each target, small enough for a repository and to be replayed in tests.

Files with a name of 40 hexadecimal digits are the fuzzer's own and may go when others show as much. All
others were named by somebody for what they are, and stay.

Layer: shell (Trio).
"""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import voicegate

__all__ = ["MAX_BYTES", "MAX_FILES", "inputs", "keep", "named", "seeds", "shipped", "staying"]

MAX_FILES: Final = 64
MAX_BYTES: Final = 65536
"""What is kept for one target; all of it is replayed whenever the tests run."""

_OWN: Final = re.compile(r"[0-9a-f]{40}")


def shipped() -> Path:
    """Return the corpus of a source checkout; an installed package has none."""
    return Path(voicegate.__file__).parents[1] / "tests" / "corpus"


def seeds(target: str, corpus: Path | None = None) -> list[Path]:
    """Return the folders that have inputs for a target: of the checkout, and of a corpus of the user's."""
    folders = [root.resolve() / target for root in (shipped(), corpus) if root is not None]
    return [folder for folder in dict.fromkeys(folders) if inputs(folder)]


def staying(target: str, corpus: Path) -> list[Path]:
    """Return the inputs that are there whatever is kept in a corpus: named ones, and the checkout's."""
    ours, theirs = shipped() / target, corpus / target
    return named(theirs) + ([] if ours.resolve() == theirs.resolve() else inputs(ours))


def inputs(folder: Path) -> list[Path]:
    """Return the files in a folder, which need not exist."""
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def named(folder: Path) -> list[Path]:
    """Return those that somebody has named."""
    return [path for path in inputs(folder) if not _OWN.fullmatch(path.name)]


def keep(folder: Path, chosen: Iterable[Path]) -> None:
    """Make ``chosen`` the fuzzer's own part of a folder, the smallest first, for as long as there is room."""
    folder.mkdir(parents=True, exist_ok=True)
    fixed = named(folder)
    files, size = len(fixed), sum(path.stat().st_size for path in fixed)
    kept = set()
    for path in sorted(chosen, key=lambda path: (path.stat().st_size, path.name)):
        files, size = files + 1, size + path.stat().st_size
        if files > MAX_FILES or size > MAX_BYTES:
            break
        shutil.copyfile(path, folder / path.name)
        kept.add(path.name)
    for path in inputs(folder):
        if _OWN.fullmatch(path.name) and path.name not in kept:
            path.unlink()
