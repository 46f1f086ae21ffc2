import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.errors import UsageError
from voicegate.steering import Place, Region, Steering

REGIONS = {
    "us-east": Region(location=(39.0, -77.5), continents=("NA",), default=True),
    "us-west": Region(location=(45.6, -121.2)),
    "eu": Region(location=(50.1, 8.7), continents=("EU", "AF"), countries=("IL",)),
    "asia": Region(location=(1.35, 103.8), continents=("AS", "OC")),
}
BY_DISTANCE_FROM_EAST = ("us-east", "us-west", "eu", "asia")

names = st.sampled_from(sorted(REGIONS))
codes = st.sampled_from(["", "DE", "US", "IL", "JP", "QQ"])
places = st.builds(
    Place,
    country=codes,
    continent=st.sampled_from(["", "EU", "NA", "AS", "SA"]),
    location=st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
regions = st.builds(
    Region,
    location=st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    countries=st.lists(st.sampled_from(["DE", "US"]), max_size=2),
    continents=st.lists(st.sampled_from(["EU", "NA"]), max_size=2),
)
tables = st.dictionaries(st.sampled_from("abcdefgh"), regions, max_size=6)


def test_without_any_evidence_it_is_the_default_and_then_what_is_near_it() -> None:
    assert Steering(REGIONS).order() == BY_DISTANCE_FROM_EAST


def test_a_hint_counts_more_than_a_place() -> None:
    steering = Steering(REGIONS)
    assert steering.order("asia", Place(country="IL", location=(32.1, 34.8)))[:2] == ("asia", "eu")
    assert steering.unknown_hints == 0


def test_a_hint_that_names_nothing_is_counted_and_passed_over() -> None:
    steering = Steering(REGIONS)
    assert steering.order("moon") == BY_DISTANCE_FROM_EAST
    assert steering.order("", Place(location=(1.0, 104.0)))[0] == "asia"
    assert steering.unknown_hints == 2


def test_a_country_that_a_region_lists_beats_its_continent_and_the_distance() -> None:
    place = Place(country="IL", continent="AS", location=(32.1, 34.8))
    assert Steering(REGIONS).order(None, place) == ("eu", "asia", "us-east", "us-west")


def test_a_continent_that_a_region_lists_beats_the_distance() -> None:
    place = Place(country="GL", continent="NA", location=(64.2, -51.7))
    # Of those that list it the nearest; the rest as near as they are.
    assert Steering(REGIONS).order(None, place) == ("us-east", "eu", "us-west", "asia")


def test_a_country_without_a_location_has_a_continent_and_what_is_near_that_region() -> None:
    assert Steering(REGIONS).order(None, Place(country="FR", continent="EU")) == (
        "eu",
        "us-east",
        "us-west",
        "asia",
    )


def test_a_place_that_no_region_is_for_is_the_default_s() -> None:
    assert Steering(REGIONS).order(None, Place(country="QQ")) == BY_DISTANCE_FROM_EAST
    assert Steering(REGIONS).order(None, Place(country="BR", continent="SA")) == BY_DISTANCE_FROM_EAST


def test_where_nothing_is_listed_the_nearest_is_the_best() -> None:
    steering = Steering({name: Region(location=each.location) for name, each in REGIONS.items()})
    assert steering.order(None, Place(country="FR", location=(48.9, 2.4)))[0] == "eu"
    assert steering.order(None, Place(location=(37.8, -122.4)))[:2] == ("us-west", "us-east")
    assert steering.order(None, Place(location=(-33.9, 151.2)))[0] == "asia"


def test_regions_that_say_nothing_of_themselves_stay_in_their_order_behind_the_default() -> None:
    bare = {name: Region() for name in "abc"}
    assert Steering(bare).order(None, Place(location=(0.0, 0.0))) == ("a", "b", "c")
    assert Steering(bare, default="c").order() == ("c", "a", "b")
    assert Steering(bare, default="elsewhere").order() == ("a", "b", "c")
    assert Steering({**bare, "b": Region(default=True)}, default="c").order() == ("b", "a", "c")
    assert Steering({}).order("a", Place(country="DE")) == ()


def test_two_defaults_are_none() -> None:
    with pytest.raises(UsageError, match="not each of a, b"):
        Steering({"a": Region(default=True), "b": Region(default=True)})


@given(
    table=tables, hint=st.none() | st.text(max_size=3) | st.sampled_from("abcdefgh"), place=st.none() | places
)
def test_an_order_has_each_region_once_and_a_known_hint_first(
    table: dict[str, Region], hint: str | None, place: Place | None
) -> None:
    steering = Steering(table)
    order = steering.order(hint, place)
    assert sorted(order) == sorted(table)
    assert hint not in table or order[0] == hint
    assert steering.order(hint, place) == order


@given(table=tables, place=places)
def test_who_lists_the_country_is_before_who_does_not(table: dict[str, Region], place: Place) -> None:
    listing = [place.country in table[name].countries for name in Steering(table).order(None, place)]
    assert listing == sorted(listing, reverse=True)
