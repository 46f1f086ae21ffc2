import pytest
import trio

from voicegate.bench import server as bench_server
from voicegate.bench.place import Place
from voicegate.bench.server import BenchError, open_aiortc, open_voicegate
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


async def test_an_offer_that_is_refused_is_told() -> None:
    with trio.fail_after(60):
        async with open_voicegate(Place(None), {}) as server:
            with pytest.raises(BenchError, match=r"voicegate refused the offer.* 400"):
                await server.answer("v=0\r\n", channel_id=0)


async def test_a_server_that_does_not_start_is_told() -> None:
    with trio.fail_after(60), pytest.raises(BaseExceptionGroup) as raised:
        async with open_voicegate(Place(None), {"dtls": "9"}):
            raise AssertionError("it started")
    assert raised.group_contains(BenchError, match="voicegate ended")


async def test_without_aiortc_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_server, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match="--no-reference"):
        async with open_aiortc(Place(None)):
            raise AssertionError("it started")
