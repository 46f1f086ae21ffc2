import re

import pytest

from voicegate.errors import UsageError
from voicegate.steering import Region


def test_a_region_is_read_from_its_table() -> None:
    region = Region.of(
        "eu-1",
        {
            "location": [50.1, 8],
            "countries": ["de", "FR"],
            "continents": ["EU"],
            "relays": ["192.0.2.1:3478", "[2001:db8::1]:443"],
            "default": True,
        },
    )
    assert region == Region(
        location=(50.1, 8.0),
        countries=("DE", "FR"),
        continents=("EU",),
        relays=("192.0.2.1:3478", "[2001:db8::1]:443"),
        default=True,
    )
    assert region.relay_addresses == (("192.0.2.1", 3478), ("2001:db8::1", 443))
    assert Region.of("eu-1", region) is region
    assert Region.of("anywhere", {}) == Region()


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ([], "is a table of location, countries"),
        ({"colour": "red"}, "is a table of location, countries"),
        ({"location": "Frankfurt"}, "location is [latitude, longitude]"),
        ({"location": [50.1]}, "location is"),
        ({"location": [91, 0]}, "location is"),
        ({"location": [0, -180.5]}, "location is"),
        ({"location": [float("nan"), 0]}, "location is"),
        ({"location": [0, float("inf")]}, "location is"),
        ({"location": [True, 0]}, "location is"),
        ({"location": [0, False]}, "location is"),
        ({"countries": "DE"}, "lists of strings"),
        ({"countries": [49]}, "lists of strings"),
        ({"countries": ["DEU"]}, "countries: 'DEU'"),
        ({"continents": ["Europe"]}, "continents: 'EUROPE' is none of AF, AN"),
        ({"relays": ["relay.example:3478"]}, "relays: 'relay.example:3478' is not IP:port"),
        ({"relays": ["192.0.2.1"]}, "is not IP:port"),
        ({"relays": ["192.0.2.1:0"]}, "is not IP:port"),
        ({"relays": ["192.0.2.1:65536"]}, "is not IP:port"),
        ({"relays": ["192.0.2.1:" + "9" * 5000]}, "is not IP:port"),
        ({"relays": ["192.0.2.1:²"]}, "is not IP:port"),
        ({"relays": ["2001:db8::1:3478"]}, "is not IP:port"),
        ({"relays": ["0.0.0.0:3478"]}, "is not IP:port"),
        ({"default": "yes"}, "'default' must be"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(table: dict[str, object], cause: str) -> None:
    with pytest.raises(UsageError, match=rf"^regions: 'eu': .*{re.escape(cause)}"):
        Region.of("eu", table)


@pytest.mark.parametrize("name", ["", "e u", "é", "-", "a" * 64, "a\n"])
def test_a_name_that_could_not_be_said_in_a_header_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"^regions: .* is no name"):
        Region.of(name, {})
