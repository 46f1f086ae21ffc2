import attrs
from hypothesis import given
from hypothesis import strategies as st

from tests.sdp import offers
from voicegate.sdp import Candidate, SessionDescription, answer
from voicegate.sdp.candidate import host_candidates

FOUR = ("192.0.2.1", 3478)
SIX = ("2001:db8::1", 3478)
addresses = st.lists(st.sampled_from([FOUR, SIX, ("192.0.2.2", 443)]), max_size=3, unique=True)


def test_the_lines_are_those_that_browsers_know() -> None:
    lines = [candidate.encode() for candidate in host_candidates(udp=[SIX, FOUR], tcp=[SIX, FOUR])]
    assert lines == [
        "1 1 udp 2130706431 2001:db8::1 3478 typ host",
        "2 1 udp 2130706175 192.0.2.1 3478 typ host",
        "3 1 tcp 2124414975 2001:db8::1 3478 typ host tcptype passive",
        "4 1 tcp 2124414719 192.0.2.1 3478 typ host tcptype passive",
    ]


@given(udp=addresses, tcp=addresses)
def test_priorities_fall_in_the_order_of_the_list_with_udp_before_tcp(
    udp: list[tuple[str, int]], tcp: list[tuple[str, int]]
) -> None:
    candidates = host_candidates(udp=udp, tcp=tcp)
    assert [(each.address, each.port) for each in candidates] == udp + tcp
    assert [each.transport for each in candidates] == ["udp"] * len(udp) + ["tcp"] * len(tcp)
    priorities = [each.priority for each in candidates]
    assert priorities == sorted(set(priorities), reverse=True)
    assert len({each.foundation for each in candidates}) == len(candidates)
    assert [Candidate.decode(each.encode()) for each in candidates] == list(candidates)


def test_the_default_destination_of_an_answer_is_the_first_over_udp() -> None:
    local = attrs.evolve(offers.LOCAL, candidates=host_candidates(udp=[FOUR], tcp=[FOUR]))
    text = answer(SessionDescription.decode(offers.MINIMAL), local).answer.encode()
    assert "m=audio 3478 " in text
    assert text.count("a=candidate:") == 2
    assert text.index(" udp ") < text.index(" tcp ")
