"""What is shipped: the wheel as it is built, and the constraints it is installed with."""

import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = ["build", "serve", "test", "lint"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "voicegate").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == files


@pytest.mark.parametrize(
    "name",
    [
        "voicegate/py.typed",
        "voicegate/signalling/web/index.html",
        "voicegate/testing/recorder.js",
    ],
)
def test_what_is_no_python_is_shipped_too(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wheel_says_what_it_is(metadata: Message, wheel: zipfile.ZipFile) -> None:
    assert metadata["Name"] == "voicegate-server"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "MIT"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "voicegate = voicegate.cli:main" in wheel.read(name).decode()


def requirements(name: str) -> dict[str, str]:
    """Read a constraints file: names, and all that is said of each."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {normal(re.split(r"[=<>!~;\[ ]", line, maxsplit=1)[0]): line for line in lines}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_each_requirement_is_one_version_with_its_hashes(name: str) -> None:
    listed = requirements(name)
    assert listed
    for line in listed.values():
        assert re.match(r"[A-Za-z0-9._-]+==\S+", line), line
        assert "--hash=sha256:" in line


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").iterdir()), ids=lambda path: path.name)
def test_no_registry_is_named(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text)


def test_all_dependencies_are_among_what_serving_installs() -> None:
    wanted = {normal(re.split(r"[=<>!~;\[ ]", line, maxsplit=1)[0]) for line in PROJECT["dependencies"]}
    assert wanted <= requirements("serve").keys()


def test_what_is_served_with_is_what_was_tested() -> None:
    pinned = {
        name: {package: line.split()[0] for package, line in requirements(name).items()}
        for name in CONSTRAINTS
    }
    assert pinned["serve"].items() <= pinned["test"].items() <= pinned["lint"].items()
