"""What is said of where clients are, fed with whatever a fuzzer likes."""

import ipaddress
from typing import Final

from voicegate.errors import WireError
from voicegate.signalling.relays import RelayList
from voicegate.steering import Forwarded, Place, Region, Steering
from voicegate.testing.script import require
from voicegate.wire.json_value import decode_object

__all__ = ["find_client", "find_place", "read_relay_list"]

_PROXY: Final = "10.0.0.1"
_FORWARDED: Final = Forwarded([ipaddress.ip_network("10.0.0.0/8")])
_STEERING: Final = Steering(
    {
        "eu": Region(location=(50.1, 8.7), countries=("DE",), continents=("EU",)),
        "us": Region(location=(39.0, -77.5), continents=("NA",), default=True),
        "bare": Region(),
    }
)


def find_client(data: bytes) -> None:
    """Read X-Forwarded-For: whatever it is, a request comes from an address."""
    client = _FORWARDED.client(_PROXY, data.decode("latin-1"))
    require(str(ipaddress.ip_address(client)) == client, "a client has an address")


def find_place(data: bytes) -> None:
    """Read a hint and the headers of a content network, a line each: they lead to all regions."""
    hint, country, latitude, longitude = (data.decode("latin-1").split("\n") + [""] * 4)[:4]
    try:
        place = Place.decode(country=country, latitude=latitude, longitude=longitude)
    except WireError:
        place = None
    require(place is None or place != Place(), "a place that is said is somewhere")
    order = _STEERING.order(hint, place)
    require(sorted(order) == ["bare", "eu", "us"], "an order has each region once")


def read_relay_list(data: bytes) -> None:
    """Read the relays that a supervisor tells its workers of; what is read is written and read the same."""
    try:
        listed = RelayList.decode(decode_object(data.decode(errors="replace")).get("relays"))
    except WireError:
        return
    require(RelayList.decode(listed.encode()) == listed, "what is read is written and read the same")
