from pathlib import Path

import pytest

from voicegate.errors import UsageError
from voicegate.steering import Geo


def test_sources_are_read_from_their_table() -> None:
    geo = Geo.of({"database": "/var/lib/city.mmdb", "country_header": "CF-IPCountry"})
    assert geo == Geo(database=Path("/var/lib/city.mmdb"), country_header="cf-ipcountry")
    assert geo.has_headers
    assert Geo.of(geo) is geo
    assert Geo.of({"latitude_header": "X-Lat", "longitude_header": "X-Lon"}).has_headers
    assert Geo.of({}) == Geo()
    assert not Geo(database=Path("city.mmdb")).has_headers


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ([], "geo is a table of database, country_header"),
        ({"city": "x.mmdb"}, "geo is a table of"),
        ({"database": 7}, "geo: database is the path"),
        ({"database": ""}, "geo: database is the path"),
        ({"country_header": "not a header"}, "geo: 'not a header' is not the name of a header"),
        ({"country_header": ""}, "geo: '' is not the name"),
        ({"country_header": 7}, "geo: 7 is not the name"),
        ({"latitude_header": "x-lat"}, "geo: .* no use without each other"),
    ],
)
def test_a_table_that_is_wrong_is_refused(table: dict[str, object], cause: str) -> None:
    with pytest.raises(UsageError, match=f"^{cause}"):
        Geo.of(table)
