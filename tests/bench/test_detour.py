import pytest

from voicegate.bench.detour import DetourError, redirect, server_address, without_candidates

ANSWER = "".join(
    line + "\r\n"
    for line in (
        "v=0",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 111",
        "a=ice-ufrag:abcd",
        "a=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host",
        "a=candidate:2 1 udp 2130706430 192.0.2.1 4001 typ host",
        "a=end-of-candidates",
        "a=mid:0",
        "m=application 4000 UDP/DTLS/SCTP webrtc-datachannel",
        "a=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host",
        "a=mid:1",
    )
)


def test_the_servers_address_is_its_first_candidates() -> None:
    assert server_address(ANSWER) == ("127.0.0.1", 4000)


def test_the_client_learns_of_no_address_but_the_lines() -> None:
    seen = redirect(ANSWER, ("10.0.0.1", 5000)).split("\r\n")
    assert [line for line in seen if "candidate" in line] == [
        "a=candidate:1 1 udp 2130706431 10.0.0.1 5000 typ host"
    ]
    assert seen.index("a=candidate:1 1 udp 2130706431 10.0.0.1 5000 typ host") < seen.index("a=mid:0")
    assert [line for line in ANSWER.split("\r\n") if "candidate" not in line] == [
        line for line in seen if "candidate" not in line
    ]


def test_the_server_learns_of_no_address_of_the_clients_nor_that_there_is_none() -> None:
    assert "candidate" not in without_candidates(ANSWER)
    assert without_candidates(ANSWER).count("\r\n") == 6


@pytest.mark.parametrize(
    "answer", ["v=0\r\n", "a=candidate:1 1 tcp 1 127.0.0.1 9 typ host tcptype passive\r\n"]
)
def test_an_answer_that_leads_nowhere_is_refused(answer: str) -> None:
    with pytest.raises(DetourError):
        server_address(answer)
    with pytest.raises(DetourError):
        redirect(answer, ("127.0.0.1", 1))
