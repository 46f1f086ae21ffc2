"""A Dockerfile as a list of instructions, in stages."""

import json
import shlex
from fnmatch import fnmatch
from typing import Final

import attrs

__all__ = ["Instruction", "Stage", "is_sent", "read_stages"]

KNOWN: Final = (
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL"),
    *("USER", "WORKDIR"),
)
"""What builds without a surprise; not ADD, which unpacks and downloads."""


@attrs.frozen
class Instruction:
    """One, with its continuation lines as one."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What a shell would make of the text, or what is listed in its JSON."""
        return list(json.loads(self.text)) if self.text.startswith("[") else shlex.split(self.text)

    @property
    def options(self) -> dict[str, str]:
        """Those that it begins with."""
        options = {}
        for word in shlex.split(self.text):
            if not word.startswith("--"):
                break
            name, _, value = word.removeprefix("--").partition("=")
            options[name] = value
        return options

    @property
    def arguments(self) -> list[str]:
        """The words behind the options."""
        return [word for word in self.words if not word.startswith("--")]


@attrs.frozen
class Stage:
    """What one FROM begins."""

    base: str
    name: str
    instructions: list[Instruction]

    def of(self, name: str) -> list[Instruction]:
        """Return the instructions of a kind."""
        return [each for each in self.instructions if each.name == name]

    def only(self, name: str) -> Instruction:
        """Return the one instruction of a kind."""
        (found,) = self.of(name)
        return found


def read_stages(text: str) -> list[Stage]:
    """Read a Dockerfile, whose ARGs before the first FROM are put in their places."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if not name:
            continue
        if name not in KNOWN:
            raise ValueError(f"{name} is no instruction that is wanted here")
        instruction = Instruction(name, rest.strip())
        if name == "ARG" and not stages:
            key, _, value = rest.partition("=")
            arguments[key.strip()] = value.strip()
        elif name == "FROM":
            base, *alias = instruction.words
            for key, value in arguments.items():
                base = base.replace(f"${{{key}}}", value)
            stages.append(Stage(base, alias[-1] if alias else "", []))
        else:
            stages[-1].instructions.append(instruction)
    return stages


def is_sent(path: str, ignored: str) -> bool:
    """Tell whether a path is sent to the builder; the last line of .dockerignore that matches counts."""
    sent = True
    folders = [path, *(path.rsplit("/", count)[0] for count in range(1, path.count("/") + 1))]
    for line in ignored.splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#"):
            bare = pattern.removeprefix("**/")
            names = [each.rsplit("/", 1)[-1] for each in folders] if bare != pattern else folders
            if any(fnmatch(name, bare) for name in names):
                sent = line.strip().startswith("!")
    return sent
