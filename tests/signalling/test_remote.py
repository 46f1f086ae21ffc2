"""Calls of another process, asked for over its socket."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest
import trio
import trio.testing

from tests.signalling.conftest import OFFER, MemoryService
from voicegate.access import Grant
from voicegate.errors import UsageError
from voicegate.signalling import (
    OfferRefused,
    RemoteCalls,
    RequestRefused,
    UnixDoor,
    serve_http,
    serve_privately,
)
from voicegate.signalling.api import MAX_BODY
from voicegate.signalling.service import DrainState


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder) / "socket"


@pytest.fixture
async def calls(service: MemoryService, path: Path, nursery: trio.Nursery) -> RemoteCalls:
    await nursery.start(serve_privately, service, path)
    return RemoteCalls(UnixDoor(path), agent_name="parrot")


async def test_a_call_is_made_shown_and_ended_elsewhere(calls: RemoteCalls, service: MemoryService) -> None:
    offer = OFFER + "m=application\r\n"
    created = await calls.create_call(offer, session={"voice": "é"}, client="2001:db8::7", data_channel_id=7)
    assert (created.id, created.answer) == ("rtc_0", offer)
    assert service.offers == [(offer, {"voice": "é"}, "2001:db8::7")]
    assert service.data_channel_ids == [7]
    described = {"id": "rtc_0", "state": "connected", "cause": None, "phases": {"offer": 1.5}}
    assert await calls.session("rtc_0") == described
    assert await calls.sessions() == [described]
    assert await calls.metrics() == b"voicegate_calls 1\n"
    assert await calls.is_ready()
    assert await calls.end_call("rtc_0")
    assert not await calls.end_call("rtc_0")
    assert not await calls.end_call("../rtc_0?")
    assert await calls.session("rtc_1") is None


async def test_a_call_needs_neither_session_nor_channel(calls: RemoteCalls, service: MemoryService) -> None:
    await calls.create_call(OFFER, session=None, client="")
    assert service.offers == [(OFFER, None, "")]
    assert service.data_channel_ids == [None]


async def test_a_refusal_is_passed_on_as_it_was_said(calls: RemoteCalls) -> None:
    with pytest.raises(OfferRefused) as caught:
        await calls.create_call(OFFER + "m=video", session=None, client="")
    refused = caught.value
    assert (refused.message, refused.status, refused.code, refused.param) == (
        "m-line 0 is video.",
        400,
        "invalid_offer",
        "m=0",
    )


async def test_the_longest_offer_that_a_client_may_make_can_be_handed_over(calls: RemoteCalls) -> None:
    offer = OFFER + "\r\n" * ((MAX_BODY - len(OFFER)) // 2)
    assert (await calls.create_call(offer, session=None, client="")).answer == offer


async def test_a_process_that_is_gone_has_nothing(path: Path) -> None:
    calls = RemoteCalls(UnixDoor(path), agent_name="parrot")
    assert not await calls.end_call("rtc_0")
    assert await calls.session("rtc_0") is None
    assert await calls.sessions() == []
    assert await calls.metrics() == b""
    assert not await calls.is_ready()
    with pytest.raises(OfferRefused) as caught:
        await calls.create_call(OFFER, session=None, client="")
    assert (caught.value.status, caught.value.code) == (503, "no_capacity")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", b"what?\r\n\r\n"])
async def test_a_process_that_ends_within_an_answer_is_gone(
    answer: bytes, path: Path, nursery: trio.Nursery
) -> None:
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(str(path))
        listening.listen(1)

        async def hang_up() -> None:
            accepted, _ = await listening.accept()
            with accepted:
                await accepted.recv(1000)
                await accepted.send(answer)

        nursery.start_soon(hang_up)
        assert await RemoteCalls(UnixDoor(path), agent_name="parrot").session("rtc_0") is None


async def test_an_answer_without_end_is_none(calls: RemoteCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicegate.signalling.remote.MAX_ANSWER", 5)
    assert await calls.metrics() == b""


async def test_a_process_that_hangs_is_waited_for_so_long_only(
    calls: RemoteCalls, service: MemoryService, autojump_clock: trio.testing.MockClock
) -> None:
    autojump_clock.autojump_threshold = 0.3
    service.before_answer = trio.sleep_forever
    with pytest.raises(RequestRefused, match="does not answer") as caught:
        await calls.create_call(OFFER, session=None, client="")
    assert (caught.value.status, caught.value.code) == (504, "worker_timeout")


async def test_not_being_ready_is_told(calls: RemoteCalls, service: MemoryService) -> None:
    service.ready = False
    assert not await calls.is_ready()


async def test_a_socket_leaves_its_folder_with_its_owner(service: MemoryService, path: Path) -> None:
    folder = path.parent
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_privately, service, path)
        assert list(folder.iterdir()) == [path]
        with pytest.raises(UsageError, match="in use"):
            await nursery.start(partial(serve_privately, service, path))
        nursery.cancel_scope.cancel()
    assert list(folder.iterdir()) == []


async def test_a_request_about_a_call_goes_to_the_process_that_has_it(
    service: MemoryService, path: Path, nursery: trio.Nursery
) -> None:
    class Near(MemoryService):
        def owner(self, call_id: str) -> UnixDoor:
            return UnixDoor(path)

    host, port = await nursery.start(partial(serve_http, Near(), host="127.0.0.1", port=0))
    async with httpx2.AsyncClient(base_url=f"http://{host}:{port}", trust_env=False, timeout=60) as http:

        async def patch(**rest: Any) -> httpx2.Response:
            return await http.patch("/v1/whip/rtc_7?a=b", **rest)

        gone = await patch()
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "call_not_found")
        await nursery.start(serve_privately, service, path)
        # What the other one says comes back as it was said, to what was asked.
        refused = await patch(content=b"x", headers={"Content-Type": "text/plain"})
        assert refused.status_code == 415
        assert "text/plain" in refused.json()["error"]["message"]
        assert refused.headers["accept-patch"] == "application/trickle-ice-sdpfrag"
        fragment = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*"}
        assert (await patch(content=b"?", headers=fragment)).json()["error"]["code"] == "invalid_fragment"


@pytest.mark.parametrize("status", [502, 504])
async def test_that_nobody_can_say_is_passed_on(
    calls: RemoteCalls, service: MemoryService, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    async def fail(_: str) -> None:
        raise RequestRefused("out of reach", status=status, code="peer_unreachable")

    monkeypatch.setattr(service, "session", fail)
    monkeypatch.setattr(service, "end_call", fail)
    for ask in (calls.session, calls.end_call):
        with pytest.raises(RequestRefused, match="out of reach") as caught:
            await ask("rtc_0")
        assert (caught.value.status, caught.value.code) == (status, "peer_unreachable")


async def test_what_is_elsewhere_is_not_here(calls: RemoteCalls, path: Path) -> None:
    assert calls.owner("rtc_0") == UnixDoor(path)
    assert calls.local_call("rtc_0") is None


async def test_a_refusal_keeps_when_to_come_again(calls: RemoteCalls, service: MemoryService) -> None:
    async def refuse() -> None:
        raise OfferRefused("full", status=503, code="no_capacity", headers={"Retry-After": "7"})

    service.before_answer = refuse
    with pytest.raises(OfferRefused) as caught:
        await calls.create_call(OFFER, session=None, client="")
    assert caught.value.headers == {"Retry-After": "7"}


async def test_what_a_client_may_do_goes_along(calls: RemoteCalls, service: MemoryService) -> None:
    grant = Grant(key="web", session={"instructions": "é" * 10_000}, max_calls=3, is_ephemeral=True)
    await calls.create_call(
        OFFER, session=None, client="", grant=grant, api="live", model="m", data_channel_id=None
    )
    assert service.terms[0]["grant"] == grant
    assert (service.terms[0]["api"], service.terms[0]["model"]) == ("live", "m")


async def test_another_process_drains_and_tells_how_far_it_is(
    calls: RemoteCalls, service: MemoryService
) -> None:
    await calls.begin_drain(seconds=3.5)
    assert service.drain_seconds == 3.5
    assert await calls.drain_state() == DrainState(is_draining=True, seconds_left=3.5, calls=0)
    assert not await calls.is_ready()
    await calls.end_drain()
    assert not (await calls.drain_state()).is_draining


async def test_a_process_that_is_gone_has_no_calls_left(tmp_path: Path) -> None:
    gone = RemoteCalls(UnixDoor(tmp_path / "nobody"), agent_name="echo")
    await gone.begin_drain(seconds=1)
    assert await gone.drain_state() == DrainState(is_draining=True, seconds_left=None, calls=0)
