from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.testing.steering_target import find_client, find_place, read_relay_list

SEEDS = {
    find_client: [b"8.8.8.8, 203.0.113.9:4711, 10.0.0.2", b"[2001:db8::7%25en0]:1", b",,,", b"\xff"],
    find_place: [b"eu\nDE\n50.1\n8.7", b"moon\nT1", b"", b"\n\xdf", b"\nQQ\n90\n180\nmore"],
    read_relay_list: [
        b'{"relays": [{"name": "a", "udp": [["::1", 1]], "tcp": [], "region": "", "is_draining": false}]}',
        b'{"relays": [{"name": 1e999}]}',
        b'{"relays": [{"name": "a", "udp": {"x": 1}, "tcp": [], "region": [], "is_draining": 7}]}',
        b"{}",
        b"[]",
    ],
}


@pytest.mark.parametrize(
    ("target", "data"), [(each, data) for each, seeds in SEEDS.items() for data in seeds]
)
def test_inputs_of_all_kinds_are_taken(target: Callable[[bytes], None], data: bytes) -> None:
    target(data)


@given(target=st.sampled_from(list(SEEDS)), data=st.binary(max_size=200))
def test_whatever_comes_is_taken(target: Callable[[bytes], None], data: bytes) -> None:
    target(data)
