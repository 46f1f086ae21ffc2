import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.steering import Forwarded

TRUSTED = [ipaddress.ip_network(each) for each in ("10.0.0.0/8", "fd00::/8")]

addresses = st.ip_addresses().map(str)
proxies = st.ip_addresses(network="10.0.0.0/8").map(str)


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("198.51.100.7", "", "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),  # whoever it is, it is not a proxy of ours
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "  ", "10.0.0.1"),
        ("10.0.0.1", "8.8.8.8, 203.0.113.9", "203.0.113.9"),  # what the client wrote itself
        ("10.0.0.1", "203.0.113.9,10.0.0.2 , 10.0.0.3", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.9, 10.0.0.2", "10.0.0.9"),  # a client within
        ("fd00::1", "2001:db8::9", "2001:db8::9"),
        ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("fd00::1%eth0", "fe80::1%eth0", "fe80::1"),
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9"),
        ("10.0.0.1", "[2001:db8::9]", "2001:db8::9"),
        ("10.0.0.1", "[2001:db8::9%25en0]:1", "2001:db8::9"),
        ("", "203.0.113.9", ""),
        ("nowhere", "203.0.113.9", "nowhere"),
    ],
)
def test_the_client_is_the_last_that_is_not_a_trusted_proxy(peer: str, header: str, client: str) -> None:
    forwarded = Forwarded(TRUSTED)
    assert forwarded.client(peer, header) == client
    assert forwarded.malformed == 0


@pytest.mark.parametrize(
    "header",
    [
        "unknown",
        "203.0.113.9, _hidden",
        "203.0.113.9,",
        "203.0.113.9, 1.2.3.4.5",
        "a" * 100_000,
        "[",
        "é",
        "1:2:3",
    ],
)
def test_what_a_proxy_says_and_nobody_can_read_ends_the_list(header: str) -> None:
    forwarded = Forwarded(TRUSTED)
    assert forwarded.client("10.0.0.1", header) == "10.0.0.1"
    assert forwarded.malformed == 1


def test_who_is_before_too_many_proxies_is_not_looked_for() -> None:
    forwarded = Forwarded(TRUSTED)
    assert forwarded.client("10.0.0.1", "203.0.113.9," + "10.0.0.2," * 5000 + "10.0.0.3") == "10.0.0.2"


def test_nobody_is_trusted_unless_said() -> None:
    assert Forwarded().client("127.0.0.1", "203.0.113.9") == "127.0.0.1"
    assert not Forwarded().is_trusted("127.0.0.1")
    assert Forwarded(TRUSTED).is_trusted("10.9.9.9")
    assert not Forwarded(TRUSTED).is_trusted("11.9.9.9")
    assert not Forwarded(TRUSTED).is_trusted("testclient")


@given(said=st.text(max_size=300), client=addresses, hops=st.lists(proxies, max_size=6))
def test_what_a_client_says_itself_never_counts(said: str, client: str, hops: list[str]) -> None:
    forwarded = Forwarded(TRUSTED)
    counted = forwarded.client("10.0.0.1", ",".join([said, client, *hops]))
    if not forwarded.is_trusted(client):
        assert counted == Forwarded().client(client, "")


@given(peer=st.text(max_size=50), header=st.text(max_size=300))
def test_whatever_is_said_a_request_comes_from_somewhere(peer: str, header: str) -> None:
    forwarded = Forwarded(TRUSTED)
    client = forwarded.client(peer, header)
    assert client == peer or str(ipaddress.ip_address(client)) == client
