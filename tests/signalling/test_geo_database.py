"""A real database on disk, and everything that can be wrong with one."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from tests.signalling.mmdb import FRANKFURT, MARK, SINGAPORE, write_database
from voicegate.errors import UsageError
from voicegate.signalling.geo_database import GeoDatabase
from voicegate.steering import Place

DE = Place(country="DE", continent="EU", location=(50.1, 8.7))
SG = Place(country="SG", location=(1.35, 103.8))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_database(tmp_path / "city.mmdb", {"203.0.113.0/24": FRANKFURT, "2001:db8::/32": SINGAPORE})
    return tmp_path / "city.mmdb"


def test_addresses_are_found_in_their_networks(path: Path) -> None:
    database = GeoDatabase(path)
    assert database.find("203.0.113.9", now=0.0) == DE
    assert database.find("2001:db8::9", now=0.0) == SG
    assert database.find("198.51.100.1", now=0.0) is None
    assert database.find("127.0.0.1", now=0.0) is None
    assert database.faults == 0


@pytest.mark.parametrize("address", ["", "nowhere", "203.0.113", "é"])
def test_what_is_no_address_is_nowhere(path: Path, address: str) -> None:
    database = GeoDatabase(path)
    assert database.find(address, now=0.0) is None
    assert database.faults == 0


def test_countries_and_enterprises_are_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    write_database(path, {"203.0.113.0/24": FRANKFURT}, kind="GeoIP2-Enterprise")
    assert GeoDatabase(path).find("203.0.113.9", now=0.0) == DE
    write_database(path, {"203.0.113.0/24": {"country": {"iso_code": "DE"}}}, kind="GeoLite2-Country")
    assert GeoDatabase(path).find("203.0.113.9", now=0.0) == Place(country="DE")


@pytest.mark.parametrize(
    ("record", "place"),
    [
        ({}, None),
        ({"continent": {"code": "EU"}}, Place(continent="EU")),
        ({"registered_country": {"iso_code": "FR"}}, Place(country="FR")),
        ({"country": {"iso_code": "DE"}, "location": {"latitude": 50.1}}, Place(country="DE")),
    ],
)
def test_a_record_may_say_little(tmp_path: Path, record: Any, place: Place | None) -> None:
    write_database(tmp_path / "x.mmdb", {"203.0.113.0/24": record})
    database = GeoDatabase(tmp_path / "x.mmdb")
    assert database.find("203.0.113.9", now=0.0) == place
    assert database.faults == 0


@pytest.mark.parametrize(
    "record",
    [
        "Frankfurt",
        {"country": "DE"},
        {"location": {"latitude": 91.0, "longitude": 0.0}},
        {"location": {"latitude": 0.0, "longitude": float("nan")}},
        {"location": {"latitude": "north", "longitude": 0.0}},
    ],
)
def test_a_record_that_is_broken_is_counted(tmp_path: Path, record: Any) -> None:
    write_database(tmp_path / "x.mmdb", {"203.0.113.0/24": record, "198.51.100.0/24": FRANKFURT})
    database = GeoDatabase(tmp_path / "x.mmdb")
    assert database.find("203.0.113.9", now=0.0) is None
    assert database.faults == 1
    assert database.find("198.51.100.9", now=0.0) == DE


def test_a_file_that_is_cut_within_its_records_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    write_database(path, {"203.0.113.0/24": FRANKFURT})
    whole = path.read_bytes()
    tree = whole[: whole.index(bytes(16)) + 16]
    path.write_bytes(tree + whole[whole.index(MARK) :])
    database = GeoDatabase(path)
    assert database.find("203.0.113.9", now=0.0) is None
    assert database.faults == 1


def test_a_file_that_is_replaced_is_followed(path: Path) -> None:
    database = GeoDatabase(path)
    assert database.find("203.0.113.9", now=100.0) == DE
    write_database(path, {"203.0.113.0/24": SINGAPORE})
    assert database.find("203.0.113.9", now=109.0) == DE
    assert database.find("203.0.113.9", now=110.0) == SG
    assert database.faults == 0


def test_a_replacement_that_is_missing_or_broken_changes_nothing(path: Path) -> None:
    database = GeoDatabase(path)
    path.unlink()
    assert database.find("203.0.113.9", now=100.0) == DE
    assert database.faults == 0
    path.write_bytes(b"not a database")
    assert database.find("203.0.113.9", now=200.0) == DE
    assert database.find("203.0.113.9", now=300.0) == DE
    assert database.faults == 1


def test_a_file_that_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    with pytest.raises(UsageError, match=r"^geo: .*x\.mmdb: .*No such file"):
        GeoDatabase(path)
    for content in (b"", b"not a database", MARK, MARK + b"\xe1"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"^geo: .*x\.mmdb"):
            GeoDatabase(path)
    write_database(path, {}, kind="GeoLite2-ASN")
    with pytest.raises(UsageError, match="'GeoLite2-ASN' does not tell where"):
        GeoDatabase(path)
    with pytest.raises(UsageError, match=r"^geo: "):
        GeoDatabase(tmp_path)


def test_without_its_package_the_way_to_get_it_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("geoip2"):
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match=r"pip install voicegate-server\[fleet\]"):
        GeoDatabase(path)
