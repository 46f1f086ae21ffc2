import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import WireError
from voicegate.steering import Place
from voicegate.steering.continent import continent_of
from voicegate.steering.place import distance_km

FRANKFURT = (50.1, 8.7)
locations = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


def test_headers_are_read() -> None:
    assert Place.decode(country="de") == Place(country="DE", continent="EU")
    assert Place.decode(latitude=" 50.1 ", longitude="+8.7") == Place(location=FRANKFURT)
    assert Place.decode(country="BR", latitude="-23.5", longitude="-46") == Place(
        country="BR", continent="SA", location=(-23.5, -46.0)
    )
    assert Place.decode(country="QQ") == Place(country="QQ")


@pytest.mark.parametrize("country", ["", " ", "XX", "xx", "T1", "ZZ"])
def test_a_header_may_say_that_nobody_knows(country: str) -> None:
    assert Place.decode(country=country) is None
    assert Place.decode(country=country, latitude="1", longitude="2") == Place(location=(1.0, 2.0))


@pytest.mark.parametrize(
    "headers",
    [
        {"country": "Germany"},
        {"country": "D"},
        {"country": "ß"},  # whose capitals are two letters
        {"country": "D3"},
        {"country": "ДЕ"},
        {"country": "DE" * 1000},
        {"latitude": "50.1"},
        {"longitude": "8.7"},
        {"latitude": "90.01", "longitude": "8.7"},
        {"latitude": "50.1", "longitude": "-180.01"},
        {"latitude": "nan", "longitude": "0"},
        {"latitude": "1e1", "longitude": "0"},
        {"latitude": "0x1", "longitude": "0"},
        {"latitude": "1_0", "longitude": "0"},
        {"latitude": "५", "longitude": "0"},
        {"latitude": "1." + "0" * 1000, "longitude": "0"},
        {"latitude": "1.", "longitude": "0"},
    ],
)
def test_what_is_no_place_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(WireError):
        Place.decode(**headers)


@given(country=st.text(max_size=4), latitude=st.text(max_size=12), longitude=st.text(max_size=12))
def test_nothing_but_a_refusal_comes_of_any_text(country: str, latitude: str, longitude: str) -> None:
    try:
        place = Place.decode(country=country, latitude=latitude, longitude=longitude)
    except WireError:
        return
    assert place is None or place != Place()


def test_distances_are_those_of_the_globe() -> None:
    assert distance_km(FRANKFURT, FRANKFURT) == 0
    assert distance_km(FRANKFURT, (40.7, -74.0)) == pytest.approx(6206, rel=0.01)
    assert distance_km(FRANKFURT, (-33.9, 151.2)) == pytest.approx(16480, rel=0.01)
    assert distance_km((0, 179.9), (0, -179.9)) == pytest.approx(22.2, rel=0.01)
    assert distance_km((90, 0), (90, 123)) == pytest.approx(0, abs=1e-6)
    assert distance_km((90, 0), (-90, 0)) == pytest.approx(math.pi * 6371)


@given(a=locations, b=locations)
def test_a_distance_is_the_same_both_ways_and_at_most_half_the_globe(
    a: tuple[float, float], b: tuple[float, float]
) -> None:
    assert distance_km(a, b) == pytest.approx(distance_km(b, a))
    assert 0 <= distance_km(a, b) <= math.pi * 6371 + 1e-6


@pytest.mark.parametrize(
    ("country", "continent"),
    [
        ("DE", "EU"),
        ("US", "NA"),
        ("BR", "SA"),
        ("JP", "AS"),
        ("NG", "AF"),
        ("AU", "OC"),
        ("AQ", "AN"),
        ("", ""),
    ],
)
def test_a_country_is_on_a_continent(country: str, continent: str) -> None:
    assert continent_of(country) == continent
    assert continent_of("QQ") == ""
