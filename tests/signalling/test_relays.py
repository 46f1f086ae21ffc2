"""What answers list of the relays there are."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.config import Address, Config
from voicegate.directory import RelayLease
from voicegate.errors import WireError
from voicegate.observability import Metrics
from voicegate.sdp import Candidate
from voicegate.signalling.relays import RelayChooser, RelayList

EU = RelayLease(udp=(("203.0.113.1", 3478), ("2001:db8::1", 3478)), tcp=(("203.0.113.1", 443),), region="eu")
US = RelayLease(udp=(("203.0.113.2", 3478),), region="us")
ASIA = RelayLease(udp=(("203.0.113.3", 3478),), tcp=(("203.0.113.3", 3478),), region="asia")
ALL = {"eu": EU, "us": US, "asia": ASIA}
ORDER = ("us", "eu", "asia")

addresses = st.tuples(st.ip_addresses().map(str), st.integers(1, 0xFFFF))
leases = st.builds(
    RelayLease,
    udp=st.lists(addresses, max_size=2).map(tuple),
    tcp=st.lists(addresses, max_size=2).map(tuple),
    region=st.text(max_size=3),
    is_draining=st.booleans(),
)


def chooser(relays: dict[str, RelayLease], **settings: Any) -> RelayChooser:
    made = RelayChooser(Config(**settings), random=random.Random(1).randbytes)
    made.update(RelayList(relays))
    return made


def lines(candidates: tuple[Candidate, ...]) -> list[str]:
    return [f"{each.transport} {each.address} {each.port}" for each in candidates]


def test_an_answer_lists_the_addresses_of_each_relay_udp_first() -> None:
    candidates = chooser(ALL).choose(ORDER)
    assert lines(candidates) == [
        "udp 203.0.113.2 3478",
        "udp 203.0.113.1 3478",
        "udp 2001:db8::1 3478",
        "udp 203.0.113.3 3478",
        "tcp 203.0.113.1 443",
        "tcp 203.0.113.3 3478",
    ]
    assert [each.tcp_type for each in candidates] == [None] * 4 + ["passive"] * 2


@given(relays=st.dictionaries(st.text(max_size=5), leases, max_size=8), count=st.integers(1, 4))
def test_priorities_never_tie_and_the_first_is_the_nearest_s(
    relays: dict[str, RelayLease], count: int
) -> None:
    candidates = chooser(relays, answer_relays=count).choose(())
    priorities = [each.priority for each in candidates]
    assert priorities == sorted(set(priorities), reverse=True)
    assert len({each.foundation for each in candidates}) == len(candidates)
    assert len(candidates) <= 4 * count
    assert bool(candidates) == any(relay.udp or relay.tcp for relay in relays.values())


def test_as_many_relays_are_listed_as_are_wanted() -> None:
    assert lines(chooser(ALL, answer_relays=1).choose(ORDER)) == ["udp 203.0.113.2 3478"]
    assert len(chooser(ALL, answer_relays=2).choose(("asia", "eu"))) == 2 + 3


def test_the_relays_that_a_region_lists_are_there_without_a_directory() -> None:
    regions = {"us": {"relays": ["192.0.2.1:3478"]}, "eu": {"relays": ["[2001:db8::9]:443"]}}
    made = RelayChooser(Config(regions=regions))
    assert lines(made.choose(("eu", "us"))) == [
        "udp 2001:db8::9 443",
        "udp 192.0.2.1 3478",
        "tcp 2001:db8::9 443",
        "tcp 192.0.2.1 3478",
    ]
    made.update(RelayList({"us": US}))
    assert len([line for line in lines(made.choose(("us", "eu"))) if line.startswith("udp")]) == 3


def test_without_relays_nothing_is_listed() -> None:
    assert RelayChooser(Config()).choose(ORDER) == ()
    assert chooser({"mute": RelayLease(udp=())}).choose(ORDER) == ()


def test_several_relays_behind_one_address_are_one_way_open_while_any_is() -> None:
    leaving = RelayLease(udp=US.udp, region="us", is_draining=True)
    for relays in ({"1": US, "2": leaving}, {"1": leaving, "2": US}, {"1": US, "2": US}):
        made = chooser({**relays, "eu": EU})
        assert lines(made.choose(ORDER)).count("udp 203.0.113.2 3478") == 1
        metrics = Metrics()
        made.report(metrics)
        assert b"voicegate_steering_relays 2" in metrics.render()


def test_a_relay_that_drains_is_left_out_until_it_comes_back() -> None:
    made = chooser(ALL)
    made.update(RelayList({**ALL, "us": RelayLease(udp=US.udp, region="us", is_draining=True)}))
    assert "udp 203.0.113.2 3478" not in lines(made.choose(ORDER))
    made.update(RelayList(ALL))
    assert lines(made.choose(ORDER))[0] == "udp 203.0.113.2 3478"


@given(relays=st.dictionaries(st.text(max_size=5), leases, max_size=4))
def test_a_list_survives_the_way_to_another_process(relays: dict[str, RelayLease]) -> None:
    listed = RelayList(relays)
    assert RelayList.decode(json.loads(json.dumps(listed.encode()))) == listed
    assert RelayList(dict(relays)) == listed


def test_addresses_of_a_configuration_are_addresses_like_others() -> None:
    configured = RelayLease(udp=(Address("192.0.2.1", 1),))
    assert RelayList.decode(RelayList({"a": configured}).encode()).relays["a"].udp == configured.udp


GOOD = {"name": "a", "udp": [["192.0.2.1", 1]], "tcp": [], "region": "", "is_draining": False}


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "relays",
        [7],
        [{}],
        [{**GOOD, "udp": None}],
        [{**GOOD, "udp": [["192.0.2.1"]]}],
        [{**GOOD, "udp": [["relay.example", 1]]}],
        [{**GOOD, "tcp": [["192.0.2.1", 0]]}],
        [{**GOOD, "tcp": [["192.0.2.1", 65536]]}],
        [{**GOOD, "tcp": [["192.0.2.1", "x"]]}],
        [{**GOOD, "name": []}],
    ],
)
def test_what_is_no_list_is_refused(value: Any) -> None:
    assert RelayList.decode([GOOD]).relays["a"].udp == (("192.0.2.1", 1),)
    with pytest.raises(WireError):
        RelayList.decode(value)
