import pytest
import trio
from trio.testing import memory_stream_pair

from voicegate.child.channel import ControlChannel
from voicegate.errors import WireError


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
    monkeypatch.setattr("voicegate.child.channel._LINE_LIMIT", 16)
    here, there = memory_stream_pair()
    await here.send_all(line)
    with pytest.raises(WireError, match=fault):
        await ControlChannel(there).receive()
