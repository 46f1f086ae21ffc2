"""The rules that hold the code base together, read off the code."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import voicegate

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "voicegate"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    module.name
    for module in pkgutil.walk_packages(voicegate.__path__, "voicegate.")
    if not module.name.endswith("__main__")
]
CORES = (
    "wire",
    "ice",
    "dtls",
    "srtp",
    "rtp",
    "sctp",
    "datachannel",
    "realtime",
    "link",
    "access",
    "capacity",
    "sdp",
    "steering",
    "audio",
)
DOCUMENTED = tuple(core for core in CORES if core != "wire")
"""`wire` is no protocol; what it cites is in the documents of those that it sorts datagrams for."""

CORE_MODULES = {
    "voicegate.directory.announcer",
    "voicegate.directory.flow_queue",
    "voicegate.directory.ledger",
    "voicegate.directory.poll",
    "voicegate.directory.row",
    "voicegate.directory.script",
    "voicegate.fleet.choice",
    "voicegate.relay.diagnosis",
    "voicegate.transceiver.clock",
    "voicegate.transceiver.core",
    "voicegate.transceiver.downlink",
    "voicegate.transceiver.lateness",
    "voicegate.transceiver.media",
    "voicegate.transceiver.resends",
    "voicegate.transceiver.uplink",
    "voicegate.agents.cascade.chat",
    "voicegate.agents.cascade.history",
    "voicegate.agents.cascade.options",
    "voicegate.agents.cascade.sentence",
    "voicegate.agents.cascade.stream",
    "voicegate.agents.cascade.turn",
    "voicegate.agents.realtime.bridge",
    "voicegate.agents.realtime.dialect",
    "voicegate.agents.realtime.history",
    "voicegate.agents.realtime.names",
    "voicegate.agents.realtime.options",
    "voicegate.agents.realtime.request",
    "voicegate.agents.realtime.voice",
    "voicegate.agents.realtime.wish",
    "voicegate.socket_call.hearing",
    "voicegate.socket_call.playback",
    "voicegate.agents.link.codec",
    "voicegate.agents.process.layout",
    "voicegate.agents.process.message",
    "voicegate.agents.process.outbox",
    "voicegate.relay.router",
    "voicegate.relay.flows",
    "voicegate.relay.address_table",
    "voicegate.relay.admission",
    "voicegate.relay.recovery",
}
"""Cores inside packages of the shell."""

LONG_FUNCTIONS: dict[str, str] = {}
"""Functions of more than `MAX_FUNCTION` lines, each with the reason why it is better whole."""
LONG_MODULES: dict[str, str] = {}
MAX_FUNCTION = 60
MAX_MODULE = 600

INTERNAL: dict[str, set[str]] = {}
"""Names without underscore that `__all__` leaves out on purpose."""


def layer(module: ModuleType) -> str:
    found = re.search(r"^Layer: (core \(sans-IO\)|shell \(Trio\))[.,]", module.__doc__ or "", re.MULTILINE)
    assert found is not None, f"{module.__name__} does not say its layer"
    return found[1].split()[0]


def contracts() -> dict[str, dict[str, object]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return {contract["type"]: contract for contract in project["tool"]["importlinter"]["contracts"]}


@pytest.mark.parametrize("name", ["voicegate", *MODULES])
def test_all_is_there_and_complete(name: str) -> None:
    module = importlib.import_module(name)
    # A package may be nothing but its modules.
    listed = getattr(module, "__all__", [])
    assert len(set(listed)) == len(listed)
    for exported in listed:
        assert hasattr(module, exported), f"{name}.__all__ lists {exported}, which is not there"
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
    }
    assert defined - set(listed) == INTERNAL.get(name, set())


@pytest.mark.parametrize(
    "name", ["voicegate.errors", *sorted({m.rpartition(".")[0] for m in MODULES} - {"voicegate"})]
)
def test_each_package_says_its_layer_and_it_is_the_one_it_is_checked_for(name: str) -> None:
    sources = contracts()["forbidden"]["source_modules"]
    assert isinstance(sources, list)
    is_core = any(name == source or name.startswith(f"{source}.") for source in sources)
    if name != "voicegate.testing":
        assert layer(importlib.import_module(name)) == ("core" if is_core else "shell")


def test_the_cores_that_are_checked_are_the_cores() -> None:
    sources = contracts()["forbidden"]["source_modules"]
    assert isinstance(sources, list)
    assert set(sources) == {"voicegate.errors", *(f"voicegate.{core}" for core in CORES), *CORE_MODULES}


def test_every_package_has_its_place_in_the_layers() -> None:
    layers = contracts()["layers"]["layers"]
    assert isinstance(layers, list)
    placed = {name.strip() for row in layers for name in row.split("|")}
    there = {f"voicegate.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    there -= {"voicegate.__init__", "voicegate.__main__", "voicegate.__pycache__", "voicegate.testing"}
    assert placed == there


SECTION = re.compile(r"RFC (\d+),? (?:§|Appendix )")
BARE = re.compile(r"RFC (\d+)")


@pytest.mark.parametrize("core", DOCUMENTED)
def test_each_rfc_that_a_core_cites_is_in_its_document(core: str) -> None:
    document = (ROOT / "docs" / f"{core}.md").read_text()
    rows = "\n".join(line for line in document.splitlines() if line.startswith("|"))
    sources = "\n".join(path.read_text() for path in (PACKAGE / core).rglob("*.py"))
    assert set(SECTION.findall(sources)) <= set(re.findall(r"\b\d{4}\b", rows))
    # What is only left out has no row.
    assert set(BARE.findall(sources)) <= set(re.findall(r"\b\d{4}\b", document))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sections_are_cited_in_one_form(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"(?:\bRFC[- ]?\d+,? (?:[Ss]ection|sec\.?|s\.) ?\d|\brfc\d{3,}|\bRFC\d)", text) == []


@pytest.mark.parametrize("core", CORES)
def test_importing_a_core_brings_in_no_framework(core: str) -> None:
    code = (
        f"import sys, voicegate.{core}\n"
        "print(*{'trio', 'asyncio', 'starlette', 'structlog'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_names_a_path_of_the_machine_it_was_written_on(path: Path) -> None:
    assert re.findall(r"[\"'` (](?:/work|/root|/home|/tmp|/Users)\b[^\"'` )]*", path.read_text()) == []


def functions(path: Path) -> list[tuple[str, int]]:
    """Return the functions of a module by qualified name, with their lines."""
    found = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}.{child.name}"
                if not isinstance(child, ast.ClassDef):
                    found.append((name, (child.end_lineno or 0) - child.lineno + 1))
                visit(child, name)
            else:
                visit(child, prefix)

    visit(ast.parse(path.read_text()), ".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found


def test_functions_are_short() -> None:
    long = {name for path in SOURCES for name, lines in functions(path) if lines > MAX_FUNCTION}
    assert long == LONG_FUNCTIONS.keys()


def test_modules_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)) for path in SOURCES if len(path.read_text().splitlines()) > MAX_MODULE
    }
    assert long == LONG_MODULES.keys()


def test_packages_are_at_most_two_deep() -> None:
    assert max(len(path.relative_to(PACKAGE).parts) for path in SOURCES) <= 3
