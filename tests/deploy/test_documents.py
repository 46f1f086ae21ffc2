"""What docs/kubernetes.md and docs/deployment.md tell people to type and to look at is there."""

import re
import shlex
from typing import Final

import attrs
import pytest

from tests.deploy.program import PACKAGE, metric_patterns, parse_command
from tests.deploy.rendering import ROOT
from voicegate.config import Config
from voicegate.config.load import OTHER_VARIABLES

DOCUMENTS: Final = {
    path.name: path.read_text() for path in map((ROOT / "docs").joinpath, ("kubernetes.md", "deployment.md"))
}
SETTINGS: Final = {f"VOICEGATE_{field.name.upper()}" for field in attrs.fields(Config)}

each_document = pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)


@each_document
def test_its_metrics_are_reported(text: str) -> None:
    patterns = metric_patterns()
    for name in set(re.findall(r"\bvoicegate_[a-z_]+\b(?!-)", text)):
        assert any(re.fullmatch(pattern, name.removesuffix("_total")) for pattern in patterns), name


@each_document
def test_the_labels_that_it_names_are_there(text: str) -> None:
    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    for label, value in re.findall(r"(\w+)=\"(\w+)\"[`}]", text):
        assert f'label="{label}"' in sources
        assert f'"{value}"' in sources


@each_document
def test_its_variables_are_settings(text: str) -> None:
    for name in set(re.findall(r"\bVOICEGATE_[A-Z_]+\b", text)):
        assert name in SETTINGS or name in OTHER_VARIABLES, name


@each_document
def test_its_commands_are_understood(text: str) -> None:
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    plain = re.sub(r"\$\(cat [\w.]+\)", "KEY", blocks)
    begin = r"(?:^|\$\(|&& |')(?:\w+=\S+ )*(?:[\w./]+/)?"
    commands = re.findall(rf"{begin}voicegate ([a-z].*)", plain, re.MULTILINE)
    assert commands
    for command in commands:
        words = re.split(r"\s[|&>#]|\s>>|[)'\"]", command)[0]
        parse_command(shlex.split(words))


@each_document
def test_its_files_are_there(text: str) -> None:
    for name in set(re.findall(r"\bdeploy/[\w./-]*\w", text)):
        assert (ROOT / name).exists(), name
    for name in set(re.findall(r"\]\(([\w./-]+\.md)", text)):
        assert (ROOT / "docs" / name).exists(), name
