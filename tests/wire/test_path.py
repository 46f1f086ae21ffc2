import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.wire.path import address_bytes, address_text


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("192.0.2.1", "00000000000000000000ffffc0000201"),
        ("2001:db8::1", "20010db8000000000000000000000001"),
        ("::1", "00000000000000000000000000000001"),
    ],
)
def test_an_address_is_written_as_sixteen_bytes_and_back(text: str, raw: str) -> None:
    assert address_bytes(text) == bytes.fromhex(raw)
    assert address_text(bytes.fromhex(raw)) == text


def test_a_zone_index_is_dropped() -> None:
    assert address_bytes("fe80::1%eth0") == address_bytes("fe80::1")


def test_a_mapped_address_reads_as_ipv4() -> None:
    assert address_text(address_bytes("::ffff:192.0.2.1")) == "192.0.2.1"


@pytest.mark.parametrize("text", ["localhost", "", "1.2.3", "1.2.3.4:5", "::g"])
def test_what_is_no_literal_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        address_bytes(text)


@given(st.binary(min_size=16, max_size=16))
def test_text_is_as_good_as_the_bytes(raw: bytes) -> None:
    assert address_bytes(address_text(raw)) == raw


@given(st.ip_addresses())
def test_bytes_are_as_good_as_the_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    raw = address_bytes(str(address))
    assert len(raw) == 16
    assert address_bytes(address_text(raw)) == raw
