import json

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_pair

from voicegate.errors import WireError
from voicegate.relay.control import (
    ControlChannel,
    WorkerConfig,
    decode_rows,
    decode_transceivers,
    encode_rows,
)

CONFIG = WorkerConfig(
    secrets=[bytes(32), b"\xff" * 16],
    public=[5, 6],
    hop=7,
    streams=[8],
    counters=9,
    tls=["certificate.pem"],
    hop_offload=False,
    flow_limit=10,
    transceivers={17: ("::1", 9000)},
    has_directory=True,
)


async def test_messages_arrive_as_they_were_sent_however_the_stream_cuts_them() -> None:
    here, there = memory_stream_pair()
    async with ControlChannel(there) as control:
        await here.send_all(b'{"lookup": 1}\n{"loo')
        assert await control.receive() == {"lookup": 1}
        await here.send_all(b'kup": 2}\n')
        assert await control.receive() == {"lookup": 2}
        await ControlChannel(here).send({"text": "line\nbreak"})
        assert await control.receive() == {"text": "line\nbreak"}


async def test_the_other_end_leaving_is_the_end() -> None:
    here, there = memory_stream_pair()
    async with ControlChannel(here) as control:
        await control.send({"lookup": 1})
    async with ControlChannel(there) as control:
        assert await control.receive() == {"lookup": 1}
        assert await control.receive() is None


async def test_a_channel_that_is_closed_has_nobody_at_its_other_end() -> None:
    here, _ = memory_stream_pair()
    async with ControlChannel(here) as control:
        pass
    with pytest.raises(trio.BrokenResourceError):
        await control.send({"lookup": 1})
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
    received = WorkerConfig.from_json(json.loads(json.dumps(CONFIG.to_json())))
    assert received == CONFIG
    assert received != attrs.evolve(CONFIG, hop=8)


def test_a_configuration_does_not_show_its_secrets() -> None:
    assert "xff" not in repr(CONFIG)


@given(st.dictionaries(st.integers(0, 0xFFFF_FFFF), st.tuples(st.just("::1"), st.integers(1, 9))))
def test_a_list_of_transceivers_survives_its_journey(transceivers: dict[int, tuple[str, int]]) -> None:
    assert decode_transceivers(json.loads(json.dumps(transceivers))) == transceivers


@given(st.dictionaries(st.binary(min_size=19, max_size=19), st.none() | st.integers(0, 0xFFFF_FFFF)))
def test_flows_survive_their_journey(rows: dict[bytes, int | None]) -> None:
    assert decode_rows(json.loads(json.dumps(encode_rows(rows)))) == rows
