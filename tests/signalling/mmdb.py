"""Writes MaxMind databases that are small enough to read with the eye (MaxMind DB file format 2.0).

A search tree of the bits of an address, 16 zero bytes, the records, a mark, and a map about all that.
"""

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MARK: Final = b"\xab\xcd\xefMaxMind.com"
SEPARATOR: Final = bytes(16)

DOUBLE, UINT16, UINT32, MAP, UINT64, ARRAY = 3, 5, 6, 7, 9, 11

FRANKFURT: Final = {
    "continent": {"code": "EU"},
    "country": {"iso_code": "DE"},
    "location": {"latitude": 50.1, "longitude": 8.7},
}
SINGAPORE: Final = {"country": {"iso_code": "SG"}, "location": {"latitude": 1.35, "longitude": 103.8}}


def write_database(
    path: Path, records: Mapping[str, Any], *, kind: str = "GeoLite2-City", ending: bytes = b""
) -> None:
    """Write a database of some networks that don't overlap; ``path`` is replaced, never written anew."""
    data = bytearray()
    # Each node has what follows on a zero and on a one: a node, a place among the records, or nothing.
    nodes: list[list[tuple[str, int] | None]] = [[None, None]]
    for network, record in records.items():
        bits = _bits(ipaddress.ip_network(network))
        node = 0
        for bit in bits[:-1]:
            found = nodes[node][bit]
            if found is None:
                nodes.append([None, None])
                found = nodes[node][bit] = ("node", len(nodes) - 1)
            node = found[1]
        nodes[node][bits[-1]] = ("record", len(data))
        data += _encode(record)
    tree = bytearray()
    for node_ in nodes:
        for side in node_:
            match side:
                case ("node", number):
                    value = number
                case ("record", offset):
                    value = len(nodes) + len(SEPARATOR) + offset
                case _:
                    value = len(nodes)
            tree += value.to_bytes(3, "big")
    about = _encode(
        {
            "binary_format_major_version": (UINT16, 2),
            "binary_format_minor_version": (UINT16, 0),
            "build_epoch": (UINT64, 1_700_000_000),
            "database_type": kind,
            "description": {"en": "a few networks"},
            "ip_version": (UINT16, 6),
            "languages": ["en"],
            "node_count": (UINT32, len(nodes)),
            "record_size": (UINT16, 24),
        }
    )
    made = path.with_name(path.name + ".new")
    made.write_bytes(bytes(tree) + SEPARATOR + bytes(data) + ending + MARK + about)
    made.replace(path)


def _bits(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> list[int]:
    # IPv4 is where the first 96 bits are zero.
    packed = network.network_address.packed.rjust(16, b"\0")
    length = network.prefixlen + (96 if network.version == 4 else 0)
    return [packed[number // 8] >> 7 - number % 8 & 1 for number in range(length)]


def _encode(value: Any) -> bytes:
    match value:
        case str():
            data = value.encode()
            return _control(2, len(data)) + data
        case float():
            return _control(DOUBLE, 8) + struct.pack(">d", value)
        case (int() as type_, int() as number):
            data = number.to_bytes(8, "big").lstrip(b"\0")
            return _control(type_, len(data)) + data
        case list():
            return _control(ARRAY, len(value)) + b"".join(map(_encode, value))
        case dict():
            pairs = (_encode(key) + _encode(each) for key, each in value.items())
            return _control(MAP, len(value)) + b"".join(pairs)
        case _:
            raise TypeError(value)


def _control(type_: int, size: int) -> bytes:
    kind, more = (type_ << 5, b"") if type_ <= MAP else (0, bytes([type_ - 7]))
    return bytes([kind | size]) + more if size < 29 else bytes([kind | 29]) + more + bytes([size - 29])
