import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from voicegate.errors import WireError
from voicegate.ice.credentials import Keyring
from voicegate.relay.control import ControlChannel, RelayConfig, RelayStatistics, decode_transceivers
from voicegate.relay.router import Router

CONFIG = RelayConfig(secrets=[bytes(32), b"\xff" * 16], public=[("127.0.0.1", 3478)], hop=("::1", 0))


async def test_messages_arrive_as_they_were_sent_however_the_stream_cuts_them() -> None:
    here, there = memory_stream_pair()
    async with ControlChannel(there) as control:
        await here.send_all(b'{"statistics": 1}\n{"stat')
        assert await control.receive() == {"statistics": 1}
        await here.send_all(b'istics": 2}\n')
        assert await control.receive() == {"statistics": 2}
        await ControlChannel(here).send({"text": "line\nbreak"})
        assert await control.receive() == {"text": "line\nbreak"}


async def test_the_other_end_leaving_is_the_end() -> None:
    here, there = memory_stream_pair()
    async with ControlChannel(here) as control:
        await control.send({"statistics": 1})
    async with ControlChannel(there) as control:
        assert await control.receive() == {"statistics": 1}
        assert await control.receive() is None


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"ready\n", "not JSON"),
        (b"\xff\n", "not JSON"),
        (b"[1]\n", "not a JSON object"),
        (bytes(20), "longer than 16"),
    ],
)
async def test_a_line_that_is_no_message_is_refused(
    line: bytes, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voicegate.relay.control._LINE_LIMIT", 16)
    here, there = memory_stream_pair()
    await here.send_all(line)
    with pytest.raises(WireError, match=fault):
        await ControlChannel(there).receive()


def test_a_configuration_survives_its_journey() -> None:
    received = RelayConfig.from_json(json.loads(json.dumps(CONFIG.to_json())))
    assert received == CONFIG


def test_a_configuration_does_not_show_its_secrets() -> None:
    assert "xff" not in repr(CONFIG)


def test_statistics_survive_their_journey() -> None:
    router = Router(keyring=Keyring([bytes(32)]), now=0.0)
    router.handle_client_datagram(b"GET", bytes(16), 1, now=0.0)
    statistics = RelayStatistics(
        router=router.statistics(), socket_errors={"hop send EAGAIN": 3}, clients_without_socket=2
    )
    assert RelayStatistics.from_json(json.loads(json.dumps(statistics.to_json()))) == statistics


@given(st.dictionaries(st.integers(0, 0xFFFF_FFFF), st.tuples(st.just("::1"), st.integers(1, 9))))
def test_a_list_of_transceivers_survives_its_journey(transceivers: dict[int, tuple[str, int]]) -> None:
    assert decode_transceivers(json.loads(json.dumps(transceivers))) == transceivers
