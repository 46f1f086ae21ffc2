"""What is written about settings, against what they are."""

import re
import socket
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest

from voicegate.access import ApiKey
from voicegate.config import Config, Geo, Region, SetUp
from voicegate.config.check import check_config
from voicegate.config.form import convert
from voicegate.config.role import ROLES, Role, is_used

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text()
FIELDS = attrs.fields_dict(Config)
TABLES = {"keys": ApiKey, "set_up": SetUp, "regions": Region, "geo": Geo}
SECRET = "correct horse battery staple"


def rows(columns: int) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = {}
    for line in DOCUMENT.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == columns:
            assert cells[0] not in listed
            listed[cells[0].strip("`")] = cells
    return listed


def example(role: Role) -> str:
    return (ROOT / "examples" / "config" / f"{role}.toml").read_text()


def read(text: str) -> Any:
    return tomllib.loads(f"value = {text}")["value"]


def default_of(name: str) -> object:
    return getattr(Config(), name)


def test_every_key_is_documented_and_nothing_else() -> None:
    listed = rows(6)
    assert listed.keys() == FIELDS.keys()
    for name, (_, kind, _, variable, _, meaning) in listed.items():
        assert kind
        assert variable == f"`VOICEGATE_{name.upper()}`"
        assert meaning.endswith(".")


@pytest.mark.parametrize("name", FIELDS)
def test_the_documented_default_is_the_default(name: str) -> None:
    text = rows(6)[name][2]
    if name == "relay_name":
        assert text == "the host's name"
        assert default_of(name) == socket.gethostname()
    elif not text:
        assert default_of(name) is None
    else:
        assert convert(FIELDS[name], read(text.strip("`"))) == default_of(name)


@pytest.mark.parametrize("name", FIELDS)
def test_the_documented_roles_are_those_that_a_key_means_something_to(name: str) -> None:
    text = rows(6)[name][4]
    documented = set(ROLES) if text == "all" else set(text.split(", "))
    assert documented == {role for role in ROLES if is_used(name, role)}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_of_a_table_is_documented_with_its_default(table: str) -> None:
    listed = {key: cells for key, cells in rows(4).items() if key.startswith(f"{table}.")}
    fields = attrs.fields_dict(TABLES[table])
    assert listed.keys() == {f"{table}.{name}" for name in fields}
    for name, field in fields.items():
        text = listed[f"{table}.{name}"][2]
        if text:
            assert convert_plain(read(text.strip("`"))) == field.default
        else:
            assert field.default in (None, attrs.NOTHING)


def convert_plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("role", ROLES)
def test_an_example_is_right_once_its_places_are_filled_in(role: Role, tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(SECRET)
    text = example(role)
    for place, filled in {
        "PUBLIC_IP": "192.0.2.1",
        "REDIS_HOST": "redis.example",
        "SECRETS_FILE": str(tmp_path / "secrets"),
    }.items():
        text = text.replace(place, filled)
    file = tmp_path / "voicegate.toml"
    file.write_text(text)
    report = check_config(file, role=role)
    assert (report.faults, report.warnings) == ((), ())


@pytest.mark.parametrize("role", ROLES)
def test_an_example_has_every_key_of_its_role_with_its_default(role: Role) -> None:
    # A list over several lines is one comment.
    joined = re.sub(r"(?<=[\[,])\n# +", " ", example(role)).replace(",\n# ]", "]")
    plain = joined.partition("# --- Tables")[0]
    there = set()
    for name, text in re.findall(r"^# (\w+) (?:= (.+)|is not set;.*)$", plain, re.MULTILINE):
        if name in FIELDS and name not in there:
            there.add(name)
            if text:
                assert convert(FIELDS[name], read(text)) == default_of(name), name
            else:
                assert default_of(name) is None or name == "relay_name"
    there |= set(re.findall(r"^# \[+(\w+)", joined, re.MULTILINE))
    assert there == {name for name in FIELDS if is_used(name, role)}


@pytest.mark.parametrize("role", ROLES)
def test_an_example_has_every_key_of_every_table(role: Role) -> None:
    text = example(role)
    for table, kind in TABLES.items():
        if not is_used(table, role):
            continue
        header = re.search(rf"^# \[+{table}.*\]$", text, re.MULTILINE)
        assert header is not None
        block = text[header.end() :].partition("\n\n")[0]
        there = re.findall(r"^# (\w+) (?:=|is not set)", block, re.MULTILINE)
        assert there == [field.name for field in attrs.fields(kind)]
