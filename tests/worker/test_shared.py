"""Two workers' HTTP sides in one process: each answers for the other's calls, and a third party for all."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
import pytest
import trio
from starlette.requests import HTTPConnection

from tests.signalling.conftest import OFFER, MemoryService
from voicegate.access import Grant
from voicegate.event_socket import EventSocket
from voicegate.ice import Route
from voicegate.signalling import (
    CreatedCall,
    Door,
    OfferRefused,
    RequestRefused,
    UnixDoor,
    serve_privately,
)
from voicegate.transceiver.call_id import call_id_of
from voicegate.worker.control import server_socket, worker_socket
from voicegate.worker.shared import SharedCalls


class Worker(MemoryService):
    """A service whose calls have ids as a transceiver's have."""

    def __init__(self, transceiver_id: int) -> None:
        super().__init__()
        self.transceiver_id = transceiver_id
        self.fault: OfferRefused | None = None

    async def create_call(self, offer: str, **keywords: object) -> CreatedCall:
        if self.fault is not None:
            raise self.fault
        call = await super().create_call(offer, **keywords)  # type: ignore[arg-type]
        id_ = call_id_of(Route(self.transceiver_id, len(self.calls).to_bytes(8, "big")))
        self.calls[id_] = self.calls.pop(call.id) | {"id": id_}
        return attrs.evolve(call, id=id_)


@attrs.frozen
class Place:
    """Worker 1 as the public sees it, and what is behind it."""

    public: SharedCalls
    own: Worker
    other: Worker
    server: Worker
    folder: Path


@pytest.fixture
async def place(nursery: trio.Nursery) -> AsyncIterator[Place]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        own, other, server = Worker(1), Worker(2), Worker(3)
        await nursery.start(serve_privately, other, worker_socket(folder, 2))
        await nursery.start(serve_privately, server, server_socket(folder))
        public = SharedCalls(own, transceiver_id=1, folder=folder, region="eu")
        yield Place(public, own, other, server, folder)
        nursery.cancel_scope.cancel()


async def create(service: SharedCalls | Worker, session: Mapping[str, str] | None = None) -> str:
    return (await service.create_call(OFFER, session=session, client="192.0.2.1")).id


async def test_calls_of_its_own_need_nobody_else(place: Place) -> None:
    call_id = await create(place.public)
    assert await place.public.session(call_id) == place.own.calls[call_id]
    assert await place.public.end_call(call_id)
    assert not await place.public.end_call(call_id)


async def test_another_workers_call_is_shown_and_ended_through_it(place: Place) -> None:
    call_id = await create(place.other)
    assert await place.public.session(call_id) == place.other.calls[call_id]
    assert await place.public.end_call(call_id)
    assert place.other.calls[call_id]["state"] == "ended"
    assert not await place.public.end_call(call_id)


async def test_calls_of_a_worker_that_is_gone_are_unknown(place: Place) -> None:
    call_id = call_id_of(Route(0xFFFFFFFF, bytes(8)))
    for unknown in (call_id, "rtc_1", "", "../server"):
        assert await place.public.session(unknown) is None
        assert not await place.public.end_call(unknown)


async def test_an_offer_that_finds_no_room_is_handed_over_whole(place: Place) -> None:
    place.own.fault = OfferRefused("all slots are taken", status=503, code="no_capacity")
    call_id = await create(place.public, {"voice": "marin"})
    assert place.server.calls[call_id]["id"] == call_id
    assert place.server.offers == [(OFFER, {"voice": "marin"}, "192.0.2.1")]
    place.server.fault = OfferRefused("nowhere", status=503, code="no_capacity", param=None)
    with pytest.raises(OfferRefused, match="nowhere"):
        await create(place.public)


async def test_a_client_that_is_nearer_to_another_region_is_the_servers_to_place(place: Place) -> None:
    async def create_for(*regions: str) -> str:
        made = await place.public.create_call(OFFER, session=None, client="", regions=regions)
        return made.id

    assert (await create_for("eu", "us")) in place.own.calls
    assert (await create_for("us", "eu")) in place.server.calls
    # Where the server knows nobody either, there is still room here.
    place.server.fault = OfferRefused("nowhere", status=503, code="no_capacity", param=None)
    assert (await create_for("us", "eu")) in place.own.calls
    place.server.fault = OfferRefused("no offer", status=400)
    with pytest.raises(OfferRefused, match="no offer"):
        await create_for("us", "eu")


async def test_what_no_worker_here_has_the_server_is_asked_for(place: Place) -> None:
    elsewhere = call_id_of(Route(9, bytes(8)))
    place.server.calls[elsewhere] = {"id": elsewhere, "state": "connected"}
    assert await place.public.session(elsewhere) == place.server.calls[elsewhere]
    assert place.public.owner(elsewhere) == UnixDoor(place.folder / "server")
    knock = Knock()
    await place.public.attach(elsewhere, knock, grant=GRANT)
    assert knock.led == ["server"]
    assert await place.public.end_call(elsewhere)


async def test_an_offer_that_is_wrong_is_refused_at_once(place: Place) -> None:
    place.own.fault = OfferRefused("too many", status=429, code="too_many_pending_calls")
    with pytest.raises(OfferRefused, match="too many"):
        await create(place.public)
    assert place.server.offers == []


async def test_what_concerns_all_is_asked_of_who_knows_all(place: Place) -> None:
    call_id = await create(place.server)
    assert [session["id"] for session in await place.public.sessions()] == [call_id]
    assert await place.public.metrics() == await place.server.metrics()
    assert await place.public.is_ready()
    place.server.ready = False
    assert not await place.public.is_ready()


class Knock:
    """A handshake that notes where it is led."""

    request = HTTPConnection({"type": "websocket", "headers": [], "client": ("192.0.2.1", 1)})

    def __init__(self) -> None:
        self.led: list[str] = []

    async def accept(self) -> EventSocket:
        raise NotImplementedError

    async def tunnel(self, door: Door, *, grant: Grant) -> None:
        assert grant == GRANT
        assert isinstance(door, UnixDoor)
        self.led.append(door.path.name)


GRANT = Grant(key="web")


async def test_a_sideband_is_led_to_the_worker_that_has_the_call(place: Place) -> None:
    knock = Knock()
    await place.public.attach(await create(place.other), knock, grant=GRANT)
    assert knock.led == ["00000002"]
    with pytest.raises(RequestRefused, match="No such call"):
        await place.public.attach(call_id_of(Route(1, bytes(8))), knock, grant=GRANT)


async def test_a_session_that_finds_no_room_is_led_to_who_knows_where_some_is(place: Place) -> None:
    knock = Knock()

    async def refuse() -> None:
        assert place.own.fault is not None
        raise place.own.fault

    place.own.before_answer = refuse
    for status, code in ((503, "no_capacity"), (429, "too_many_calls")):
        place.own.fault = OfferRefused("not here", status=status, code=code)
        await place.public.run_session(knock, model="m", grant=GRANT)
    assert knock.led == ["server", "server"]
    place.own.fault = OfferRefused("wrong", status=400)
    with pytest.raises(OfferRefused, match="wrong"):
        await place.public.run_session(knock, model="m", grant=GRANT)


async def test_the_owner_of_a_call_is_told_by_its_id(place: Place) -> None:
    theirs = place.public.owner(await create(place.other))
    assert isinstance(theirs, UnixDoor)
    assert theirs.path.name == "00000002"
    ours = await create(place.public)
    assert place.public.owner(ours) is None
    assert place.public.local_call(ours) is None
